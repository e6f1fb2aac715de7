"""Rotation vectors along a motion."""

from __future__ import annotations

import numpy as np
import pinocchio as pin

from gr2_wbc.rotation import angular_velocity, matrix_of, quaternion_of, tangents


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
