"""Joints that turn without end, told within one turn as drivers do: crossed both ways, stopped and reset beyond."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gr2_wbc.path_timing import TimingConfig, timed_motion
from gr2_wbc.safety import State

TURN = 2.0 * np.pi
TOLD = {
    "-pi ... pi": lambda angles: np.remainder(angles + np.pi, TURN) - np.pi,
    "0 ... 2 pi": lambda angles: np.remainder(angles, TURN),
    "as they are": lambda angles: angles,
}


@pytest.fixture(params=TOLD)
def wrapped(request, robot, make_rig):
    """A rig whose continuous joints are told within one turn; joint_7 begins near the wraps of both ways to tell it."""
    tell, start = TOLD[request.param], robot.configurations["ready"].copy()
    start[6] = 3.0
    rig = make_rig(start)

    def told(ideal):
        return replace(ideal, positions=np.where(robot.limits.continuous, tell(ideal.positions), ideal.positions))

    rig.broken = told
    rig.step(5)
    return rig


def turn(rig, joint, by):
    """Move one joint through a motion, looking at every cycle; the way it went [rad]."""
    begin = rig.controller.commanded_positions
    goal = begin.copy()
    goal[joint] += by
    rig.controller.move(timed_motion("'turn'", np.array([begin, goal]), rig.robot.limits, TimingConfig(speed=0.9)))
    way, before = 0.0, rig.positions[joint]
    while rig.controller.moving:
        rig.step()
        assert rig.controller.status().joint_tracking_error < 0.01, rig.reason
        way, before = way + abs(rig.positions[joint] - before), rig.positions[joint]
        assert rig.state is not State.STOPPED, rig.reason
    assert rig.state is State.HOLDING
    return way


@pytest.mark.parametrize("by", [0.6, -3.6, 7.0])
def test_wraps_are_crossed_both_ways_without_a_step_or_a_stop(wrapped, by):
    assert turn(wrapped, 6, by) == pytest.approx(abs(by), abs=0.01)
    assert turn(wrapped, 6, -by) == pytest.approx(abs(by), abs=0.01)
    speeds = np.array([command.velocities for command in wrapped.commands])
    assert np.all(np.abs(np.diff(speeds, axis=0)) <= wrapped.robot.limits.acceleration * 0.005 * 1.001)
    assert wrapped.positions[6] == pytest.approx(3.0, abs=0.01)


def test_stopped_and_reset_in_another_turn_the_arm_stays_where_it_is_and_goes_on(wrapped):
    turn(wrapped, 6, 0.6)
    stands = wrapped.positions.copy()
    wrapped.controller.e_stop("test")
    wrapped.step(5)
    assert wrapped.state is State.STOPPED
    wrapped.controller.reset(wrapped.time, wrapped.measurement())
    wrapped.step(20)
    assert wrapped.state is State.HOLDING, wrapped.reason
    assert np.abs(wrapped.robot.limits.difference(wrapped.positions, stands)).max() < 1e-6
    wrapped.positions = wrapped.controller.commanded_positions
    assert turn(wrapped, 6, -0.6) == pytest.approx(0.6, abs=0.01)


def test_a_chunk_is_followed_across_the_wrap(wrapped):
    before = wrapped.positions[6]
    wrapped.stream(wrapped.circle(0.1, 1.5), 2.0)
    assert wrapped.state is State.TRACKING, wrapped.reason
    assert np.abs(wrapped.positions[6] - before) < np.pi
