"""What a robot and the things around it are made of, read from the compiled MuJoCo model of a cell.

Units: m, kg, rad. Poses are of a body in its parent's frame, at joint position zero. Quaternions are w x y z.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from gr2_sim.build import GRIPPER, KNUCKLE_JOINT, ROBOT
from gr2_sim.cell import Cell
from gr2_sim.parts import COLLISION_GROUP
from gr2_sim.world import World
from gr2_wbc.robots import load_robot

CAMERA_TO_BODY = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
"""From a frame with x forward, y left, z up (REP 103) to MuJoCo's camera frame: x right, y up, looking along -z."""
BODY_TO_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""From an optical frame (x right, y down, z forward) to a frame with x forward, y left, z up."""

GRIPPER_SPEED = 0.5
"""Largest speed [rad/s] of the gripper's joints that the manufacturer's URDF allows; the simulator has no limit."""

TYPES = {
    int(mujoco.mjtGeom.mjGEOM_PLANE): "plane",
    int(mujoco.mjtGeom.mjGEOM_SPHERE): "sphere",
    int(mujoco.mjtGeom.mjGEOM_CAPSULE): "capsule",
    int(mujoco.mjtGeom.mjGEOM_ELLIPSOID): "ellipsoid",
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): "cylinder",
    int(mujoco.mjtGeom.mjGEOM_BOX): "box",
    int(mujoco.mjtGeom.mjGEOM_MESH): "mesh",
}


@dataclass(frozen=True, eq=False)
class Pose:
    """A place: position (3,) [m] and rotation matrix (3, 3) to the parent's frame."""

    position: np.ndarray
    rotation: np.ndarray

    def of(self, inner: Pose) -> Pose:
        """This pose applied to one that is given in its frame."""
        return Pose(self.position + self.rotation @ inner.position, self.rotation @ inner.rotation)

    def rpy(self) -> np.ndarray:
        """(3,) [rad] about the fixed axes x, y, z, as URDF and SDFormat have it."""
        r = self.rotation
        pitch = np.arctan2(-r[2, 0], np.hypot(r[0, 0], r[1, 0]))
        if np.hypot(r[0, 0], r[1, 0]) < 1e-9:  # the first and the last axis are parallel: all of the turn to roll
            return np.array([np.arctan2(-np.sign(r[2, 0]) * r[0, 1], r[1, 1]), pitch, 0.0])
        return np.array([np.arctan2(r[2, 1], r[2, 2]), pitch, np.arctan2(r[1, 0], r[0, 0])])


HERE = Pose(np.zeros(3), np.eye(3))


@dataclass(frozen=True, eq=False)
class Shape:
    """One geom: kind (see TYPES), size as in MuJoCo, pose in its body; a mesh has vertices in its body's frame.

    `colour` is r g b a, `seen` and `touched` say what it is for, `friction` is that of sliding.
    """

    name: str
    kind: str
    size: np.ndarray
    pose: Pose
    colour: tuple[float, ...]
    material: str
    seen: bool
    touched: bool
    friction: float
    vertices: np.ndarray | None = None
    faces: np.ndarray | None = None


@dataclass(frozen=True)
class Joint:
    """What connects a body to its parent; `type` is fixed, revolute, continuous or prismatic.

    `limits` are lower and upper position, `velocity` and `effort` the largest; `mimic` names the joint followed.
    """

    name: str
    type: str
    axis: tuple[float, ...] = (0.0, 0.0, 1.0)
    anchor: tuple[float, ...] = (0.0, 0.0, 0.0)
    limits: tuple[float, float] | None = None
    velocity: float = 0.0
    effort: float = 0.0
    damping: float = 0.0
    friction: float = 0.0
    stiffness: float = 0.0
    reference: float = 0.0
    mimic: str = ""
    position: float = 0.0


@dataclass(frozen=True, eq=False)
class Body:
    """One rigid body: where it is in its parent, its inertia about its centre (axes of the body), its shapes."""

    name: str
    parent: str
    pose: Pose
    mass: float
    centre: np.ndarray
    inertia: np.ndarray
    weightless: bool
    joint: Joint
    shapes: tuple[Shape, ...]


@dataclass(frozen=True, eq=False)
class Camera:
    """A camera: its pose in `body` with x forward, y left, z up, and its vertical field of view [rad]."""

    name: str
    body: str
    pose: Pose
    fovy: float


