"""Reads ``robot.yaml`` and the model it names. docs/robots.md describes the entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pinocchio as pin
import yaml

from gr2_wbc.arm_model import ArmModel, read_arm, resolve
from gr2_wbc.environment import BOX, CAPSULE, CYLINDER, MESH, PLANE, SPHERE, Environment, SceneObject, Shape, pose_of
from gr2_wbc.joints import GripperJoint, JointLimits
from gr2_wbc.pair_selection import select_self_pairs
from gr2_wbc.robot import CollisionPair, CollisionSpec, Robot, RobotFileError, RobotSource, ToolLimits

AUTO = "auto"
_ATTACHED_DISTANCE = 0.002  # [m] a held object may come so close to what it stood on


def read_robot(path: Path, description: str | None = None) -> Robot:
    """Read the robot described by a YAML file, or by the ``robot.yaml`` of a folder, and its model.

    Args:
        path: of the file or folder.
        description: a URDF as text, used instead of the model that the file names.

    Raises:
        RobotFileError: a file is missing, an entry is missing or malformed, or model and YAML disagree.
    """
    if path.is_dir():
        path = path / "robot.yaml"
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise RobotFileError(f"{path}: cannot be read: {error}") from error
    if not isinstance(entries, dict):
        raise RobotFileError(f"{path}: expected a mapping at the top")
    try:
        return _assemble(RobotSource(path, description), entries)
    except KeyError as error:
        raise RobotFileError(f"{path}: entry {error} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise RobotFileError(f"{path}: {error}") from error


def _assemble(source: RobotSource, entries: dict[str, Any]) -> Robot:
    names = tuple(str(joint["name"]) for joint in entries["joints"])
    if source.description is not None:
        origin: Path | str = source.description
    else:
        origin = resolve(str(entries["model"]), source.path.parent)
    locked = entries.get("locked", {})
    arm = read_arm(origin, names, locked, entries["collision"].get("shapes", {}))
    limits = _joint_limits(entries["joints"], arm)
    for frame in (entries["base_frame"], entries["tool_frame"]):
        if not arm.model.existFrame(frame):
            known = ", ".join(each.name for each in arm.model.frames)
            raise RobotFileError(f"{arm.name} has no frame '{frame}'; it has {known}")
    carrier = arm.model.frames[arm.model.getFrameId(entries["base_frame"])].parentJoint
    if carrier:
        raise RobotFileError(f"base_frame '{entries['base_frame']}' is moved by {arm.model.names[carrier]}")
    tool_limits = ToolLimits(float(entries["tool_limits"]["linear"]), float(entries["tool_limits"]["angular"]))
    if not (tool_limits.linear > 0.0 and tool_limits.angular > 0.0):
        raise RobotFileError(f"tool_limits must be positive, got {tool_limits}")
    robot = Robot(
        robot_id=str(entries["robot_id"]),
        source=source,
        arm=arm,
        base_frame=entries["base_frame"],
        tool_frame=entries["tool_frame"],
        limits=limits,
        tool_limits=tool_limits,
        gripper=_gripper(entries.get("gripper")),
        collision=_collision(entries["collision"], arm, limits),
        configurations={
            str(name): _configuration(name, values, limits) for name, values in entries["configurations"].items()
        },
    )
    if entries["collision"].get("environment_geoms", AUTO) != AUTO:
        return robot
    moving = tuple(name for name, carrier in robot.carriers.items() if carrier)
    return replace(robot, collision=replace(robot.collision, environment_geoms=moving))


def _gripper(entries: dict[str, Any] | None) -> GripperJoint:
    if entries is None:
        return GripperJoint("", 0.0, 1.0)
    gripper = GripperJoint(str(entries["joint"]), float(entries["open"]), float(entries["closed"]))
    if gripper.open == gripper.closed:
        raise RobotFileError(f"gripper: open and closed are both {gripper.open}")
    return gripper


def _joint_limits(joints: list[dict[str, Any]], arm: ArmModel) -> JointLimits:
    """Limits of the file and of the model, the strictest of each."""
    model, names = arm.model, tuple(str(joint["name"]) for joint in joints)
    if names != arm.joint_names:
        raise RobotFileError(f"joints {list(names)} are not those of the model, in its order: {list(arm.joint_names)}")
    sliding = frozenset(name for name in names if arm.spec.joint(name).type == mujoco.mjtJoint.mjJNT_SLIDE)
    limits = np.zeros((4, len(names)))
    for index, joint in enumerate(joints):
        name = names[index]
        low, high = (float(value) for value in joint.get("position", (-np.inf, np.inf)))
        if name not in arm.continuous:
            low = max(low, float(model.lowerPositionLimit[index]))
            high = min(high, float(model.upperPositionLimit[index]))
        speed, rate = float(joint.get("velocity", np.inf)), float(joint["acceleration"])
        known = float(model.velocityLimit[index])
        if 0.0 < known < np.inf:
            speed = min(speed, known)
        unit = "m" if name in sliding else "rad"
        if not (low < high and 0.0 < speed < np.inf and 0.0 < rate < np.inf):
            raise RobotFileError(
                f"limits of {name} make no sense: position {low} to {high} {unit}, "
                f"velocity {speed} {unit}/s, acceleration {rate} {unit}/s^2"
            )
        if np.isinf(low) != np.isinf(high) or (name in sliding and np.isinf(low)):
            raise RobotFileError(f"{name} needs both position limits: {low} to {high} {unit}")
        limits[:, index] = low, high, speed, rate
    return JointLimits(names, limits[0], limits[1], limits[2], limits[3], sliding)


def _configuration(name: str, values: list[float], limits: JointLimits) -> np.ndarray:
    positions = np.array(values, dtype=float)
    if positions.shape != limits.lower.shape or not np.all(np.isfinite(positions)):
        raise RobotFileError(f"configuration '{name}' needs {len(limits.names)} finite numbers, got {values}")
    for joint, value, low, high in zip(limits.names, positions, limits.lower, limits.upper, strict=True):
        if not low <= value <= high:
            raise RobotFileError(
                f"configuration '{name}': {joint} = {value} {limits.unit(joint)} is outside {low} ... {high}"
            )
    return positions


def _collision(entries: dict[str, Any], arm: ArmModel, limits: JointLimits) -> CollisionSpec:
    environment = Environment()
    for entry in entries.get("environment", ()):
        environment = environment.add(_object(entry))
    influence, default = float(entries["influence_distance"]), float(entries["safe_distance"])
    distances = {frozenset(entry["pair"]): float(entry["distance"]) for entry in entries.get("distances", ())}
    named, close = _self_pairs(entries, arm, limits, default, influence)
    geoms = entries.get("environment_geoms", AUTO)
    known = {geom.name for geom in arm.spec.geoms}
    if geoms != AUTO:
        for name in geoms:
            if name not in known:
                raise RobotFileError(f"environment_geoms: {arm.name} has no geom '{name}'")
    for pair in distances:
        ours = {frozenset(each) for each in named} | {frozenset((g, o.name)) for g in known for o in environment}
        if pair not in ours:
            raise RobotFileError(f"distances: {sorted(pair)} is not among the monitored pairs")
    kept = {frozenset(pair): distance for pair, distance in close.items()} | distances
    pairs = tuple(CollisionPair(a, b, kept.get(frozenset((a, b)), default)) for a, b in named)
    for name, distance in [
        ("safe_distance", default),
        *((f"distances: {sorted(pair)}", distance) for pair, distance in distances.items()),
    ]:
        if not 0.0 <= distance < influence:
            raise RobotFileError(f"{name}: {distance} m must lie in 0 ... {influence} m (influence_distance)")
    return CollisionSpec(
        influence_distance=influence,
        safe_distance=default,
        attached_distance=float(entries.get("attached_distance", min(_ATTACHED_DISTANCE, default))),
        pairs=pairs,
        environment=environment,
        environment_geoms=() if geoms == AUTO else tuple(geoms),
        distances=distances,
    )


def _self_pairs(
    entries: dict[str, Any], arm: ArmModel, limits: JointLimits, safe: float, influence: float
) -> tuple[list[tuple[str, str]], Mapping[tuple[str, str], float]]:
    """The pairs, and the distances [m] of those that are built closer than the safe distance."""
    close: Mapping[tuple[str, str], float] = {}
    chosen = entries.get("self_pairs", AUTO)
    if chosen == AUTO:
        selection = select_self_pairs(arm.spec, limits, safe, influence)
        pairs, close = list(selection.pairs), selection.close
    else:
        pairs = _expanded(chosen)
    known = {geom.name for geom in arm.spec.geoms}
    added, removed = _expanded(entries.get("add_pairs", ())), _expanded(entries.get("remove_pairs", ()))
    for pair in (*pairs, *added, *removed):
        for name in pair:
            if name not in known:
                raise RobotFileError(f"{arm.name} has no geom '{name}', named in a collision pair")
    gone = {frozenset(pair) for pair in removed}
    present = {frozenset(pair) for pair in pairs}
    pairs += [pair for pair in added if frozenset(pair) not in present]
    return [pair for pair in pairs if frozenset(pair) not in gone], close


def _expanded(entries: Any) -> list[tuple[str, str]]:
    """``[a, b]`` and ``[a, [b, c]]`` -> pairs."""
    pairs = []
    for first, others in entries:
        pairs += [(str(first), str(other)) for other in ([others] if isinstance(others, str) else others)]
    return pairs


def _object(entry: Mapping[str, Any]) -> SceneObject:
    kind, name = str(entry["type"]), str(entry["name"])
    orientation = entry.get("orientation", (0.0, 0.0, 0.0, 1.0))
    vertices = None
    size: tuple[float, ...] = ()
    if kind == PLANE:
        normal = np.array(entry["normal"], dtype=float)
        turn = pin.Quaternion.FromTwoVectors(np.array([0.0, 0.0, 1.0]), normal / np.linalg.norm(normal))
        orientation = turn.coeffs().copy()
    elif kind == BOX:
        size = tuple(float(value) for value in entry["half_size"])
    elif kind == SPHERE:
        size = (float(entry["radius"]),)
    elif kind in (CYLINDER, CAPSULE):
        size = (float(entry["radius"]), 0.5 * float(entry["length"]))
    elif kind == MESH:
        vertices = np.array(entry["vertices"], dtype=float)
    margin = float(entry["margin"]) if "margin" in entry else None
    touch = frozenset(str(other) for other in entry.get("touch", ()))
    shape = Shape(kind, size, vertices=vertices)
    pose = pose_of(name, entry["position"], orientation)
    return SceneObject(name, (shape,), pose, margin=margin, touch=touch, fixed=True)
