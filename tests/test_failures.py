"""What a dead, late or second process leads to: a state of the controller, never an accident."""

from __future__ import annotations

import signal
import time

import numpy as np
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from gr2_bringup import stack
from gr2_bringup.supervisor import Supervisor

INSTRUCTION = "put the red block in the bin"
TASK = {"task": "", "seed": 3}
CHUNK = 1.6  # [s] length of a chunk of the teacher
FASTEST = 0.8727  # [rad/s] joint speed limit


def moving(start):  # type: ignore[no-untyped-def]
    """A stack that is carrying out an instruction, its arm under way."""
    running = start(**TASK).ready()
    running.director.say(INSTRUCTION)
    running.wait(running.moving, 20.0, "the arm does not move")
    return running


def test_dead_policy_leads_to_a_controlled_hold(start) -> None:  # type: ignore[no-untyped-def]
    running = moving(start)
    running.process("policy").send_signal(signal.SIGKILL)
    killed = time.monotonic()
    running.wait(lambda: running.states[-1][1] == "HOLDING", CHUNK + 2.0, "the controller does not hold")
    running.wait(running.at_rest, 2.0, "the arm does not rest")
    assert any(name == "DECELERATING" and at >= killed for at, name in running.states)
    print(f"policy killed: holding after {running.states[-1][0] - killed:.2f} s")
    after = [v for at, _, _, v in running.motion if at > killed]
    assert np.abs(after).max() < FASTEST * 1.1


def test_frozen_policy_is_the_same_and_its_return_is_welcome(start) -> None:  # type: ignore[no-untyped-def]
    running = moving(start)
    running.process("policy").send_signal(signal.SIGSTOP)
    running.wait(lambda: running.states[-1][1] == "HOLDING", CHUNK + 2.0, "the controller does not hold")
    running.process("policy").send_signal(signal.SIGCONT)
    running.wait(
        lambda: running.director.outcome is not None and running.director.outcome.success, 90.0, "task not done"
    )


def test_arm_brakes_to_rest_when_the_controller_is_killed(start) -> None:  # type: ignore[no-untyped-def]
    running = moving(start)
    running.process("wbc").send_signal(signal.SIGKILL)
    killed = time.monotonic()
    _, _, q_killed, v_killed = running.motion[-1]
    running.wait(running.at_rest, 3.0, "the arm does not rest")
    took = max([at for at, _, _, v in running.motion if np.abs(v).max() > 0.02], default=killed) - killed
    _, _, q_rest, _ = running.motion[-1]
    travel = float(np.abs(q_rest - q_killed).max())
    print(f"controller killed at {np.abs(v_killed).max():.2f} rad/s: at rest after {took:.2f} s, {travel:.3f} rad")
    assert travel < 0.35
    window = [(at, v) for at, _, _, v in running.motion if at > killed + 0.7]
    assert np.abs([v for _, v in window]).max() < 0.02
    time.sleep(0.2)
    running.director.spin(1.0)
    assert np.abs(running.motion[-1][2] - q_rest).max() < 0.01, "the arm creeps"


def test_e_stop_latches_until_it_is_reset(start) -> None:  # type: ignore[no-untyped-def]
    running = moving(start)
    node = running.director.node
    publisher = node.create_publisher(Bool, "/e_stop", 10)
    running.wait(lambda: publisher.get_subscription_count() > 0, 5.0, "nobody listens on /e_stop")
    publisher.publish(Bool(data=True))
    running.wait(lambda: running.states[-1][1] == "STOPPED", 2.0, "the controller does not stop")
    running.wait(running.at_rest, 2.0, "the arm does not rest")
    publisher.publish(Bool(data=False))
    running.director.spin(1.0)
    assert running.states[-1][1] == "STOPPED", "a false on /e_stop must not release the latch"
    client = node.create_client(Trigger, "/wbc/reset")
    running.wait(client.service_is_ready, 5.0, "no reset service")
    future = client.call_async(Trigger.Request())
    running.wait(future.done, 5.0, "reset does not answer")
    assert future.result().success, future.result().message
    running.wait(
        lambda: running.director.outcome is not None and running.director.outcome.success, 90.0, "task not done"
    )


def test_second_policy_is_refused_and_the_first_goes_on(start) -> None:  # type: ignore[no-untyped-def]
    running = moving(start)
    policy = next(n for n in stack.simulation(stack.defaults(stack.SIMULATION)) if n.name == "policy")
    second = stack.Node(policy.package, policy.executable, "second", parameters=dict(policy.parameters))
    intruder = Supervisor([second], running.env, running.supervisor._share, running.folder / "log", lambda *_: None)
    session = running.director.status.session
    intruder.start()
    try:
        log = running.folder / "log" / "second.log"
        running.wait(
            lambda: log.exists() and "refuses this policy" in log.read_text(), 30.0, "the second policy is not refused"
        )
        running.wait(
            lambda: running.director.outcome is not None and running.director.outcome.success, 90.0, "task not done"
        )
        assert running.director.status.session == session
    finally:
        intruder.stop()


def test_controller_that_comes_back_gets_the_policy_back(start) -> None:  # type: ignore[no-untyped-def]
    running = start(**TASK).ready()
    running.process("wbc").send_signal(signal.SIGKILL)
    running.process("wbc").wait()
    wbc = next(n for n in stack.simulation(stack.defaults(stack.SIMULATION)) if n.name == "wbc")
    again = Supervisor([wbc], running.env, running.supervisor._share, running.folder / "again", lambda *_: None)
    running.director.status = None
    again.start()
    try:
        running.ready(20.0)
        running.director.say(INSTRUCTION)
        running.wait(running.moving, 20.0, "the arm does not move")
    finally:
        again.stop()


def test_empty_instruction_stops(start) -> None:  # type: ignore[no-untyped-def]
    running = moving(start)
    running.director.say("")
    took = running.wait(lambda: running.states[-1][1] == "HOLDING", 1.5, "the controller does not hold")
    running.wait(running.at_rest, 2.0, "the arm does not rest")
    print(f"empty instruction: holding after {took:.2f} s")
