from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gr2_policy.model import geometry

_numbers = st.floats(-1.0, 1.0, allow_nan=False, width=64)


def _vectors(count: int, size: float) -> st.SearchStrategy[np.ndarray]:
    return st.lists(_numbers, min_size=3 * count, max_size=3 * count).map(
        lambda values: size * np.array(values).reshape(count, 3)
    )


@st.composite
def _rotations(draw: st.DrawFn, count: int) -> np.ndarray:
    """Rotation vectors shorter than half a turn."""
    vectors = draw(_vectors(count, 1.0))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    angles = draw(st.floats(0.0, 0.999 * np.pi))
    return np.where(lengths > 1e-6, vectors / np.maximum(lengths, 1e-6) * angles, vectors)


def _same_rotation(first: np.ndarray, second: np.ndarray, tolerance: float = 1e-9) -> bool:
    return bool(np.all(np.abs(np.sum(first * second, axis=-1)) > 1.0 - tolerance))


@settings(deadline=None)
@given(_rotations(4))
def test_exponential_and_logarithm(rotations: np.ndarray) -> None:
    quaternions = geometry.exponential(rotations)
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(geometry.logarithm(quaternions), rotations, atol=1e-8)
    np.testing.assert_allclose(geometry.logarithm(-quaternions), rotations, atol=1e-8)


@settings(deadline=None)
@given(_rotations(3), _vectors(3, 2.0))
def test_rotation_agrees_with_rodrigues(rotations: np.ndarray, vectors: np.ndarray) -> None:
    for rotation, vector in zip(rotations, vectors, strict=True):
        angle = np.linalg.norm(rotation)
        axis = rotation / angle if angle > 1e-12 else np.zeros(3)
        expected = (
            vector * np.cos(angle)
            + np.cross(axis, vector) * np.sin(angle)
            + axis * (axis @ vector) * (1 - np.cos(angle))
        )
        if angle > 1e-12:
            np.testing.assert_allclose(geometry.rotate(geometry.exponential(rotation), vector), expected, atol=1e-12)


@settings(deadline=None)
@given(_rotations(5))
def test_six_dimensions_and_back(rotations: np.ndarray) -> None:
    quaternions = geometry.exponential(rotations)
    columns = geometry.rotation_6d(quaternions)
    assert _same_rotation(geometry.quaternion_of_6d(columns), quaternions)
    stretched = columns * np.array([2.0, 2.0, 2.0, 1.0, 1.0, 1.0])
    stretched[:, 3:] += 0.5 * columns[:, :3]  # what a network says is neither unit nor orthogonal
    assert _same_rotation(geometry.quaternion_of_6d(stretched), quaternions)


@settings(deadline=None)
@given(_vectors(6, 1.0), _rotations(6), _vectors(1, 1.0), _rotations(1))
def test_poses_to_displacements_and_back(
    displacements: np.ndarray, turns: np.ndarray, origin: np.ndarray, attitude: np.ndarray
) -> None:
    tool = (origin[0], geometry.exponential(attitude[0]))
    wanted = np.concatenate([displacements, turns], axis=1)
    positions, orientations = geometry.from_displacements(wanted, *tool)
    np.testing.assert_allclose(geometry.to_displacements(positions, orientations, *tool), wanted, atol=1e-8)
    again, turned = geometry.from_displacements(geometry.to_displacements(positions, orientations, *tool), *tool)
    np.testing.assert_allclose(again, positions, atol=1e-12)
    assert _same_rotation(turned, orientations)


def test_displacement_is_seen_from_the_tool() -> None:
    quarter_about_z = geometry.exponential(np.array([0.0, 0.0, np.pi / 2]))
    found = geometry.to_displacements(
        np.array([[1.0, 3.0, 3.0]]), quarter_about_z[None], np.array([1.0, 2.0, 3.0]), quarter_about_z
    )
    np.testing.assert_allclose(found, [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]], atol=1e-12)


def test_interpolation() -> None:
    times = np.array([0.1, 0.2, 0.4])
    positions = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    orientations = geometry.exponential(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 3.0]]))
    moved, turned = geometry.interpolate(times, positions, orientations, np.array([0.0, 0.1, 0.15, 0.3, 0.9]))
    np.testing.assert_allclose(moved[:, 0], [0.0, 0.0, 0.5, 2.0, 3.0], atol=1e-12)
    np.testing.assert_allclose(geometry.logarithm(turned)[:, 2], [0.0, 0.0, 0.5, 2.0, 3.0], atol=1e-9)
    alone, _ = geometry.interpolate(times[:1], positions[:1], orientations[:1], np.array([0.0, 1.0]))
    assert alone.shape == (2, 3)


def test_matrices_of_every_sign() -> None:
    for rotation in ([3.1, 0, 0], [0, 3.1, 0], [0, 0, 3.1], [0.1, 0.2, 0.3], [2.0, -2.0, 0.5]):
        quaternion = geometry.exponential(np.array(rotation, float))
        matrix = np.stack([geometry.rotate(quaternion, axis) for axis in np.eye(3)], axis=1)
        assert _same_rotation(geometry.quaternion_of_matrix(matrix), quaternion)
        assert np.linalg.det(matrix) == pytest.approx(1.0)
