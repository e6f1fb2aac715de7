"""What the controller knows about a robot: kinematic model, limits, gripper, collision pairs, configurations.

Everything is read from a folder with an MJCF (or URDF) of the arm alone and a ``robot.yaml``; nothing here or in
the algorithms is written for one robot. Continuous joints are unlimited hinges, so that nq = nv.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pinocchio as pin
import yaml


class UnknownRobot(ValueError):
    """No robot of this name. The message lists those that are known."""


class RobotFileError(ValueError):
    """A robot description is not usable. The message names the file and the entry."""


@dataclass(frozen=True)
class JointLimits:
    """Limits of the n arm joints, in the controller's order.

    Attributes:
        names: joint names.
        lower, upper: (n,) position limits [rad], infinite for continuous joints.
        velocity: (n,) [rad/s].
        acceleration: (n,) [rad/s^2].
    """

    names: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray

    @cached_property
    def continuous(self) -> np.ndarray:
        """(n,) bool: joints without position limits; their positions are equivalent modulo 2 pi."""
        return ~np.isfinite(self.lower) & ~np.isfinite(self.upper)

    def difference(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """first - second (n,) [rad], modulo whole turns for continuous joints."""
        difference = first - second
        turns = np.round(difference / (2.0 * np.pi)) * self.continuous
        return difference - 2.0 * np.pi * turns


@dataclass(frozen=True)
class ToolLimits:
    """Largest speed of the tool frame: linear [m/s], angular [rad/s]."""

    linear: float
    angular: float


@dataclass(frozen=True)
class GripperJoint:
    """The joint that ``/joint_states`` carries for the gripper, with its positions open and closed [rad]."""

    joint: str
    open: float
    closed: float

    def opening(self, position: float) -> float:
        """Joint position [rad] -> 0 open ... 1 closed, clipped."""
        return min(max((position - self.open) / (self.closed - self.open), 0.0), 1.0)

    def position(self, opening: float) -> float:
        """0 open ... 1 closed -> joint position [rad]."""
        return self.open + opening * (self.closed - self.open)


@dataclass(frozen=True)
class Primitive:
    """Something that stands around the arm, in base_frame.

    Attributes:
        name: its name in pairs and reports.
        kind: ``plane`` or ``box``.
        position: (3,) [m], a point of the plane or the centre of the box.
        orientation: (4,) unit quaternion x y z w; a plane's normal is its z axis.
        half_size: (3,) [m] of a box; zeros for a plane.
    """

    name: str
    kind: str
    position: np.ndarray
    orientation: np.ndarray
    half_size: np.ndarray


@dataclass(frozen=True)
class CollisionPair:
    """Two geoms (or a geom and a primitive) and the distance [m] that is kept between them."""

    first: str
    second: str
    distance: float


@dataclass(frozen=True)
class CollisionSpec:
    """What is monitored. Pairs closer than ``influence_distance`` [m] enter the controller's program."""

    influence_distance: float
    environment: tuple[Primitive, ...]
    pairs: tuple[CollisionPair, ...]


