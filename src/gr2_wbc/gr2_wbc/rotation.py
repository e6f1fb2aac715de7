"""Rotations between quaternions x y z w, matrices and the tangent space of SO(3).

A motion near an orientation ``base`` is R(t) = base exp(v(t)) with a rotation vector v. Its angular velocity in the
world is base (J(v) v'), where J is the left Jacobian of SO(3). With a = (1 - cos t) / t^2, b = (t - sin t) / t^3 and
t = |v|,

    J(v) v' = v' + a v x v' + b v x (v x v').

J is regular for t < 2 pi only: a motion that turns further needs another base.
"""

from __future__ import annotations

import math

import numpy as np
import pinocchio as pin

_SMALL = 1e-3  # [rad]: below, the series of a and b are exact to rounding


def matrix_of(quaternion: np.ndarray) -> np.ndarray:
    """Unit quaternion (4,) x y z w -> rotation matrix (3, 3)."""
    return pin.Quaternion(quaternion[3], quaternion[0], quaternion[1], quaternion[2]).matrix()


def quaternion_of(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) -> unit quaternion (4,) x y z w."""
    return pin.Quaternion(matrix).coeffs().copy()


def tangents(base: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """Rotation vectors (k, 3) of orientations (k, 4) x y z w relative to ``base`` (3, 3), without jumps.

    A quaternion and its negative are the same orientation, and log() jumps by 2 pi where a turn passes pi. So the
    first quaternion takes the sign closest to the base and each other one that closest to the one before; the path on
    the unit sphere is then without jumps, and so are the rotation vectors up to a turn of 2 pi.
    """
    x, y, z, w = quaternion_of(base).tolist()
    # conj(base) q as a matrix on the components of q.
    to_base = np.array(((w, z, -y, -x), (-z, w, x, -y), (y, -x, w, -z), (x, y, z, w)))
    relative = orientations @ to_base.T
    near = np.empty(len(relative))
    near[0] = relative[0, 3]
    np.einsum("ij,ij->i", relative[1:], relative[:-1], out=near[1:])
    relative *= np.cumprod(np.where(near < 0.0, -1.0, 1.0))[:, None]
    vector = relative[:, :3]
    sine = np.sqrt(np.einsum("ij,ij->i", vector, vector))
    angle = 2.0 * np.arctan2(sine, relative[:, 3])
    return vector * np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 2.0)[:, None]


def steps_between(orientations: np.ndarray) -> np.ndarray:
    """Rotation vectors (k - 1, 3) from each orientation (k, 4) x y z w to the next, the shorter way round.

    They are expressed in the frame of the former orientation.
    """
    v, w = orientations[:-1, :3], orientations[:-1, 3:]
    u, s = orientations[1:, :3], orientations[1:, 3:]
    vector = w * u - s * v - _cross(_doubled(v), _doubled(u))
    cosine = (w * s)[:, 0] + np.einsum("ij,ij->i", v, u)
    sine = np.sqrt(np.einsum("ij,ij->i", vector, vector))
    angle = 2.0 * np.arctan2(sine, np.abs(cosine))
    factor = np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 2.0)
    return vector * np.where(cosine < 0.0, -factor, factor)[:, None]


def turning(vector: tuple[float, float, float], rate: tuple[float, float, float]) -> tuple[float, float, float]:
    """J(vector) rate, on scalars [rad], [rad/s]; see the module's docstring."""
    x, y, z = vector
    p, q, r = rate
    square = x * x + y * y + z * z
    angle = math.sqrt(square)
    if angle < _SMALL:
        a, b = 0.5 - square / 24.0, 1.0 / 6.0 - square / 120.0
    else:
        a, b = (1.0 - math.cos(angle)) / square, (angle - math.sin(angle)) / (square * angle)
    u, v, w = y * r - z * q, z * p - x * r, x * q - y * p
    return p + a * u + b * (y * w - z * v), q + a * v + b * (z * u - x * w), r + a * w + b * (x * v - y * u)


def angular_velocity(base: np.ndarray, vector: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Angular velocity (3,) [rad/s] in the world of R = base exp(vector), for d vector/dt = rate."""
    return base @ np.array(turning(tuple(vector.tolist()), tuple(rate.tolist())))


def turnings(vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angular velocities and accelerations along a curve of rotation vectors, expressed in the frame of its base.

    Args:
        vectors, first, second: (k, 3) rotation vectors and their derivatives [rad], [rad/s], [rad/s^2].

    Returns:
        (k, 3) [rad/s] and (k, 3) [rad/s^2].
    """
    square = np.einsum("ij,ij->i", vectors, vectors)
    angle = np.sqrt(square)
    small = angle < _SMALL
    t = np.where(small, 1.0, angle)
    sine, cosine = np.sin(t), np.cos(t)
    a = np.where(small, 0.5 - square / 24.0, (1.0 - cosine) / t**2)
    b = np.where(small, 1.0 / 6.0 - square / 120.0, (t - sine) / t**3)
    # da/dt / t and db/dt / t; times v . v' they are the rates of a and b.
    a_rate = np.where(small, -1.0 / 12.0, (t * sine - 2.0 * (1.0 - cosine)) / t**4)
    b_rate = np.where(small, -1.0 / 60.0, (t * (1.0 - cosine) - 3.0 * (t - sine)) / t**5)
    v, p, q = _doubled(vectors), _doubled(first), _doubled(second)
    along = np.einsum("ij,ij->i", vectors, first)[:, None]
    once, again = _cross(v, p), _cross(v, q)
    # v x (v x p) = v (v . p) - p (v . v), and so on.
    square = square[:, None]
    twice = vectors * along - first * square
    rest = vectors * (np.einsum("ij,ij->i", vectors, second) + np.einsum("ij,ij->i", first, first))[:, None]
    rest -= second * square + first * along
    a, b = a[:, None], b[:, None]
    velocity = first + a * once + b * twice
    acceleration = second + a * again + b * rest + along * (a_rate[:, None] * once + b_rate[:, None] * twice)
    return velocity, acceleration


def _doubled(vectors: np.ndarray) -> np.ndarray:
    """x y z x y of vectors (k, 3), for :func:`_cross`."""
    return np.concatenate((vectors, vectors[:, :2]), axis=1)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise cross product of :func:`_doubled` vectors; much faster than the general one."""
    return a[:, 1:4] * b[:, 2:5] - a[:, 2:5] * b[:, 1:4]
