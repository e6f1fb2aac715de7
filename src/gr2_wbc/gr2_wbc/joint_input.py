"""Joint states as they come, in any order and with anything wrong, turned into what the controller uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gr2_wbc.robot import Robot


class BadJointState(ValueError):
    """A joint state message must not be used. The message names the joint and what is wrong."""


@dataclass(frozen=True, eq=False)
class JointReading:
    """What one message says.

    Attributes:
        positions, velocities: (n,) in the controller's order [rad], [rad/s]; None: it holds no arm joint.
        gripper: opening 0 open ... 1 closed; None: it does not hold the gripper joint.
    """

    positions: np.ndarray | None
    velocities: np.ndarray | None
    gripper: float | None


class JointStateReader:
    """Picks the robot's joints from messages by name."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._names: tuple[str, ...] | None = None
        self._arm: np.ndarray | None = None
        self._gripper: int | None = None

    def read(
        self, names: Sequence[str], positions: Sequence[float] | np.ndarray, velocities: Sequence[float] | np.ndarray
    ) -> JointReading:
        """Read a message's arrays. Joints of other robots are ignored; velocities may be left out (taken as 0).

        Raises:
            BadJointState: lengths differ, names repeat, some but not all arm joints are there, or a number that is
                needed is not finite.
        """
        names = tuple(names)
        if names != self._names:
            self._map(names)
        if len(positions) != len(names):
            raise BadJointState(f"{len(names)} names but {len(positions)} positions")
        if len(velocities) not in (0, len(names)):
            raise BadJointState(f"{len(names)} names but {len(velocities)} velocities")
        values = np.asarray(positions, dtype=float)
        gripper = None
        if self._gripper is not None:
            self._require_finite(values[[self._gripper]], (self._robot.gripper.joint,), "position")
            gripper = self._robot.gripper.opening(float(values[self._gripper]))
        if self._arm is None:
            return JointReading(None, None, gripper)
        arm = values[self._arm]
        self._require_finite(arm, self._robot.joint_names, "position")
        speeds = np.zeros(len(arm))
        if len(velocities):
            speeds = np.asarray(velocities, dtype=float)[self._arm]
            self._require_finite(speeds, self._robot.joint_names, "velocity")
        return JointReading(arm, speeds, gripper)

    def _map(self, names: tuple[str, ...]) -> None:
        if len(set(names)) != len(names):
            repeated = sorted(name for name in set(names) if names.count(name) > 1)
            raise BadJointState(f"names repeat: {', '.join(repeated)}")
        wanted = self._robot.joint_names
        missing = [name for name in wanted if name not in names]
        gripper = self._robot.gripper.joint
        if missing and (len(missing) < len(wanted) or gripper not in names):
            raise BadJointState(f"joints {', '.join(missing)} are missing; it has {', '.join(names) or 'none'}")
        self._arm = None if missing else np.array([names.index(name) for name in wanted])
        self._gripper = names.index(gripper) if gripper in names else None
        self._names = names

    @staticmethod
    def _require_finite(values: np.ndarray, names: Sequence[str], what: str) -> None:
        if not np.isfinite(values).all():
            index = int(np.flatnonzero(~np.isfinite(values))[0])
            raise BadJointState(f"{what} of {names[index]} is {values[index]}")