@dataclass(frozen=True, eq=False)
class CellModel:
    """All of a cell.

    Attributes:
        robot: bodies of arm and gripper, parents first; `surroundings`: what is fixed to the world (table, floor).
        things: by name the bodies of a fixture or object, parents first.
        tool: frame of the tool in the body it belongs to.
        lights: position, direction, diffuse and specular brightness of each lamp.
        ambient: brightness from everywhere.
        sky: r g b of the background.
    """

    scene: str
    robot: tuple[Body, ...]
    surroundings: tuple[Shape, ...]
    things: Mapping[str, tuple[Body, ...]]
    fixed: frozenset[str]
    cameras: tuple[Camera, ...]
    tool: tuple[str, Pose]
    ready: Mapping[str, float]
    lights: tuple[tuple[np.ndarray, np.ndarray, float, float], ...]
    ambient: float
    sky: tuple[float, ...]


def read_cell(scene: str = "table", task: str = "", seed: int = 0) -> CellModel:
    """The cell as the simulator lays it out.

    Args:
        scene, task, seed: as for the simulator.

    Raises:
        DataError, UnknownTask, LayoutError: as from the simulator.
    """
    world = World(scene)
    world.reset(task, seed)
    model, data, cell = world.model, world.data, world.cell
    reader = _Reader(model, data, cell)
    names = [model.body(i).name for i in range(model.nbody)]
    roots = [names[model.body_rootid[i]] for i in range(model.nbody)]
    robot = load_robot(ROBOT)
    site = model.site("tool_frame").id
    lamps = cell.lighting["lights"]
    return CellModel(
        scene=cell.name,
        robot=tuple(reader.body(i) for i in range(1, model.nbody) if roots[i] == "base_link"),
        surroundings=reader.shapes(0),
        things={
            name: tuple(reader.body(i) for i in range(1, model.nbody) if roots[i] == name)
            for name in (*cell.fixtures, *cell.objects)
        },
        fixed=frozenset(cell.fixtures),
        cameras=tuple(reader.camera(name) for name in cell.cameras),
        tool=(names[model.site_bodyid[site]], Pose(model.site_pos[site].copy(), _matrix(model.site_quat[site]))),
        ready=dict(zip(robot.arm.joint_names, map(float, robot.configurations["ready"]), strict=True)),
        lights=tuple(
            (
                np.asarray(lamp["position"], dtype=float),
                np.asarray(lamp["target"], dtype=float) - np.asarray(lamp["position"], dtype=float),
                float(lamp["diffuse"]),
                float(lamp["specular"]),
            )
            for lamp in lamps
        ),
        ambient=float(cell.lighting["ambient"]),
        sky=tuple(map(float, cell.background["colours"][0])),
    )


def _matrix(quaternion: np.ndarray) -> np.ndarray:
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(quaternion, dtype=float))
    return matrix.reshape(3, 3)


