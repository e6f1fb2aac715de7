"""Draws the cameras in a thread of its own, on a copy of the state, so that physics never waits for a picture."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from gr2_sim.cameras import Cameras, RenderingUnavailable


@dataclass(frozen=True)
class Snapshot:
    """What a picture of one moment needs.

    Attributes:
        stamp: simulation time [s].
        model: the model; not changed while it runs.
        qpos, mocap_pos, mocap_quat: copies of the state.
    """

    stamp: float
    model: mujoco.MjModel
    qpos: np.ndarray
    mocap_pos: np.ndarray
    mocap_quat: np.ndarray

    @staticmethod
    def of(model: mujoco.MjModel, data: mujoco.MjData) -> Snapshot:
        """The present moment."""
        return Snapshot(float(data.time), model, data.qpos.copy(), data.mocap_pos.copy(), data.mocap_quat.copy())

    def pose(self, data: mujoco.MjData) -> None:
        """Bring other data of the same model to this moment, as far as drawing needs it."""
        data.time = self.stamp
        data.qpos[:], data.mocap_pos[:], data.mocap_quat[:] = self.qpos, self.mocap_pos, self.mocap_quat
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_camlight(self.model, data)


class CameraThread:
    """Draws snapshots one at a time; one that comes while another waits is left out and counted.

    Args:
        cameras: names of the cameras.
        width, height: of the images [px].
        deliver: called in the thread with the stamp [s] and the images by camera, (height, width, 3) uint8.

    Raises:
        RenderingUnavailable: no OpenGL here (raised by start).
    """

    def __init__(
        self,
        cameras: Sequence[str],
        width: int,
        height: int,
        deliver: Callable[[float, dict[str, np.ndarray]], None],
    ) -> None:
        self._names = tuple(cameras)
        self._size = (width, height)
        self._deliver = deliver
        self._queue: queue.Queue[Snapshot | None] = queue.Queue(maxsize=1)
        self._ready = threading.Event()
        self._failure: RenderingUnavailable | None = None
        self._thread = threading.Thread(target=self._run, name="cameras", daemon=True)
        self.drawn = 0
        self.left_out = 0

    def start(self, snapshot: Snapshot) -> None:
        """Start the thread and draw a first picture.

        Raises:
            RenderingUnavailable: no OpenGL here.
        """
        self._queue.put(snapshot)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def draw(self, snapshot: Snapshot) -> None:
        """Draw this moment as soon as possible; returns at once."""
        try:
            self._queue.put_nowait(snapshot)
        except queue.Full:
            self.left_out += 1

    def stop(self) -> None:
        """End the thread; it finishes the picture in hand."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        model: mujoco.MjModel | None = None
        cameras: Cameras | None = None
        while (snapshot := self._queue.get()) is not None:
            if cameras is None or snapshot.model is not model:
                if cameras is not None:
                    cameras.close()
                model, data = snapshot.model, mujoco.MjData(snapshot.model)
                try:
                    cameras = Cameras(snapshot.model, *self._size)
                except RenderingUnavailable as failure:
                    self._failure = failure
                    self._ready.set()
                    return
            snapshot.pose(data)
            images = {name: cameras.render(data, name) for name in self._names}
            self._ready.set()
            self.drawn += 1
            self._deliver(snapshot.stamp, images)
        if cameras is not None:
            cameras.close()
