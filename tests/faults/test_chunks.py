"""F3, F4, F6, F12: chunks that must not be followed. Each is refused whole, by name; the one before goes on."""

from __future__ import annotations

import math
import time

import pytest
from gr2_msgs.msg import TrajectoryChunk

NAN, INF = math.nan, math.inf
RUN_OUT = 1.6 + 1.5 + 0.4  # [s] a chunk, the longest time that a slowed one is followed past its end, and braking


def spoilt(field: str, index: int, value: float):  # type: ignore[no-untyped-def]
    """A change of one number of an array."""

    def change(message: TrajectoryChunk) -> None:
        numbers = getattr(message, field)
        numbers[index] = value
        setattr(message, field, numbers)

    return change


def with_(**fields: object):  # type: ignore[no-untyped-def]
    """A change of whole fields."""

    def change(message: TrajectoryChunk) -> None:
        for name, value in fields.items():
            setattr(message, name, value)

    return change


def scaled(factor: float):  # type: ignore[no-untyped-def]
    def change(message: TrajectoryChunk) -> None:
        message.positions = [factor * value for value in message.positions]

    return change


def shifted(seconds: int):  # type: ignore[no-untyped-def]
    def change(message: TrajectoryChunk) -> None:
        message.header.stamp.sec += seconds

    return change


def in_frame(name: str):  # type: ignore[no-untyped-def]
    def change(message: TrajectoryChunk) -> None:
        message.header.frame_id = name

    return change


