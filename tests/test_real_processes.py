"""F7, F8 and the driver's own end, through the fake driver: processes that die and are started anew; dry run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gr2_msgs.msg import TrajectoryChunk
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
    killed = time.time()  # as the driver stamps
    where = fresh.rest(10.0)
    moving = [stamp for _, stamp, _, v in fresh.running.motion if np.abs(v).max() > 0.05]
    fresh.stands(1.2, where)  # and through the trajectory controller's timeout
    # It brakes on the tail of the last command.
    assert max(moving) - killed < 1.0 + 4.0 * (fresh.lost - lost)
    fresh.running.process("wbc").wait()
    fresh.director.say("")  # else the policy goes on as soon as it can
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


@pytest.mark.slow
def test_a_recorded_run_is_replayed_into_a_policy_and_a_controller(
    start: Callable[..., Any], domain: int, tmp_path: Path
) -> None:
    """docs/debugging.md: the bag takes the arm's place."""
    first = Cell(start(nodes=real(record=str(tmp_path / "bag"))).ready())
    first.move()
    first.done()
    first.running.stop()
    nodes = real(driver="none", use_sim_time=True, armed=False, scene="table")
    again = Cell(start(nodes=nodes))
    chunks: list[TrajectoryChunk] = []
    again.node.create_subscription(TrajectoryChunk, "/trajectory_chunk", chunks.append, 10)
    left_out = ["/trajectory_chunk", "/robot_state", "/wbc_status", "/diagnostics", "/gripper_command"]
    command = [sys.executable, "-m", "gr2_bringup.cli", "replay", str(tmp_path / "bag"), "--clock", "--wait", "5"]
    command += ["--exclude", *left_out, stack.JOINT_TRAJECTORY_TOPIC]
    with open(tmp_path / "replay.log", "w") as log:
        player = subprocess.Popen(command, env=again.running.env, stdout=log, stderr=subprocess.STDOUT)
    try:
        again.until("TRACKING", 60.0)
        again.running.wait(lambda: len(chunks) > 10, 30.0, "no chunks")
        assert player.wait(60) == 0, (tmp_path / "replay.log").read_text()
    finally:
        player.kill()
    assert not any(state == "STOPPED" for _, state in again.running.states)
    assert chunks[-1].instruction == INSTRUCTION
    assert "dry run: following the arm" in again.reason or "would send" in again.running.logs()
