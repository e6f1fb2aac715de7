"""Pairs of the arm that are near their margin, found by the controller's own distance engine. No ROS in here."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from gr2_wbc.collision_model import build_collision_model
from gr2_wbc.robot import Robot

MOST = 6  # pairs shown


@dataclass(frozen=True)
class NearPair:
    """Two geoms that are near.

    Attributes:
        name: "a|b".
        distance, margin: [m] between them, and how much of it is left above the distance that is kept.
        start, end: (3,) their nearest points [m].
    """

    name: str
    distance: float
    margin: float
    start: np.ndarray
    end: np.ndarray


class Proximity:
    """Finds near pairs of one robot and the environment of its description."""

    def __init__(self, robot: Robot) -> None:
        built = build_collision_model(robot)
        self._model = built.model
        self._data = mujoco.MjData(built.model)
        self._addresses = built.joint_addresses
        self._names = built.geom_names
        self._safe = built.safe_distance

    def near(self, positions: np.ndarray) -> list[NearPair]:
        """Pairs within the controller's influence distance for joint positions (n,) [rad], least margin first."""
        self._data.qpos[self._addresses] = positions
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_collision(self._model, self._data)
        found: dict[str, NearPair] = {}
        contact = self._data.contact
        for index in range(self._data.ncon):
            first, second = (int(g) for g in contact.geom[index])
            name = f"{self._names[first]}|{self._names[second]}"
            distance = float(contact.dist[index])
            if name in found and found[name].distance <= distance:
                continue
            half = 0.5 * distance * contact.frame[index, :3]
            middle = contact.pos[index]
            margin = distance - float(self._safe[first, second])
            found[name] = NearPair(name, distance, margin, middle - half, middle + half)
        return sorted(found.values(), key=lambda pair: pair.margin)[:MOST]