class _Reader:
    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, cell: Cell) -> None:
        self.model, self.data, self.cell = model, data, cell
        robot = load_robot(ROBOT)
        self.velocity = dict(zip(robot.arm.joint_names, map(float, robot.limits.velocity), strict=True))

    def body(self, index: int) -> Body:
        model = self.model
        parent = int(model.body_parentid[index])
        name = model.body(index).name.removeprefix(GRIPPER)
        frame = Pose(model.body_pos[index].copy(), _matrix(model.body_quat[index]))
        free = any(model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE for j in self._joints(index))
        if free or model.body_mocapid[index] >= 0:  # laid out anew in each episode
            frame = Pose(self.data.xpos[index].copy(), self.data.xmat[index].reshape(3, 3).copy())
        axes = _matrix(model.body_iquat[index])
        return Body(
            name=name,
            parent=model.body(parent).name.removeprefix(GRIPPER) if parent else "",
            pose=frame,
            mass=float(model.body_mass[index]),
            centre=model.body_ipos[index].copy(),
            inertia=axes @ np.diag(model.body_inertia[index]) @ axes.T,
            weightless=bool(model.body_gravcomp[index] == 1.0),
            joint=self._joint(index, name),
            shapes=self.shapes(index),
        )

    def _joints(self, index: int) -> list[int]:
        start = int(self.model.body_jntadr[index])
        return list(range(start, start + int(self.model.body_jntnum[index])))

    def _joint(self, index: int, body: str) -> Joint:
        model = self.model
        moving = [j for j in self._joints(index) if model.jnt_type[j] != mujoco.mjtJoint.mjJNT_FREE]
        if not moving:
            return Joint(f"{body}_joint", "fixed")
        (j,) = moving
        name, dof = model.joint(j).name.removeprefix(GRIPPER), int(model.jnt_dofadr[j])
        limits = tuple(map(float, model.jnt_range[j])) if model.jnt_limited[j] else None
        turning = "revolute" if limits else "continuous"
        stiffness = float(np.ravel(model.jnt_stiffness[j])[0])
        address = int(model.jnt_qposadr[j])
        in_gripper = model.joint(j).name.startswith(GRIPPER)
        return Joint(
            name=name,
            type=turning if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE else "prismatic",
            axis=tuple(map(float, model.jnt_axis[j])),
            anchor=tuple(map(float, model.jnt_pos[j])),
            limits=limits,  # type: ignore[arg-type]
            velocity=self.velocity.get(name, GRIPPER_SPEED),
            effort=self._effort(name, j),
            damping=float(np.ravel(model.dof_damping[dof])[0]),
            friction=float(model.dof_frictionloss[dof]),
            stiffness=stiffness,
            reference=float(model.qpos_spring[address]),
            mimic=KNUCKLE_JOINT if in_gripper and name != KNUCKLE_JOINT else "",
            position=float(self.data.qpos[address]),
        )

    def _effort(self, name: str, joint: int) -> float:
        for actuator in range(self.model.nu):
            if self.model.actuator(actuator).name == name:
                return float(self.model.actuator_forcerange[actuator, 1])
        if self.model.joint(joint).name.startswith(GRIPPER):
            return float(self.model.actuator_forcerange[self.model.actuator(GRIPPER + "gripper").id, 1])
        return 0.0

    def shapes(self, index: int) -> tuple[Shape, ...]:
        start = int(self.model.body_geomadr[index])
        return tuple(self._shape(start + i, i) for i in range(int(self.model.body_geomnum[index])))

    def _shape(self, geom: int, number: int) -> Shape:
        model = self.model
        pose = Pose(model.geom_pos[geom].copy(), _matrix(model.geom_quat[geom]))
        material = int(model.geom_matid[geom])
        colour = model.mat_rgba[material] if material >= 0 else model.geom_rgba[geom]
        label = model.mat(material).name if material >= 0 else ""
        kind = TYPES[int(model.geom_type[geom])]
        vertices = faces = None
        if kind == "mesh":
            mesh = int(model.geom_dataid[geom])
            first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
            vertices = pose.position + model.mesh_vert[first : first + count] @ pose.rotation.T
            first, count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
            faces, pose = model.mesh_face[first : first + count].copy(), HERE
        touched = bool(model.geom_contype[geom] or model.geom_conaffinity[geom])
        return Shape(
            name=model.geom(geom).name.removeprefix(GRIPPER) or f"shape_{number}",
            kind=kind,
            size=model.geom_size[geom].copy(),
            pose=pose,
            colour=self._colour(label, tuple(map(float, colour))),
            material=label,
            seen=int(model.geom_group[geom]) != COLLISION_GROUP,
            touched=touched,
            friction=float(model.geom_friction[geom, 0]),
            vertices=vertices,
            faces=faces,
        )

    def _colour(self, material: str, colour: tuple[float, ...]) -> tuple[float, ...]:
        """Colour of a material; of a texture the mean of its two colours, as no texture is written to a file."""
        look = self.cell.materials.get(material.partition("/")[0], {})
        if "texture" not in look:
            return colour
        low, high = self.cell.textures[look["texture"]]["colours"]
        return (*(0.5 * (np.asarray(low) + np.asarray(high))).tolist(), 1.0)

    def camera(self, name: str) -> Camera:
        index = self.model.camera(name).id
        body = self.model.body(int(self.model.cam_bodyid[index])).name
        rotation = _matrix(self.model.cam_quat[index]) @ CAMERA_TO_BODY
        return Camera(
            name=name,
            body="" if body == "world" else body.removeprefix(GRIPPER),
            pose=Pose(self.model.cam_pos[index].copy(), rotation),
            fovy=float(np.deg2rad(self.model.cam_fovy[index])),
        )
