"""The command that carries its own stop, and the last check."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gr2_wbc.command import CommandGate, CommandRejected, CommandTrajectory

DT, PERIODS = 0.005, 4
START = np.array([0.1, 0.2, -0.3, 1.0, 0.0, 0.5, 2.0])
NOW = np.array([0.30, -0.20, 0.05, 0.0, 0.84, -0.4, 0.1])
NEXT = NOW + np.array([0.02, 0.01, -0.02, 0.0, 0.02, 0.0, 0.025])


def plan(robot, stamp=0.0, start=START, now=NOW, following=NEXT) -> CommandTrajectory:
    return CommandTrajectory(stamp, start, now, following, robot.limits, DT, PERIODS)


def hermite(t0, p0, v0, t1, p1, v1, time):
    """Cubic through two points with their velocities: what the executor computes."""
    h = t1 - t0
    s = (time - t0) / h
    return (
        (2 * s**3 - 3 * s**2 + 1) * p0
        + (s**3 - 2 * s**2 + s) * h * v0
        + (-2 * s**3 + 3 * s**2) * p1
        + (s**3 - s**2) * h * v1
    )


def test_three_points_at_the_agreed_times(robot):
    times, positions, velocities = plan(robot).times, plan(robot).positions, plan(robot).velocities
    tail = np.max(np.abs(NEXT)) / 5.0
    assert np.allclose(times, [DT, 4 * DT, 4 * DT + tail])
    assert np.allclose(positions[0], START + 0.5 * DT * (NOW + NEXT))
    assert np.allclose(positions[1], positions[0] + 3 * DT * NEXT)
    assert np.allclose(positions[2], positions[1] + 0.5 * tail * NEXT)
    assert np.allclose(velocities, [NEXT, NEXT, np.zeros(7)])


def test_the_cubic_of_the_executor_is_the_parabola_of_constant_deceleration(robot):
    made = plan(robot)
    knots = [(0.0, START, NOW)] + [
        (time, position, velocity)
        for time, position, velocity in zip(made.times, made.positions, made.velocities, strict=True)
    ]
    for (t0, p0, v0), (t1, p1, v1) in pairwise(knots):
        for time in np.linspace(t0, t1, 9):
            assert np.allclose(hermite(t0, p0, v0, t1, p1, v1, time), made.evaluate(time)[0], atol=1e-14)
    t1, t2 = made.times[1], made.times[2]
    for time in np.linspace(t1 + 1e-6, t2 - 1e-6, 7):
        rate = (made.evaluate(time + 1e-7)[1] - made.evaluate(time - 1e-7)[1]) / 2e-7
        assert np.allclose(rate, -NEXT / (t2 - t1), atol=1e-6)
        assert (np.abs(rate) <= robot.limits.acceleration + 1e-6).all()


def test_velocity_is_the_derivative_of_position_everywhere(robot):
    made = plan(robot)
    for time in np.linspace(0.0, 0.25, 101)[1:-1]:
        slope = (made.evaluate(time + 1e-7)[0] - made.evaluate(time - 1e-7)[0]) / 2e-7
        assert np.allclose(slope, made.evaluate(time)[1], atol=1e-5)


def test_it_rests_at_its_end_and_starts_at_its_start(robot):
    made = plan(robot, stamp=5.0)
    assert np.allclose(made.evaluate(4.0)[0], START)
    position, velocity = made.evaluate(99.0)
    assert np.allclose(position, made.positions[2])
    assert not velocity.any()
    assert made.braking(5.1)
    assert not made.braking(5.01)
    assert not made.braking(6.0)


def test_at_rest_the_times_still_increase(robot):
    still = np.zeros(7)
    times = plan(robot, now=still, following=still).times
    assert (np.diff(times) > 0.0).all()


def test_the_gate_lets_a_sound_successor_pass(robot):
    gate, first = CommandGate(robot.limits), plan(robot)
    for late in (DT, 2.7 * DT, 0.1, 3.0):
        position, velocity = first.evaluate(late)
        following = velocity + 0.9 * DT * robot.limits.acceleration * np.array([1, -1, 0, 0.5, -1, 1, 0])
        candidate = plan(robot, late, position, velocity, following)
        assert gate.check(candidate, first) is candidate


def changed(robot, first, **changes):
    position, velocity = first.evaluate(DT)
    made = plan(robot, DT, position.copy(), velocity.copy(), velocity.copy())
    for name, (index, value) in changes.items():
        getattr(made, name)[index] += value
    return made


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"positions": ((0, 3), np.nan)}, "not finite"),
        ({"velocities": ((1, 3), np.inf)}, "not finite"),
        ({"times": (1, -0.02)}, "do not increase"),
        ({"times": (2, np.nan)}, "do not increase"),
        ({"start": (2, 0.001)}, "joint_3 leaves the last command"),
        ({"positions": ((0, 4), 0.001)}, "joint_5 does not fit its velocity"),
        ({"velocities": ((0, 1), 0.1)}, "joint_2 (changes velocity|does not fit)"),
        ({"times": (2, -0.1)}, "joint_5 cannot stop in time"),
        ({"positions": ((2, 3), 2.0)}, "joint_4 comes to rest beyond its upper"),
        ({"positions": ((2, 1), -4.0)}, "joint_2 comes to rest beyond its lower"),
    ],
)
def test_the_gate_names_joint_and_numbers(robot, changes, words):
    first = plan(robot)
    with pytest.raises(CommandRejected, match=words):
        CommandGate(robot.limits).check(changed(robot, first, **changes), first)


def test_too_fast_and_too_sudden_are_refused(robot):
    first = plan(robot)
    position, velocity = first.evaluate(DT)
    sudden = plan(robot, DT, position, velocity, velocity - 0.05)
    with pytest.raises(CommandRejected, match="changes velocity"):
        CommandGate(robot.limits).check(sudden, first)
    quick = np.array([0.87, 0, 0, 0, 0, 0, 0])
    before = plan(robot, now=quick, following=quick)
    position, velocity = before.evaluate(DT)
    faster = plan(robot, DT, position, velocity, velocity + np.array([0.01, 0, 0, 0, 0, 0, 0]))
    with pytest.raises(CommandRejected, match="joint_1 moves"):
        CommandGate(robot.limits).check(faster, before)


def test_a_joint_beyond_its_limit_may_only_come_back(robot):
    outside = START.copy()
    outside[1] = robot.limits.upper[1] + 0.1
    still = np.zeros(7)
    first = plan(robot, start=outside, now=still, following=still)
    inward, outward = still.copy(), still.copy()
    inward[1], outward[1] = -0.02, 0.02
    gate = CommandGate(robot.limits)
    gate.check(plan(robot, DT, outside, still, inward), first)
    gate.check(plan(robot, DT, outside, still, still), first)
    with pytest.raises(CommandRejected, match=r"joint_2 (goes|comes to rest) beyond its upper"):
        gate.check(plan(robot, DT, outside, still, outward), first)


def sound(candidate, previous, limits) -> bool:
    """The last check once more, joint by joint and in plain words: what the gate must agree with."""
    numbers = [*candidate.positions.ravel(), *candidate.velocities.ravel(), *candidate.start]
    if not all(np.isfinite(numbers)):
        return False
    period, held, end = candidate.times
    due, velocity = previous.evaluate(candidate.stamp)
    for joint in range(7):
        now, speed = due[joint], velocity[joint]
        first, _, rest = candidate.positions[:, joint]
        begun, on, _ = candidate.velocities[:, joint]
        fastest, acceleration = limits.velocity[joint], limits.acceleration[joint]
        if abs(candidate.start[joint] - now) > 1e-6 or abs(first - now - 0.5 * period * (speed + begun)) > 1e-6:
            return False
        if abs(begun - speed) > acceleration * period * (1 + 1e-6) + 1e-6 * period:
            return False
        if abs(begun) > fastest * (1 + 1e-6) + 1e-6 or abs(on) > (acceleration * (1 + 1e-6) + 1e-6) * (end - held):
            return False
        for place in (first, rest):
            if not min(now, limits.lower[joint]) - 1e-6 <= place <= max(now, limits.upper[joint]) + 1e-6:
                return False
    return True


def test_the_gate_decides_as_the_plain_check_does(robot):
    """Sound and spoilt successors of random commands, many of them at the very edge of a limit."""
    rng, gate, limits = np.random.default_rng(0), CommandGate(robot.limits), robot.limits
    decisions = []
    for _ in range(3000):
        start, now = rng.uniform(-2.7, 2.7, 7), rng.uniform(-1.0, 1.0, 7) * limits.velocity
        first = plan(robot, start=start, now=now, following=now)
        late = rng.choice([DT, 2.3 * DT, 0.03, 0.1])
        position, velocity = first.evaluate(late)
        change = rng.choice([-1.0, 0.0, 0.7, 0.9999, 1.00001, 1.01], 7, p=[0.2, 0.2, 0.3, 0.298, 0.001, 0.001])
        candidate = plan(robot, late, position, velocity, velocity + change * DT * limits.acceleration)
        if rng.random() < 0.3:
            spoilt = rng.choice(["positions", "velocities", "start"])
            value = rng.choice([1e-7, 3e-6, -3e-6, 0.01, -3.0, np.nan, np.inf])
            array = getattr(candidate, spoilt)
            array.flat[rng.integers(array.size)] += value
        expected = sound(candidate, first, limits)
        try:
            decided = gate.check(candidate, first) is candidate
        except CommandRejected:
            decided = False
        decisions.append(decided)
        # A spoilt held point (positions[1]) or last velocity is nobody's business but the finite check's: both agree.
        assert decided == expected
    assert 300 < sum(decisions) < 2700
