"""The state machine and its watchdogs."""

from __future__ import annotations

import pytest

from gr2_wbc.config import SafetyConfig
from gr2_wbc.robots import load_robot
from gr2_wbc.safety import Safety, State

DT = 0.005
LIMITS = load_robot("gen3_2f85").limits


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


EVENTS = {
    "enter HOLDING": lambda safety: safety.enter(State.HOLDING, "event"),
    "enter TRACKING": lambda safety: safety.enter(State.TRACKING, "event"),
    "enter DECELERATING": lambda safety: safety.enter(State.DECELERATING, "event"),
    "hold": lambda safety: safety.hold("event"),
    "follow": lambda safety: safety.follow("event"),
    "stop": lambda safety: safety.stop("event"),
    "e-stop": lambda safety: safety.latch_e_stop("event"),
    "reset": lambda safety: safety.reset("event"),
    "stale": lambda safety: safety.check_age(9.0),
    "fresh": lambda safety: safety.check_age(0.0),
    "far": lambda safety: safety.check_tracking(0, 1.0, LIMITS),
    "near": lambda safety: safety.check_tracking(0, 0.0, LIMITS),
    "failures": lambda safety: [safety.note_cycle("event") for _ in range(10)],
    "one failure": lambda safety: safety.note_cycle("event"),
    "late": lambda safety: [safety.note_lateness(0.02) for _ in range(201)],
    "in time": lambda safety: [safety.note_lateness(0.0) for _ in range(400)],
}
START, H, T, D, S = State
# By event: the state it leads to from IDLE, HOLDING, TRACKING, DECELERATING, STOPPED; "-": state and reason stay.
TABLE = {
    "enter HOLDING": (H, "-", H, H, "-"),
    "enter TRACKING": (T, T, "-", T, "-"),
    "enter DECELERATING": (D, D, D, "-", "-"),
    "hold": (H, H, H, H, "-"),
    "follow": (T, T, T, T, "-"),
    "stop": (S, S, S, S, "-"),
    "e-stop": (S, S, S, S, "-"),
    "reset": (H, H, H, H, H),
    "stale": (START, S, S, S, "-"),
    "fresh": ("-", "-", "-", "-", "-"),
    "far": (S, S, S, S, "-"),
    "near": ("-", "-", "-", "-", "-"),
    "failures": (S, S, S, S, "-"),
    "one failure": ("-", "-", "-", "-", "-"),
    "late": ("-", S, S, S, "-"),
    "in time": ("-", "-", "-", "-", "-"),
}
WORDS = {"stale": "stale", "far": "joint_1 is 1.000 rad from its command", "failures": "10 control cycles in a row"}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("start", State)
def test_every_state_answers_every_event_as_the_table_says(event, start):
    made = Safety(SafetyConfig(), DT)
    made.state, made.reason = start, "before"
    EVENTS[event](made)
    expected = TABLE[event][start]
    if expected == "-":
        assert (made.state, made.reason) == (start, "before")
        return
    assert made.state is expected
    assert WORDS.get(event, "late" if event == "late" else "event") in made.reason
    assert made.e_stop is (event == "e-stop")


def test_e_stop_latches_in_stopped_too(safety):
    safety.stop("first")
    safety.latch_e_stop("button")
    assert safety.e_stop
    assert safety.reason == "first"


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
    safety.check_tracking(3, 0.15, robot.limits)
    assert not safety.stopped
    safety.check_tracking(4, error, robot.limits)
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
        safety.note_lateness(0.012 if index % 5 == 0 else 0.0)
    assert not safety.stopped
    for index in range(400):
        safety.note_lateness(0.02 if index % 3 else 0.0)
    assert safety.stopped
    assert "late" in safety.reason


def test_an_overload_is_told_before_it_stops_and_ends_when_half_of_it_has(safety):
    config = SafetyConfig()
    window = round(config.overrun_window / DT)
    some = round(config.degrade_share * window)
    for _ in range(some):
        safety.note_lateness(0.006)
    assert not safety.overload
    safety.note_lateness(0.006)
    assert f"{some + 1} of the last" in safety.overload
    assert not safety.stopped
    seen = []
    for _ in range(window):
        safety.note_lateness(0.0)
        seen.append(bool(safety.overload))
    assert not seen[-1]
    assert seen.count(True) >= window - some - 1, "it ends no sooner than late cycles leave the window"
    assert safety.state is State.HOLDING


def test_lateness_below_a_period_is_no_overrun(safety):
    for _ in range(1000):
        safety.note_lateness(0.9 * DT)
    assert not safety.stopped


def test_after_a_reset_the_overrun_window_is_empty(safety):
    for _ in range(400):
        safety.note_lateness(0.02)
    assert safety.stopped
    safety.reset("done")
    for _ in range(50):
        safety.note_lateness(0.021)  # four missed each
    assert not safety.stopped
    safety.note_lateness(0.021)
    assert safety.stopped
