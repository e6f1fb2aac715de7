"""The arm's model as two libraries see it: pinocchio for kinematics, a MuJoCo specification for distances.

From a URDF the MuJoCo side is built out of pinocchio's model and the collision geometry of the links, so that both
know the same arm. From an MJCF both libraries read the file. Joints that are not controlled are locked; continuous
joints become unlimited hinges, so that nq = nv.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import mujoco
import numpy as np
import pinocchio as pin

from gr2_wbc.rotation import quaternion_of
from gr2_wbc.shapes import LinkShape, add_hull, box_corners, shapes_of

OTHERS = "others"  # in ``locked``: every joint that is not named as controlled, at 0 or its nearest limit
_UNLIMITED = 1e6  # [rad] stands for "continuous" on the way through the URDF parser
_AGREEMENT = 1e-6  # [m], [1]
_JOINT_TYPES = {True: mujoco.mjtJoint.mjJNT_SLIDE, False: mujoco.mjtJoint.mjJNT_HINGE}


class ModelError(ValueError):
    """A model file cannot be used. The message names the file and what is wrong with it."""


@dataclass(frozen=True, eq=False)
class ArmModel:
    """A robot's model, reduced to the controlled joints.

    Attributes:
        name: of its file, for messages.
        model: pinocchio model, nq = nv = n.
        continuous: names of joints that turn without end.
        spec: MuJoCo specification with the joints by their names and only the collision geoms; copy before use.
        links: the link (body) of each collision geom, by their names.
        mjcf: the MJCF file; None for a URDF.
    """

    name: str
    model: pin.Model
    continuous: frozenset[str]
    spec: mujoco.MjSpec
    links: Mapping[str, str]
    mjcf: Path | None

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The controlled joints in the model's order."""
        return tuple(self.model.names)[1:]


def read_arm(
    source: Path | str,
    controlled: Sequence[str],
    locked: Mapping[str, float] | str,
    shapes: Mapping[str, str],
) -> ArmModel:
    """Read an MJCF or URDF.

    Args:
        source: path of a file (``.urdf``: URDF, else MJCF), or a URDF as text.
        controlled: names of the joints that remain.
        locked: position [rad or m] of the others by name, or :data:`OTHERS`.
        shapes: for URDF meshes, see :func:`gr2_wbc.shapes.shapes_of`.

    Raises:
        ModelError: the model cannot be read, or joints are neither controlled nor locked.
    """
    if isinstance(source, Path) and source.suffix != ".urdf":
        return _read_mjcf(source, controlled, locked)
    return _read_urdf(source, controlled, locked, shapes)


def resolve(reference: str, folder: Path) -> Path:
    """Path of a model: relative to ``folder``, or ``package://<package>/<path>``.

    Raises:
        ModelError: no such file; the message lists where it was looked for.
    """
    if not reference.startswith("package://"):
        path = folder / reference
        if not path.is_file():
            raise ModelError(f"model {path} does not exist")
        return path
    inner = reference.removeprefix("package://")
    folders = package_folders()
    for share in folders:
        if (share / inner).is_file():
            return share / inner
    looked = ", ".join(str(share) for share in folders) or "nowhere (AMENT_PREFIX_PATH is empty)"
    raise ModelError(f"model {reference} was found in none of: {looked}")


def package_folders() -> list[Path]:
    """Folders that hold ROS packages: ``share`` of the sourced workspaces, and of robot packages from pip."""
    prefixes = [Path(prefix) / "share" for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if prefix]
    try:
        # Wheels of the cmeel family (pinocchio's own, example-robot-data) share one prefix.
        prefixes.append(Path(str(distribution("pin").locate_file("cmeel.prefix/share"))))
    except PackageNotFoundError:
        pass  # pinocchio from apt
    prefixes += [Path(entry) for entry in os.environ.get("ROS_PACKAGE_PATH", "").split(":") if entry]
    return [prefix for prefix in prefixes if prefix.is_dir()]


# -- URDF ------------------------------------------------------------------------------------------------------------


