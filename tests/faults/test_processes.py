"""F7, F8: processes that die, freeze and come back, in the whole simulated stack."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

from gr2_bringup import stack
from gr2_bringup.supervisor import Supervisor

INSTRUCTION = "put the red block in the bin"
SHAKE = 0.2  # [rad/s] of the simulated arm
PATIENCE = 30.0  # [s] for what comes within a second or two of simulation
TASK = {"task": "", "seed": 3}
RUN_OUT = 1.6 + 1.5 + 0.5
"""[s] of simulation: a chunk of the teacher, the longest time that a slowed one is followed past its end, braking."""


def moving(start):  # type: ignore[no-untyped-def]
    """A stack that is carrying out an instruction, its arm under way."""
    running = start(**TASK).ready()
    running.director.say(INSTRUCTION)
    running.wait(running.moving, PATIENCE, "the arm does not move")
    return running


def succeeds(running) -> None:  # type: ignore[no-untyped-def]
    """The instruction is carried out after all."""
    running.wait(lambda: running.director.outcome is not None and running.director.outcome.success, 120.0, "not done")


def again(running, name: str, **parameters: object) -> Supervisor:  # type: ignore[no-untyped-def]
    """Another process of this node of the stack, in the same domain."""
    found = next(node for node in running.nodes if node.name == name)
    node = stack.Node(
        found.package,
        found.executable,
        name,
        found.parameter_files,
        {**found.parameters, **parameters},
        found.remappings,
    )
    made = Supervisor([node], running.env, stack.share_folder(), running.folder / f"{name}-again", lambda *_: None)
    made.start()
    return made


def test_dead_policy_leads_to_a_controlled_hold(start, report, measures) -> None:  # type: ignore[no-untyped-def]
    running = moving(start)
    running.process("policy").send_signal(signal.SIGKILL)
    killed = time.monotonic()
    known = len(running.log("wbc"))
    running.wait(lambda: running.states[-1][1] == "HOLDING", PATIENCE, "the controller does not hold")
    running.wait(running.at_rest, PATIENCE, "the arm does not rest")
    assert "DECELERATING" in running.log("wbc")[known:]
    stopped = measures.halt(running, killed)
    assert stopped.time < RUN_OUT
    measures.assert_within_limits(running, slack=SHAKE)
    report.add("F7 policy killed (SIGKILL)", "the chunk is run out, DECELERATING, HOLDING", stopped)
    second = again(running, "policy")
    try:
        running.director.say(INSTRUCTION)
        succeeds(running)
    finally:
        second.stop()


@pytest.mark.slow
def test_frozen_policy_is_the_same_and_its_return_is_welcome(start, report, measures) -> None:  # type: ignore[no-untyped-def]
    running = moving(start)
    frozen = time.monotonic()
    running.process("policy").send_signal(signal.SIGSTOP)
    running.wait(lambda: running.states[-1][1] == "HOLDING", PATIENCE, "the controller does not hold")
    running.wait(running.at_rest, PATIENCE, "the arm does not rest")
    report.add(
        "F7 policy frozen (SIGSTOP), then continued",
        "as above; goes on when it is back",
        measures.halt(running, frozen),
    )
    running.process("policy").send_signal(signal.SIGCONT)
    succeeds(running)


def test_arm_brakes_to_rest_when_the_controller_is_killed(start, report, measures) -> None:  # type: ignore[no-untyped-def]
    running = moving(start)
    running.process("wbc").send_signal(signal.SIGKILL)
    killed = time.monotonic()
    running.wait(running.at_rest, PATIENCE, "the arm does not rest")
    stopped = measures.halt(running, killed)
    assert stopped.joint < 0.35
    assert stopped.time < 0.7
    report.add("F8 controller killed (SIGKILL)", "the arm brakes on the tail of the last command", stopped)
    rest = running.motion[-1][2]
    running.director.spin(1.0)
    assert np.abs(running.motion[-1][2] - rest).max() < 0.01, "the arm creeps"
    running.process("wbc").wait()
    running.director.status = None
    second = again(running, "wbc")
    try:
        running.ready()
        running.director.say(INSTRUCTION)
        succeeds(running)
    finally:
        second.stop()


@pytest.mark.slow
def test_second_policy_is_refused_and_the_first_goes_on(start, report) -> None:  # type: ignore[no-untyped-def]
    running = moving(start)
    session = running.director.status.session
    policy = next(node for node in running.nodes if node.name == "policy")
    second = stack.Node(policy.package, policy.executable, "second", parameters=dict(policy.parameters))
    intruder = Supervisor([second], running.env, stack.share_folder(), running.folder / "log", lambda *_: None)
    intruder.start()
    try:
        log = running.folder / "log" / "second.log"
        running.wait(
            lambda: log.exists() and "refuses this policy" in log.read_text(), 60.0, "the second policy is not refused"
        )
        succeeds(running)
        assert running.director.status.session == session
    finally:
        intruder.stop()
    report.add("F12 a second policy node is started", "refused, says why; the first goes on")


def test_empty_instruction_stops(start, report, measures) -> None:  # type: ignore[no-untyped-def]
    running = moving(start)
    said = time.monotonic()
    running.director.say("")
    running.wait(lambda: running.states[-1][1] == "HOLDING", PATIENCE, "the controller does not hold")
    running.wait(running.at_rest, PATIENCE, "the arm does not rest")
    assert measures.halt(running, said).time < 1.5
    report.add("the instruction is withdrawn", "DECELERATING along the path, HOLDING", measures.halt(running, said))
