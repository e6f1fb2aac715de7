"""F5, F6: chunks that come late, in the wrong order or twice are joined by their stamps, without a step."""

from __future__ import annotations

import random

import numpy as np
import pytest
from gr2_msgs.msg import TrajectoryChunk


def follow(bench, measures, motion, **how) -> float:  # type: ignore[no-untyped-def]
    """Be a policy until the motion was followed undisturbed for a while; the largest distance to it then [m]."""
    begun = bench.stream(1.5, motion, **how)
    bench.stream(2.0 * measures.patience, motion, begun, until=bench.calm(2.0), **how)
    assert bench.state == "TRACKING", bench.reason
    assert "STOPPED" not in [name for _, name in bench.running.states], bench.running.log("wbc")
    measures.assert_within_limits(bench.running)
    newest, late = bench.running.motion[-1][1], 0.01  # [s] from the reference to the arm, about
    offset = bench.running.clock_offset()  # the arm's stamps are of the system clock
    return max(
        float(np.linalg.norm(measures.robot.tool_pose(q)[0] - motion(stamp + offset - begun - late)))
        for _, stamp, q, _ in bench.running.motion
        if stamp > newest - 0.8
    )


@pytest.mark.parametrize("late", [0.1, 0.3, 0.5, 0.8])
def test_late_chunks_are_joined_without_a_step(bench, late, report, measures):  # type: ignore[no-untyped-def]
    off = follow(bench, measures, bench.circle(), late=lambda: late)
    assert off < 0.02
    report.add(f"F5 every chunk {1e3 * late:.0f} ms late", f"followed to {1e3 * off:.0f} mm at 0.2 m/s, no step")


def test_a_delay_that_changes_from_chunk_to_chunk(bench, report, measures):  # type: ignore[no-untyped-def]
    chance = random.Random(4)
    off = follow(bench, measures, bench.circle(), late=lambda: chance.uniform(0.1, 0.8))
    assert off < 0.02
    report.add("F5 delays of 100 ... 800 ms at random", f"followed to {1e3 * off:.0f} mm at 0.2 m/s, no step")


def test_chunks_in_the_wrong_order_and_twice(bench, report, measures):  # type: ignore[no-untyped-def]
    """Two by two exchanged, each sent twice: the newer of a pair is followed, its twin and the older are refused."""
    waiting: list[TrajectoryChunk] = []
    before, pairs = bench.refused()["old_sequence"], 0

    def shuffle(message: TrajectoryChunk) -> None:
        nonlocal pairs
        waiting.append(message)
        if len(waiting) == 2:
            for one in (waiting[1], waiting[1], waiting[0]):
                bench.chunks.publish(one)
                bench.director.spin(0.02)
            waiting.clear()
            pairs += 1

    off = follow(bench, measures, bench.circle(), send=shuffle)
    # a writer that is held up keeps the newest only, so a message may be lost; most are not
    bench.running.wait(
        lambda: bench.refused()["old_sequence"] >= before + pairs, measures.patience, "what is old is not refused"
    )
    assert off < 0.02
    report.add("F6 chunks in the wrong order, and twice", f"refused: old_sequence; followed to {1e3 * off:.0f} mm")


def test_too_late_to_matter_is_refused_and_the_arm_comes_to_rest(bench, report, measures):  # type: ignore[no-untyped-def]
    motion, begun = bench.move()
    fault = bench.running.motion[-1][0]
    before = bench.refused()["expired"]
    bench.stream(measures.patience, motion, begun, late=lambda: 1.7, until=lambda: bench.state == "HOLDING")
    assert bench.refused()["expired"] > before
    bench.running.wait(lambda: bench.running.at_rest(0.2), measures.patience, "the arm does not rest")
    measures.assert_within_limits(bench.running)
    report.add(
        "F5 every chunk later than it is long (1.7 s)", "refused: expired; HOLDING", measures.halt(bench.running, fault)
    )
