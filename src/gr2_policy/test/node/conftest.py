"""A stand-in for everything around the policy node, which runs as a process, over DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from domain_coordinator import domain_id
from gr2_msgs.msg import RobotState, Surprise, TrajectoryChunk, WbcStatus
from gr2_msgs.srv import ActivatePolicy
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

SIZE = 16  # [pixel]
PLUGIN = """
import time
from pathlib import Path

import numpy as np
from gr2_policy.policy import ActionChunk, Frame, PolicyError, UnknownInstruction, WarmUp

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

class Seer(Straight):
    "Imagines darkness, 0.1 s ahead; like a model it wants observations in the order of time."
    model_id, frame_dt, notice = "seer", 0.1, "sees nothing but darkness"

    def __init__(self, warm, instant):
        self.warm = warm
        self.instant = instant  # of the processor [s]; None: unknown

    def warm_up(self, observation, imagine):
        if not self.warm:
            raise MemoryError("no room for darkness")
        assert observation.images["wrist"].shape == (16, 16, 3)
        processor = None if self.instant is None else (0.05, self.instant)
        return WarmUp(0.5, 0.25, 0.125 if imagine else 0.0, processor)

    def reset(self, instruction):
        super().reset(instruction)
        self.last = -1.0

    def infer(self, o):
        if o.stamp <= self.last:
            raise PolicyError("not newer")
        self.last = o.stamp
        return super().infer(o)

    def fork(self):
        return self.last

    def imagine(self, fork, between):
        between()
        dark = np.zeros((8, 8, 3), np.uint8)
        return Frame(fork + 0.1, {"head": np.zeros(4), "wrist": np.zeros(4)}, {"head": dark, "wrist": dark})

    def look(self, o):
        images = {camera: image[:8, :8] for camera, image in o.images.items()}
        return Frame(o.stamp, {c: np.full(4, i[0, 0, 0]) for c, i in images.items()}, images)

def make_seer(warm="true", instant=None):
    return Seer(warm == "true", None if instant is None else float(instant))

def make_slow(marker):
    Path(marker).touch()
    time.sleep(60)
"""


PLUGINS = {"straight": "policy", "seer": "seer", "slow": "slow"}


class Bench:
    """A stand-in for everything around the policy node."""

    def __init__(self, domain: int, folder: Path) -> None:
        self.domain, self.folder = domain, folder
        (folder / "straight.py").write_text(PLUGIN)
        info = folder / "straight-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: straight\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[gr2.policies]\n" + "".join(f"{name} = straight:make_{what}\n" for name, what in PLUGINS.items())
        )
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("bench", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.chunks: list[TrajectoryChunk] = []
        self.requests: list[ActivatePolicy.Request] = []
        self.problems: list[str] = []
        self.values: dict[str, str] = {}
        self.surprises: list[Surprise] = []
        self.imagined: list[Image] = []
        self.refuse = ""
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(TrajectoryChunk, "/trajectory_chunk", self.chunks.append, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.node.create_subscription(Surprise, "/imagination/surprise", self.surprises.append, 10)
        self.node.create_subscription(Image, "/imagination/wrist", self.imagined.append, 10)
        self.statuses = self.node.create_publisher(WbcStatus, "/wbc_status", 10)
        self.node.create_service(ActivatePolicy, "/wbc/activate_policy", self._grant)
        self.latched = self.node.create_publisher(String, "/instruction", latched)
        self.volatile = self.node.create_publisher(String, "/instruction", 10)
        self.states = self.node.create_publisher(RobotState, "/robot_state", 10)
        self.images = {
            camera: self.node.create_publisher(Image, f"/{camera}_camera/image_raw", qos_profile_sensor_data)
            for camera in ("head", "wrist")
        }
        self.files = {
            camera: self.node.create_publisher(
                CompressedImage, f"/{camera}_camera/image_raw/compressed", qos_profile_sensor_data
            )
            for camera in ("head", "wrist")
        }
        self.compressed = b""  # a file that is sent in the place of images
        self.process: subprocess.Popen[str] | None = None
        self.log = folder / "policy.log"
        self.silent: set[str] = set()
        self.pixels = SIZE
        self.brightness = 0
        self.shift = 0.0  # [s] of all stamps
        self._next = 0.0

    def _grant(self, request: ActivatePolicy.Request, answer: ActivatePolicy.Response) -> ActivatePolicy.Response:
        self.requests.append(request)
        answer.accepted, answer.message, answer.session = not self.refuse, self.refuse, f"session{len(self.requests)}"
        return answer

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.problems += [status.message for status in message.status if status.level != b"\x00"]
        self.values = {pair.key: pair.value for status in message.status for pair in status.values}

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
        state.header.stamp = (self.node.get_clock().now() + Duration(seconds=self.shift)).to_msg()
        state.tool_pose.orientation.x, state.tool_pose.orientation.w = 1.0, 0.0
        state.tool_pose.position.x = 0.4
        self.states.publish(state)
        if int(now * 50) % 5:
            return
        for camera, publisher in self.images.items():
            if camera in self.silent:
                continue
            if self.compressed:
                file = CompressedImage(format="rgb8; jpeg compressed bgr8")
                file.header.stamp = state.header.stamp
                file.data.frombytes(self.compressed)
                self.files[camera].publish(file)
                continue
            image = Image(height=self.pixels, width=self.pixels, encoding="rgb8", step=3 * self.pixels)
            image.header.stamp = state.header.stamp
            image.header.frame_id = f"{camera}_optical"
            image.data.frombytes(bytes([self.brightness]) * (3 * self.pixels**2))
            publisher.publish(image)

    def until(self, condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
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
