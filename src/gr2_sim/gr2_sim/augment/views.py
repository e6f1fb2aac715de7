"""Where the cameras of an episode look: the ray of each pixel in each frame, from calibration and the tool's poses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import yaml

from gr2_sim.build import ROBOT
from gr2_sim.cell import read_yaml
from gr2_sim.success import rotation
from gr2_wbc.robots import robot_path

TOOL = "tool_frame"


class CalibrationError(ValueError):
    """A camera's place is not known. The message names it and says what is lacking."""


@dataclass(frozen=True)
class View:
    """A camera through one episode.

    Attributes:
        origins: (T, 3) where it is [m], in base_link.
        turns: (T, 3, 3) its axes in base_link: x right, y up, looking along -z.
        fovy: vertical field of view [deg].
    """

    origins: np.ndarray
    turns: np.ndarray
    fovy: float

    @property
    def still(self) -> bool:
        """Whether it stands still."""
        return bool(np.ptp(self.origins, axis=0).max() < 1e-9 and np.ptp(self.turns, axis=0).max() < 1e-9)

    def rays(self, frame: int, height: int, width: int) -> np.ndarray:
        """(height, width, 3) directions in base_link, of which the part along the optical axis is 1."""
        half = np.tan(0.5 * np.deg2rad(self.fovy))
        v = half * (1.0 - 2.0 * (np.arange(height) + 0.5) / height)
        u = half * (width / height) * (2.0 * (np.arange(width) + 0.5) / width - 1.0)
        local = np.stack([*np.meshgrid(u, v), -np.ones((height, width))], axis=-1)
        return local @ self.turns[frame].T


def load_calibration(path: Path | None = None) -> Mapping[str, Mapping[str, Any]]:
    """Cameras by name, from a YAML file as data/cameras.yaml, or those of the simulated cell.

    Raises:
        CalibrationError: the file cannot be read.
    """
    if path is None:
        return read_yaml("cameras.yaml")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise CalibrationError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise CalibrationError(f"{path} holds no mapping of cameras")
    return data


def view_of(name: str, calibration: Mapping[str, Mapping[str, Any]], states: np.ndarray) -> View:
    """A camera through an episode.

    Args:
        name: of the camera.
        calibration: see load_calibration. One without `body` stands still; one with it hangs on the last link.
        states: (T, 8) tool poses, see gr2_policy.data.episode.POSE.

    Raises:
        CalibrationError: the camera is unknown, or its entry lacks something.
    """
    if name not in calibration:
        raise CalibrationError(f"where camera '{name}' is, is not known; known: {', '.join(calibration) or 'none'}")
    entry = calibration[name]
    try:
        position, fovy = np.asarray(entry["position"], dtype=float), float(entry["fovy"])
        if "body" not in entry:
            turn = _looking_at(position, np.asarray(entry["target"], dtype=float))
            count = len(states)
            return View(np.tile(position, (count, 1)), np.tile(turn, (count, 1, 1)), fovy)
        own = rotation(np.roll(np.asarray(entry["quaternion"], dtype=float), -1))
        to_tool, shift = _in_tool(str(entry["body"]))
        position, own = to_tool @ position + shift, to_tool @ own
        tools = np.stack([rotation(state[3:7] / np.linalg.norm(state[3:7])) for state in states.astype(float)])
        return View(states[:, :3] + tools @ position, tools @ own, fovy)
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationError(f"camera '{name}': {error!r} is missing or wrong in its calibration") from None


def _looking_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    back = (position - target) / np.linalg.norm(position - target)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    return np.column_stack([right, np.cross(back, right), back])


@lru_cache
def _in_tool(body: str) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and shift (3,) [m] that take a point of the arm's last link to tool_frame."""
    if body == TOOL:
        return np.eye(3), np.zeros(3)
    spec = mujoco.MjSpec.from_file(str(Path(robot_path(ROBOT)) / "arm.xml"))
    site = spec.site(TOOL)
    if site.parent.name != body:
        raise CalibrationError(f"a camera must stand still or hang on {site.parent.name} or {TOOL}, not on '{body}'")
    turn = rotation(np.roll(np.asarray(site.quat), -1))
    return turn.T, -turn.T @ np.asarray(site.pos)


def plane_hits(origin: np.ndarray, rays: np.ndarray, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Where rays meet a level plane: (h, w, 2) x and y [m], and the distance along the optical axis, inf for never."""
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (height - origin[2]) / rays[..., 2]
    along = np.where(along > 1e-6, along, np.inf)
    reach = np.where(np.isfinite(along), along, 0.0)
    return origin[:2] + reach[..., None] * rays[..., :2], along
