"""Writes the world of Gazebo Harmonic: everything of a cell but the robot, which is spawned from its URDF.

The file says SDFormat 1.9, which Harmonic (sdformat 14, up to 1.11) reads as it is and older parsers as well.
Positions of joints at the start other than zero are not written: no scene begins with one unless a task asks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gr2_bringup.description.bridge import bridge, joint_states_topic
from gr2_bringup.description.cell_model import Body, Camera, CellModel, Joint, Shape
from gr2_bringup.description.elements import (
    Element,
    add,
    colour,
    document,
    inertia_of,
    mesh_groups,
    meshes,
    pose_text,
    text,
    touched_meshes,
)

VERSION = "1.9"
TIME_STEP = 0.001
NEAR, FAR = 0.02, 10.0
JOINT_STATES = "gz::sim::systems::JointStatePublisher"
HEADING = "Written by python -m gr2_bringup.description from the data of gr2_wbc and gr2_sim. Do not edit."
SYSTEMS = (
    ("gz-sim-physics-system", "gz::sim::systems::Physics"),
    ("gz-sim-user-commands-system", "gz::sim::systems::UserCommands"),
    ("gz-sim-scene-broadcaster-system", "gz::sim::systems::SceneBroadcaster"),
    ("gz-sim-contact-system", "gz::sim::systems::Contact"),
)


class NotForGazebo(ValueError):
    """Something of a cell that this world cannot hold; the message names it."""


def world_files(cell: CellModel, width: int = 256, height: int = 256, rate: float = 10.0) -> dict[str, str]:
    """Content of the world's files, by path in the folder ``worlds``.

    Args:
        cell: what there is.
        width, height: of the fixed cameras' images [px].
        rate: images per second.

    Raises:
        NotForGazebo: a joint starts elsewhere than at zero.
    """
    seen: dict[str, Sequence[Shape]] = {"surroundings": cell.surroundings}
    seen |= {body.name: body.shapes for bodies in cell.things.values() for body in bodies}
    files = {f"{cell.scene}.sdf": world(cell, width, height, rate)}
    files[f"{cell.scene}_bridge.yaml"] = bridge(cell)
    return files | {f"meshes/{name}": obj for name, obj in meshes(seen).items()}


def world(cell: CellModel, width: int, height: int, rate: float) -> str:
    """The world as SDFormat text; arguments and errors as :func:`world_files`."""
    root = Element("sdf", version=VERSION)
    place = add(root, "world", name="gr2_cell")
    physics = add(place, "physics", name="1ms", type="ignored")
    add(physics, "max_step_size", text(TIME_STEP))
    add(physics, "real_time_factor", "1")
    for filename, name in SYSTEMS:
        add(place, "plugin", filename=filename, name=name)
    sensors = add(place, "plugin", filename="gz-sim-sensors-system", name="gz::sim::systems::Sensors")
    add(sensors, "render_engine", "ogre2")
    add(place, "gravity", "0 0 -9.81")
    scene = add(place, "scene")
    add(scene, "ambient", colour([cell.ambient] * 3 + [1.0]))
    add(scene, "background", colour([*cell.sky, 1.0]))
    add(scene, "shadows", "false")
    for number, lamp in enumerate(cell.lights):
        _light(place, number, *lamp)
    still = _model(place, "surroundings", static=True)
    _shapes(add(still, "link", name="surroundings"), "surroundings", cell.surroundings)
    for name, bodies in cell.things.items():
        _thing(place, name, bodies, fixed=name in cell.fixed)
    for camera in (c for c in cell.cameras if not c.body):
        _camera(place, camera, width, height, rate)
    return document(root, HEADING)


def horizontal_view(fovy: float, width: int, height: int) -> float:
    """Horizontal field of view [rad] of a camera with square pixels."""
    return float(2.0 * np.arctan(np.tan(0.5 * fovy) * width / height))


def link_name(body: str) -> str:
    """Name of a body's link; joints have names of their own, and SDFormat wants all names of a model to differ."""
    return f"{body}_link"


def _model(place: Element, name: str, static: bool) -> Element:
    model = add(place, "model", name=name)
    add(model, "static", "true" if static else "false")
    return model


def _thing(place: Element, name: str, bodies: Sequence[Body], fixed: bool) -> None:
    root = bodies[0]
    model = _model(place, name, static=fixed and len(bodies) == 1)
    add(model, "pose", pose_text(root.pose))
    for body in bodies:
        link = add(model, "link", name=link_name(body.name))
        if body is not root:
            add(link, "pose", pose_text(body.pose), relative_to=link_name(body.parent))
        if body.mass > 0.0:
            _inertial(link, body)
        if body.weightless and body.mass > 0.0 and body is not root:
            add(link, "gravity", "false")
        _shapes(link, body.name, body.shapes)
    if fixed and len(bodies) > 1:
        anchor = add(model, "joint", name=f"{name}_to_world", type="fixed")
        add(anchor, "parent", "world")
        add(anchor, "child", link_name(root.name))
    for body in bodies[1:]:
        _joint(model, body)
    if len(bodies) > 1:
        states = add(model, "plugin", filename="gz-sim-joint-state-publisher-system", name=JOINT_STATES)
        add(states, "topic", joint_states_topic(name))


