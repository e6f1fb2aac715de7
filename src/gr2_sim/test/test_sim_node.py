"""The simulator's node over real DDS, as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("gr2_msgs.msg")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from gr2_msgs.msg import SceneTruth, TaskOutcome  # noqa: E402
from gr2_msgs.srv import ResetScene  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, JointState  # noqa: E402
from std_msgs.msg import Float64, String  # noqa: E402
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint  # noqa: E402

from gr2_sim import _gl  # noqa: E402

DOMAIN = 30 + os.getpid() % 60
ENVIRONMENT = os.environ | {
    "ROS_DOMAIN_ID": str(DOMAIN),
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    "ROS_PYTHON_CHECK_FIELDS": "1",
}
JOINTS = [f"joint_{i}" for i in range(1, 8)]


def launch(*parameters: str, **environment: str) -> subprocess.Popen[str]:
    arguments = [part for parameter in parameters for part in ("-p", parameter)]
    command = [sys.executable, "-m", "gr2_sim.sim_node", "--ros-args", *arguments]
    return subprocess.Popen(command, env=ENVIRONMENT | environment, text=True, stderr=subprocess.PIPE)


class Client:
    """Hears everything the node says."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = rclpy.create_node("tester", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.heard: dict[str, list[Any]] = {}
        for kind, topic, qos in (
            (JointState, "/joint_states", qos_profile_sensor_data),
            (Clock, "/clock", qos_profile_sensor_data),
            (Image, "/head_camera/image_raw", qos_profile_sensor_data),
            (Image, "/wrist_camera/image_raw", qos_profile_sensor_data),
            (CameraInfo, "/wrist_camera/camera_info", qos_profile_sensor_data),
            (SceneTruth, "/sim/truth", 10),
            (TaskOutcome, "/sim/outcome", 10),
            (DiagnosticArray, "/diagnostics", 10),
        ):
            self.heard[topic] = []
            self.node.create_subscription(kind, topic, self.heard[topic].append, qos)
        self.trajectory = self.node.create_publisher(JointTrajectory, "/joint_commands", 1)
        self.gripper = self.node.create_publisher(Float64, "/gripper_command", 1)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.latched = self.node.create_publisher(String, "/instruction", latched)
        self.volatile = self.node.create_publisher(String, "/instruction", 10)
        self.reset = self.node.create_client(ResetScene, "/sim/reset")

    def until(self, condition: Callable[[], bool], what: str, timeout: float = 20.0) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {timeout} s"
            self.executor.spin_once(timeout_sec=0.05)

    def last(self, topic: str) -> Any:
        return self.heard[topic][-1]

    def ask(self, **request: Any) -> ResetScene.Response:
        future = self.reset.call_async(ResetScene.Request(**request))
        self.until(future.done, "/sim/reset")
        return future.result()

    def values(self) -> dict[str, str]:
        reports = self.heard["/diagnostics"]
        return {v.key: v.value for v in reports[-1].status[0].values} if reports else {}

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


def seconds(message: Any) -> float:
    return message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    render = "true" if _gl.egl_found() else "false"
    process = launch("image_width:=96", "image_height:=64", f"render:={render}", "task:=lift_mug", "seed:=3")
    client = Client()
    try:
        client.until(lambda: bool(client.heard["/sim/truth"]), "the simulator to start")
        client.until(client.reset.service_is_ready, "the service")
        yield client
    finally:
        client.close()
        for _ in range(2):  # launchers send it twice
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def test_joint_states_and_clock(client: Client) -> None:
    states = client.heard["/joint_states"]
    client.until(lambda: len(states) > 150 and len(client.heard["/clock"]) > 150, "joint states and clock")
    assert list(states[-1].name) == [*JOINTS, "robotiq_85_left_knuckle_joint"]
    assert all(len(x) == 8 for x in (states[-1].position, states[-1].velocity, states[-1].effort))
    steps = [seconds(b) - seconds(a) for a, b in zip(states[-100:], states[-99:], strict=False)]
    assert all(step == pytest.approx(0.005 * round(step / 0.005), abs=1e-6) for step in steps)
    assert sorted(steps)[50] == pytest.approx(0.005), "most joint states are 5 ms apart"


@pytest.mark.skipif(not _gl.egl_found(), reason="no EGL on this machine")
def test_images_share_the_stamp_of_the_truth(client: Client) -> None:
    heads, wrists = client.heard["/head_camera/image_raw"], client.heard["/wrist_camera/image_raw"]
    client.until(lambda: len(heads) > 8 and len(wrists) > 8, "images")
    client.until(lambda: seconds(client.last("/sim/truth")) > seconds(heads[8]), "truth")
    truths = {seconds(m) for m in client.heard["/sim/truth"]}
    stamps = {seconds(m) for m in wrists}
    for message in heads[2:8]:
        assert seconds(message) in stamps
        assert seconds(message) in truths
    image, info = heads[-1], client.last("/wrist_camera/camera_info")
    assert (image.width, image.height, image.encoding, image.step) == (96, 64, "rgb8", 288)
    assert len(image.data) == 96 * 64 * 3
    assert max(image.data) > 150
    assert image.header.frame_id == "head_camera_optical_frame"
    assert info.header.frame_id == "wrist_camera_optical_frame"
    assert info.k[0] == pytest.approx(32.0 / 0.38223, rel=1e-3)


