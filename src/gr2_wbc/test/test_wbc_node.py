"""The node as a process of its own over real DDS, in front of a robot that does what it is told."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="no ROS on this machine")
pytest.importorskip("gr2_msgs.msg", reason="gr2_msgs has not been built")

from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from domain_coordinator import domain_id  # noqa: E402
from gr2_msgs.msg import TrajectoryChunk  # noqa: E402
from std_msgs.msg import Bool, String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from wbc_bench import NEWEST, ROBOT, Bench, seconds  # noqa: E402


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with domain_id() as domain:
        made = Bench(domain, tmp_path_factory.mktemp("wbc"))
        yield made
        made.close()


@pytest.fixture
def running(bench: Bench) -> Iterator[Bench]:
    """The bench with a node that holds."""
    bench.start()
    bench.until(bench.in_state("HOLDING"), "HOLDING")
    yield bench
    code = bench.stop()
    log = bench.log.read_text()
    assert code == 0, log
    assert "Traceback" not in log


def test_it_follows_chunks_of_its_session_only(running):
    wrong = running.activate(robot_id="gen4")
    assert not wrong.accepted
    assert "'gen4'" in wrong.message
    assert "'gen3_2f85'" in wrong.message
    granted = running.activate()
    assert granted.accepted
    start = running.positions.copy()
    running.send_chunk("intruder", (0.0, 0.1, 0.0))
    running.until(lambda: running.refused("unknown_session") == 1, "the refusal is counted")
    assert np.allclose(running.positions, start, atol=1e-6)
    running.send_chunk(granted.session, (0.0, 0.1, 0.0))
    running.until(running.in_state("TRACKING"), "TRACKING")
    running.until(running.in_state("HOLDING"), "HOLDING at the end")
    place, _ = ROBOT.tool_pose(running.positions)
    assert np.allclose(place, ROBOT.tool_pose(start)[0] + [0.0, 0.1, 0.0], atol=3e-3)
    assert running.gripper[-1] == 1.0
    state = running.robot_state
    assert state.header.frame_id == "base_link"
    assert state.gripper_opening == pytest.approx(0.25)
    assert state.gripper_closed
    assert list(state.joint_names) == list(ROBOT.joint_names)
    assert state.tool_pose.position.y == pytest.approx(place[1], abs=2e-3)


def test_every_command_carries_its_own_stop(running):
    session = running.activate().session
    running.send_chunk(session, (0.0, -0.1, 0.05))
    running.until(running.in_state("TRACKING"), "TRACKING")
    running.until(lambda: len(running.commands) > 100, "a hundred commands")
    for message in running.commands[-50:]:
        assert list(message.joint_names) == list(ROBOT.joint_names)
        times = [point.time_from_start.sec + 1e-9 * point.time_from_start.nanosec for point in message.points]
        assert len(times) == 3
        assert all(first < second for first, second in pairwise(times))
        assert not np.any(message.points[-1].velocities)
        velocity, tail = np.array(message.points[1].velocities), times[2] - times[1]
        assert np.allclose(
            message.points[2].positions, np.array(message.points[1].positions) + 0.5 * tail * velocity, atol=1e-9
        )
    stamps = [seconds(message.header.stamp) for message in running.commands[-50:]]
    assert all(first <= second for first, second in pairwise(stamps))  # equal while a tail is left to run out


def test_malformed_joint_states_are_counted_named_and_not_used(running):
    before = running.status.bad_messages
    for count, fields in enumerate(
        (
            {"position": [float("nan")] * 8},
            {"position": [3.0] * 4},
            {"name": ["elbow"], "position": [1.0], "velocity": []},
        )
    ):  # one by one: of many at once a reader keeps the newest
        running.robot.send(**fields)
        running.until(lambda n=count: running.status.bad_messages == before + n + 1, "bad messages are counted")
    running.spin(0.2)
    assert running.status.state_name == "HOLDING"
    assert "/joint_states: message not used" in running.log.read_text()


def test_second_publishers_and_wrong_types_are_named(running):
    other = running.node.create_publisher(TrajectoryChunk, "/trajectory_chunk", NEWEST)
    running.until(lambda: "2 publishers on /trajectory_chunk" in running.log.read_text(), "the second publisher")
    running.node.destroy_publisher(other)
    stranger = rclpy.Context()  # one participant cannot offer two types on a topic
    rclpy.init(context=stranger, domain_id=running.domain)
    node = rclpy.create_node("stranger", context=stranger)
    node.create_publisher(String, "/trajectory_chunk", 10)
    try:
        running.until(lambda: "incompatible type" in running.log.read_text(), "the wrong type is named")
        running.until(lambda: "stranger" in running.diagnostics["wbc: input"].message, "a diagnostic")
        assert running.diagnostics["wbc: input"].level == DiagnosticStatus.WARN
        assert "std_msgs/msg/String" in running.diagnostics["wbc: input"].message
    finally:
        node.destroy_node()
        rclpy.shutdown(context=stranger)


def test_e_stop_silences_it_until_the_reset(running):
    session = running.activate().session
    running.send_chunk(session, (0.0, 0.1, 0.0))
    running.until(running.in_state("TRACKING"), "TRACKING")
    running.e_stop.publish(Bool(data=True))
    running.until(running.in_state("STOPPED"), "STOPPED")
    assert running.status.e_stop
    running.e_stop.publish(Bool(data=False))
    running.until(lambda: not running.robot.velocities.any(), "rest, by the last command")
    sent = len(running.commands)
    running.spin(0.3)
    assert len(running.commands) == sent
    assert running.in_state("STOPPED")()
    assert running.call(running.reset, Trigger.Request()).success
    running.until(running.in_state("HOLDING"), "HOLDING again")
    running.until(lambda: len(running.commands) > sent, "commands again")


def test_silent_joint_states_stop_it(running):
    running.robot.silent = True
    running.until(running.in_state("STOPPED"), "STOPPED")
    assert "stale" in running.status.reason
    answer = running.call(running.reset, Trigger.Request())
    assert not answer.success
    assert "stale" in answer.message


def test_a_dry_run_sends_nothing_and_shows_what_it_would(bench):
    bench.start("armed:=false")
    bench.until(bench.in_state("HOLDING"), "HOLDING")
    session = bench.activate().session
    bench.gripper.clear()
    bench.send_chunk(session, (0.0, 0.1, 0.0))
    bench.until(bench.in_state("TRACKING"), "TRACKING")
    bench.until(lambda: "dry run, TRACKING: would send" in bench.log.read_text(), "the command shown")
    bench.until(bench.in_state("HOLDING"), "HOLDING at the end")
    assert not bench.commands
    assert not bench.gripper
    assert not bench.status.armed
    assert bench.stop(signal.SIGTERM) == 0, bench.log.read_text()
    assert "Traceback" not in bench.log.read_text()


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("robot:=gen9", "no robot named 'gen9'"),
        ("qp.solver:=magic", "magic"),
        ("hold_periods:=fast", "hold_periods must be of type int"),
        ("config:=/nowhere.yaml", "/nowhere.yaml"),
        ("armed:=perhaps", "armed must be of type bool"),
    ],
)
def test_a_configuration_that_is_not_usable_is_one_line_and_status_2(bench, parameter, words):
    bench.start(parameter)
    assert bench.process.wait(30.0) == 2
    log = bench.log.read_text()
    assert words in log
    assert "Traceback" not in log
    assert len(log.strip().splitlines()) == 1


def test_a_configuration_file_is_read_and_parameters_override_it(bench, tmp_path):
    path = tmp_path / "wbc.yaml"
    path.write_text("period: 0.01\nqp: {solver: daqp}\nsafety: {joint_state_timeout: 1}\n")
    bench.start(f"config:={path}", "safety.joint_state_timeout:=2.0", "require_handshake:=false")
    bench.until(bench.in_state("HOLDING"), "HOLDING")
    bench.send_chunk("", (0.0, 0.05, 0.0))
    bench.until(bench.in_state("TRACKING"), "TRACKING without a handshake")
    assert bench.stop() == 0, bench.log.read_text()
