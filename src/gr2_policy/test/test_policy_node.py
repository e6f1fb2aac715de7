"""The policy node as a process, over DDS: handshake, lifecycle, instructions, bad input, with a stand-in controller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("gr2_msgs.msg")
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from domain_coordinator import domain_id  # noqa: E402
from gr2_msgs.msg import RobotState, TrajectoryChunk  # noqa: E402
from gr2_msgs.srv import ActivatePolicy  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402

SIZE = 16  # [pixel]
PLUGIN = """
import numpy as np
from gr2_policy.policy import ActionChunk, UnknownInstruction

class Straight:
    model_id, robot_id, action_space = "straight", "gen3_2f85", "tool_pose_base_link+gripper"
    chunk_dt, normalization_hash, privileged, history = 0.1, "", False, 0

    def reset(self, instruction):
        if instruction == "fly":
            raise UnknownInstruction("cannot follow 'fly'")
        self.instruction = instruction

    def infer(self, o):
        if self.instruction == "crash":
            raise RuntimeError("a bug in the policy")
        steps = np.arange(1, 5)[:, None] * [0.01, 0.0, 0.0]
        return ActionChunk(0.1, o.tool_position + steps, np.tile(o.tool_orientation, (4, 1)), np.zeros(4))

def make_policy(robot="gen3_2f85"):
    policy = Straight()
    policy.robot_id = robot
    return policy
