"""F11: time that jumps, starts anew or stands still. Nothing old is taken for fresh, and the arm never leaps."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from gr2_bringup import stack
from gr2_bringup.supervisor import Supervisor

INSTRUCTION = "put the red block in the bin"
SHAKE = 0.2  # [rad/s] of the simulated arm
PATIENCE = 30.0  # [s] for what comes within a second or two of simulation


@pytest.fixture(scope="module")
def ticking(start_shared):  # type: ignore[no-untyped-def]
    """One stack for all."""
    return start_shared(seed=3).ready()


def under_way(running) -> None:  # type: ignore[no-untyped-def]
    """Carry out an instruction from the beginning; returns in motion."""
    running.director.say("")
    running.wait(lambda: running.director.status.state_name == "HOLDING", PATIENCE, "not HOLDING")
    running.director.reset_scene(seed=3)
    running.director.spin(0.5)
    running.wait(
        lambda: running.director.status.state_name == "HOLDING" and running.at_rest(0.3), PATIENCE, "not HOLDING"
    )
    running.director.say(INSTRUCTION)
    running.wait(running.moving, PATIENCE, "the arm does not move")


def log_since(running) -> Callable[[], str]:  # type: ignore[no-untyped-def]
    """What the controller prints from now on."""
    known = len(running.log("wbc"))
    return lambda: running.log("wbc")[known:]


@pytest.mark.parametrize("jump", [100.0, -3.0])
def test_a_second_clock_leads_to_a_hold_not_to_a_leap(ticking, jump, report, measures):  # type: ignore[no-untyped-def]
    """A stranger publishes /clock as well, so time leaps to and fro."""
    running = ticking
    under_way(running)
    log = log_since(running)
    node = running.director.node
    publisher = node.create_publisher(Clock, "/clock", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    running.wait(lambda: publisher.get_subscription_count() >= 2, PATIENCE, "nobody hears it")
    begun = time.monotonic()
    while time.monotonic() < begun + 0.5:
        message, ahead = Clock(), running.motion[-1][1] + jump
        message.clock.sec, message.clock.nanosec = int(max(ahead, 0.0)), 0
        publisher.publish(message)
        running.director.spin(0.02)
    node.destroy_publisher(publisher)
    running.director.spin(0.5)
    measures.assert_within_limits(running, begun, slack=SHAKE)
    assert "ROS time jumped" in log()
    report.add(
        f"F11 a second /clock, {jump:+.0f} s off",
        "HOLDING, what was followed is forgotten",
        measures.halt(running, begun),
    )
    if running.director.status.state_name == "STOPPED":
        from std_srvs.srv import Trigger

        client = node.create_client(Trigger, "/wbc/reset")
        running.wait(client.service_is_ready, PATIENCE, "no reset")
        running.wait(running.at_rest, PATIENCE, "the arm does not rest")
        future = client.call_async(Trigger.Request())
        running.wait(future.done, PATIENCE, "no answer")
        assert future.result().success, future.result().message
    running.wait(running.moving, PATIENCE, "it does not go on afterwards")


def test_a_scene_reset_in_full_motion_is_taken_over_where_the_arm_stands(ticking, report):  # type: ignore[no-untyped-def]
    running = ticking
    under_way(running)
    log = log_since(running)
    running.director.reset_scene(seed=5)
    running.wait(lambda: "jumped" in log(), PATIENCE, "not taken over")
    running.wait(lambda: running.director.status.state_name in ("HOLDING", "TRACKING"), PATIENCE, "not HOLDING")
    report.add("F11 the simulated scene is reset in full motion", "taken over where the arm then stands, HOLDING")


def test_a_simulator_that_pauses_and_goes_on(ticking, report, measures):  # type: ignore[no-untyped-def]
    running = ticking
    under_way(running)
    process, log = running.process("sim"), log_since(running)
    process.send_signal(signal.SIGSTOP)
    running.director.spin(2.5)
    process.send_signal(signal.SIGCONT)
    begun = time.monotonic()
    running.wait(lambda: "ROS time runs" in log(), PATIENCE, "time does not go on")
    running.director.spin(1.0)
    assert running.director.status.state_name != "STOPPED", running.director.status.reason
    assert "ROS time stands still: so does control" in log()
    measures.assert_within_limits(running, begun, slack=SHAKE)
    report.add("F11 simulator frozen for 2.5 s", "control stands still with it and goes on with it")


def test_a_simulator_that_starts_anew(start, report):  # type: ignore[no-untyped-def]
    """Its clock begins at 0 again. A stack of its own: it has another simulator afterwards."""
    running = start(seed=3).ready()
    running.director.spin(3.0)  # so that there is time to go back by
    under_way(running)
    running.process("sim").send_signal(signal.SIGKILL)
    running.process("sim").wait()
    running.director.spin(0.5)
    running.director.outcome = None
    node = next(node for node in running.nodes if node.name == "sim")
    second = Supervisor([node], running.env, stack.share_folder(), running.folder / "sim-again", lambda *_: None)
    second.start()
    try:
        running.wait(lambda: running.director.outcome is not None, 60.0, "no simulator")
        running.director.spin(1.5)
        running.wait(
            lambda: running.director.status.state_name in ("HOLDING", "TRACKING", "DECELERATING"),
            PATIENCE,
            "not taken over",
        )
        running.director.say("press the red button")
        running.wait(
            lambda: running.director.outcome is not None and running.director.outcome.success, 120.0, "not done"
        )
    finally:
        second.stop()
    report.add(
        "F11 simulator killed and started anew (time begins at 0)",
        "taken over anew; the policy goes on, and the next instruction is carried out",
    )