BAD = {
    "F3 a NaN among the positions": (spoilt("positions", 7, NAN), "not_finite"),
    "F3 an infinity among the positions": (spoilt("positions", 20, -INF), "not_finite"),
    "F3 a NaN among the quaternions": (spoilt("orientations", 3, NAN), "not_finite"),
    "F3 a NaN in the gripper": (spoilt("gripper", 0, NAN), "not_finite"),
    "F3 dt is NaN": (with_(dt=NAN), "bad_timing"),
    "F4 positions a thousand times too large": (scaled(1e3), "out_of_reach"),
    "F4 a position of 1e300 m": (spoilt("positions", 4, 1e300), "out_of_reach"),
    "F4 a leap within the chunk": (spoilt("positions", 24, 1.9), "step_too_large"),
    "F4 gripper beyond closed": (spoilt("gripper", 5, 7.0), "bad_gripper"),
    "F4 quaternions not normalised": (spoilt("orientations", 0, 3.0), "bad_quaternion"),
    "F6 duplicate: a sequence seen before": (with_(sequence=1), "old_sequence"),
    "F6 stamped before its own end": (shifted(-30), "expired"),
    "F6 stamped in the future": (shifted(30), "future_stamp"),
    "F12 another publisher's session": (with_(session="stranger"), "unknown_session"),
    "F12 wrong frame_id": (in_frame("camera_link"), "wrong_frame"),
    "F12 too few positions": (with_(positions=[0.4, 0.0, 0.3]), "bad_length"),
    "F12 a huge horizon": (with_(horizon=2**32 - 1), "bad_horizon"),
    "F12 another dt than stated": (with_(dt=0.05), "bad_timing"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_chunk_is_refused_by_name_and_the_one_before_goes_on(bench, fault, report, measures):  # type: ignore[no-untyped-def]
    change, name = BAD[fault]
    motion, begun = bench.move(1.0)
    newest = bench.sequence
    bench.running.wait(lambda: bench.director.status.active_sequence == newest, 5.0, "the newest is not followed")
    before = bench.refused()[name]
    sent = []

    def spoil(message: TrajectoryChunk) -> None:
        change(message)
        sent.append(message.sequence)
        bench.chunks.publish(message)

    spoilt_at = time.monotonic()
    for count in (1, 2):
        bench.send(motion, begun, send=spoil)
        bench.running.wait(lambda n=count: bench.refused()[name] >= before + n, measures.patience, "not refused")
    assert bench.refused()[name] == before + len(sent) == before + 2, bench.director.status.last_refusal
    if time.monotonic() < spoilt_at + 0.8:  # a machine that was held up may have nothing left to follow
        assert bench.state == "TRACKING", "what was followed goes on"
        assert bench.director.status.active_sequence == newest
    assert bench.state != "STOPPED", bench.reason
    bench.stream(
        measures.patience, motion, begun, until=lambda: bench.director.status.active_sequence > newest + len(sent)
    )
    measures.assert_within_limits(bench.running)
    report.add(fault, f"refused: {name}; the one before goes on")


def test_bad_chunks_only_are_as_no_chunks(bench, report, measures):  # type: ignore[no-untyped-def]
    motion, begun = bench.move()
    fault = time.monotonic()
    bench.stream(
        measures.patience,
        motion,
        begun,
        send=lambda message: bench.chunks.publish(_with_nan(message)),
        until=lambda: bench.state == "HOLDING",
    )
    stopped = measures.halt(bench.running, fault)
    assert stopped.time < RUN_OUT
    measures.assert_within_limits(bench.running)
    report.add("F3 nothing but NaN any more", "DECELERATING along the last chunk, HOLDING", stopped)


def _with_nan(message: TrajectoryChunk) -> TrajectoryChunk:
    spoilt("positions", 0, NAN)(message)
    return message


def test_a_second_publisher_without_a_session_is_refused_and_named(bench, report, measures):  # type: ignore[no-untyped-def]
    other = bench.node.create_publisher(TrajectoryChunk, "/trajectory_chunk", 1)
    try:
        motion, begun = bench.move()
        before = bench.refused()["unknown_session"]
        place = bench.tool()[0]
        message = bench.chunk([place] * 16, session="mine")
        other.publish(message)
        bench.stream(measures.patience, motion, begun, until=lambda: bench.refused()["unknown_session"] == before + 1)
        bench.stream(measures.patience, motion, begun, until=lambda: bench.state == "TRACKING")
        assert "STOPPED" not in [name for _, name in bench.running.states]
        bench.running.wait(
            lambda: "2 publishers on /trajectory_chunk" in bench.running.log("wbc"),
            measures.patience,
            "the second publisher is not named",
        )
    finally:
        bench.node.destroy_publisher(other)
    report.add("F12 a second publisher on /trajectory_chunk", "refused: unknown_session; both named in the log")


def test_a_second_policy_is_not_activated_while_another_can_send(bench, report, measures):  # type: ignore[no-untyped-def]
    other = bench.node.create_publisher(TrajectoryChunk, "/trajectory_chunk", 1)
    try:
        bench.running.wait(
            lambda: bench.node.count_publishers("/trajectory_chunk") == 2, measures.patience, "not discovered"
        )
        deadline = time.monotonic() + measures.patience  # the controller may discover it later than this node
        while (answer := bench.activate(policy="second")).accepted and time.monotonic() < deadline:
            bench.director.spin(0.2)
    finally:
        bench.node.destroy_publisher(other)
    assert not answer.accepted
    assert "another policy is active" in answer.message
    while not bench.activate().accepted:  # once the controller knows that the other one is gone
        assert time.monotonic() < deadline, "the other publisher is still seen"
        bench.director.spin(0.2)
    report.add("F12 a second policy asks to be activated", "refused, both named")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"robot_id": "gen4"}, "robot_id of the policy is 'gen4'"),
        ({"action_space": "joints"}, "action_space of the policy is 'joints'"),
        ({"chunk_dt": NAN}, "chunk_dt of the policy is nan"),
        ({"chunk_dt": 0.2}, "chunk_dt of the policy is 0.2"),
    ],
)
def test_a_policy_that_means_something_else_is_not_activated(bench, change, words):  # type: ignore[no-untyped-def]
    answer = bench.activate(**change)
    assert not answer.accepted
    assert words in answer.message
    bench.move(0.3)


def test_targets_far_away_are_approached_within_limits(bench, report, measures):  # type: ignore[no-untyped-def]
    """F4, F15: a reach beyond the arm, and a target beside the singular stretched arm."""
    place, _ = bench.tool()
    outward = place / (place @ place) ** 0.5

    def motion(time: float):  # type: ignore[no-untyped-def]
        return place + outward * min(0.25 * max(time, 0.0), 0.6)

    begun = bench.stream(4.0, motion)
    # it must come to rest before what it cannot reach, without chatter
    bench.stream(measures.patience, motion, begun, until=lambda: bench.running.at_rest(0.5, 0.15))
    measures.assert_within_limits(bench.running)
    assert bench.state in ("TRACKING", "DECELERATING", "HOLDING"), bench.reason
    back = bench.tool()[0]
    bench.stream(  # and it must come back
        measures.patience,
        lambda time: back - outward * min(0.1 * max(time, 0.0), 0.2),
        until=lambda: ((bench.tool()[0] - back) ** 2).sum() ** 0.5 > 0.1,
    )
    measures.assert_within_limits(bench.running)
    report.add("F15 a target out of reach, through the stretched arm", "approached within limits, at rest before it")
