"""F10: an arm that is started where it must not be is not moved at once, and comes out slowly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from gr2_wbc.collision import CollisionMonitor
from gr2_wbc.collision_model import build_collision_model


def beyond_a_limit(robot) -> np.ndarray:  # type: ignore[no-untyped-def]
    start = robot.configurations["ready"].copy()
    start[5] = robot.limits.upper[5] + 0.04
    return start


def too_near_the_table(robot) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Joint 2 lowered until a pair is 6 mm inside its safe distance."""
    monitor, ready = CollisionMonitor(build_collision_model(robot)), robot.configurations["ready"]

    def inside(angle: float) -> float:
        monitor.update(ready + np.eye(robot.dof)[1] * angle)
        return min(monitor.clearance, 1.0) + 0.006

    angles = np.linspace(0.0, 1.2, 241)
    first = next(angle for angle in angles if inside(angle) < 0.0)
    return ready + np.eye(robot.dof)[1] * brentq(inside, first - 0.005, first)


PLACES = {
    "F10 started 0.04 rad beyond a joint limit": (beyond_a_limit, "joint_6 is 0.040 rad beyond"),
    "F10 started 6 mm inside a safe distance": (too_near_the_table, "6.0 mm inside its safe distance"),
}


@pytest.mark.parametrize("fault", PLACES)
def test_it_recovers_outward_and_never_jumps(bench, fault, report, measures):  # type: ignore[no-untyped-def]
    place, words = PLACES[fault]
    start = place(measures.robot)
    bench.start_arm(start)
    bench.running.motion.clear()
    bench.running.wait(lambda: bench.running.at_rest(0.2), measures.patience, "no arm")
    bench.until("STOPPED")  # another arm than the one before
    known = len(bench.running.log("wbc"))
    bench.recover()
    bench.running.wait(lambda: "moved out" in bench.reason, measures.patience, "it does not come out")
    assert words in bench.running.log("wbc")[known:]
    assert bench.state == "HOLDING"
    bench.running.wait(lambda: not bench.running.motion[-1][3].any(), measures.patience, "it does not stand")
    speeds = np.array([v for _, _, _, v in bench.running.motion])
    assert np.abs(speeds).max() < 0.2
    measures.assert_within_limits(bench.running)
    way = float(np.abs(bench.running.motion[-1][2] - start).max())
    report.add(fault, f"HOLDING, moves out by {way:.3f} rad at {np.abs(speeds).max():.2f} rad/s, then stands")
    bench.start_arm()