def test_follows_commands_and_rests_when_they_cease(client: Client) -> None:
    client.ask(task="lift_mug", seed=3)
    reset = seconds(client.last("/joint_states"))
    client.until(lambda: seconds(client.last("/joint_states")) > reset + 0.2, "the simulator to listen again")
    start = list(client.last("/joint_states").position)[:7]
    goal = [q + 0.15 for q in start]
    message = JointTrajectory(joint_names=list(reversed(JOINTS)))
    point = JointTrajectoryPoint(positions=list(reversed(goal)), velocities=[0.0] * 7)
    point.time_from_start.nanosec = 600_000_000
    message.points = [point]
    client.trajectory.publish(message)
    client.gripper.publish(Float64(data=0.5))
    states = client.heard["/joint_states"]
    client.until(
        lambda: max(abs(q - g) for q, g in zip(states[-1].position, goal, strict=False)) < 0.01, "the arm to get there"
    )
    client.until(lambda: abs(states[-1].position[7] - 0.4) < 0.02, "the gripper to get there")
    client.until(lambda: max(abs(v) for v in states[-1].velocity) < 0.01, "the arm to rest")


def test_malformed_messages_are_counted_and_ignored(client: Client) -> None:
    good = JointTrajectoryPoint(positions=[0.0] * 7, velocities=[0.0] * 7)
    ragged = JointTrajectoryPoint(positions=[0.0] * 3, velocities=[0.0] * 7)
    broken = JointTrajectoryPoint(positions=[float("nan")] * 7, velocities=[0.0] * 7)
    for count, trajectory in enumerate(
        [
            JointTrajectory(),
            JointTrajectory(joint_names=["elbow"], points=[good]),
            JointTrajectory(joint_names=JOINTS, points=[ragged]),
            JointTrajectory(joint_names=JOINTS, points=[broken]),
            JointTrajectory(joint_names=JOINTS, points=[good, good]),
        ],
        start=1,
    ):
        client.trajectory.publish(trajectory)
        client.until(lambda n=count: int(client.values().get("bad_messages/joint_commands", 0)) == n, f"report {count}")
    for value in (float("nan"), 7.0):
        client.gripper.publish(Float64(data=value))
    client.until(lambda: "bad_messages/gripper_command" in client.values(), "report")
    assert int(client.values()["trajectories_accepted"]) >= 1


def test_reset(client: Client) -> None:
    answer = client.ask(task="close_drawer", seed=5)
    assert answer.success, answer.message
    assert answer.instruction == "close the drawer"
    stamp = seconds(client.last("/joint_states"))
    truths = client.heard["/sim/truth"]
    client.until(lambda: truths[-1].seed == 5, "the new scene")
    assert seconds(truths[-1]) >= stamp, "time ran back"
    assert dict(zip(truths[-1].joint_names, truths[-1].joint_positions, strict=True))["drawer"] > 0.1
    assert set(truths[-1].names) >= {"red_block", "mug", "bin"}
    for request, message in (({"task": "dance"}, "unknown task 'dance'"), ({"scene": "moon"}, "unknown scene 'moon'")):
        answer = client.ask(**request)
        assert not answer.success
        assert message in answer.message
    assert client.last("/sim/truth").seed == 5


def test_commands_from_before_a_reset_are_passed_over(client: Client) -> None:
    client.ask(task="lift_mug", seed=3)
    states = client.heard["/joint_states"]
    end = seconds(states[-1]) + 0.3
    client.until(lambda: seconds(states[-1]) > end, "the arm at rest")
    ready, old = list(states[-1].position), states[-1].header.stamp
    client.ask(task="lift_mug", seed=4)
    message = JointTrajectory(joint_names=JOINTS)
    message.header.stamp = old
    message.points = [JointTrajectoryPoint(positions=[q + 0.3 for q in ready[:7]], velocities=[0.0] * 7)]
    message.points[0].time_from_start.sec = 2
    client.trajectory.publish(message)
    end = seconds(states[-1]) + 0.5
    client.until(lambda: seconds(states[-1]) > end, "half a second")
    assert list(states[-1].position) == pytest.approx(ready, abs=2e-3)


def test_instructions_of_both_durabilities(client: Client) -> None:
    client.ask(task="close_drawer", seed=5)
    outcomes = client.heard["/sim/outcome"]
    for publisher, text, task in (
        (client.volatile, "Close the drawer!", "close_drawer"),
        (client.latched, "press the button", "press_button"),
        (client.volatile, "open sesame", ""),
    ):
        publisher.publish(String(data=text))
        client.until(lambda t=text: outcomes[-1].instruction == t, f"outcome of '{text}'")
        assert outcomes[-1].task == task
        assert not outcomes[-1].success
        assert outcomes[-1].elapsed < 2.0
    assert "did you mean" in outcomes[-1].detail
    client.volatile.publish(String(data=" "))
    client.until(lambda: "withdrawn" in outcomes[-1].detail, "the instruction to be withdrawn")


@pytest.mark.parametrize(
    ("parameters", "environment", "message"),
    [
        (("scene:=moon",), {}, "unknown scene 'moon'; known: bar"),
        (("real_time_factor:=0.0",), {}, "real_time_factor must be positive"),
        (("seed:=-1",), {}, "seed is -1"),
        (("seed:=many",), {}, "seed"),
        ((), {"MUJOCO_GL": "disable"}, "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"),
    ],
)
def test_what_cannot_run_says_why_in_one_line(parameters: tuple[str, ...], environment: dict, message: str) -> None:
    process = launch(*parameters, **environment)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert message in errors
    assert "Traceback" not in errors
    assert len([line for line in errors.splitlines() if line.startswith("sim_node: ")]) == 1
