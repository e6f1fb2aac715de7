"""Rotation vectors along a motion."""

from __future__ import annotations

import numpy as np
import pinocchio as pin

from gr2_wbc.rotation import angular_velocity, matrix_of, quaternion_of, steps_between, tangents, turning, turnings


def test_quaternions_and_matrices_round_trip():
    rng = np.random.default_rng(0)
    for _ in range(20):
        quaternion = rng.normal(size=4)
        quaternion /= np.linalg.norm(quaternion)
        back = quaternion_of(matrix_of(quaternion))
        assert np.allclose(back, quaternion, atol=1e-12) or np.allclose(back, -quaternion, atol=1e-12)


def test_tangents_stay_continuous_beyond_half_a_turn():
    axis = np.array([0.6, 0.0, 0.8])
    angles = np.linspace(0.3, 5.5, 18)
    base = pin.exp3(np.array([0.3, -1.0, 0.4]))
    orientations = np.array([quaternion_of(base @ pin.exp3(axis * angle)) for angle in angles])
    orientations[::2] *= -1.0
    assert np.allclose(tangents(base, orientations), axis * angles[:, None], atol=1e-9)


def test_angular_velocity_is_that_of_the_rotation():
    base, vector, rate = pin.exp3(np.array([0.2, 0.1, -0.7])), np.array([0.9, -1.4, 0.5]), np.array([0.3, 1.0, -0.6])
    step = 1e-6
    after, before = base @ pin.exp3(vector + step * rate), base @ pin.exp3(vector - step * rate)
    assert np.allclose(pin.log3(after @ before.T) / (2 * step), angular_velocity(base, vector, rate), atol=1e-6)


def test_angular_rates_along_a_curve_are_those_of_the_rotation():
    """Against differences of the rotation itself, near 0, around pi and up to a whole turn."""
    rng = np.random.default_rng(4)
    step = 1e-5
    for size in (0.0, 1e-5, 1e-3, 0.5, 3.1, np.pi, 3.6, 6.0):
        vector = rng.normal(size=3)
        vector *= size / np.linalg.norm(vector)
        first, second = rng.normal(size=3), rng.normal(size=3)

        def rotation(time, vector=vector, first=first, second=second):
            return pin.exp3(vector + time * first + 0.5 * time * time * second)

        def spin(time, rotation=rotation):
            return pin.log3(rotation(time + step) @ rotation(time - step).T) / (2.0 * step)

        velocity, acceleration = turnings(vector[None], first[None], second[None])
        assert np.allclose(velocity[0], spin(0.0), atol=1e-8)
        assert np.allclose(velocity[0], turning(tuple(vector), tuple(first)), atol=1e-12)
        assert np.allclose(acceleration[0], (spin(1e-3) - spin(-1e-3)) / 2e-3, atol=1e-4)


def test_tangents_do_not_see_the_sign_of_a_quaternion():
    """Orientations that pass pi while they wobble, with signs at random."""
    rng = np.random.default_rng(2)
    base = pin.exp3(np.array([1.0, 2.0, -0.5]))
    vectors = np.linspace(0.1, 3.6, 30)[:, None] * np.array([0.36, 0.48, 0.8]) + 0.2 * rng.normal(size=(30, 3))
    orientations = np.array([quaternion_of(base @ pin.exp3(vector)) for vector in vectors])
    orientations *= rng.choice([-1.0, 1.0], size=(30, 1))
    assert np.allclose(tangents(base, orientations), vectors, atol=1e-9)


def test_steps_between_orientations_go_the_shorter_way_round():
    rng = np.random.default_rng(3)
    rotations = [pin.exp3(rng.uniform(-2.0, 2.0, 3)) for _ in range(20)]
    orientations = np.array([quaternion_of(r) for r in rotations]) * rng.choice([-1.0, 1.0], size=(20, 1))
    for index, step in enumerate(steps_between(orientations)):
        assert np.allclose(step, pin.log3(rotations[index].T @ rotations[index + 1]), atol=1e-9)
    assert np.allclose(steps_between(orientations[[0, 0]]), 0.0)
