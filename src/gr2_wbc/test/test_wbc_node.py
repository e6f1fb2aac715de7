"""The node as a process of its own over real DDS, in front of a robot that does what it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="no ROS on this machine")
pytest.importorskip("gr2_msgs.msg", reason="gr2_msgs has not been built")

from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from domain_coordinator import domain_id  # noqa: E402
from gr2_msgs.msg import RobotState, TrajectoryChunk, WbcStatus  # noqa: E402
from gr2_msgs.srv import ActivatePolicy  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import QoSProfile, qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Bool, Float64, String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from gr2_wbc.robots import load_robot  # noqa: E402

ROBOT = load_robot("gen3_2f85")
PERIOD = 0.01  # of the joint states: slower than a real robot's, so that a loaded machine keeps up
NEWEST = QoSProfile(depth=1)


def seconds(stamp: Time) -> float:
    return stamp.sec + 1e-9 * stamp.nanosec


class Bench:
    """A stand-in robot and policy, and the node's process."""

    def __init__(self, domain: int, folder: Path) -> None:
        self.domain, self.log = domain, folder / "wbc.log"
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("bench", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.process: subprocess.Popen | None = None
        self.positions, self.velocities = ROBOT.configurations["ready"].copy(), np.zeros(7)
        self.commands: list[JointTrajectory] = []
        self.status: WbcStatus | None = None
        self.robot_state: RobotState | None = None
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self.gripper: list[float] = []
        self.sequence, self._next = 0, 0.0
        node = self.node
        self.states = node.create_publisher(JointState, "/joint_states", qos_profile_sensor_data)
        self.chunks = node.create_publisher(TrajectoryChunk, "/trajectory_chunk", NEWEST)
        self.e_stop = node.create_publisher(Bool, "/e_stop", 10)
        node.create_subscription(JointTrajectory, "/joint_commands", self.commands.append, QoSProfile(depth=200))
        node.create_subscription(WbcStatus, "/wbc_status", lambda message: setattr(self, "status", message), 10)
        node.create_subscription(RobotState, "/robot_state", lambda message: setattr(self, "robot_state", message), 10)
        node.create_subscription(Float64, "/gripper_command", lambda message: self.gripper.append(message.data), 10)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.activation = node.create_client(ActivatePolicy, "/wbc/activate_policy")
        self.reset = node.create_client(Trigger, "/wbc/reset")

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics |= {status.name: status for status in message.status}

    def start(self, *parameters: str) -> None:
        self.kill()
        self.spin(0.3)  # what the process before still had on the wire
        self.commands.clear()
        self.status = None
        self.positions, self.velocities = ROBOT.configurations["ready"].copy(), np.zeros(7)
        command = [sys.executable, "-m", "gr2_wbc.program", "--ros-args"]
        # Deadlines and timeouts that a loaded test machine can keep.
        given = {parameter.split(":=")[0] for parameter in parameters}
        patient = {
            "armed": "true",
            "realtime_priority": "0",
            "safety.overrun_share": "1.0",
            "safety.degrade_share": "1.0",
            "safety.joint_state_timeout": "1.0",
        }
        for parameter in (*(f"{name}:={value}" for name, value in patient.items() if name not in given), *parameters):
            command += ["-p", parameter]
        env = os.environ | {"ROS_DOMAIN_ID": str(self.domain)}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(15.0)

    def send_state(self, **changes: object) -> None:
        names = [ROBOT.gripper.joint, *reversed(ROBOT.joint_names)]
        message = JointState(
            name=names,
            position=[0.2, *self.positions[::-1].tolist()],
            velocity=[0.0, *self.velocities[::-1].tolist()],
        )
        message.header.stamp = self.node.get_clock().now().to_msg()
        for name, value in changes.items():
            setattr(message, name, value)
        self.states.publish(message)

    def feed(self) -> None:
        """Follow the newest command (at its second point) and report the joints."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PERIOD
        if self.commands:
            point = self.commands[-1].points[0]
            order = [self.commands[-1].joint_names.index(name) for name in ROBOT.joint_names]
            self.positions, self.velocities = np.array(point.positions)[order], np.array(point.velocities)[order]
        self.send_state()

    def until(self, condition: Callable[[], object], what: str, timeout: float = 20.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout} s: {what}\n{self.status}\n{self.log.read_text()}"
            self.feed()
            self.executor.spin_once(timeout_sec=0.002)

    def spin(self, duration: float, each: Callable[[], None] = lambda: None) -> None:
        deadline = time.monotonic() + duration
        while time.monotonic() < deadline:
            self.feed()
            each()
            self.executor.spin_once(timeout_sec=0.002)

    def in_state(self, name: str) -> Callable[[], bool]:
        return lambda: self.status is not None and self.status.state_name == name

    def call(self, client, request):
        future = client.call_async(request)
        self.until(future.done, f"an answer of {client.srv_name}")
        return future.result()

    def activate(self, **changes: object) -> ActivatePolicy.Response:
        fields = {"policy": "test", "robot_id": "gen3_2f85", "action_space": "tool_pose_base_link+gripper"}
        return self.call(self.activation, ActivatePolicy.Request(**(fields | {"chunk_dt": 0.1} | changes)))

    def send_chunk(self, session: str, offset: tuple[float, float, float], **changes: object) -> None:
        place, orientation = ROBOT.tool_pose(self.positions)
        self.sequence += 1
        message = TrajectoryChunk(session=session, sequence=self.sequence, dt=0.1, horizon=16, model_id="test")
        message.header.stamp = self.node.get_clock().now().to_msg()
        message.header.frame_id = "base_link"
        along = np.linspace(0.0, 1.0, 17)[1:, None] * np.array(offset)
        message.positions = (place + along).ravel().tolist()
        message.orientations = np.tile(orientation, 16).tolist()
        message.gripper = [1.0] * 16
        for name, value in changes.items():
            setattr(message, name, value)
        self.chunks.publish(message)

    def refused(self, name: str) -> int:
        assert self.status is not None
        return dict(zip(self.status.refusal_names, self.status.refusal_counts, strict=True))[name]

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        self.kill()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


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
    running.spin(0.5)
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
    running.send_state(position=[float("nan")] * 8)
    running.send_state(position=[3.0] * 4)
    running.send_state(name=["elbow"], position=[1.0], velocity=[])
    running.until(lambda: running.status.bad_messages == before + 3, "bad messages are counted")
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
    running.spin(0.2)
    running.velocities = np.zeros(7)
    running.positions = np.array(running.commands[-1].points[2].positions)
    running.commands.clear()
    running.spin(0.3)
    assert not running.commands
    assert running.in_state("STOPPED")()
    assert running.call(running.reset, Trigger.Request()).success
    running.until(running.in_state("HOLDING"), "HOLDING again")
    running.until(lambda: running.commands, "commands again")


def test_silent_joint_states_stop_it(running):
    running.send_state = lambda **_: None
    try:
        running.until(running.in_state("STOPPED"), "STOPPED")
        assert "stale" in running.status.reason
        answer = running.call(running.reset, Trigger.Request())
        assert not answer.success
        assert "stale" in answer.message
    finally:
        del running.send_state


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