def _read_urdf(
    source: Path | str, controlled: Sequence[str], locked: Mapping[str, float] | str, shapes: Mapping[str, str]
) -> ArmModel:
    name = source.name if isinstance(source, Path) else "robot description"
    try:
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        text, continuous = _unwind(text)
        model = pin.buildModelFromXML(text)
        folders = [str(folder) for folder in package_folders()]
        geometry = pin.buildGeomFromUrdfString(
            model, text, pin.GeometryType.COLLISION, pin.GeometryModel(), package_dirs=folders
        )
    except (OSError, ValueError, RuntimeError, ElementTree.ParseError) as error:
        raise ModelError(f"{name}: {' '.join(str(error).split())}") from error
    numbers, rest = _locked_joints(name, model, controlled, locked)
    reduced, (geometry,) = pin.buildReducedModel(model, [geometry], numbers, rest)
    parts = shapes_of(reduced, geometry, shapes)
    links = {part.name: part.link for part in parts}
    return ArmModel(name, reduced, frozenset(continuous) & set(controlled), _spec_of(reduced, parts), links, None)


def _unwind(text: str) -> tuple[str, set[str]]:
    """Make continuous joints revolute ones without limits (pinocchio's own have two coordinates), mimics plain."""
    root = ElementTree.fromstring(text)
    continuous = set()
    for joint in root.findall("joint"):
        for mimic in joint.findall("mimic"):
            joint.remove(mimic)
        if joint.get("type") == "continuous":
            continuous.add(joint.get("name", ""))
            joint.set("type", "revolute")
            limit = joint.find("limit")
            if limit is None:
                limit = ElementTree.SubElement(joint, "limit", effort="0", velocity="0")
            limit.set("lower", str(-_UNLIMITED))
            limit.set("upper", str(_UNLIMITED))
    return ElementTree.tostring(root, encoding="unicode"), continuous


