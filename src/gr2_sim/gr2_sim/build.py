"""Composes the cell's MuJoCo model: arm, gripper, table, fixtures, objects, cameras and lights.

Contact bits: solid things (1) touch one another and the robot; the robot's geoms only accept (conaffinity 1), so
links never collide with links: self-collision is the controller's business.
"""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from gr2_sim.cell import DATA, Cell, FixtureData, ObjectData
from gr2_sim.finishes import PATTERNS, finished, pattern
from gr2_sim.parts import COLLISION_GROUP, PartBuilder
from gr2_wbc.robots import robot_path

ROBOT = "gen3_2f85"
ARM_JOINTS = tuple(f"joint_{i}" for i in range(1, 8))
STIFFNESS = np.array([2000.0] * 4 + [500.0] * 3)
DAMPING = np.array([100.0] * 4 + [50.0] * 3)
FORCE = np.array([105.0] * 4 + [52.0] * 3)
GRIPPER = "gripper/"
KNUCKLE_JOINT = "robotiq_85_left_knuckle_joint"

_SOLID = {"friction": (0.6, 0.01, 0.0005), "condim": 3, "solref": (0.004, 1.0), "solimp": (0.95, 0.99, 0.001, 0.5, 2.0)}


def build_model(cell: Cell, timestep: float = 0.001) -> mujoco.MjModel:
    """Compile the model of a cell.

    Args:
        cell: what there is.
        timestep: of the physics [s].

    Raises:
        DataError: a part cannot be built.
    """
    spec = _arm_spec()
    spec.modelname = f"gr2 {cell.name}"
    spec.option.timestep = timestep
    spec.stat.center, spec.stat.extent = (0.35, 0.0, 0.15), 1.0  # what shadow maps cover
    add_looks(spec, cell)
    _attach_gripper(spec)
    _style_arm(spec, cell)
    furnish(spec, cell)
    return spec.compile()


def furnish(spec: mujoco.MjSpec, cell: Cell) -> None:
    """Add the table and all that is on it, and the cameras; materials must have been added."""
    solid = PartBuilder(spec, (1, 1), **_SOLID)
    _table(spec, cell)
    for part in cell.scenery:
        solid.add(spec.worldbody, part)
    for fixture in cell.fixtures.values():
        _fixture(spec, solid, fixture)
    for thing in cell.objects.values():
        _object(spec, solid, thing)
    _cameras(spec, cell)


def _arm_spec() -> mujoco.MjSpec:
    path = Path(robot_path(ROBOT)) / "arm.xml"
    spec = mujoco.MjSpec.from_file(str(path))
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    quality = spec.visual.quality
    quality.shadowsize, quality.offsamples = 0, 0
    quality.numslices, quality.numstacks, quality.numquads = 16, 10, 2
    for geom in spec.geoms:
        geom.contype, geom.conaffinity, geom.group = 0, 1, COLLISION_GROUP
    for name, kp, kv, force in zip(ARM_JOINTS, STIFFNESS, DAMPING, FORCE, strict=True):
        actuator = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.set_to_position(kp=kp, kv=kv)
        actuator.forcerange, actuator.forcelimited = (-force, force), True
    return spec


def _attach_gripper(spec: mujoco.MjSpec) -> None:
    spec.delete(spec.body("gripper"))
    gripper = mujoco.MjSpec.from_file(str(DATA / "gripper.xml"))
    gripper.option.timestep = spec.option.timestep
    spec.attach(gripper, site=spec.site("gripper_mount"), prefix=GRIPPER)
    for geom in spec.geoms:
        geom.material = geom.material.removeprefix(GRIPPER)
    for material in list(spec.materials):
        if material.name.startswith(GRIPPER):
            spec.delete(material)
    for body in spec.bodies:
        body.gravcomp = 0.0 if body.name == "world" else 1.0


def _style_arm(spec: mujoco.MjSpec, cell: Cell) -> None:
    looks = PartBuilder(spec, (0, 0))
    for link, parts in cell.arm_style.items():
        for part in parts:
            looks.add(spec.body(link), part)


def add_looks(spec: mujoco.MjSpec, cell: Cell) -> None:
    """Add textures, materials, sky and lights."""
    for name, look in cell.textures.items():
        low, high = look["colours"]
        texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D)
        texture.width = texture.height = look["size"]
        if look["kind"] in PATTERNS:
            texture.nchannel, texture.data = 3, pattern(look["kind"], look["size"], low, high).tobytes()
            continue
        if look["kind"] == "checker":
            texture.builtin = mujoco.mjtBuiltin.mjBUILTIN_CHECKER
        else:
            texture.builtin = mujoco.mjtBuiltin.mjBUILTIN_FLAT
            texture.mark, texture.random = mujoco.mjtMark.mjMARK_RANDOM, 0.25
            texture.markrgb = high
        texture.rgb1, texture.rgb2 = low, high
    for name, look in finished(cell).items():
        material = spec.add_material(name=name)
        material.specular = look.get("specular", 0.1)
        material.shininess = look.get("shininess", 0.2)
        material.reflectance = look.get("reflectance", 0.0)
        if "texture" in look:
            textures = [""] * int(mujoco.mjtTextureRole.mjNTEXROLE)
            textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = look["texture"]
            material.textures = textures
            material.texrepeat = look.get("repeat", (1, 1))
            material.texuniform = False
        else:
            colour = list(look["colour"])
            material.rgba = (*colour, 1.0) if len(colour) == 3 else colour
    sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX)
    sky.builtin, sky.width, sky.height = mujoco.mjtBuiltin.mjBUILTIN_GRADIENT, 128, 768
    sky.rgb1, sky.rgb2 = cell.background["colours"]
    light = cell.lighting
    spec.visual.headlight.ambient = [light["ambient"]] * 3
    spec.visual.headlight.diffuse = [light["headlight"]] * 3
    spec.visual.headlight.specular = [0.0] * 3
    for number, lamp in enumerate(light["lights"]):
        position = np.asarray(lamp["position"], dtype=float)
        added = spec.worldbody.add_light(name=f"light_{number}", pos=position)
        added.dir = np.asarray(lamp["target"], dtype=float) - position
        added.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
        added.diffuse, added.specular = [lamp["diffuse"]] * 3, [lamp["specular"]] * 3
        added.castshadow = False