@dataclass(frozen=True, eq=False)
class Robot:
    """A robot as the controller knows it; see the module's docstring.

    Attributes:
        robot_id: name exchanged in the activation handshake.
        model_path: MJCF or URDF of the arm alone.
        model: pinocchio model of it, nq = nv = n.
        base_frame, tool_frame: frame names.
        limits, tool_limits, gripper, collision: see their classes.
        configurations: name -> (n,) joint positions [rad].
    """

    robot_id: str
    model_path: Path
    model: pin.Model
    base_frame: str
    tool_frame: str
    limits: JointLimits
    tool_limits: ToolLimits
    gripper: GripperJoint
    collision: CollisionSpec
    configurations: Mapping[str, np.ndarray]

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Arm joints in the controller's order."""
        return self.limits.names

    @property
    def dof(self) -> int:
        """Number n of arm joints."""
        return len(self.limits.names)

    def tool_pose(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pose of tool_frame in base_frame for joint positions (n,) [rad].

        Returns:
            (3,) position [m] and (4,) unit quaternion x y z w.
        """
        data = self.model.createData()
        pin.framesForwardKinematics(self.model, data, np.asarray(positions, dtype=float))
        base = data.oMf[self.model.getFrameId(self.base_frame)]
        pose = base.actInv(data.oMf[self.model.getFrameId(self.tool_frame)])
        return pose.translation.copy(), pin.Quaternion(pose.rotation).coeffs().copy()


def read_robot(folder: Path) -> Robot:
    """Read the robot described by ``folder/robot.yaml`` and the model it names.

    Raises:
        RobotFileError: a file is missing, an entry is missing or malformed, or model and YAML disagree.
    """
    path = folder / "robot.yaml"
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise RobotFileError(f"{path}: cannot be read: {error}") from error
    if not isinstance(entries, dict):
        raise RobotFileError(f"{path}: expected a mapping at the top")
    try:
        return _assemble(folder, entries)
    except RobotFileError as error:
        raise RobotFileError(f"{path}: {error}") from error
    except KeyError as error:
        raise RobotFileError(f"{path}: entry {error} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise RobotFileError(f"{path}: {error}") from error


def _assemble(folder: Path, entries: dict) -> Robot:
    model_path = folder / entries["model"]
    model = _read_model(model_path)
    limits = _joint_limits(entries["joints"], model)
    for frame in (entries["base_frame"], entries["tool_frame"]):
        if not model.existFrame(frame):
            raise RobotFileError(f"{model_path.name} has no frame '{frame}'")
    gripper = GripperJoint(
        joint=str(entries["gripper"]["joint"]),
        open=float(entries["gripper"]["open"]),
        closed=float(entries["gripper"]["closed"]),
    )
    if gripper.open == gripper.closed:
        raise RobotFileError(f"gripper: open and closed are both {gripper.open}")
    tool_limits = ToolLimits(float(entries["tool_limits"]["linear"]), float(entries["tool_limits"]["angular"]))
    if not (tool_limits.linear > 0.0 and tool_limits.angular > 0.0):
        raise RobotFileError(f"tool_limits must be positive, got {tool_limits}")
    configurations = {
        str(name): _configuration(name, values, limits) for name, values in entries["configurations"].items()
    }
    return Robot(
        robot_id=str(entries["robot_id"]),
        model_path=model_path,
        model=model,
        base_frame=entries["base_frame"],
        tool_frame=entries["tool_frame"],
        limits=limits,
        tool_limits=tool_limits,
        gripper=gripper,
        collision=_collision(entries["collision"]),
        configurations=configurations,
    )


def _read_model(path: Path) -> pin.Model:
    if not path.is_file():
        raise RobotFileError(f"model {path} does not exist")
    model = pin.buildModelFromUrdf(str(path)) if path.suffix == ".urdf" else pin.buildModelFromMJCF(str(path))
    if model.nq != model.nv:
        raise RobotFileError(
            f"{path.name}: nq = {model.nq} differs from nv = {model.nv}; declare continuous joints as unlimited hinges"
        )
    return model


def _joint_limits(joints: list[dict], model: pin.Model) -> JointLimits:
    names = tuple(str(joint["name"]) for joint in joints)
    known = tuple(model.names[index] for index in range(1, model.njoints) if model.joints[index].nv == 1)
    if names != known or len(names) != model.nv:
        raise RobotFileError(f"joints {list(names)} are not those of the model, in its order: {list(known)}")
    ranges = [joint.get("position", (-np.inf, np.inf)) for joint in joints]
    lower = np.array([low for low, _ in ranges], dtype=float)
    upper = np.array([high for _, high in ranges], dtype=float)
    velocity = np.array([joint["velocity"] for joint in joints], dtype=float)
    acceleration = np.array([joint["acceleration"] for joint in joints], dtype=float)
    for name, low, high, speed, rate in zip(names, lower, upper, velocity, acceleration, strict=True):
        if not (low < high and 0.0 < speed < np.inf and 0.0 < rate < np.inf):
            raise RobotFileError(
                f"limits of {name} make no sense: position {low} to {high} rad, "
                f"velocity {speed} rad/s, acceleration {rate} rad/s^2"
            )
    return JointLimits(names, lower, upper, velocity, acceleration)


def _configuration(name: str, values: list[float], limits: JointLimits) -> np.ndarray:
    positions = np.array(values, dtype=float)
    if positions.shape != limits.lower.shape or not np.all(np.isfinite(positions)):
        raise RobotFileError(f"configuration '{name}' needs {len(limits.names)} finite numbers, got {values}")
    for joint, value, low, high in zip(limits.names, positions, limits.lower, limits.upper, strict=True):
        if not low <= value <= high:
            raise RobotFileError(f"configuration '{name}': {joint} = {value} rad is outside {low} ... {high}")
    return positions


def _collision(entries: dict) -> CollisionSpec:
    environment = tuple(_primitive(entry) for entry in entries.get("environment", ()))
    exceptions = {frozenset(entry["pair"]): float(entry["distance"]) for entry in entries.get("distances", ())}
    default = float(entries["safe_distance"])
    named = [(first, second) for first, others in entries.get("self_pairs", ()) for second in others]
    named += [(geom, primitive.name) for primitive in environment for geom in entries.get("environment_geoms", ())]
    unknown = set(exceptions) - {frozenset(pair) for pair in named}
    if unknown:
        raise RobotFileError(f"distances: {sorted(next(iter(unknown)))} is not among the monitored pairs")
    pairs = tuple(CollisionPair(a, b, exceptions.get(frozenset((a, b)), default)) for a, b in named)
    influence = float(entries["influence_distance"])
    for pair in pairs:
        if not 0.0 <= pair.distance < influence:
            raise RobotFileError(
                f"distance {pair.distance} m of {pair.first}|{pair.second} must lie in 0 ... {influence} m "
                "(influence_distance)"
            )
    return CollisionSpec(influence, environment, pairs)


def _primitive(entry: dict) -> Primitive:
    kind, name = str(entry["type"]), str(entry["name"])
    orientation = np.array([0.0, 0.0, 0.0, 1.0])
    half_size = np.zeros(3)
    if kind == "plane":
        normal = np.array(entry["normal"], dtype=float)
        turn = pin.Quaternion.FromTwoVectors(np.array([0.0, 0.0, 1.0]), normal / np.linalg.norm(normal))
        orientation = turn.coeffs().copy()
    elif kind == "box":
        orientation = np.array(entry.get("orientation", orientation), dtype=float)
        half_size = np.array(entry["half_size"], dtype=float)
    else:
        raise RobotFileError(f"environment '{name}': type '{kind}' is neither plane nor box")
    position = np.array(entry["position"], dtype=float)
    sound = position.shape == (3,) and orientation.shape == (4,) and half_size.shape == (3,)
    if not sound or abs(np.linalg.norm(orientation) - 1.0) > 1e-6 or np.any(half_size < 0.0):
        raise RobotFileError(f"environment '{name}': position, orientation (unit quaternion) or half_size is malformed")
    return Primitive(name, kind, position, orientation, half_size)
