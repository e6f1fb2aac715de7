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
import pinocchio as pin

from gr2_wbc import kernels
from gr2_wbc.collision_model import CollisionModel
from gr2_wbc.limits import BrakingProfile


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
        base = collision_model.base or pin.SE3.Identity()
        self._base = (base.rotation.copy(), base.translation.copy())
        # Tables by pair in either order of its geoms, and the row in them by the two geoms' numbers.
        count = self._model.ngeom
        geoms = np.stack([self._model.pair_geom1, self._model.pair_geom2], axis=1)
        first, second = np.concatenate([geoms, geoms[:, ::-1]]).T
        self._row = np.full(count * count, -1, dtype=np.int64)
        self._row[first * count + second] = np.arange(len(first))
        self._safe = collision_model.safe_distance[first, second]
        self._moved_by = collision_model.moved_by[second] - collision_model.moved_by[first]
        self._count = 0
        self._clearance = math.inf

    def update(self, positions: np.ndarray) -> None:
        """Compute the distances of near pairs for joint positions (n,) [rad]."""
        self._positions[self._order] = positions
        data = self._data
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_collision(self._model, data)
        count = self._count = data.ncon
        if count == 0:
            self._clearance = math.inf
            return
        contact = self._contact = data.contact
        self._distances = contact.dist
        self._pairs, self._margins = np.empty(count, dtype=np.int64), np.empty(count)
        self._clearance = kernels.pair_margins(
            self._distances, contact.geom, self._row, self._safe, self._pairs, self._margins
        )

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
        return self._clearance

    def rows(
        self,
        spatial: np.ndarray,
        profile: BrakingProfile,
        lower: np.ndarray,
        upper: np.ndarray,
        rows: np.ndarray,
        rows_lower: np.ndarray,
    ) -> int:
        """Write the rows that keep the safe distances of the nearest contacts, those with the least room.

        Args:
            spatial: (6, n) spatial Jacobian in the base frame (velocity at its origin over angular velocity).
            profile: largest approach speed [m/s] by the distance above the safe one [m].
            lower, upper: (n,) box of the joint velocities [rad/s]; no more is demanded than they allow.
            rows, rows_lower: (M, n + 1) and (M,), to be written; the last variable is the slack.

        Returns:
            How many were written, at most M.
        """
        if self._count == 0:
            return 0
        contact = self._contact
        return kernels.collision_rows(
            self._margins,
            contact.frame,
            contact.pos,
            self._pairs,
            self._moved_by,
            *self._base,
            spatial,
            lower,
            upper,
            profile,
            rows,
            rows_lower,
            len(rows),
        )