"""


class Bench:
    """A stand-in for everything around the policy node."""

    def __init__(self, domain: int, folder: Path) -> None:
        self.domain, self.folder = domain, folder
        (folder / "straight.py").write_text(PLUGIN)
        info = folder / "straight-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: straight\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[gr2.policies]\nstraight = straight:make_policy\n")
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("bench", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.chunks: list[TrajectoryChunk] = []
        self.requests: list[ActivatePolicy.Request] = []
        self.problems: list[str] = []
        self.refuse = ""
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(TrajectoryChunk, "/trajectory_chunk", self.chunks.append, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.node.create_service(ActivatePolicy, "/wbc/activate_policy", self._grant)
        self.latched = self.node.create_publisher(String, "/instruction", latched)
        self.volatile = self.node.create_publisher(String, "/instruction", 10)
        self.states = self.node.create_publisher(RobotState, "/robot_state", 10)
        self.images = {
            camera: self.node.create_publisher(Image, f"/{camera}_camera/image_raw", qos_profile_sensor_data)
            for camera in ("head", "wrist")
        }
        self.process: subprocess.Popen[str] | None = None
        self.log = folder / "policy.log"
        self.silent: set[str] = set()
        self.pixels = SIZE
        self._next = 0.0

    def _grant(self, request: ActivatePolicy.Request, answer: ActivatePolicy.Response) -> ActivatePolicy.Response:
        self.requests.append(request)
        answer.accepted, answer.message, answer.session = not self.refuse, self.refuse, f"session{len(self.requests)}"
        return answer

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.problems += [status.message for status in message.status if status.level != b"\x00"]

    def start(self, **parameters: object) -> None:
        command = [sys.executable, "-m", "gr2_policy.policy_node", "--ros-args"]
        given = {"policy": "straight", "image_width": SIZE, "image_height": SIZE, "replan_rate": 10.0} | parameters
        for name, value in given.items():
            command += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
        env = os.environ | {"ROS_DOMAIN_ID": str(self.domain)}
        env["PYTHONPATH"] = f"{self.folder}:{env.get('PYTHONPATH', '')}"
        self.process = subprocess.Popen(command, env=env, stdout=open(self.log, "w"), stderr=subprocess.STDOUT)  # noqa: SIM115

    def feed(self) -> None:
        """Images at 10 Hz and states at 50 Hz, as a robot would send them."""
        now = time.time()
        if now < self._next:
            return
        self._next = now + 0.02
        state = RobotState(gripper_opening=0.0, joint_positions=[0.0] * 7)
        state.header.stamp = self.node.get_clock().now().to_msg()
        state.tool_pose.orientation.x, state.tool_pose.orientation.w = 1.0, 0.0
        state.tool_pose.position.x = 0.4
        self.states.publish(state)
        if int(now * 50) % 5:
            return
        for camera, publisher in self.images.items():
            if camera in self.silent:
                continue
            image = Image(height=self.pixels, width=self.pixels, encoding="rgb8", step=3 * self.pixels)
            image.header.stamp = state.header.stamp
            image.data.frombytes(bytes(3 * self.pixels**2))
            publisher.publish(image)

    def until(self, condition: Callable[[], bool], what: str, timeout: float = 15.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"{what}\n{self.log.read_text()}"
            self.feed()
            self.executor.spin_once(timeout_sec=0.005)

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end, "")

    def call(self, kind, name: str, request):  # type: ignore[no-untyped-def]
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, f"no {name}")
        future = client.call_async(request)
        self.until(future.done, f"{name} does not answer")
        return future.result()

    def stop(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            assert self.process.wait(10) == 0, self.log.read_text()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)
        assert "Traceback" not in self.log.read_text(), self.log.read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with domain_id() as domain:
        one = Bench(int(domain), tmp_path)
        yield one
        one.stop()


def test_chunks_carry_what_the_contract_says(bench: Bench) -> None:
    bench.latched.publish(String(data="said before the node began"))
    bench.start()
    bench.until(lambda: len(bench.chunks) >= 3, "no chunks")
    (request,) = bench.requests
    assert (request.robot_id, request.action_space, request.chunk_dt) == (
        "gen3_2f85",
        "tool_pose_base_link+gripper",
        0.1,
    )
    first, second = bench.chunks[:2]
    assert first.instruction == "said before the node began"
    assert (first.header.frame_id, first.session, first.model_id) == ("base_link", "session1", "straight")
    assert (first.sequence, second.sequence) == (1, 2)
    assert first.horizon == 4
    np.testing.assert_allclose(np.array(first.positions).reshape(4, 3)[:, 0], [0.41, 0.42, 0.43, 0.44])
    age = bench.node.get_clock().now().nanoseconds * 1e-9 - (
        bench.chunks[-1].header.stamp.sec + bench.chunks[-1].header.stamp.nanosec * 1e-9
    )
    assert 0.0 < age < 1.0


def test_instruction_of_a_volatile_publisher_counts_once(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: bench.volatile.get_subscription_count() > 0 and bool(bench.requests), "not up")
    bench.spin(0.5)
    assert bench.chunks == []
    bench.volatile.publish(String(data="  open   the drawer "))
    bench.until(lambda: bool(bench.chunks), "no chunks")
    bench.latched.publish(String(data="close the drawer"))
    bench.until(lambda: bench.chunks[-1].instruction == "close the drawer", "new instruction ignored")
    text = bench.log.read_text()
    assert text.count("instruction: open the drawer") == 1
    assert text.count("instruction: close the drawer") == 1


def test_empty_instruction_withdraws(bench: Bench) -> None:
    bench.latched.publish(String(data="go"))
    bench.start()
    bench.until(lambda: len(bench.chunks) >= 2, "no chunks")
    bench.latched.publish(String(data=""))
    bench.until(lambda: bench.chunks[-1].horizon == 0, "no withdrawal")
    assert bench.chunks[-1].sequence == bench.chunks[-2].sequence + 1
    count = len(bench.chunks)
    bench.spin(0.5)
    assert len(bench.chunks) == count


def test_refused_policy_says_why_and_sends_nothing(bench: Bench) -> None:
    bench.refuse = "chunk_dt of the policy is 0.1 s, of the controller 0.05 s"
    bench.latched.publish(String(data="go"))
    bench.start()
    bench.until(lambda: any(bench.refuse in p for p in bench.problems), "refusal not in /diagnostics")
    assert bench.refuse in bench.log.read_text()
    assert bench.chunks == []
    bench.refuse = ""
    bench.until(lambda: bool(bench.chunks), "does not ask again")


def test_unknown_instruction_is_reported(bench: Bench) -> None:
    bench.latched.publish(String(data="fly"))
    bench.start()
    bench.until(lambda: any("cannot follow 'fly'" in p for p in bench.problems), "not in /diagnostics")
    assert "cannot follow 'fly'" in bench.log.read_text()
    assert all(chunk.horizon == 0 for chunk in bench.chunks)


def test_bug_in_a_policy_is_a_line_not_a_crash(bench: Bench) -> None:
    bench.latched.publish(String(data="crash"))
    bench.start()
    bench.until(lambda: "RuntimeError: a bug in the policy" in bench.log.read_text(), "bug not reported")
    bench.latched.publish(String(data="go"))
    bench.until(lambda: bool(bench.chunks), "the node does not go on")


def test_missing_camera_and_wrong_size_are_named(bench: Bench) -> None:
    bench.latched.publish(String(data="go"))
    bench.start()
    bench.until(lambda: bool(bench.chunks), "no chunks")
    bench.silent = {"wrist"}
    bench.until(lambda: "/wrist_camera/image_raw: no usable image" in bench.log.read_text(), "not named")
    bench.until(lambda: any("/wrist_camera/image_raw" in p for p in bench.problems), "not in /diagnostics")
    count = len(bench.chunks)
    bench.spin(0.5)
    assert len(bench.chunks) == count
    bench.silent = set()
    bench.until(lambda: len(bench.chunks) > count, "does not come back")
    bench.pixels = 8
    bench.until(lambda: f"size 8x8, expected {SIZE}x{SIZE}" in bench.log.read_text(), "wrong size not named")


def test_lifecycle_by_hand(bench: Bench) -> None:
    bench.latched.publish(String(data="go"))
    bench.start(autostart=False)

    def change(transition: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition
        return bool(bench.call(ChangeState, "/policy/change_state", request).success)

    def state() -> str:
        return str(bench.call(GetState, "/policy/get_state", GetState.Request()).current_state.label)

    assert state() == "unconfigured"
    assert change(1)  # configure
    bench.until(lambda: bool(bench.requests), "no handshake")
    bench.spin(0.5)
    assert change(3)  # activate
    bench.until(lambda: bool(bench.chunks), "no chunks")
    assert change(4)  # deactivate
    assert state() == "inactive"
    count = len(bench.chunks)
    bench.spin(0.5)
    assert len(bench.chunks) <= count + 1
    assert state() == "inactive", "who deactivates the node by hand wants it to stay so"
    assert change(2)  # clean up
    assert state() == "unconfigured"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"policy": "nobody"}, "no policy named 'nobody' is installed"),
        ({"robot_id": "ur5"}, "made for robot 'gen3_2f85', this is 'ur5'"),
        ({"policy_options": "[colour=red]"}, "cannot be loaded"),
    ],
)
def test_impossible_policies_end_the_node_with_one_line(bench: Bench, parameters: dict, words: str) -> None:
    bench.start(**parameters)
    assert bench.process is not None
    bench.until(lambda: bench.process.poll() is not None, "the node does not end")
    assert bench.process.returncode == 1
    assert words in bench.log.read_text()
