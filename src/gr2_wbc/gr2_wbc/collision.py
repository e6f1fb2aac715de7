"""Distances between monitored pairs, and the rows that keep them.

MuJoCo serves as the distance engine: a model of the arm alone with the environment's primitives, where exactly the
monitored pairs are contact pairs with a margin, so that far pairs cost nothing. For a contact of geoms 1 and 2 with
normal n (from 1 to 2) at point p, the distance changes at n . (v2 - v1), a linear function of the joint velocities.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import pinocchio as pin

from gr2_wbc.limits import BrakingProfile
from gr2_wbc.robot import Primitive, Robot, RobotFileError
from gr2_wbc.rotation import matrix_of, quaternion_of


@dataclass(frozen=True)
class Nearest:
    """The pair whose distance is smallest: its geoms "a|b" and distance [m]; empty and infinite if none is near."""

    pair: str = ""
    distance: float = float("inf")


class CollisionMonitor:
    """Distances of one robot's monitored pairs.

    Attributes:
        nearest: the closest pair at the last :meth:`update`.
        clearance: smallest distance minus safe distance [m] there; infinite if no pair is near.
    """

    def __init__(self, robot: Robot) -> None:
        """Build the distance engine.

        Raises:
            RobotFileError: a pair names a geom that the model lacks.
        """
        spec = robot.collision
        self._model = _build_engine(robot)
        self._data = mujoco.MjData(self._model)
        self._qpos = np.array([self._model.joint(name).qposadr[0] for name in robot.joint_names])
        count = self._model.ngeom
        self._names = [self._model.geom(index).name for index in range(count)]
        self._safe = np.zeros((count, count))
        for pair in spec.pairs:
            i, j = self._names.index(pair.first), self._names.index(pair.second)
            self._safe[i, j] = self._safe[j, i] = pair.distance
        self._moved_by = _joint_masks(self._model, robot.joint_names)
        self._base = None
        base = _base_placement(robot)
        if not base.isIdentity(1e-12):
            self._base = base
        self._distances = np.zeros(0)
        self._margins = np.zeros(0)
        self.nearest = Nearest()
        self.clearance = float("inf")

    def update(self, positions: np.ndarray) -> None:
        """Compute the distances of near pairs for joint positions (n,) [rad]."""
        self._data.qpos[self._qpos] = positions
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_collision(self._model, self._data)
        if self._data.ncon == 0:
            self._distances = self._margins = np.zeros(0)
            self.nearest, self.clearance = Nearest(), float("inf")
            return
        contact = self._data.contact
        self._geoms = contact.geom
        self._distances = contact.dist
        self._margins = self._distances - self._safe[self._geoms[:, 0], self._geoms[:, 1]]
        closest = int(np.argmin(self._distances))
        first, second = self._geoms[closest]
        self.nearest = Nearest(f"{self._names[first]}|{self._names[second]}", float(self._distances[closest]))
        self.clearance = float(self._margins.min())

    def rows(self, spatial: np.ndarray, profile: BrakingProfile, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows that keep the safe distances of the nearest contacts.

        Args:
            spatial: (6, n) spatial Jacobian in the base frame (velocity at its origin over angular velocity).
            profile: largest approach speed [m/s] by the distance above the safe one [m].
            limit: how many contacts are taken, those with the least room first.

        Returns:
            G (r, n) and lower (r,) with G qd >= lower, r <= limit.
        """
        count = len(self._margins)
        if count == 0:
            return np.zeros((0, spatial.shape[1])), np.zeros(0)
        chosen = slice(None) if count <= limit else np.argpartition(self._margins, limit)[:limit]
        contact = self._data.contact
        normals, points = contact.frame[chosen, :3], contact.pos[chosen]
        if self._base is not None:
            points = (points - self._base.translation) @ self._base.rotation
            normals = normals @ self._base.rotation
        moments = points[:, [1, 2, 0]] * normals[:, [2, 0, 1]] - points[:, [2, 0, 1]] * normals[:, [1, 2, 0]]
        geoms = self._geoms[chosen]
        moved = self._moved_by[geoms[:, 1]] - self._moved_by[geoms[:, 0]]
        rates = (np.hstack([normals, moments]) @ spatial) * moved
        return rates, -profile.speed(self._margins[chosen])


def _build_engine(robot: Robot) -> mujoco.MjModel:
    spec = mujoco.MjSpec.from_file(str(robot.model_path))
    for geom in spec.geoms:
        geom.contype = geom.conaffinity = 0
    base = _base_placement(robot)
    for primitive in robot.collision.environment:
        _add_primitive(spec, primitive, base)
    known = {geom.name for geom in spec.geoms}
    for pair in robot.collision.pairs:
        for name in (pair.first, pair.second):
            if name not in known:
                raise RobotFileError(f"{robot.model_path.name} has no geom '{name}', named in a collision pair")
        spec.add_pair(geomname1=pair.first, geomname2=pair.second, margin=robot.collision.influence_distance, condim=1)
    return spec.compile()


def _add_primitive(spec: mujoco.MjSpec, primitive: Primitive, base: pin.SE3) -> None:
    kinds = {"plane": mujoco.mjtGeom.mjGEOM_PLANE, "box": mujoco.mjtGeom.mjGEOM_BOX}
    pose = base * pin.SE3(matrix_of(primitive.orientation), primitive.position)
    quaternion = quaternion_of(pose.rotation)
    size = primitive.half_size if primitive.kind == "box" else np.array([1.0, 1.0, 0.1])
    spec.worldbody.add_geom(
        name=primitive.name,
        type=kinds[primitive.kind],
        pos=pose.translation,
        quat=quaternion[[3, 0, 1, 2]],
        size=size,
        contype=0,
        conaffinity=0,
    )


def _base_placement(robot: Robot) -> pin.SE3:
    data = robot.model.createData()
    pin.framesForwardKinematics(robot.model, data, np.zeros(robot.dof))
    return data.oMf[robot.model.getFrameId(robot.base_frame)].copy()


def _joint_masks(model: mujoco.MjModel, joint_names: tuple[str, ...]) -> np.ndarray:
    """(geoms, n): 1 where a joint moves a geom."""
    masks = np.zeros((model.ngeom, len(joint_names)))
    column = {model.joint(name).id: index for index, name in enumerate(joint_names)}
    for geom in range(model.ngeom):
        body = model.geom_bodyid[geom]
        while body > 0:
            first = model.body_jntadr[body]
            for joint in range(first, first + model.body_jntnum[body]):
                masks[geom, column[joint]] = 1.0
            body = model.body_parentid[body]
    return masks