def _table(spec: mujoco.MjSpec, cell: Cell) -> None:
    table = cell.table
    (x, y), (length, width), thick = table["centre"], table["size"], table["thickness"]
    world = spec.worldbody
    top = world.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_BOX, size=(length / 2, width / 2, thick / 2))
    top.pos, top.material, top.group = (x, y, -thick / 2), cell.background["table"], 1
    top.contype, top.conaffinity = 1, 1
    for field, value in _SOLID.items():
        setattr(top, field, value)
    looks = PartBuilder(spec, (0, 0))
    size = [length + 0.012, width + 0.012, 0.7 * thick]
    looks.add(
        world, {"kind": "box", "size": size, "at": [x, y, -0.65 * thick], "role": "visual", "material": "table_edge"}
    )
    for side_x in (-1, 1):
        for side_y in (-1, 1):
            at = [x + side_x * (length / 2 - 0.05), y + side_y * (width / 2 - 0.05), -table["height"] / 2 - thick / 2]
            leg = {"kind": "box", "size": [0.06, 0.06, table["height"] - thick], "at": at}
            looks.add(world, {**leg, "role": "visual", "material": "steel"})
    floor = world.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(3.0, 3.0, 0.1))
    floor.pos, floor.material = (x, y, -table["height"]), cell.background["floor"]
    floor.contype, floor.conaffinity = 1, 1


def _fixture(spec: mujoco.MjSpec, solid: PartBuilder, fixture: FixtureData) -> None:
    x, y = fixture.position
    body = spec.worldbody.add_body(name=fixture.name, pos=(x, y, 0.0), mocap=True)
    for part in fixture.parts:
        solid.add(body, part)
    slider = fixture.slider
    if slider is None:
        return
    moving = body.add_body(name=f"{fixture.name}_{slider.joint}", mass=slider.mass, inertia=[slider.mass * 0.003] * 3)
    moving.explicitinertial, moving.gravcomp = True, 1.0
    kind = mujoco.mjtJoint.mjJNT_HINGE if slider.type == "hinge" else mujoco.mjtJoint.mjJNT_SLIDE
    joint = moving.add_joint(name=slider.joint, type=kind, axis=slider.axis, pos=slider.anchor)
    joint.range, joint.limited = slider.range, True
    joint.frictionloss = slider.friction
    _set_linear(joint, "damping", slider.damping)
    _set_linear(joint, "stiffness", slider.stiffness)
    if slider.stiffness > 0.0:
        joint.springref = -slider.preload / slider.stiffness
    for part in slider.parts:
        solid.add(moving, part)
    spec.add_exclude(bodyname1=body.name, bodyname2=moving.name)


def _set_linear(joint: mujoco.MjsJoint, field: str, value: float) -> None:
    """Newer MuJoCo takes the coefficients of a polynomial where older ones take the linear one alone."""
    setattr(joint, field, value if np.ndim(getattr(joint, field)) == 0 else [value, 0.0, 0.0])


def _object(spec: mujoco.MjSpec, solid: PartBuilder, thing: ObjectData) -> None:
    body = spec.worldbody.add_body(name=thing.name, pos=(0.0, 0.0, thing.rest_height))
    body.add_freejoint(name=thing.name)
    half = np.asarray(thing.half if thing.half is not None else [thing.rest_height] * 3)
    squares = np.sum(half**2) - half**2
    body.mass, body.inertia, body.explicitinertial = thing.mass, thing.mass * squares / 3.0, True
    for part in thing.parts:
        solid.add(body, part)


def _cameras(spec: mujoco.MjSpec, cell: Cell) -> None:
    for name, camera in cell.cameras.items():
        body = spec.body(camera.get("body", "world"))
        added = body.add_camera(name=name, pos=camera["position"], fovy=camera["fovy"])
        added.quat = (
            camera["quaternion"] if "quaternion" in camera else _looking_at(camera["position"], camera["target"])
        )


def _looking_at(position: list[float], target: list[float]) -> np.ndarray:
    back = np.asarray(position, dtype=float) - np.asarray(target, dtype=float)
    back = back / np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right = right / np.linalg.norm(right)
    matrix = np.column_stack([right, np.cross(back, right), back])
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, matrix.ravel())
    return quaternion