def _inertial(link: Element, body: Body) -> None:
    inertial = add(link, "inertial")
    add(inertial, "pose", f"{text(body.centre)} 0 0 0")
    add(inertial, "mass", text(body.mass))
    inertia = add(inertial, "inertia")
    for name, value in inertia_of(body).items():
        add(inertia, name, value)


def _joint(model: Element, body: Body) -> None:
    joint: Joint = body.joint
    if joint.position != 0.0:
        raise NotForGazebo(f"joint '{joint.name}' starts at {joint.position:g}, not at zero")
    element = add(model, "joint", name=joint.name, type=joint.type)
    add(element, "pose", f"{text(joint.anchor)} 0 0 0")
    add(element, "parent", link_name(body.parent))
    add(element, "child", link_name(body.name))
    axis = add(element, "axis")
    add(axis, "xyz", text(joint.axis))
    limit = add(axis, "limit")
    if joint.limits:
        add(limit, "lower", text(joint.limits[0]))
        add(limit, "upper", text(joint.limits[1]))
    dynamics = add(axis, "dynamics")
    add(dynamics, "damping", text(joint.damping))
    add(dynamics, "friction", text(joint.friction))
    add(dynamics, "spring_reference", text(joint.reference))
    add(dynamics, "spring_stiffness", text(joint.stiffness))


def _shapes(link: Element, body: str, shapes: Sequence[Shape]) -> None:
    for number, shape in enumerate(shapes):
        if shape.kind == "mesh":
            continue
        for role, wanted in (("visual", shape.seen), ("collision", shape.touched)):
            if wanted:
                element = add(link, role, name=f"{role}_{number}")
                add(element, "pose", pose_text(shape.pose))
                _geometry(add(element, "geometry"), shape)
                if role == "visual":
                    _material(element, shape)
                else:
                    _friction(element, shape)
    for name, group in mesh_groups(body, shapes).items():
        visual = add(link, "visual", name=name)
        add(add(add(visual, "geometry"), "mesh"), "uri", f"meshes/{name}.obj")
        _material(visual, group[0])
    for name, shape in touched_meshes(body, shapes).items():
        collision = add(link, "collision", name=name)
        add(add(add(collision, "geometry"), "mesh"), "uri", f"meshes/{name}.obj")
        _friction(collision, shape)


def _friction(collision: Element, shape: Shape) -> None:
    friction = add(add(add(collision, "surface"), "friction"), "ode")
    add(friction, "mu", text(shape.friction))
    add(friction, "mu2", text(shape.friction))


def _geometry(geometry: Element, shape: Shape) -> None:
    size = shape.size
    element = add(geometry, shape.kind)
    if shape.kind == "box":
        add(element, "size", text(2.0 * size))
    elif shape.kind in ("cylinder", "capsule"):
        add(element, "radius", text(size[0]))
        add(element, "length", text(2.0 * size[1]))
    elif shape.kind == "sphere":
        add(element, "radius", text(size[0]))
    elif shape.kind == "ellipsoid":
        add(element, "radii", text(size))
    elif shape.kind == "plane":
        add(element, "normal", "0 0 1")
        add(element, "size", text(2.0 * size[:2]))
    else:
        raise NotForGazebo(f"shape '{shape.name}' is a '{shape.kind}'")


def _material(visual: Element, shape: Shape) -> None:
    material = add(visual, "material")
    for kind in ("ambient", "diffuse"):
        add(material, kind, colour(shape.colour))
    add(material, "specular", "0.1 0.1 0.1 1")
    if len(shape.colour) == 4 and shape.colour[3] < 1.0:
        add(visual, "transparency", text(1.0 - shape.colour[3]))


def _light(
    place: Element, number: int, position: np.ndarray, direction: np.ndarray, diffuse: float, specular: float
) -> None:
    light = add(place, "light", name=f"light_{number}", type="directional")
    add(light, "pose", f"{text(position)} 0 0 0")
    add(light, "diffuse", colour([diffuse] * 3 + [1.0]))
    add(light, "specular", colour([specular] * 3 + [1.0]))
    add(light, "direction", text(direction / np.linalg.norm(direction)))
    add(light, "cast_shadows", "false")


def _camera(place: Element, camera: Camera, width: int, height: int, rate: float) -> None:
    model = _model(place, f"{camera.name}_camera", static=True)
    add(model, "pose", pose_text(camera.pose))
    link = add(model, "link", name=f"{camera.name}_camera_frame")
    sensor = add(link, "sensor", name=f"{camera.name}_camera", type="camera")
    add(sensor, "topic", f"/{camera.name}_camera/image_raw")
    add(sensor, "update_rate", text(rate))
    add(sensor, "always_on", "true")
    add(sensor, "gz_frame_id", f"{camera.name}_camera_optical_frame")
    optics = add(sensor, "camera")
    add(optics, "camera_info_topic", f"/{camera.name}_camera/camera_info")
    add(optics, "horizontal_fov", text(horizontal_view(camera.fovy, width, height)))
    image = add(optics, "image")
    add(image, "width", str(width))
    add(image, "height", str(height))
    add(image, "format", "R8G8B8")
    clip = add(optics, "clip")
    add(clip, "near", text(NEAR))
    add(clip, "far", text(FAR))
    add(optics, "optical_frame_id", f"{camera.name}_camera_optical_frame")
