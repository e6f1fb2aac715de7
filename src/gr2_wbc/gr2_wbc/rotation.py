"""Rotations between quaternions x y z w, matrices and the tangent space of SO(3)."""

from __future__ import annotations

import numpy as np
import pinocchio as pin


def matrix_of(quaternion: np.ndarray) -> np.ndarray:
    """Unit quaternion (4,) x y z w -> rotation matrix (3, 3)."""
    return pin.Quaternion(quaternion[3], quaternion[0], quaternion[1], quaternion[2]).matrix()


def quaternion_of(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) -> unit quaternion (4,) x y z w."""
    return pin.Quaternion(matrix).coeffs().copy()


def tangents(base: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """Rotation vectors (k, 3) of orientations (k, 4) x y z w relative to ``base`` (3, 3), without jumps.

    A rotation vector is unique up to whole turns about its axis; each is taken closest to the one before, so that a
    sequence that turns by more than pi stays continuous.
    """
    found = np.empty((len(orientations), 3))
    previous = np.zeros(3)
    for index, orientation in enumerate(orientations):
        vector = pin.log3(base.T @ matrix_of(orientation))
        angle = np.linalg.norm(vector)
        if angle > 1e-9:
            axis = vector / angle
            vector = axis * (angle + 2.0 * np.pi * np.round((axis @ previous - angle) / (2.0 * np.pi)))
        found[index] = vector
        previous = vector
    return found


def angular_velocity(base: np.ndarray, vector: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Angular velocity (3,) [rad/s] in the world of R = base exp(vector), for d vector/dt = rate."""
    return base @ (pin.exp3(vector) @ (pin.Jexp3(vector) @ rate))
