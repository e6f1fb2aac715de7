"""The whole stack of the real arm, on the fake driver: tasks, faults of the arm, wraps, joints out of order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tests.real_cell import ROBOT, Cell, real

TURN = 2.0 * np.pi


@pytest.fixture(scope="module")
def shared(start_shared: Callable[..., Any]) -> Iterator[Cell]:
    """One stack for the tests that leave it as they found it."""
    made = Cell(start_shared(nodes=real()).ready())
    yield made
    made.close()


@pytest.fixture
def cell(shared: Cell) -> Cell:
    """The file's stack, holding, without an instruction, nothing wrong."""
    shared.inject("")
    shared.director.say("")
    if shared.state == "STOPPED":
        shared.reset()
    shared.running.wait(lambda: shared.state == "HOLDING", 10.0, "the controller does not hold")
    shared.running.wait(shared.running.at_rest, 5.0, "the arm does not rest")
    shared.running.motion.clear()
    shared.running.wait(lambda: bool(shared.running.motion), 5.0, "no joint states")
    return shared


def test_a_task_is_done_through_the_drivers_interfaces(cell: Cell) -> None:
    begun = time.monotonic()
    cell.move()
    cell.done()
    samples = [sample for sample in cell.running.motion if sample[0] >= begun]
    speeds = np.abs([v for _, _, _, v in samples])
    # An arm with dynamics of its own shakes a little, and on a busy machine it catches up with what it has missed.
    assert np.quantile(speeds, 0.99) < ROBOT.limits.velocity.max() + 0.1
    gaps = np.diff([stamp for _, stamp, _, _ in samples])
    assert np.median(gaps) < 0.0055, "joint states come at 250 Hz"
    assert not any(state == "STOPPED" for _, state in cell.running.states)
    cell.running.wait(lambda: bool(cell.values), 3.0, "no diagnostics of the driver")
    accepted, refused = (int(cell.values[f"trajectories_{what}"]) for what in ("accepted", "rejected"))
    assert accepted > 500
    assert refused < 0.02 * accepted, "the trajectory controller takes the stream"


def test_a_fault_of_the_arm_stops_everything_and_is_reset_without_a_jump(cell: Cell) -> None:
    cell.sweep()
    cell.inject("lasting fault")
    cell.until("STOPPED", 2.0)
    where = cell.rest()
    assert "e-stop" in cell.reason or "from its command" in cell.reason
    cell.running.wait(lambda: "in fault" in cell.values.get("message", ""), 3.0, "the driver does not tell its fault")
    cell.call("/wbc/reset")
    cell.director.spin(1.0)
    assert cell.state == "STOPPED", "no reset of the controller lasts while the arm is in fault"
    cell.stands(0.2, where)
    answer = cell.call("/arm/reset_fault")
    assert not answer.success
    assert "did not clear its fault" in answer.message
    cell.inject("")
    answer = cell.call("/arm/reset_fault")
    assert answer.success, answer.message
    assert cell.reference is not None
    cell.stands(1.0, where)
    cell.reset()
    cell.stands(0.5, where)
    cell.move("open the drawer")
    cell.done()


def test_fault_reset_wants_a_fault_and_a_stopped_controller(cell: Cell) -> None:
    answer = cell.call("/arm/reset_fault")
    assert not answer.success
    assert "no fault" in answer.message


def test_joints_in_another_order_do_no_harm(cell: Cell) -> None:
    begun = time.monotonic()
    cell.inject("order")
    cell.sweep()
    cell.until("HOLDING", 15.0)
    assert not any(state == "STOPPED" and at > begun for at, state in cell.running.states)


def test_joints_under_each_others_names_stop_it(cell: Cell) -> None:
    cell.sweep()
    cell.inject("exchanged")
    cell.until("STOPPED")
    assert "from its command" in cell.reason
    cell.rest()


def test_a_frozen_driver_stops_it_and_is_taken_over_again(cell: Cell) -> None:
    cell.sweep()
    cell.inject("frozen")
    cell.until("STOPPED", 3.0)
    assert "stale" in cell.reason or "from its command" in cell.reason
    assert not cell.call("/wbc/reset").success
    cell.inject("")
    where = cell.rest()
    cell.stands(0.7, where)
    assert cell.state == "STOPPED", "latched although the cause is gone"
    cell.reset()
    cell.stands(0.3, where)


def test_wraps_are_crossed_both_ways_and_nothing_turns_back(cell: Cell) -> None:
    """joint_7 over -pi and back, and what happens to a command that names another turn than the measurement."""
    start = -2.5
    cell.go(joint_7=start)
    begun = time.monotonic()
    cell.go(joint_7=2.4)
    angles = np.array([q[6] for at, _, q, _ in cell.running.motion if at >= begun])
    steps = np.abs(np.diff(angles))
    assert (steps > 6.0).sum() == 1, "told from -pi to pi"
    assert np.minimum(steps, TURN - steps).sum() < 2.0, "the shorter way"
    assert cell.reference is not None
    assert cell.reference[6] < -np.pi, "the controller goes on counting"
    there = cell.rest()
    cell.stop()
    cell.running.wait(lambda: int(cell.values.get("command_timeouts", 0)) > 0, 5.0, "no command timeout")
    cell.stands(1.0, there)
    cell.reset()
    cell.stands(0.5, there)
    begun = time.monotonic()
    cell.go(joint_7=start)
    angles = np.array([q[6] for at, _, q, _ in cell.running.motion if at >= begun])
    steps = np.abs(np.diff(angles))
    assert (steps > 6.0).sum() == 1
    assert np.minimum(steps, TURN - steps).sum() < 2.0
    assert cell.positions[6] == pytest.approx(start, abs=0.03)
