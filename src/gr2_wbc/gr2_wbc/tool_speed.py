"""How much of the tool's speed limits a joint motion takes."""

from __future__ import annotations

import math

import numpy as np

from gr2_wbc.kinematics import Kinematics
from gr2_wbc.robot import Robot


class ToolSpeed:
    """Shares of the tool's speed limits for one robot."""

    def __init__(self, robot: Robot) -> None:
        self._kinematics = Kinematics(robot)
        self._limits = robot.tool_limits

    def share(self, positions: np.ndarray, velocities: np.ndarray) -> float:
        """Share taken at joint positions and velocities (n,), of the linear or the angular limit, the larger one."""
        self._kinematics.update(positions)
        x, y, z, around_x, around_y, around_z = (self._kinematics.jacobian @ velocities).tolist()
        linear, angular = math.hypot(x, y, z), math.hypot(around_x, around_y, around_z)
        return max(linear / self._limits.linear, angular / self._limits.angular)
