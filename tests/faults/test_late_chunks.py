"""F5, F6: chunks that come late, in the wrong order or twice are joined by their stamps, without a step."""

from __future__ import annotations

import random

import numpy as np
import pytest
from gr2_msgs.msg import TrajectoryChunk


def deviation(bench, motion, begun: float) -> float:  # type: ignore[no-untyped-def]
    """Largest distance of the tool to the motion asked for, over the last second [m]."""
    newest = bench.running.motion[-1][0]
    late = 0.02  # [s] from the arm to this process, about
    return max(
        float(np.linalg.norm(bench.measures.robot.tool_pose(q)[0] - motion(at - begun - late)))
        for at, _, q, _ in bench.running.motion
        if at > newest - 1.0
    )


@pytest.mark.parametrize("late", [0.1, 0.3, 0.5, 0.8])
def test_late_chunks_are_joined_without_a_step(bench, late, report, measures):  # type: ignore[no-untyped-def]
    bench.measures = measures
    motion = bench.circle()
    begun = bench.stream(3.5, motion, late=lambda: late)
    assert bench.state == "TRACKING", bench.reason
    measures.assert_within_limits(bench.running)
    off = deviation(bench, motion, begun)
    assert off < 0.02
    report.add(f"F5 every chunk {1e3 * late:.0f} ms late", f"followed to {1e3 * off:.0f} mm at 0.2 m/s, no step")


def test_a_delay_that_changes_from_chunk_to_chunk(bench, report, measures):  # type: ignore[no-untyped-def]
    bench.measures = measures
    chance = random.Random(4)
    motion = bench.circle()
    begun = bench.stream(4.0, motion, late=lambda: chance.uniform(0.1, 0.8))
    assert bench.state == "TRACKING", bench.reason
    measures.assert_within_limits(bench.running)
    off = deviation(bench, motion, begun)
    assert off < 0.02
    report.add("F5 delays of 100 ... 800 ms at random", f"followed to {1e3 * off:.0f} mm at 0.2 m/s, no step")


def test_chunks_in_the_wrong_order_and_twice(bench, report, measures):  # type: ignore[no-untyped-def]
    """Two by two exchanged, each sent twice: the newer of a pair is followed, its twin and the older are refused."""
    bench.measures = measures
    motion = bench.circle()
    waiting: list[TrajectoryChunk] = []
    before = bench.refused()["old_sequence"]

    def shuffle(message: TrajectoryChunk) -> None:
        waiting.append(message)
        if len(waiting) == 2:
            for one in (waiting[1], waiting[1], waiting[0]):
                bench.chunks.publish(one)
                bench.director.spin(0.02)
            waiting.clear()

    begun = bench.stream(4.0, motion, send=shuffle)
    assert bench.state == "TRACKING", bench.reason
    assert bench.refused()["old_sequence"] >= before + 12
    measures.assert_within_limits(bench.running)
    off = deviation(bench, motion, begun)
    assert off < 0.02
    report.add("F6 chunks in the wrong order, and twice", f"refused: old_sequence; followed to {1e3 * off:.0f} mm")


def test_too_late_to_matter_is_refused_and_the_arm_comes_to_rest(bench, report, measures):  # type: ignore[no-untyped-def]
    motion, begun = bench.move()
    fault = bench.running.motion[-1][0]
    before = bench.refused()["expired"]
    bench.stream(2.6, motion, begun, late=lambda: 1.7)
    assert bench.refused()["expired"] > before
    assert bench.state == "HOLDING", bench.reason
    measures.assert_within_limits(bench.running)
    report.add(
        "F5 every chunk later than it is long (1.7 s)", "refused: expired; HOLDING", measures.halt(bench.running, fault)
    )
