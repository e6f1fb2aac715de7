"""F2: joint states that stop, freeze, lie or come late. The controller stops, says why, and comes back on a reset."""

from __future__ import annotations

import time

import pytest

BENCH = {"safety.joint_state_timeout": 0.25}  # [s] as for the real arm

FATAL = {
    "silent": ("stale", "stop"),
    "frozen": ("stale", "the last message is sent again and again"),
    "stamp frozen": ("stale", "positions go on, their stamp does not"),
    "nan": ("stale", "a joint is not a number in every message"),
    "infinite velocity": ("stale", "a velocity is infinite in every message"),
    "short": ("stale", "fewer positions than names"),
    "missing": ("stale", "a joint is missing"),
    "other names": ("stale", "joints of another robot only"),
    "delayed:0.4": ("stale", "0.4 s late"),
    "jump:0.3": ("joint_3 is 0.", "a joint is measured 0.3 rad off"),
    "stuck": ("from its command", "the arm does not follow its commands"),
}
HARMLESS = {
    "duplicated": "every message twice",
    "swapped": "messages in the wrong order",
    "reversed": "joints in another order, by their names",
    "now and then": "every second message has a NaN",
    "delayed:0.1": "0.1 s late",
    "future:0.05": "stamped 0.05 s ahead",
}


SLOW = ("infinite velocity", "missing", "other names", "stamp frozen")


@pytest.mark.parametrize("fault", [pytest.param(f, marks=pytest.mark.slow) if f in SLOW else f for f in FATAL])
def test_without_usable_joint_states_it_stops_and_says_why(bench, fault, report, measures):  # type: ignore[no-untyped-def]
    words, what = FATAL[fault]
    motion, begun = bench.move()
    broken = bench.break_arm(fault)
    bench.stream(measures.patience, motion, begun, until=lambda: bench.state == "STOPPED")
    # a joint at 0.6 rad/s is 0.15 rad from what was last heard of it just before that is stale
    assert words in bench.reason or (words == "stale" and "from its command" in bench.reason)
    bench.running.wait(lambda: bench.running.at_rest(0.3), measures.patience, "the arm does not rest")
    stopped = measures.halt(bench.running, broken)
    assert stopped.time < BENCH["safety.joint_state_timeout"] + 0.5
    measures.assert_within_limits(bench.running)
    report.add(f"F2 joint states: {what}", f"STOPPED ({bench.reason.split(':')[0]})", stopped)
    if words == "stale":
        answer = bench.reset()
        assert not answer.success
        assert "stale" in answer.message
    assert bench.state == "STOPPED"
    bench.break_arm("")
    bench.director.spin(0.3)
    assert bench.state == "STOPPED", "latched although the cause is gone"


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_can_be_understood_does_no_harm(bench, fault, report, measures):  # type: ignore[no-untyped-def]
    for _ in range(4):
        motion, begun = bench.move()
        bench.break_arm(fault)
        bench.stream(0.8, motion, begun)
        bench.stream(measures.patience, motion, begun, until=lambda: bench.state in ("TRACKING", "STOPPED"))
        if bench.state == "TRACKING":
            break
        assert bench.held_up() > 0.1, bench.reason  # what was late already, and then held up, is stale
        bench.sound()
    assert bench.state == "TRACKING", bench.reason
    bench.break_arm("")
    measures.assert_within_limits(bench.running)
    report.add(f"F2 joint states: {HARMLESS[fault]}", "followed as before")


def test_exchanged_names_are_a_joint_far_from_its_command(bench, report, measures):  # type: ignore[no-untyped-def]
    """F12, wrong joint order: names and values that do not belong together."""
    motion, begun = bench.move()
    broken = bench.break_arm("exchanged")
    bench.stream(measures.patience, motion, begun, until=lambda: bench.state == "STOPPED")
    assert "from its command" in bench.reason
    bench.running.wait(lambda: bench.running.at_rest(0.3), measures.patience, "the arm does not rest")
    report.add(
        "F12 joint states: two names exchanged", "STOPPED (far from its command)", measures.halt(bench.running, broken)
    )


def test_a_whole_arm_that_dies_and_returns_is_taken_over_by_a_reset(bench, report, measures):  # type: ignore[no-untyped-def]
    bench.stop_arm()
    bench.until("STOPPED")
    assert "stale" in bench.reason
    begun = time.monotonic()
    bench.start_arm()
    bench.running.wait(lambda: bench.running.at_rest(0.2), measures.patience, "no arm")
    assert bench.state == "STOPPED"
    bench.recover()
    bench.until("HOLDING")
    bench.move(0.3)
    report.add("F2 the driver dies and comes back", f"STOPPED; /wbc/reset after {time.monotonic() - begun:.0f} s")
