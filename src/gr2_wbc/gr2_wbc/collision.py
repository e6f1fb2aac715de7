"""Distances between monitored pairs, and the rows that keep them.

MuJoCo serves as the distance engine, on the model that :mod:`gr2_wbc.collision_model` builds. For a contact of geoms 1
and 2 with normal n (from 1 to 2) at point p, the distance changes at n . (v2 - v1), a linear function of the joint
velocities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np

from gr2_wbc.collision_model import CollisionModel
from gr2_wbc.limits import BrakingProfile

_CROSS = np.zeros((9, 3))  # p x n from the nine products p_i n_j
for _i, _j, _k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    _CROSS[3 * _i + _j, _k], _CROSS[3 * _j + _i, _k] = 1.0, -1.0


@dataclass(frozen=True)
class Nearest:
    """The pair whose distance is smallest: its geoms "a|b" and distance [m]; empty and infinite if none is near."""

    pair: str = ""
    distance: float = float("inf")


class CollisionMonitor:
    """Distances of one robot's monitored pairs."""

    def __init__(self, collision_model: CollisionModel) -> None:
        self.use(collision_model)

    def use(self, collision_model: CollisionModel) -> None:
        """Go on with another model of the same arm, between two cycles; distances are known after the next update."""
        self._model = collision_model.model
        self._data = mujoco.MjData(self._model)
        addresses = collision_model.joint_addresses
        first, count = int(addresses[0]), len(addresses)
        self._positions = self._data.qpos
        self._order: slice | np.ndarray = addresses
        if np.array_equal(addresses, np.arange(first, first + count)):  # the rule, and much cheaper
            self._order = slice(first, first + count)
        self._names = collision_model.geom_names
        self._base = collision_model.base
        # Tables by pair in either order of its geoms, and the row in them by the two geoms' numbers.
        count = self._model.ngeom
        geoms = np.stack([self._model.pair_geom1, self._model.pair_geom2], axis=1)
        first, second = np.concatenate([geoms, geoms[:, ::-1]]).T
        self._key = np.array([count, 1], dtype=np.int32)
        self._row = np.zeros(count * count, dtype=np.intp)
        self._row[first * count + second] = np.arange(len(first))
        self._safe = collision_model.safe_distance[first, second]
        self._moved_by = collision_model.moved_by[second] - collision_model.moved_by[first]
        self._count = 0

    def update(self, positions: np.ndarray) -> None:
        """Compute the distances of near pairs for joint positions (n,) [rad]."""
        self._positions[self._order] = positions
        data = self._data
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_collision(self._model, data)
        self._count = data.ncon
        if self._count == 0:
            return
        contact = self._contact = data.contact
        self._distances = contact.dist
        self._pairs = self._row.take(contact.geom.dot(self._key))
        self._margins = self._distances - self._safe.take(self._pairs)

    @property
    def nearest(self) -> Nearest:
        """The closest pair at the last :meth:`update`."""
        if self._count == 0:
            return Nearest()
        closest = int(self._distances.argmin())
        first, second = self._contact.geom[closest]
        return Nearest(f"{self._names[first]}|{self._names[second]}", float(self._distances[closest]))

    @property
    def clearance(self) -> float:
        """Smallest distance minus safe distance [m] at the last :meth:`update`; infinite if no pair is near."""
        return float(self._margins.min()) if self._count else math.inf

    def rows(self, spatial: np.ndarray, profile: BrakingProfile, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows that keep the safe distances of the nearest contacts.

        Args:
            spatial: (6, n) spatial Jacobian in the base frame (velocity at its origin over angular velocity).
            profile: largest approach speed [m/s] by the distance above the safe one [m].
            limit: how many contacts are taken, those with the least room first.

        Returns:
            G (r, n) and lower (r,) with G qd >= lower, r <= limit.
        """
        if self._count == 0:
            return np.zeros((0, spatial.shape[1])), np.zeros(0)
        contact, margins, pairs = self._contact, self._margins, self._pairs
        normals, points = contact.frame[:, :3], contact.pos
        if self._count > limit:
            chosen = np.argpartition(margins, limit)[:limit]
            normals, points, margins, pairs = normals[chosen], points[chosen], margins[chosen], pairs[chosen]
        if self._base is not None:
            points = (points - self._base.translation).dot(self._base.rotation)
            normals = normals.dot(self._base.rotation)
        # n . (v + w x p) = n . v + (p x n) . w for every joint's motion; only joints between the geoms change distance.
        products = (points[:, :, None] * normals[:, None, :]).reshape(-1, 9)
        rates = normals.dot(spatial[:3])
        rates += products.dot(_CROSS.dot(spatial[3:]))
        rates *= self._moved_by.take(pairs, axis=0)
        return rates, -profile.speed(margins)
