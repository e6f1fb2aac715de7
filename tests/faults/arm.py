"""An arm of its own process on the system clock: follows /joint_commands, publishes /joint_states, fails on request.

    python arm.py '[0.0, 0.26, ...]'      joint positions to begin with [rad]

What it is told on /arm/fault it does until told otherwise; "" is a sound arm, "home" one that stands where it began,
at once. /arm/truth always tells where it is. Commands take effect when they were made, however late this process gets
its turn on a busy machine: it is the controller that is tried here.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections import deque

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from gr2_sim.conversions import from_trajectory
from gr2_sim.trajectory_executor import TrajectoryExecutor, TrajectoryRejected
from gr2_wbc.polling import Polled, take
from gr2_wbc.realtime import become_realtime
from gr2_wbc.robots import load_robot
from gr2_wbc.stop_flag import StopFlag

PERIOD = 0.005
MOST = 400  # messages that wait: two seconds
NAN = float("nan")
ROBOT = load_robot("gen3_2f85")


class Arm:
    """See the module's docstring."""

    def __init__(self, start: np.ndarray) -> None:
        self.node = rclpy.create_node("arm")
        self._start = start
        self.executor = TrajectoryExecutor(ROBOT.joint_names, start)
        self.fault = ""
        self._sent: deque[tuple[float, JointState]] = deque()
        self._frozen: JointState | None = None
        polled = Polled()
        self._accepted = 0.0
        self._commands = self.node.create_subscription(
            JointTrajectory, "/joint_commands", print, QoSProfile(depth=MOST), callback_group=polled
        )
        self._faults = self.node.create_subscription(String, "/arm/fault", print, 10, callback_group=polled)
        self._states = self.node.create_publisher(JointState, "/joint_states", qos_profile_sensor_data)
        self._truth = self.node.create_publisher(JointState, "/arm/truth", QoSProfile(depth=MOST))

    def tick(self) -> None:
        """One period."""
        now = self.node.get_clock().now()
        for message, _ in take(self._faults, 10):
            self.fault, self._frozen = message.data, None
            if self.fault == "home":
                self.executor.hold(self._start)
        for message, _ in take(self._commands, MOST):
            if self.fault != "stuck":
                self._accept(message, 1e-9 * now.nanoseconds)
        positions, velocities = self.executor.sample(1e-9 * now.nanoseconds)
        names = [*ROBOT.joint_names, ROBOT.gripper.joint]
        truth = JointState(name=names, position=[*positions.tolist(), 0.2], velocity=[*velocities.tolist(), 0.0])
        truth.header.stamp = now.to_msg()
        self._truth.publish(truth)
        for message in self._reported(copy.deepcopy(truth), 1e-9 * now.nanoseconds):
            self._states.publish(message)

    def _accept(self, message: JointTrajectory, now: float) -> None:
        trajectory = from_trajectory(message)
        self._accepted = min(max(trajectory[0], self._accepted), now)
        try:
            self.executor.accept(self._accepted, *trajectory)
        except TrajectoryRejected as rejected:
            print(f"rejected: {rejected}", flush=True)

    def _reported(self, message: JointState, now: float) -> list[JointState]:
        fault, _, value = self.fault.partition(":")
        self._sent.append((now, message))
        while self._sent[0][0] < now - 2.0:
            self._sent.popleft()
        if fault in ("frozen", "stamp frozen"):
            self._frozen = self._frozen or copy.deepcopy(message)
            if fault == "frozen":
                return [self._frozen]
            message.header.stamp = self._frozen.header.stamp
        elif fault == "silent":
            return []
        elif fault == "delayed":
            due = [old for at, old in self._sent if at <= now - float(value)]
            return due[-1:]
        elif fault == "duplicated":
            return [message, message]
        elif fault == "swapped":
            before = self._sent[-2][1] if len(self._sent) > 1 else message
            return [message, before] if int(now / PERIOD) % 2 else []
        elif fault == "now and then":
            bad = copy.deepcopy(message)
            bad.position[2] = NAN
            return [bad, message]
        elif fault == "nan":
            message.position[2] = NAN
        elif fault == "infinite velocity":
            message.velocity[4] = float("inf")
        elif fault == "short":
            message.position = message.position[:5]
        elif fault == "missing":
            for field in (message.name, message.position, message.velocity):
                del field[3]
        elif fault == "other names":
            message.name = [f"other_{name}" for name in message.name]
        elif fault == "reversed":
            message.name = message.name[::-1]
            message.position, message.velocity = message.position[::-1], message.velocity[::-1]
        elif fault == "exchanged":
            message.name[1], message.name[3] = message.name[3], message.name[1]
        elif fault == "jump":
            message.position[2] += float(value)
        elif fault == "future":
            ahead = now + float(value)
            message.header.stamp = Time(sec=int(ahead), nanosec=int(ahead % 1.0 * 1e9))
        return [message]


def main() -> None:
    """Run until told to stop."""
    ending = StopFlag.on_signals()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    arm = Arm(np.array(json.loads(sys.argv[1])))
    print(become_realtime(40, -2), flush=True)
    deadline = time.monotonic()
    while not ending.is_set():
        arm.tick()
        deadline = max(deadline + PERIOD, time.monotonic())
        time.sleep(max(deadline - time.monotonic(), 0.0))
    rclpy.shutdown()


if __name__ == "__main__":
    main()