def _spec_of(model: pin.Model, shapes: Sequence[LinkShape]) -> mujoco.MjSpec:
    """A MuJoCo specification with one body for each joint of the model."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.compiler.autolimits = True
    bodies = [spec.worldbody]
    data = model.createData()
    pin.computeJointJacobians(model, data, pin.neutral(model))
    for index in range(1, model.njoints):
        joint, placement = model.joints[index], model.jointPlacements[index]
        if joint.nq != 1 or joint.nv != 1:
            raise ModelError(
                f"joint '{model.names[index]}' is a {joint.shortname()}; only hinges and slides are driven"
            )
        axis = pin.getJointJacobian(model, data, index, pin.ReferenceFrame.LOCAL)[:, joint.idx_v]
        linear, angular = axis[:3], axis[3:]
        slides = bool(np.linalg.norm(linear) > 0.5)
        body = bodies[model.parents[index]].add_body(
            name=f"after {model.names[index]}",
            pos=placement.translation,
            quat=quaternion_of(placement.rotation)[[3, 0, 1, 2]],
            mass=1.0,
            inertia=[1.0, 1.0, 1.0],
            ipos=[0.0, 0.0, 0.0],
            explicitinertial=True,
        )
        body.add_joint(name=model.names[index], type=_JOINT_TYPES[slides], axis=linear if slides else angular)
        bodies.append(body)
    for shape in shapes:
        shape.add_to(spec, bodies[shape.joint])
    return spec


# -- MJCF ------------------------------------------------------------------------------------------------------------


def _read_mjcf(path: Path, controlled: Sequence[str], locked: Mapping[str, float] | str) -> ArmModel:
    try:
        full = pin.buildModelFromMJCF(str(path))
        spec = mujoco.MjSpec.from_file(str(path))
        compiled = spec.compile()
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path.name}: {' '.join(str(error).split())}") from error
    _place_root(full, compiled)
    numbers, rest = _locked_joints(path.name, full, controlled, locked)
    model = pin.buildReducedModel(full, numbers, rest) if numbers else full
    for index in numbers:
        _weld(spec, compiled, full.names[index], float(rest[full.joints[index].idx_q]))
    _require_agreement(path.name, model, spec.copy().compile())
    for geom in list(spec.geoms):
        if geom.contype == 0 and geom.conaffinity == 0:
            spec.delete(geom)  # it is only to be seen
    for number, geom in enumerate(spec.geoms):
        geom.name = geom.name or f"{geom.parent.name or 'world'}_geom_{number}"
        if geom.type == mujoco.mjtGeom.mjGEOM_BOX and np.isnan(geom.fromto[0]):
            add_hull(spec, f"{geom.name} corners", box_corners(np.array(geom.size)))
            geom.type, geom.meshname = mujoco.mjtGeom.mjGEOM_MESH, f"{geom.name} corners"
    unlimited = {
        model.names[index]
        for index in range(1, model.njoints)
        if not np.isfinite(model.upperPositionLimit[model.joints[index].idx_q])
    }
    links = {geom.name: geom.parent.name for geom in spec.geoms}
    return ArmModel(path.name, model, frozenset(unlimited), spec, links, path)


def _place_root(model: pin.Model, compiled: mujoco.MjModel) -> None:
    """Put the arm where its root body is: pinocchio drops the pose of one without joints, MuJoCo keeps it."""
    roots = np.flatnonzero(compiled.body_parentid[1:] == 0) + 1
    if len(roots) != 1 or compiled.body_jntnum[roots[0]] > 0:
        return  # what does not agree then is refused
    root = int(roots[0])
    place = pin.SE3(pin.Quaternion(*compiled.body_quat[root]), compiled.body_pos[root])
    for index in range(1, model.njoints):
        if model.parents[index] == 0:
            model.jointPlacements[index] = place * model.jointPlacements[index]
    for frame in list(model.frames)[1:]:
        if frame.parentJoint == 0:
            frame.placement = place * frame.placement


def _require_agreement(name: str, model: pin.Model, compiled: mujoco.MjModel) -> None:
    """Kinematics and distances must be of the same arm: every joint has the same axis for both libraries.

    Raises:
        ModelError: they do not.
    """
    data, other = model.createData(), mujoco.MjData(compiled)
    positions = np.linspace(0.1, 0.3, model.nq)
    for index, position in enumerate(positions):
        joint = model.joints[index + 1]
        other.qpos[compiled.joint(model.names[index + 1]).qposadr[0]] = positions[joint.idx_q] = position
    mujoco.mj_kinematics(compiled, other)
    motions = pin.computeJointJacobians(model, data, positions)
    for index in range(1, model.njoints):
        number = compiled.joint(model.names[index]).id
        axis, anchor = other.xaxis[number], other.xanchor[number]
        slides = compiled.jnt_type[number] == mujoco.mjtJoint.mjJNT_SLIDE
        motion = np.concatenate((axis, np.zeros(3)) if slides else (np.cross(anchor, axis), axis))
        apart = float(np.abs(motions[:, model.joints[index].idx_v] - motion).max())
        if not apart < _AGREEMENT:
            raise ModelError(
                f"{name}: pinocchio and MuJoCo do not agree about joint '{model.names[index]}': its motion differs by "
                f"{apart:.3g}. Write the model with one root body, or use a URDF"
            )


def _weld(spec: mujoco.MjSpec, compiled: mujoco.MjModel, name: str, position: float) -> None:
    """Remove a joint; its body stays where this position put it."""
    joint, body = compiled.joint(name), compiled.body(int(compiled.joint(name).bodyid[0]))
    kind = int(joint.type[0])
    if kind not in (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)):
        raise ModelError(f"joint '{name}' cannot be locked: only hinges and slides can")
    place = pin.SE3(pin.Quaternion(*body.quat), body.pos)
    offset = position - float(compiled.qpos0[joint.qposadr[0]])
    if kind == int(mujoco.mjtJoint.mjJNT_SLIDE):
        move = pin.SE3(np.eye(3), offset * joint.axis)
    else:
        turn = pin.exp3(offset * joint.axis)
        move = pin.SE3(turn, joint.pos - turn @ joint.pos)
    place = place * move
    element = spec.body(body.name)
    element.pos, element.quat = place.translation, quaternion_of(place.rotation)[[3, 0, 1, 2]]
    element.alt.type = mujoco.mjtOrientation.mjORIENTATION_QUAT
    spec.delete(spec.joint(name))


def _locked_joints(
    name: str, model: pin.Model, controlled: Sequence[str], locked: Mapping[str, float] | str
) -> tuple[list[int], np.ndarray]:
    """Numbers of the joints to be locked, and a full configuration that has them where they belong."""
    rest, numbers = pin.neutral(model), []
    given = {} if isinstance(locked, str) else locked
    known = list(model.names)[1:]
    for joint in (*controlled, *given):
        if joint not in known:
            raise ModelError(f"{name} has no joint '{joint}'; it has {', '.join(known)}")
    for index in range(1, model.njoints):
        joint, element = model.names[index], model.joints[index]
        if joint in controlled:
            continue
        if joint not in given and locked != OTHERS:
            raise ModelError(
                f"{name}: joint '{joint}' is neither among the joints ({', '.join(controlled)}) nor locked; "
                f"'locked: {OTHERS}' locks what is not named"
            )
        numbers.append(index)
        if element.nq == 1:
            low, high = model.lowerPositionLimit[element.idx_q], model.upperPositionLimit[element.idx_q]
            rest[element.idx_q] = float(given[joint]) if joint in given else min(max(0.0, low), high)
    return numbers, rest
