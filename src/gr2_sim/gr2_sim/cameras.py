"""Camera images of a simulated cell. A Cameras object belongs to the thread that made it."""

from __future__ import annotations

import atexit
import os

import mujoco
import numpy as np

from gr2_sim._gl import HINT, egl_found
from gr2_sim.parts import COLLISION_GROUP

SHADOW_MAP = 8192
SAMPLES = 8


class RenderingUnavailable(RuntimeError):
    """This machine cannot draw images; the message says what to install."""


def fine_model(model: mujoco.MjModel) -> None:
    """Change a model so that pictures of it are drawn with shadows and smooth edges (some 20 times slower)."""
    model.vis.quality.shadowsize, model.vis.quality.offsamples = SHADOW_MAP, SAMPLES
    model.vis.quality.numslices, model.vis.quality.numstacks, model.vis.quality.numquads = 48, 32, 8
    model.light_castshadow[0] = True


class Cameras:
    """Draws the cameras of a model.

    Args:
        model: the model.
        width, height: of the images [px].

    Raises:
        RenderingUnavailable: no OpenGL here.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        if not egl_found() and os.environ.get("MUJOCO_GL") in ("egl", "disable"):
            raise RenderingUnavailable(HINT.format(cause="libEGL.so.1 was not found"))
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, height)
        try:
            self._renderer = mujoco.Renderer(model, height, width)
        except (ImportError, RuntimeError, AttributeError, mujoco.FatalError) as error:
            raise RenderingUnavailable(HINT.format(cause=str(error).strip() or type(error).__name__)) from None
        self._options = mujoco.MjvOption()
        self._options.geomgroup[COLLISION_GROUP] = 0
        self._options.sitegroup[:] = 0
        self._size = (height, width)
        atexit.register(self.close)  # before the display is torn down, or the interpreter ends with complaints

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images [px]."""
        return self._size

    def render(self, data: mujoco.MjData, camera: str) -> np.ndarray:
        """Image of one camera, (height, width, 3) uint8 RGB."""
        self._renderer.update_scene(data, camera, scene_option=self._options)
        return self._renderer.render()

    def geoms(self, data: mujoco.MjData, camera: str) -> np.ndarray:
        """Which geom each pixel of one camera shows, (height, width); -1 for none."""
        self._renderer.enable_segmentation_rendering()
        try:
            self._renderer.update_scene(data, camera, scene_option=self._options)
            shown = self._renderer.render()
        finally:
            self._renderer.disable_segmentation_rendering()
        return np.where(shown[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM), shown[..., 0], -1)

    def close(self) -> None:
        """Give the OpenGL context back; in the thread that made it."""
        atexit.unregister(self.close)
        self._renderer.close()


def intrinsics(fovy: float, width: int, height: int) -> tuple[float, float, float]:
    """Focal length and principal point (f, cx, cy) [px] of a camera with vertical field of view fovy [deg]."""
    focal = 0.5 * height / np.tan(0.5 * np.deg2rad(fovy))
    return float(focal), 0.5 * width, 0.5 * height
