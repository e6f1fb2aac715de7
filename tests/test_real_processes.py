"""F7, F8 and the driver's own end, through the fake driver: processes that die and are started anew; dry run."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from std_msgs.msg import Float64
from tests.real_cell import INSTRUCTION, Cell, real
from trajectory_msgs.msg import JointTrajectory

from gr2_bringup import stack

CHUNK = 1.6  # [s] length of a chunk of the teacher


@pytest.fixture
def fresh(start: Callable[..., Any]) -> Iterator[Cell]:
    """A stack of a test's own, holding."""
    made = Cell(start(nodes=real()).ready())
    yield made
    made.close()


@pytest.mark.slow
def test_dead_policy_leads_to_a_hold(fresh: Cell) -> None:
    """F7 through the driver."""
    fresh.move()
    fresh.running.process("policy").send_signal(signal.SIGKILL)
    fresh.until("HOLDING", CHUNK + 3.0)
    where = fresh.rest()
    fresh.stands(0.5, where)
    fresh.again("policy")
    fresh.move()
    fresh.done()


def test_dead_controller_leaves_a_standing_arm_that_a_new_one_takes_over_in_any_turn(fresh: Cell) -> None:
    """F8 through the driver, where the commands have left the turn that is measured."""
    fresh.go(joint_7=2.4)
    fresh.move()
    lost = fresh.lost
    fresh.running.process("wbc").send_signal(signal.SIGKILL)
    killed = time.monotonic()
    where = fresh.rest(10.0)
    moving = [at for at, _, _, v in fresh.running.motion if np.abs(v).max() > 0.05]
    fresh.stands(1.2, where)  # and through the trajectory controller's timeout
    # It brakes on the tail of the last command.
    assert max(moving) - killed < 1.0 + 4.0 * (fresh.lost - lost)
    fresh.running.process("wbc").wait()
    fresh.director.status = None
    fresh.again("wbc")
    fresh.running.ready(30.0)
    fresh.stands(0.3, where, 0.05)
    fresh.move()
    fresh.done()


def test_a_lost_session_stops_it_until_the_driver_is_started_anew(fresh: Cell) -> None:
    fresh.move()
    fresh.inject("session")
    fresh.until("STOPPED", 3.0)
    assert "stale" in fresh.reason or "from its command" in fresh.reason
    fresh.running.wait(lambda: "does not answer" in fresh.values.get("message", ""), 5.0, "the driver does not say it")
    assert not fresh.call("/wbc/reset").success
    fresh.running.process("arm").send_signal(signal.SIGTERM)
    fresh.running.process("arm").wait(10.0)
    fresh.running.motion.clear()
    fresh.again("arm")
    fresh.running.wait(lambda: fresh.running.at_rest(0.2), 30.0, "no arm")
    assert fresh.state == "STOPPED"
    fresh.reset()
    fresh.move()
    fresh.done()


def test_dry_run_sends_nothing_and_the_gripper_stays(start: Callable[..., Any]) -> None:
    cell = Cell(start(nodes=real(armed=False)).ready())
    sent: list[object] = []
    topic = stack.JOINT_TRAJECTORY_TOPIC
    cell.node.create_subscription(JointTrajectory, topic, sent.append, 10)
    cell.node.create_subscription(Float64, "/gripper_command", sent.append, 10)
    cell.director.say(INSTRUCTION)
    cell.until("TRACKING", 20.0)
    where = cell.positions
    cell.stands(1.5, where)
    assert sent == []
    assert "dry run" in (cell.running.folder / "log" / "wbc.log").read_text()
