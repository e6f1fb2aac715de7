"""F18: the e-stop stops at once, and nothing but an explicit reset of a standing arm ends it."""

from __future__ import annotations

import time

import pytest
from std_msgs.msg import Bool


def test_it_stops_and_is_latched(bench, report, measures):  # type: ignore[no-untyped-def]
    motion, begun = bench.move()
    fault = time.monotonic()
    bench.e_stop.publish(Bool(data=True))
    bench.stream(measures.patience, motion, begun, until=lambda: bench.director.status.e_stop)
    assert bench.state == "STOPPED"
    bench.running.wait(lambda: bench.running.at_rest(0.3), measures.patience, "the arm does not rest")
    stopped = measures.halt(bench.running, fault)
    assert stopped.time < 0.35 + 0.2  # a machine may be held up before the controller hears of it
    measures.assert_within_limits(bench.running)
    report.add("F18 e-stop in full motion", "STOPPED, latched", stopped)
    resting = bench.running.motion[-1][2]
    refused = bench.refused()["stopped"]
    bench.e_stop.publish(Bool(data=False))
    bench.stream(0.4, motion, begun)
    bench.stream(measures.patience, motion, begun, until=lambda: bench.refused()["stopped"] > refused)
    assert bench.state == "STOPPED", "a false on /e_stop must not release it"
    assert abs(bench.running.motion[-1][2] - resting).max() < 1e-6


def test_policies_that_come_and_go_do_not_release_it(bench, report, measures):  # type: ignore[no-untyped-def]
    bench.e_stop.publish(Bool(data=True))
    bench.until("STOPPED")
    for name in ("first", "second"):
        assert bench.activate(policy=name).accepted
        motion = bench.circle()
        bench.stream(0.4, motion)
        assert bench.state == "STOPPED"
        assert bench.director.status.e_stop
    answer = bench.reset()
    assert answer.success, answer.message
    bench.until("HOLDING")
    assert not bench.director.status.e_stop
    # the session outlives the reset: the next fresh chunk moves the arm
    bench.stream(measures.patience, bench.circle(), until=lambda: bench.state == "TRACKING")
    report.add("F18 policies restart while it is latched", "STOPPED until /wbc/reset; the session is kept")


def test_it_is_not_reset_while_the_arm_moves(bench, report, measures):  # type: ignore[no-untyped-def]
    bench.move()
    bench.e_stop.publish(Bool(data=True))
    bench.until("STOPPED")
    bench.break_arm("jump:0")  # sound, but the tail is still under way
    answer = bench.reset()
    if answer.success:
        pytest.skip("this machine was too slow to ask while the arm still moved")
    assert "still moves" in answer.message
    bench.running.wait(lambda: bench.running.at_rest(0.2), measures.patience, "the arm does not rest")
    bench.recover()
    report.add("F18 reset while the arm still moves", "refused, names the joint and its speed")


@pytest.mark.parametrize("state", ["IDLE", "HOLDING"])
def test_it_works_in_every_state(bench, state, measures):  # type: ignore[no-untyped-def]
    if state == "IDLE":
        bench.stop_arm()
        bench.until("STOPPED")  # stale; an e-stop is latched beside it
    bench.e_stop.publish(Bool(data=True))
    bench.running.wait(lambda: bench.director.status.e_stop, measures.patience, "no e-stop")
    assert bench.state == "STOPPED"
    if state == "IDLE":
        bench.start_arm()
        bench.running.wait(lambda: bench.running.at_rest(0.2), measures.patience, "no arm")
    assert bench.director.status.e_stop
    bench.recover()
    bench.until("HOLDING")
