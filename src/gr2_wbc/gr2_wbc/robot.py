"""What the controller knows about a robot: kinematic model, limits, gripper, collision pairs, configurations.

Nothing here or in the algorithms is written for one robot. :mod:`gr2_wbc.robot_file` reads the description.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pinocchio as pin

from gr2_wbc.arm_model import ArmModel
from gr2_wbc.environment import Environment
from gr2_wbc.joints import GripperJoint, JointLimits

__all__ = [
    "CollisionPair",
    "CollisionSpec",
    "GripperJoint",
    "JointLimits",
    "Robot",
    "RobotFileError",
    "RobotSource",
    "ToolLimits",
    "UnknownRobot",
]


class UnknownRobot(ValueError):
    """No robot of this name. The message lists those that are known."""


class RobotFileError(ValueError):
    """A robot description is not usable. The message names the file and the entry."""


@dataclass(frozen=True)
class ToolLimits:
    """Largest speed of the tool frame: linear [m/s], angular [rad/s]."""

    linear: float
    angular: float


@dataclass(frozen=True)
class CollisionPair:
    """Two geoms and the distance [m] that is kept between them."""

    first: str
    second: str
    distance: float


@dataclass(frozen=True, eq=False)
class CollisionSpec:
    """What is monitored.

    Attributes:
        influence_distance: pairs closer than this [m] enter the controller's program.
        safe_distance: kept between pairs [m] where nothing else is said.
        attached_distance: kept between a held object and everything else [m] where nothing else is said.
        pairs: of the robot with itself.
        environment: what always stands around the robot.
        environment_geoms: which of the robot's geoms are kept away from the environment.
        distances: exceptions [m] by the two names.
    """

    influence_distance: float
    safe_distance: float
    attached_distance: float
    pairs: tuple[CollisionPair, ...]
    environment: Environment
    environment_geoms: tuple[str, ...]
    distances: Mapping[frozenset[str], float]


@dataclass(frozen=True)
class RobotSource:
    """Where a robot was read from, for another process to read it: its YAML, and the URDF text if there was one."""

    path: Path
    description: str | None = None


@dataclass(frozen=True, eq=False)
class Robot:
    """A robot as the controller knows it; see the module's docstring.

    Attributes:
        robot_id: name exchanged in the activation handshake.
        source: where it was read from.
        arm: its model.
        base_frame, tool_frame: frame names.
        limits, tool_limits, gripper, collision: see their classes.
        configurations: name -> (n,) joint positions [rad, m].
    """

    robot_id: str
    source: RobotSource
    arm: ArmModel
    base_frame: str
    tool_frame: str
    limits: JointLimits
    tool_limits: ToolLimits
    gripper: GripperJoint
    collision: CollisionSpec
    configurations: Mapping[str, np.ndarray]

    @property
    def model(self) -> pin.Model:
        """Pinocchio's model, nq = nv = n."""
        return self.arm.model

    @property
    def model_path(self) -> Path:
        """The MJCF file of the arm.

        Raises:
            RobotFileError: it was described by a URDF; its geometry is ``arm.spec``.
        """
        if self.arm.mjcf is None:
            raise RobotFileError(f"{self.robot_id} is described by a URDF ({self.arm.name}), it has no MJCF")
        return self.arm.mjcf

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Arm joints in the controller's order."""
        return self.limits.names

    @property
    def dof(self) -> int:
        """Number n of arm joints."""
        return len(self.limits.names)

    @cached_property
    def base_placement(self) -> pin.SE3:
        """base_frame in the model's world."""
        return self.frame_on_joint(self.base_frame)[1]

    def frame_on_joint(self, frame: str) -> tuple[int, pin.SE3]:
        """The joint that carries a frame (0: the world), and the frame's placement on it.

        Raises:
            KeyError: the model has no such frame.
        """
        if not self.model.existFrame(frame):
            raise KeyError(frame)
        found = self.model.frames[self.model.getFrameId(frame)]
        return int(found.parentJoint), found.placement.copy()

    def frame_pose(self, frame: str, positions: np.ndarray) -> pin.SE3:
        """Pose of a frame in base_frame for joint positions (n,) [rad, m].

        Raises:
            KeyError: the model has no such frame.
        """
        joint, placement = self.frame_on_joint(frame)
        data = self.model.createData()
        pin.forwardKinematics(self.model, data, np.asarray(positions, dtype=float))
        return self.base_placement.actInv(data.oMi[joint] * placement)

    def tool_pose(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pose of tool_frame in base_frame for joint positions (n,) [rad, m].

        Returns:
            (3,) position [m] and (4,) unit quaternion x y z w.
        """
        pose = self.frame_pose(self.tool_frame, positions)
        return pose.translation.copy(), pin.Quaternion(pose.rotation).coeffs().copy()

    @cached_property
    def carriers(self) -> dict[str, int]:
        """For each of the robot's geoms the number of the joint that carries it; 0: it stands."""
        number = {name: self.model.getJointId(name) for name in self.joint_names}
        carriers = {}
        for geom in self.arm.spec.geoms:
            body = geom.parent
            while body.name != "world" and not body.joints:
                body = body.parent
            carriers[geom.name] = number[body.joints[-1].name] if body.name != "world" else 0
        return carriers

    def geoms_fixed_to(self, frame: str) -> frozenset[str]:
        """Names of the geoms on the same rigid part as a frame."""
        joint, _ = self.frame_on_joint(frame)
        return frozenset(name for name, carrier in self.carriers.items() if carrier == joint)
