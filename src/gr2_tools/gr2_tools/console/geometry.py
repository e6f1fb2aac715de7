"""Shapes of the 3-D view: what each body of a MuJoCo model looks like, as one mesh, and where it is now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import mujoco
import numpy as np
import trimesh

from gr2_wbc.robot import Robot

_GEOM = mujoco.mjtGeom


class Mirror(Protocol):
    """A model that is posed, not simulated."""

    model: mujoco.MjModel
    data: mujoco.MjData

    def set_joint(self, name: str, position: float) -> None:
        """Put a joint at a position; unknown names are passed over."""

    def set_pose(self, name: str, position: np.ndarray, quaternion: np.ndarray) -> None:
        """Put an object at a pose (x y z w); unknown names are passed over."""

    def refresh(self) -> None:
        """Bring all bodies up to the joints and poses set."""


class ArmMirror:
    """The arm alone, by its controller's description: its collision capsules."""

    def __init__(self, robot: Robot) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(robot.model_path))
        self.data = mujoco.MjData(self.model)
        self.refresh()

    def set_joint(self, name: str, position: float) -> None:
        """See Mirror."""
        joint = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_JOINT, name)
        if joint >= 0 and np.isfinite(position):
            self.data.qpos[self.model.jnt_qposadr[joint]] = position

    def set_pose(self, name: str, position: np.ndarray, quaternion: np.ndarray) -> None:
        """There are no objects."""

    def refresh(self) -> None:
        """See Mirror."""
        mujoco.mj_kinematics(self.model, self.data)


@dataclass(frozen=True)
class Body:
    """A body with something to see.

    Attributes:
        index: in the model.
        name: its name, or its number.
        mesh: in the body's frame, coloured by face.
        robot: whether it belongs to the arm.
    """

    index: int
    name: str
    mesh: trimesh.Trimesh
    robot: bool


def bodies(model: mujoco.MjModel, hidden_group: int, base: str) -> Iterator[Body]:
    """All bodies with something to see.

    Args:
        hidden_group: geoms of this group are not drawn; -1 draws all.
        base: name of the arm's first body.
    """
    root = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, base)
    for index in range(model.nbody):
        first = model.body_geomadr[index]
        geoms = [g for g in range(first, first + model.body_geomnum[index]) if model.geom_group[g] != hidden_group]
        parts = [part for part in (_shape(model, g) for g in geoms) if part is not None]
        if parts:
            name = model.body(index).name or str(index)
            mesh = trimesh.util.concatenate(parts)
            assert isinstance(mesh, trimesh.Trimesh)
            yield Body(index, name, mesh, root >= 0 and _below(model, index, root))


def _below(model: mujoco.MjModel, body: int, root: int) -> bool:
    while body > 0:
        if body == root:
            return True
        body = model.body_parentid[body]
    return False


def _shape(model: mujoco.MjModel, geom: int) -> trimesh.Trimesh | None:
    """One geom in the frame of its body; None for planes, which have no end, and for what cannot be seen."""
    colour = colour_of(model, geom)
    mesh = _primitive(model, geom)
    if mesh is None or colour[3] == 0:
        return None
    pose = np.eye(4)
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
    pose[:3, :3], pose[:3, 3] = turn.reshape(3, 3), model.geom_pos[geom]
    mesh.apply_transform(pose)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, face_colors=np.tile(colour, (len(mesh.faces), 1)))
    return mesh


def _primitive(model: mujoco.MjModel, geom: int) -> trimesh.Trimesh | None:
    kind, size = model.geom_type[geom], model.geom_size[geom]
    if kind == _GEOM.mjGEOM_BOX:
        return trimesh.creation.box(extents=2.0 * size)
    if kind == _GEOM.mjGEOM_SPHERE:
        return trimesh.creation.icosphere(subdivisions=2, radius=size[0])
    if kind == _GEOM.mjGEOM_CAPSULE:
        return trimesh.creation.capsule(height=2.0 * size[1], radius=size[0], count=[16, 16])
    if kind == _GEOM.mjGEOM_CYLINDER:
        return trimesh.creation.cylinder(radius=size[0], height=2.0 * size[1], sections=24)
    if kind == _GEOM.mjGEOM_ELLIPSOID:
        ball = trimesh.creation.icosphere(subdivisions=2, radius=1.0)
        ball.apply_scale(size)
        return ball
    if kind == _GEOM.mjGEOM_MESH:
        number = model.geom_dataid[geom]
        vertices = slice(model.mesh_vertadr[number], model.mesh_vertadr[number] + model.mesh_vertnum[number])
        faces = slice(model.mesh_faceadr[number], model.mesh_faceadr[number] + model.mesh_facenum[number])
        return trimesh.Trimesh(model.mesh_vert[vertices], model.mesh_face[faces], process=False)
    return None


def colour_of(model: mujoco.MjModel, geom: int) -> np.ndarray:
    """RGBA (4,) uint8 of a geom: of its material, the mean of its texture where it has one."""
    material = model.geom_matid[geom]
    rgba = model.geom_rgba[geom].copy()
    if material >= 0:
        rgba = model.mat_rgba[material].copy()
        texture = model.mat_texid[material, mujoco.mjtTextureRole.mjTEXROLE_RGB]
        if texture >= 0:
            start = model.tex_adr[texture]
            count = model.tex_height[texture] * model.tex_width[texture] * model.tex_nchannel[texture]
            pixels = model.tex_data[start : start + count].reshape(-1, model.tex_nchannel[texture])
            rgba[:3] *= pixels[:, :3].mean(axis=0) / 255.0
    return np.clip(np.round(255.0 * rgba), 0, 255).astype(np.uint8)
