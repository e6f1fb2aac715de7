"""What the tests of the node share: its process, a robot in front of it that does what it is told, a policy's part."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from gr2_msgs.msg import RobotState, TrajectoryChunk, WbcStatus
from gr2_msgs.srv import ActivatePolicy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from gr2_wbc.polling import Polled, take
from gr2_wbc.robots import load_robot

ROBOT = load_robot("gen3_2f85")
PERIOD = 0.005  # [s] of the joint states
NEWEST = QoSProfile(depth=1)
PATIENCE = 30.0  # [s] for what comes at once on a machine that is not held up


def seconds(stamp: Time) -> float:
    """A time of ROS [s]."""
    return stamp.sec + 1e-9 * stamp.nanosec


class StandIn:
    """The robot. It has a thread of its own, with precedence where permitted, and so goes on whatever the test does.

    Attributes:
        positions, velocities: (7,) where it is [rad], [rad/s].
        commands: what it was sent, oldest first.
        silent: whether it says nothing.
    """

    def __init__(self, node: Node) -> None:
        self.positions, self.velocities = ROBOT.configurations["ready"].copy(), np.zeros(7)
        self.commands: list[JointTrajectory] = []
        self.silent = False
        self._node = node
        self._states = node.create_publisher(JointState, "/joint_states", qos_profile_sensor_data)
        self._heard = node.create_subscription(
            JointTrajectory, "/joint_commands", print, QoSProfile(depth=400), callback_group=Polled()
        )
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="robot", daemon=True)
        self._thread.start()

    def restart(self) -> None:
        """Stand at 'ready', and forget what was sent."""
        with self._lock:
            list(take(self._heard, 400))
            self.commands.clear()
            self.silent = False
            self.positions, self.velocities = ROBOT.configurations["ready"].copy(), np.zeros(7)

    def close(self) -> None:
        """End the thread."""
        self._ending.set()
        self._thread.join()

    def send(self, **changes: object) -> None:
        """Report the joints, in an order of its own; ``changes`` are fields of the message."""
        message = JointState(
            name=[ROBOT.gripper.joint, *reversed(ROBOT.joint_names)],
            position=[0.2, *self.positions[::-1].tolist()],
            velocity=[0.0, *self.velocities[::-1].tolist()],
        )
        message.header.stamp = self._node.get_clock().now().to_msg()
        for name, value in changes.items():
            setattr(message, name, value)
        self._states.publish(message)

    def _run(self) -> None:
        try:
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_FIFO, os.sched_param(40))
        except PermissionError:
            pass
        due = time.monotonic()
        while not self._ending.is_set():
            with self._lock:
                self.commands.extend(message for message, _ in take(self._heard, 400))
                if self.commands:
                    self._follow(self.commands[-1])
                if not self.silent:
                    self.send()
            due = max(due + PERIOD, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0.0))

    def _follow(self, message: JointTrajectory) -> None:
        """Be where a command says: at its set point, on at its speed, along its tail, at rest."""
        order = [message.joint_names.index(name) for name in ROBOT.joint_names]
        places = [np.array(point.positions)[order] for point in message.points]
        speed = np.array(message.points[0].velocities)[order]
        times = [point.time_from_start.sec + 1e-9 * point.time_from_start.nanosec for point in message.points]
        after = time.time() - seconds(message.header.stamp)
        if after >= times[2]:
            self.positions, self.velocities = places[2], np.zeros(7)
        elif after <= times[1]:
            self.positions, self.velocities = places[0] + speed * max(after - times[0], 0.0), speed
        else:
            left = (times[2] - after) / (times[2] - times[1])
            self.positions, self.velocities = places[2] + left**2 * (places[1] - places[2]), left * speed


class Bench:
    """The node's process, the robot, and the test as the policy."""

    def __init__(self, domain: int, folder: Path) -> None:
        self.domain, self.log = domain, folder / "wbc.log"
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("bench", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.process: subprocess.Popen | None = None
        self.robot = StandIn(self.node)
        self.status: WbcStatus | None = None
        self.robot_state: RobotState | None = None
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self.gripper: list[float] = []
        self.sequence = 0
        node = self.node
        self.chunks = node.create_publisher(TrajectoryChunk, "/trajectory_chunk", NEWEST)
        self.e_stop = node.create_publisher(Bool, "/e_stop", 10)
        node.create_subscription(WbcStatus, "/wbc_status", lambda message: setattr(self, "status", message), 10)
        node.create_subscription(RobotState, "/robot_state", lambda message: setattr(self, "robot_state", message), 10)
        node.create_subscription(Float64, "/gripper_command", lambda message: self.gripper.append(message.data), 10)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.activation = node.create_client(ActivatePolicy, "/wbc/activate_policy")
        self.reset = node.create_client(Trigger, "/wbc/reset")

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics |= {status.name: status for status in message.status}

    @property
    def positions(self) -> np.ndarray:
        """(7,) of the robot [rad]."""
        return self.robot.positions

    @property
    def commands(self) -> list[JointTrajectory]:
        """What the robot was sent."""
        return self.robot.commands

    def start(self, *parameters: str) -> None:
        """Start the node, or another one in its place, before a robot at 'ready'."""
        self.kill()
        self.spin(0.3)  # what the process before still had on the wire
        self.robot.restart()
        self.status = None
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
        return self.process.wait(PATIENCE)

    def until(self, condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
        """Handle messages until a condition holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout} s: {what}\n{self.status}\n{self.log.read_text()}"
            self.executor.spin_once(timeout_sec=0.005)

    def spin(self, duration: float) -> None:
        """Handle messages for a while [s]."""
        deadline = time.monotonic() + duration
        while time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.005)

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

    def recover(self) -> None:
        """Leave STOPPED, where the node is: what one test has left behind must not fail those after it."""
        self.until(lambda: self.status is not None, "the node")
        deadline = time.monotonic() + PATIENCE
        while self.in_state("STOPPED")():
            assert time.monotonic() < deadline, self.log.read_text()
            self.call(self.reset, Trigger.Request())
            self.spin(0.2)

    def close(self) -> None:
        self.kill()
        self.robot.close()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)
