"""The controller as a ROS 2 node: messages, parameters, time and the 200 Hz loop. All decisions are elsewhere."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from functools import partial
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices are 7 x 7; must be set before numpy is imported

import rclpy
from gr2_msgs.msg import RobotState, TrajectoryChunk, WbcStatus
from gr2_msgs.srv import ActivatePolicy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from gr2_wbc import node_messages as messages
from gr2_wbc.chunk import ChunkRefused
from gr2_wbc.command import Command
from gr2_wbc.config import ConfigError
from gr2_wbc.control_clock import ControlClock
from gr2_wbc.controller import Controller, Measurement
from gr2_wbc.intake import HandshakeRefused
from gr2_wbc.joint_input import BadJointState, JointStateReader
from gr2_wbc.kinematics import Kinematics
from gr2_wbc.node_description import receive_description
from gr2_wbc.node_diagnostics import CHUNK_TOPIC, Diagnostics
from gr2_wbc.node_parameters import read_parameters
from gr2_wbc.node_surroundings import Surroundings
from gr2_wbc.polling import Polled, arrival, take
from gr2_wbc.realtime import Collector, RealtimeReport, become_realtime
from gr2_wbc.robot import RobotFileError, UnknownRobot
from gr2_wbc.robots import load_robot
from gr2_wbc.safety import ResetRefused, State
from gr2_wbc.serialized import CommandBytes, JointStateBytes
from gr2_wbc.stop_flag import StopFlag
from gr2_wbc.timing import CycleStats

STATUS_PERIOD, STATE_PERIOD, GRIPPER_PERIOD, SLOW_PERIOD = 0.05, 0.02, 0.1, 1.0  # [s]
SERVICE_PERIOD = 0.02  # [s] between two looks at services and seldom topics
OVERLOAD_FACTOR = 4.0  # status and state are told so much more seldom while cycles are late
QUIET = 2.0  # [s] between repetitions of a warning
DRY_RUN_TOLERANCE = 0.01  # [rad] a holding dry run follows the arm when it has moved by more
CATCH_UP = 0.05  # [s] that the middleware is given to tell of the joints after the node itself was held up
MOST_WAITING = 32  # messages of a topic taken at most before a cycle


class Timer:
    """Tells on a steady clock when something periodic is due."""

    def __init__(self, period: float, phase: float) -> None:
        self._period = period
        self._next = time.monotonic() + phase

    def due(self, steady: float, stretch: float = 1.0) -> bool:
        """Whether it is due; if so it is next due ``stretch`` periods later."""
        if steady < self._next:
            return False
        self._next = max(self._next + stretch * self._period, steady)
        return True


class WbcNode(Node):
    """Runs a :class:`Controller` between /joint_states, /trajectory_chunk and /joint_commands."""

    def __init__(self) -> None:
        """Set up.

        Raises:
            ConfigError: a parameter or the configuration file is not usable.
            UnknownRobot, RobotFileError: neither is the robot.
        """
        super().__init__("wbc")
        parameters = read_parameters(self)
        config = parameters.config
        topic = parameters.description_topic
        self.robot = load_robot(parameters.robot, receive_description(self, topic) if topic else None)
        self.armed = parameters.armed
        self.priority, self.core = parameters.realtime_priority, parameters.realtime_core
        if not self.armed:
            config = replace(config, safety=replace(config.safety, tracking_error=float("inf")))
            self.get_logger().warning("DRY RUN (armed is false): commands are computed and shown, none is sent")
        self.controller = Controller(self.robot, config)
        self.period = config.period
        self._clock_loop = ControlClock()
        self._stats = CycleStats(self.period)
        self._reader = JointStateBytes(JointStateReader(self.robot))
        self._writer = CommandBytes(self.robot)
        self._measured_kinematics = Kinematics(self.robot)
        self._measurement: Measurement | None = None
        self._gripper_opening = 0.0
        self._gripper_sent: float | None = None
        self._now: float | None = None
        self._last_command: Command | None = None
        self._jumps = 0
        self._polled = time.monotonic()
        self._woken = float("-inf")
        self._overloaded = False
        self._realtime = RealtimeReport()
        self._state = State.IDLE
        self._frozen = True
        self._due = {
            name: Timer(period, phase * self.period)
            for name, period, phase in (
                ("status", STATUS_PERIOD, 1.0),
                ("state", STATE_PERIOD, 2.0),
                ("gripper", GRIPPER_PERIOD, 3.0),
                ("slow", SLOW_PERIOD, 4.5),
                ("services", SERVICE_PERIOD, 0.5),
            )
        }
        self._connect()

    def _connect(self) -> None:
        reliable, newest = QoSProfile(depth=10), QoSProfile(depth=1)
        for profile in (reliable, newest):
            profile.reliability = ReliabilityPolicy.RELIABLE
            profile.durability = DurabilityPolicy.VOLATILE
        self._command_out = self.create_publisher(JointTrajectory, "/joint_commands", newest)
        self._gripper_out = self.create_publisher(Float64, "/gripper_command", newest)
        self._state_out = self.create_publisher(RobotState, "/robot_state", reliable)
        self._status_out = self.create_publisher(WbcStatus, "/wbc_status", reliable)
        self._diagnostics = Diagnostics(self, reliable)
        hot = self._hot = Polled()
        self._clock_in = next((one for one in self.subscriptions if one.msg_type is Clock), None)  # rclpy's own
        if self._clock_in is not None:
            self._clock_in.callback_group = hot
        subscribe = partial(hot.subscribe, self)  # callbacks are called by _poll
        on_state: Any = self._on_joint_state  # gets bytes
        self._joints_in = subscribe(JointState, "/joint_states", on_state, qos_profile_sensor_data, raw=True)
        self._chunks_in = subscribe(TrajectoryChunk, CHUNK_TOPIC, self._on_chunk, reliable)
        self._e_stop_in = subscribe(Bool, "/e_stop", self._on_e_stop, reliable)
        self.create_service(ActivatePolicy, "/wbc/activate_policy", self._on_activate)
        self.create_service(Trigger, "/wbc/reset", self._on_reset)
        self.surroundings = Surroundings(self, self.controller, reliable)

    # -- what comes in ---------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        """Take what has come since the last cycle."""
        before, self._polled = self._polled, time.monotonic()
        if self._clock_in is None:
            self._clock_loop.observe(1e-9 * self.get_clock().now().nanoseconds, self._polled)
        else:
            for tick, info in take(self._clock_in, 1):
                self._clock_in.callback(tick)  # rclpy's clock
                self._clock_loop.observe(messages.to_seconds(tick.clock), arrival(info, before))
        for stop, _ in take(self._e_stop_in, MOST_WAITING):
            self._on_e_stop(stop)
        for data, info in take(self._joints_in, MOST_WAITING):
            self._on_joint_state(data, arrival(info, before))
        for chunk, _ in take(self._chunks_in, MOST_WAITING):
            self._on_chunk(chunk)

    def _on_joint_state(self, data: bytes, arrived: float) -> None:
        try:
            stamp, reading = self._reader.read(data)
        except BadJointState as bad:
            self._diagnostics.bad_messages += 1
            self.get_logger().warning(f"/joint_states: message not used: {bad}", throttle_duration_sec=QUIET)
            return
        if reading.gripper is not None:
            self._gripper_opening = reading.gripper
        if reading.positions is None or reading.velocities is None:
            return
        self._measurement = Measurement(
            stamp=stamp,
            positions=reading.positions,
            velocities=reading.velocities,
            gripper_opening=self._gripper_opening,
            received=arrived - self._clock_loop.paused_time,
        )

    def _on_chunk(self, message: TrajectoryChunk) -> None:
        now = self._now if self._now is not None else 0.0
        try:
            self.controller.accept(messages.to_chunk(message), now)
        except ChunkRefused as refused:
            self.get_logger().warning(
                f"{CHUNK_TOPIC}: chunk {message.sequence} of '{message.model_id}' refused: {refused}",
                throttle_duration_sec=QUIET,
            )

    def _on_e_stop(self, message: Bool) -> None:
        if message.data:
            self.controller.e_stop("e-stop received on /e_stop")

    def _on_activate(
        self, request: ActivatePolicy.Request, response: ActivatePolicy.Response
    ) -> ActivatePolicy.Response:
        try:
            senders = self._diagnostics.senders()
            if self.controller.intake.session and len(senders) > 1:
                raise HandshakeRefused(f"another policy is active; these can send chunks: {', '.join(senders)}")
            response.session = self.controller.activate(
                request.policy,
                request.robot_id,
                request.action_space,
                request.chunk_dt,
                request.normalization_hash,
            )
        except HandshakeRefused as refused:
            response.accepted, response.message = False, str(refused)
            self.get_logger().error(
                f"policy '{request.policy}' not activated: {refused}", throttle_duration_sec=5.0 * QUIET
            )
            return response
        response.accepted = True
        self.get_logger().info(f"policy '{request.policy}' activated, session {response.session}")
        return response

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._measurement is None or self._now is None:
            response.success, response.message = False, "no joint state received yet"
            return response
        try:
            self.controller.reset(self._now, self._measurement, self._running_time())
        except ResetRefused as refused:
            response.success, response.message = False, str(refused)
            self.get_logger().error(f"reset refused: {refused}")
            return response
        response.success, response.message = True, self.controller.safety.reason
        return response

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self, executor: SingleThreadedExecutor, ending: StopFlag) -> None:
        """Run cycles at absolute deadlines until ``ending`` is set or ROS shuts down."""
        self._realtime = become_realtime(self.priority, self.core)
        self.get_logger().info(f"real time: {self._realtime}" if self.priority else "real time: not asked for")
        collector = Collector(time.monotonic())
        deadline = time.monotonic()
        while rclpy.ok() and not ending.is_set():
            deadline += self.period
            time.sleep(max(deadline - time.monotonic(), 0.0))
            started = time.monotonic()
            lateness = started - deadline
            if lateness > 0.5 * self.controller.config.safety.joint_state_timeout:
                self._woken = started
            self._poll()
            if self._cycle(started):
                self.controller.note_lateness(lateness)
                self._stats.note(lateness, time.monotonic() - started)
            if self._publish(time.monotonic()):
                collector.collect(started, standing=self._state not in (State.TRACKING, State.DECELERATING))
            if self._due["services"].due(started):
                executor.spin_once(timeout_sec=0.0)
            if lateness > self.period:
                deadline = started  # what was missed is missed

    def _running_time(self) -> float:
        return time.monotonic() - self._clock_loop.paused_time

    def _cycle(self, steady: float) -> bool:
        """One control cycle; whether there was one to run."""
        now = self._clock_loop.advance(steady)
        if self._clock_loop.frozen != self._frozen:
            self._frozen = self._clock_loop.frozen
            self.get_logger().info("ROS time stands still: so does control" if self._frozen else "ROS time runs")
        if now is None or self._clock_loop.frozen or self._measurement is None:
            return False
        self._now = now
        if self._clock_loop.jumps != self._jumps:
            self._jumps = self._clock_loop.jumps
            self.get_logger().warning(f"ROS time jumped by {self._clock_loop.last_jump:.3f} s")
            # Its stamp belongs to the time before the jump; its age is still told by the steady clock.
            self._measurement = replace(self._measurement, stamp=now)
        if not self.armed:
            self._follow_arm(self._measurement)
        self.surroundings.update(now)
        running = steady - self._clock_loop.paused_time
        if steady < self._woken + CATCH_UP and not self._fresh(now, running):
            return True  # nothing is sent: the robot is braking on the last command, or stands
        command = self.controller.step(now, self._measurement, running)
        if self.armed and command.active:
            self._command_out.publish(self._writer.write(command))
            self._send_gripper(command, steady)
        self._tell_state(command)
        self._last_command = command
        return True

    def _fresh(self, now: float, running: float) -> bool:
        """Whether the newest joint state is. While the node was held up itself, it could not hear of any."""
        assert self._measurement is not None
        return self._measurement.age(now, running) <= self.controller.config.safety.joint_state_timeout

    def _send_gripper(self, command: Command, steady: float) -> None:
        changed = self._gripper_sent is None or abs(command.gripper - self._gripper_sent) > 1e-4
        if self._due["gripper"].due(steady) or changed:
            self._gripper_sent = command.gripper
            self._gripper_out.publish(Float64(data=float(command.gripper)))

    def _follow_arm(self, measurement: Measurement) -> None:
        """In a dry run nobody follows the commands: start each motion from where the arm really is."""
        status = self.controller.status()
        if status.state is State.HOLDING and status.joint_tracking_error > DRY_RUN_TOLERANCE:
            self.controller.resync(measurement, "dry run: following the arm")

    def _tell_state(self, command: Command) -> None:
        if command.state is self._state:
            return
        self._state = command.state
        line = f"{command.state.name}: {command.reason}"
        if command.state is State.STOPPED:
            self.get_logger().error(f"{line} (call /wbc/reset once the cause is gone)")
        else:
            self.get_logger().info(line)

    # -- what goes out beside commands -----------------------------------------------------------------------------

    def _publish(self, steady: float) -> bool:
        """Publish what is due; whether the slowest of it was."""
        due, stretch = self._due, OVERLOAD_FACTOR if self._overloaded else 1.0
        if due["state"].due(steady, stretch) and self._measurement is not None:
            gripper = self._gripper_sent if self._gripper_sent is not None else 0.0
            self._state_out.publish(
                messages.to_robot_state(self._measurement, gripper, self._measured_kinematics, self.robot)
            )
        if due["status"].due(steady, stretch):
            status = self.controller.status()
            bad = self._diagnostics.bad_messages
            self._status_out.publish(
                messages.to_wbc_status(status, self._stats, self.armed, bad, self.robot.base_frame)
            )
        if not due["slow"].due(steady):
            return False
        self._tell_overload()
        self._diagnostics.publish(self.controller, self._stats, self._clock_loop, self._realtime, self.armed)
        if not self.armed:
            self._show_command()
        return True

    def _tell_overload(self) -> None:
        overload = self.controller.safety.overload
        if overload and not self._overloaded:
            self.get_logger().warning(f"{overload}: slower, and told more seldom, until that is better")
        elif self._overloaded and not overload:
            self.get_logger().info("cycles are in time again")
        self._overloaded = bool(overload)

    def _show_command(self) -> None:
        if self._last_command is None or not self._last_command.active:
            return
        shown = ", ".join(f"{value:.3f}" for value in self._last_command.positions)
        speed = max(abs(value) for value in self._last_command.velocities.tolist())
        self.get_logger().info(
            f"dry run, {self._last_command.state.name}: would send [{shown}] rad at up to {speed:.3f} rad/s, "
            f"gripper {self._last_command.gripper:.2f}"
        )


def main(args: list[str] | None = None) -> int:
    """Run the node. Returns the exit status: 2 where the configuration is not usable."""
    # Our own handlers: those of rclpy pull the context away in the middle of a cycle, and Python's own raises
    # KeyboardInterrupt wherever it strikes, even while a message is being converted.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    ending = StopFlag.on_signals()
    node = None
    try:
        node = WbcNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.run(executor, ending)
    except ExternalShutdownException:
        pass
    except (ConfigError, RobotFileError, UnknownRobot) as error:
        print(f"wbc_node: {error}", file=sys.stderr)
        return 2
    finally:
        if node is not None:
            node.surroundings.close()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
