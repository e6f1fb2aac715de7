"""The state machine and its watchdogs."""

from __future__ import annotations

import numpy as np
import pytest

from gr2_wbc.config import SafetyConfig
from gr2_wbc.safety import Safety, State

DT = 0.005


@pytest.fixture
def safety() -> Safety:
    made = Safety(SafetyConfig(), DT)
    made.enter(State.HOLDING, "taken over")
    return made


def test_it_begins_idle_and_says_why():
    made = Safety(SafetyConfig(), DT)
    assert made.state is State.IDLE
    assert "no joint state" in made.reason


def test_stopped_is_latched_and_keeps_its_first_reason(safety):
    safety.stop("first")
    safety.stop("second")
    safety.enter(State.TRACKING, "never")
    safety.hold("never")
    assert (safety.state, safety.reason) == (State.STOPPED, "first")
    safety.reset("done")
    assert (safety.state, safety.reason) == (State.HOLDING, "done")


def test_e_stop_latches_until_reset(safety):
    safety.latch_e_stop("button")
    assert safety.e_stop
    assert safety.stopped
    safety.reset("done")
    assert not safety.e_stop


def test_stale_joint_states_stop(safety):
    assert safety.check_age(0.2)
    assert safety.check_age(-0.5)  # a measurement stamped slightly ahead is fresh
    assert not safety.check_age(0.3)
    assert "0.300 s old" in safety.reason


def test_while_idle_stale_joint_states_do_not_stop_but_are_not_fresh():
    made = Safety(SafetyConfig(), DT)
    assert not made.check_age(5.0)
    assert not made.check_age(-5.0)
    assert made.state is State.IDLE
    assert "use_sim_time" in made.reason


@pytest.mark.parametrize("error", [0.16, float("nan"), float("inf")])
def test_a_joint_far_from_its_command_stops_by_name(safety, robot, error):
    errors = np.zeros(robot.dof)
    errors[3] = 0.15
    safety.check_tracking(errors, robot.limits)
    assert not safety.stopped
    errors[4] = error
    safety.check_tracking(errors, robot.limits)
    assert "joint_5" in safety.reason


def test_rejected_solves_stop_only_in_a_row(safety):
    allowed = SafetyConfig().max_qp_failures
    for _ in range(3):
        for _ in range(allowed - 1):
            safety.note_cycle("no")
        safety.note_cycle(None)
    assert not safety.stopped
    assert safety.qp_failures == 3 * (allowed - 1)
    for _ in range(allowed):
        safety.note_cycle("no")
    assert safety.stopped


def test_overruns_stop_when_too_many_of_the_window_are_late(safety):
    for index in range(2000):
        safety.note_lateness(0.02 if index % 5 == 0 else 0.0)
    assert not safety.stopped
    for index in range(400):
        safety.note_lateness(0.02 if index % 3 else 0.0)
    assert safety.stopped
    assert "late" in safety.reason


def test_lateness_below_a_period_is_no_overrun(safety):
    for _ in range(1000):
        safety.note_lateness(0.9 * DT)
    assert not safety.stopped


def test_after_a_reset_the_overrun_window_is_empty(safety):
    for _ in range(400):
        safety.note_lateness(0.02)
    assert safety.stopped
    safety.reset("done")
    for _ in range(200):
        safety.note_lateness(0.02)
    assert not safety.stopped
