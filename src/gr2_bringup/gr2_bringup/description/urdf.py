"""Writes the parts of the cell's xacro that are numbers: links, joints, camera frames, the table.

The hand-written ``cell.urdf.xacro`` calls the macros written here. URDF has no capsules: each becomes a cylinder
and two spheres.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np

from gr2_bringup.description.cell_model import BODY_TO_OPTICAL, HERE, Body, Camera, CellModel, Joint, Pose, Shape
from gr2_bringup.description.elements import Element, add, colour, document, inertia_of, mesh_groups, meshes, text

FILE = "cell_parts.xacro"
MESHES = "package://gr2_bringup/description/meshes/"
XACRO = "http://www.ros.org/wiki/xacro"
EFFORT = {**{f"joint_{i}": 39.0 for i in range(1, 5)}, **{f"joint_{i}": 9.0 for i in range(5, 8)}}
"""Largest torques [Nm] that the manufacturer's URDF allows; the simulator's servos may use more."""

HEADING = "Written by python -m gr2_bringup.description from the data of gr2_wbc and gr2_sim. Do not edit."


def urdf_files(cell: CellModel) -> dict[str, str]:
    """Content of the generated files of the folder ``description``, by path in it."""
    seen: dict[str, Sequence[Shape]] = {body.name: body.shapes for body in cell.robot}
    return {FILE: xacro_parts(cell)} | {f"meshes/{name}": obj for name, obj in meshes(seen).items()}


def xacro_parts(cell: CellModel) -> str:
    """The macros ``gr2_robot``, ``gr2_cameras`` and ``gr2_table``, and what ros2_control must know as properties."""
    ElementTree.register_namespace("xacro", XACRO)
    root = Element("robot")
    _properties(root, cell)
    robot = _macro(root, "gr2_robot")
    for body in cell.robot:
        _link(robot, body)
        _joint(robot, body.joint, body.parent or "world", body.name, body.pose)
    tool_parent, tool_pose = cell.tool
    add(robot, "link", name="tool_frame")
    _joint(robot, Joint("tool_frame_joint", "fixed"), tool_parent, "tool_frame", tool_pose)
    mounted = [camera for camera in cell.cameras if camera.body]
    for camera in mounted:
        _camera(robot, camera)
    around = _macro(root, "gr2_surroundings")
    for camera in (c for c in cell.cameras if not c.body):
        _camera(around, camera)
    table = add(around, "link", name="table")
    for shape in (s for s in cell.surroundings if s.kind != "plane"):
        _shape(table, shape)
    _joint(around, Joint("table_joint", "fixed"), "world", "table", HERE)
    return document(root, HEADING)


def _macro(root: Element, name: str) -> Element:
    return add(root, f"{{{XACRO}}}macro", name=name, params="")


def _properties(root: Element, cell: CellModel) -> None:
    def define(name: str, value: str) -> None:
        add(root, f"{{{XACRO}}}property", name=name, value=value)

    def table(values: Mapping[str, object]) -> str:
        return f"${{dict({', '.join(f'{name}={value!r}' for name, value in values.items())})}}"

    arm = [body.joint for body in cell.robot if body.joint.name in cell.ready]
    hand = [body.joint for body in cell.robot if body.joint.type != "fixed" and body.joint.name not in cell.ready]
    knuckle = next(joint for joint in hand if not joint.mimic)
    define("arm_joints", f"${{{[joint.name for joint in arm]!r}}}")
    define("ready", table({name: float(text(value)) for name, value in cell.ready.items()}))
    define("position_limits", table({j.name: j.limits for j in arm if j.limits}))
    define("gripper_joint", knuckle.name)
    define("gripper_range", f"${{{list(knuckle.limits or ())!r}}}")
    define("mimic_joints", f"${{{[j.name for j in hand if j.mimic]!r}}}")
    define("fields_of_view", table({c.name: float(text(c.fovy)) for c in cell.cameras}))
    # Gazebo makes one link of those that a fixed joint connects.
    lumped = [body for body in cell.robot if body.weightless and (body.joint.type != "fixed" or not body.parent)]
    define("weightless_links", f"${{{[body.name for body in lumped]!r}}}")


def _link(parent: Element, body: Body) -> None:
    link = add(parent, "link", name=body.name)
    inertial = add(link, "inertial")
    add(inertial, "origin", xyz=text(body.centre), rpy="0 0 0")
    add(inertial, "mass", value=text(body.mass))
    add(inertial, "inertia", **inertia_of(body))
    for shape in body.shapes:
        _shape(link, shape)
    for name, group in mesh_groups(body.name, body.shapes).items():
        visual = add(link, "visual", name=name)
        add(add(visual, "geometry"), "mesh", filename=f"{MESHES}{name}.obj")
        _material(visual, group[0])


def _shape(link: Element, shape: Shape) -> None:
    if shape.kind == "mesh":
        return  # one file for all of a body's meshes of one material
    roles = [role for role, wanted in (("visual", shape.seen), ("collision", shape.touched)) if wanted]
    for role in roles:
        for part in _simple(shape):
            element = add(link, role, name=part.name if role == "visual" else f"{part.name}_collision")
            add(element, "origin", xyz=text(part.pose.position), rpy=text(part.pose.rpy()))
            _geometry(add(element, "geometry"), part)
            if role == "visual":
                _material(element, part)


def _simple(shape: Shape) -> Iterator[Shape]:
    if shape.kind != "capsule":
        yield shape
        return
    yield replace(shape, kind="cylinder")
    for sign, end in ((1.0, "a"), (-1.0, "b")):
        centre = shape.pose.of(Pose(np.array([0.0, 0.0, sign * shape.size[1]]), np.eye(3)))
        yield replace(shape, kind="sphere", pose=centre, name=f"{shape.name}_{end}")


def _geometry(geometry: Element, shape: Shape) -> None:
    size = shape.size
    if shape.kind == "box":
        add(geometry, "box", size=text(2.0 * size))
    elif shape.kind == "cylinder":
        add(geometry, "cylinder", radius=text(size[0]), length=text(2.0 * size[1]))
    elif shape.kind == "sphere":
        add(geometry, "sphere", radius=text(size[0]))
    else:
        raise ValueError(f"shape '{shape.name}': URDF has no '{shape.kind}'")


def _material(visual: Element, shape: Shape) -> None:
    name = shape.material.replace("/", "_") or "plain"
    add(add(visual, "material", name=name), "color", rgba=colour(shape.colour))


def _joint(parent: Element, joint: Joint, upper: str, lower: str, pose: Pose) -> None:
    element = add(parent, "joint", name=joint.name, type=joint.type)
    add(element, "origin", xyz=text(pose.position), rpy=text(pose.rpy()))
    add(element, "parent", link=upper)
    add(element, "child", link=lower)
    if joint.type == "fixed":
        return
    add(element, "axis", xyz=text(joint.axis))
    limits = {"effort": text(EFFORT.get(joint.name, joint.effort)), "velocity": text(joint.velocity)}
    if joint.limits:
        limits |= {"lower": text(joint.limits[0]), "upper": text(joint.limits[1])}
    # ros2_control would hold the arm's continuous joints to a speed without knowing turns, and so turn them once around
    # where the same angle is named a turn further (docs/interfaces.md): on the arm it gets no limits of them.
    turns = joint.type == "continuous"
    holder = add(element, f"{{{XACRO}}}unless", value="${hardware == 'kortex'}") if turns else element
    add(holder, "limit", **limits)
    add(element, "dynamics", damping=text(joint.damping), friction=text(joint.friction))
    if joint.mimic:
        add(element, "mimic", joint=joint.mimic, multiplier="1", offset="0")


def _camera(parent: Element, camera: Camera) -> None:
    """Frames of a camera: x forward as a simulator renders, and the optical one that images are stamped with."""
    frame = f"{camera.name}_camera_frame"
    add(parent, "link", name=frame)
    joint = Joint(f"{camera.name}_camera_joint", "fixed")
    _joint(parent, joint, camera.body or "world", frame, camera.pose)
    optical = f"{camera.name}_camera_optical_frame"
    add(parent, "link", name=optical)
    turn = Pose(np.zeros(3), BODY_TO_OPTICAL)
    _joint(parent, Joint(f"{camera.name}_camera_optical_joint", "fixed"), frame, optical, turn)
