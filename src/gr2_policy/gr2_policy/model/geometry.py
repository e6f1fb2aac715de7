"""Exact conversions between tool poses in base_link and displacements in the current tool frame.

Arrays carry any number of leading axes; everything is float64. Quaternions are x y z w. A displacement is 6 numbers:
the position of a future tool frame as seen from the current one [m], and the rotation vector (axis times angle [rad],
on SO(3)) that turns the current tool frame into the future one:

    p_i = R_0^T (x_i - x_0)        r_i = log(R_0^T R_i)

The logarithm is unique below half a turn. At the tool's limit of 1.74 rad/s a chunk of 1.6 s turns by 2.8 rad at most.
"""

from __future__ import annotations

import numpy as np

_SMALL = 1e-9


def multiply(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Product of quaternions (..., 4)."""
    x1, y1, z1, w1 = np.moveaxis(np.asarray(first, float), -1, 0)
    x2, y2, z2, w2 = np.moveaxis(np.asarray(second, float), -1, 0)
    parts = (
        w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
        w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
        w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
        w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
    )
    return np.stack(parts, axis=-1)


def conjugate(quaternion: np.ndarray) -> np.ndarray:
    """Inverse of unit quaternions (..., 4)."""
    return np.asarray(quaternion, float) * np.array([-1.0, -1.0, -1.0, 1.0])


def rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) turned by unit quaternions (..., 4)."""
    quaternion, vector = np.asarray(quaternion, float), np.asarray(vector, float)
    axis, w = quaternion[..., :3], quaternion[..., 3:]
    twice = 2.0 * np.cross(axis, vector)
    return vector + w * twice + np.cross(axis, twice)


def exponential(rotation: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3) to unit quaternions (..., 4)."""
    rotation = np.asarray(rotation, float)
    angle = np.linalg.norm(rotation, axis=-1, keepdims=True)
    # sin(angle / 2) / angle, without a division by nothing
    scale = 0.5 * np.sinc(angle / (2.0 * np.pi))
    return np.concatenate([rotation * scale, np.cos(0.5 * angle)], axis=-1)


def logarithm(quaternion: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4) to rotation vectors (..., 3) of at most half a turn."""
    quaternion = np.asarray(quaternion, float)
    quaternion = np.where(quaternion[..., 3:] < 0.0, -quaternion, quaternion)
    sine = np.linalg.norm(quaternion[..., :3], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, quaternion[..., 3:])
    scale = np.where(sine > _SMALL, angle / np.maximum(sine, _SMALL), 2.0)
    return quaternion[..., :3] * scale


def rotation_6d(quaternion: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4) to the first two columns of their matrices (..., 6): continuous, unlike any three."""
    quaternion = np.asarray(quaternion, float)
    x_axis, y_axis = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
    return np.concatenate([rotate(quaternion, x_axis), rotate(quaternion, y_axis)], axis=-1)


def quaternion_of_6d(columns: np.ndarray) -> np.ndarray:
    """Two columns (..., 6), made orthonormal by Gram-Schmidt, to unit quaternions (..., 4) with w >= 0."""
    columns = np.asarray(columns, float)
    x_axis = columns[..., :3] / np.linalg.norm(columns[..., :3], axis=-1, keepdims=True)
    y_axis = columns[..., 3:] - np.sum(columns[..., 3:] * x_axis, axis=-1, keepdims=True) * x_axis
    y_axis = y_axis / np.linalg.norm(y_axis, axis=-1, keepdims=True)
    return quaternion_of_matrix(np.stack([x_axis, y_axis, np.cross(x_axis, y_axis)], axis=-1))


def quaternion_of_matrix(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) to unit quaternions (..., 4) with w >= 0 (Shepperd 1978)."""
    m = np.asarray(matrix, float)
    trace = np.trace(m, axis1=-2, axis2=-1)
    diagonal = np.stack([m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]], axis=-1)
    squares = np.concatenate([1.0 + 2.0 * diagonal - trace[..., None], 1.0 + trace[..., None]], axis=-1)
    # products[i, j] = 4 q_i q_j; the row of the largest q_i, normalised, is the quaternion
    products = np.empty((*m.shape[:-2], 4, 4))
    for i in range(4):
        products[..., i, i] = squares[..., i]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        products[..., i, j] = products[..., j, i] = m[..., i, j] + m[..., j, i]
    for i, (j, k) in enumerate(((2, 1), (0, 2), (1, 0))):
        products[..., i, 3] = products[..., 3, i] = m[..., j, k] - m[..., k, j]
    best = np.argmax(squares, axis=-1)[..., None, None]
    quaternion = np.take_along_axis(products, best, axis=-2)[..., 0, :]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    return np.where(quaternion[..., 3:] < 0.0, -quaternion, quaternion)


def to_displacements(
    positions: np.ndarray, orientations: np.ndarray, tool_position: np.ndarray, tool_orientation: np.ndarray
) -> np.ndarray:
    """Tool poses in base_link to displacements (k, 6) in the current tool frame.

    Args:
        positions, orientations: (k, 3) [m], (k, 4) the poses.
        tool_position, tool_orientation: (3,) [m], (4,) the current pose.
    """
    back = conjugate(tool_orientation)
    moved = rotate(back, np.asarray(positions, float) - tool_position)
    turned = logarithm(multiply(back, orientations))
    return np.concatenate([moved, turned], axis=-1)


def from_displacements(
    displacements: np.ndarray, tool_position: np.ndarray, tool_orientation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of :func:`to_displacements`: positions (k, 3) [m] and unit orientations (k, 4) in base_link."""
    displacements = np.asarray(displacements, float)
    positions = tool_position + rotate(tool_orientation, displacements[..., :3])
    orientations = multiply(tool_orientation, exponential(displacements[..., 3:]))
    return positions, orientations / np.linalg.norm(orientations, axis=-1, keepdims=True)


def interpolate(
    times: np.ndarray, positions: np.ndarray, orientations: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Poses at wanted times: straight in position, along the shortest turn in orientation, held beyond the ends.

    Args:
        times: (n,) increasing [s].
        positions, orientations: (n, 3), (n, 4) the poses at these times.
        wanted: (m,) [s].
    """
    times, wanted = np.asarray(times, float), np.asarray(wanted, float)
    positions, orientations = np.asarray(positions, float), np.asarray(orientations, float)
    if len(times) == 1:
        return np.repeat(positions, len(wanted), axis=0), np.repeat(orientations, len(wanted), axis=0)
    after = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
    before = after - 1
    share = np.clip((wanted - times[before]) / (times[after] - times[before]), 0.0, 1.0)[:, None]
    moved = positions[before] + share * (positions[after] - positions[before])
    turn = logarithm(multiply(conjugate(orientations[before]), orientations[after]))
    return moved, multiply(orientations[before], exponential(share * turn))
