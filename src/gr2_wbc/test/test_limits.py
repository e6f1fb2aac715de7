"""Bounds on joint velocities: what they promise, for random states and over many cycles."""

from __future__ import annotations

import numpy as np
import pytest
from kernels_in_numpy import attainable, braking_speed

from gr2_wbc.command import CommandTrajectory
from gr2_wbc.limits import JointBounds, brake_velocities, braking_time

DT, PERIODS = 0.005, 4
HOLD = (PERIODS - 1) * DT


def test_the_profile_is_continuous_and_never_asks_for_more_than_its_deceleration():
    distance = np.linspace(-0.1, 0.3, 4001)
    speed = braking_speed(distance, 8.0, 1.5, 0.05)
    assert speed[distance < -0.05].max() == -0.05
    assert np.allclose(speed[np.abs(distance) < 1e-12], 0.0)
    assert np.abs(np.diff(speed)).max() < 1e-3
    # The deceleration of a motion along the profile is v dv/dd.
    inside = distance > 0.0
    assert (speed * np.gradient(speed, distance))[inside].max() < 1.5 * 1.01


def test_the_box_is_never_empty_and_within_acceleration(robot):
    bounds = JointBounds(robot.limits, DT, HOLD, 0.1)
    rng = np.random.default_rng(1)
    for _ in range(2000):
        positions = rng.uniform(-2.8, 2.8, robot.dof)
        velocities = rng.uniform(-1.0, 1.0, robot.dof) * robot.limits.velocity
        lower, upper, _ = bounds.bounds(positions, velocities)
        assert (lower <= upper).all()
        assert (np.abs(lower - velocities) <= robot.limits.acceleration * DT + 1e-12).all()
        assert (np.abs(upper - velocities) <= robot.limits.acceleration * DT + 1e-12).all()


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_pushing_all_joints_into_their_limits_keeps_every_braking_tail_inside(robot, sign):
    limits = robot.limits
    bounds = JointBounds(limits, DT, HOLD, 0.1)
    positions, velocities = np.zeros(robot.dof), np.zeros(robot.dof)
    for _ in range(1200):
        lower, upper, too_fast = bounds.bounds(positions, velocities)
        assert not too_fast
        target = upper if sign > 0 else lower
        plan = CommandTrajectory(0.0, positions, velocities, target, limits, DT, PERIODS)
        assert (plan.positions <= limits.upper + 1e-9).all()
        assert (plan.positions >= limits.lower - 1e-9).all()
        positions, velocities = plan.positions[0], plan.velocities[0]
    limited = ~limits.continuous
    goal = limits.upper if sign > 0 else limits.lower
    assert np.allclose(positions[limited], goal[limited], atol=1e-3)


def test_a_joint_beyond_its_limit_comes_back_without_a_jump(robot):
    limits = robot.limits
    bounds = JointBounds(limits, DT, HOLD, 0.1)
    positions, velocities = np.zeros(robot.dof), np.zeros(robot.dof)
    positions[1] = limits.upper[1] + 0.05
    for _ in range(400):
        _, upper, _ = bounds.bounds(positions, velocities)
        assert np.abs(upper - velocities)[1] <= limits.acceleration[1] * DT + 1e-12
        step = np.where(np.arange(robot.dof) == 1, upper, 0.0)
        positions, velocities = positions + 0.5 * DT * (velocities + step), step
        assert velocities[1] >= -0.1 - 1e-9
    assert positions[1] <= limits.upper[1] + 1e-3


def test_braking_is_a_straight_line_in_joint_space_within_limits(robot):
    velocities = np.array([0.8, -0.4, 0.1, 0.0, 0.3, -0.8, 0.2])
    direction = velocities / np.linalg.norm(velocities)
    time = braking_time(velocities, robot.limits.acceleration)
    assert time == pytest.approx(0.8 / 5.0)
    for _ in range(40):
        slower = brake_velocities(velocities, robot.limits, DT)
        assert (np.abs(slower - velocities) <= robot.limits.acceleration * DT + 1e-12).all()
        assert np.allclose(slower - (slower @ direction) * direction, 0.0, atol=1e-12)
        velocities = slower
    assert not velocities.any()
    assert not brake_velocities(velocities, robot.limits, DT).any()


def test_the_profile_is_its_two_parts():
    profile = gain, deceleration, recovery = 8.0, 1.5, 0.05
    for distance in np.linspace(-0.05, 0.5, 300):
        knee = deceleration / gain**2
        near, far = max(gain * distance, -recovery), (deceleration / gain) ** 2 + 2.0 * deceleration * (distance - knee)
        expected = np.sqrt(far) if distance > knee else near
        assert braking_speed(distance, *profile) == pytest.approx(expected, abs=1e-12)
    assert braking_speed(np.inf, *profile) == np.inf


def test_far_from_position_limits_velocity_and_acceleration_remain(robot):
    limits, bounds = robot.limits, JointBounds(robot.limits, DT, HOLD, 0.1)
    velocities = np.linspace(-1.0, 1.0, robot.dof) * limits.velocity
    lower, upper, too_fast = bounds.bounds(np.zeros(robot.dof), velocities)
    step = limits.acceleration * DT
    assert not too_fast
    assert np.allclose(lower, np.maximum(velocities - step, -limits.velocity))
    assert np.allclose(upper, np.minimum(velocities + step, limits.velocity))


def test_attainable_is_the_largest_value_in_the_box():
    rng = np.random.default_rng(6)
    rows, lower = rng.normal(size=(5, 4)), rng.uniform(-1.0, 0.0, 4)
    upper = lower + rng.uniform(0.0, 1.0, 4)
    corners = np.array(np.meshgrid(*zip(lower, upper, strict=True))).reshape(4, -1)
    assert np.allclose(attainable(rows, lower, upper), (rows @ corners).max(axis=1))
