"""Distances of the arm to itself and to what stands around, by another engine: pinocchio's kinematics and coal."""

from __future__ import annotations

import coal
import mujoco
import numpy as np
import pinocchio as pin

from gr2_wbc.collision_model import CollisionModel
from gr2_wbc.robot import Robot


class IndependentDistances:
    """Clearances of the pairs that the controller monitors.

    Shapes and their places on the links are read from the model as numbers; where the links are and how far apart
    two shapes are is computed anew.
    """

    def __init__(self, robot: Robot, monitored: CollisionModel) -> None:
        model = monitored.model
        self._model = robot.model
        self._data = robot.model.createData()
        self._shapes, self._frames, self._places = [], [], []
        for index in range(model.ngeom):
            geom = model.geom(index)
            self._shapes.append(_shape(geom.type[0], geom.size))
            body = model.body(geom.bodyid[0]).name
            place = pin.SE3(pin.Quaternion(*geom.quat).matrix(), geom.pos)
            if body != "world" and not robot.model.existBodyName(body):
                raise ValueError(f"the pinocchio model has no body '{body}'")
            self._frames.append(-1 if body == "world" else robot.model.getBodyId(body))
            self._places.append(place)
        safe = monitored.safe_distance
        pairs = [(model.pair_geom1[i], model.pair_geom2[i]) for i in range(model.npair)]
        self._pairs = [(int(a), int(b), float(safe[a, b])) for a, b in pairs]
        self._names = monitored.geom_names

    def closest(self, positions: np.ndarray) -> tuple[float, str]:
        """Smallest distance minus safe distance [m] at joint positions (n,) [rad], and its pair."""
        pin.framesForwardKinematics(self._model, self._data, positions)
        poses = [
            place if frame < 0 else self._data.oMf[frame] * place
            for frame, place in zip(self._frames, self._places, strict=True)
        ]
        transforms = [coal.Transform3s(pose.rotation, pose.translation) for pose in poses]
        request = coal.DistanceRequest()
        least, pair = np.inf, ""
        for a, b, safe in self._pairs:
            result = coal.DistanceResult()
            distance = coal.distance(self._shapes[a], transforms[a], self._shapes[b], transforms[b], request, result)
            if distance - safe < least:
                least, pair = distance - safe, f"{self._names[a]}|{self._names[b]}"
        return float(least), pair


def _shape(kind: int, size: np.ndarray) -> coal.CollisionGeometry:
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        return coal.Capsule(size[0], 2.0 * size[1])
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return coal.Box(*(2.0 * size))
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return coal.Sphere(size[0])
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return coal.Cylinder(size[0], 2.0 * size[1])
    if kind == mujoco.mjtGeom.mjGEOM_PLANE:
        return coal.Halfspace(np.array([0.0, 0.0, 1.0]), 0.0)
    raise ValueError(f"no shape for MuJoCo's geom type {kind}")
