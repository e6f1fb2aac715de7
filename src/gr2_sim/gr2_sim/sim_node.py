"""The simulated cell behind the robot's topics: physics in the main thread, messages and pictures in two others."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from gr2_msgs.msg import SceneTruth, TaskOutcome
from gr2_msgs.srv import ResetScene
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float64, String
from trajectory_msgs.msg import JointTrajectory

from gr2_policy.instruction import BadInstruction, clean
from gr2_policy.policy import SceneTruth as Truth
from gr2_sim.build import ARM_JOINTS, KNUCKLE_JOINT
from gr2_sim.camera_thread import CameraThread, Snapshot
from gr2_sim.cameras import RenderingUnavailable
from gr2_sim.conversions import (
    from_trajectory,
    to_camera_info,
    to_diagnostics,
    to_doubles,
    to_image,
    to_outcome,
    to_time,
    to_truth,
)
from gr2_sim.layout import LayoutError
from gr2_sim.pacing import CommandGate, Pacer
from gr2_sim.parts import DataError
from gr2_sim.referee import Outcome, Referee
from gr2_sim.tasks import UnknownTask
from gr2_sim.trajectory_executor import TrajectoryRejected
from gr2_sim.world import World
from gr2_wbc.polling import Polled, take
from gr2_wbc.stop_flag import StopFlag

TICK = 0.005
"""Period [s] of joint states and clock."""
DEAF_AFTER_RESET = 0.1
"""Time [s] after a reset in which commands are passed over: they still mean the arm where it was before."""
QUIET = 2.0
"""Time [s] between two complaints about the same topic."""
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
CLOCK = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
PARAMETERS: dict[str, Any] = {
    "scene": "table",  # file in data/scenes
    "task": "",  # the scene is arranged for it; empty: none
    "seed": 0,  # of the arrangement
    "image_width": 256,  # [px]
    "image_height": 256,
    "camera_rate": 10.0,  # [Hz] of simulation time; images, truth and outcome
    "render": True,  # false: no images
    "real_time_factor": 1.0,  # simulated seconds per second
}


class BadParameter(ValueError):
    """A parameter has an impossible value; the message names it."""


class SimNode(Node):
    """The node `sim`.

    Raises:
        ValueError: a parameter makes no sense (BadParameter, DataError, UnknownTask are ValueErrors).
        InvalidParameterTypeException: a parameter has the wrong type.
        LayoutError: the scene cannot be arranged.
        RenderingUnavailable: images are wanted and this machine cannot draw.
    """

    def __init__(self) -> None:
        super().__init__("sim")
        values = {name: self.declare_parameter(name, default).value for name, default in PARAMETERS.items()}
        width, height = int(values["image_width"]), int(values["image_height"])
        for name, value in (("image_width", width), ("image_height", height)):
            if not 1 <= value <= 4096:
                raise BadParameter(f"{name} is {value}; expected 1 ... 4096 pixels")
        if not 0.0 < values["camera_rate"] <= 1.0 / TICK:
            raise BadParameter(
                f"camera_rate is {values['camera_rate']}; expected more than 0, at most {1 / TICK:.0f} Hz"
            )
        if values["seed"] < 0:
            raise BadParameter(f"seed is {values['seed']}; it must not be negative")
        self._pacer = Pacer(float(values["real_time_factor"]))
        self._lock = threading.Lock()
        self._gate = CommandGate(TICK)
        self._world = World(values["scene"])
        self._world.reset(values["task"], int(values["seed"]), time=0.0)
        self._substeps = round(TICK / self._world.timestep)
        self._picture_ticks = max(1, round(1.0 / (values["camera_rate"] * TICK)))
        self._referee = Referee()
        self._deaf_until = 0.0
        self._last_instruction: tuple[int, str] | None = None
        self._bad: dict[str, int] = {}
        self._complained: dict[str, float] = {}
        self._connect()
        self._infos = {
            name: to_camera_info(0.0, f"{name}_camera_optical_frame", float(camera["fovy"]), width, height)
            for name, camera in self._world.cell.cameras.items()
        }
        self._cameras: CameraThread | None = None
        if values["render"]:
            self._cameras = CameraThread(list(self._infos), width, height, self._publish_images)
            self._cameras.start(Snapshot.of(self._world.model, self._world.data))

    def _connect(self) -> None:
        names = self._world.cell.cameras
        sensor = qos_profile_sensor_data
        self._image_publishers = {n: self.create_publisher(Image, f"/{n}_camera/image_raw", sensor) for n in names}
        self._info_publishers = {
            n: self.create_publisher(CameraInfo, f"/{n}_camera/camera_info", sensor) for n in names
        }
        self._joint_publisher = self.create_publisher(JointState, "/joint_states", sensor)
        self._clock_publisher = self.create_publisher(Clock, "/clock", CLOCK)
        self._truth_publisher = self.create_publisher(SceneTruth, "/sim/truth", RELIABLE)
        self._outcome_publisher = self.create_publisher(TaskOutcome, "/sim/outcome", LATCHED)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE)
        self._commands = Polled().subscribe(self, JointTrajectory, "/joint_commands", self._on_trajectory, NEWEST)
        self.create_subscription(Float64, "/gripper_command", self._on_gripper, NEWEST)
        # A transient-local subscription does not match volatile publishers (`ros2 topic pub`), a volatile one does
        # not get what was said before it began: hence both; what comes twice is taken once.
        self.create_subscription(String, "/instruction", self._on_instruction, RELIABLE)  # type: ignore[arg-type]
        self.create_subscription(String, "/instruction", self._on_instruction, LATCHED)  # type: ignore[arg-type]
        self.create_service(ResetScene, "/sim/reset", self._on_reset)
        self._joint_message = JointState(name=[*ARM_JOINTS, KNUCKLE_JOINT])

    # -------------------------------------------------------------------------------- what comes in

    def _take_command(self) -> None:
        """Read the newest trajectory, if one has come."""
        for message, _ in take(self._commands, 1):
            self._on_trajectory(message)

    def _on_trajectory(self, message: JointTrajectory) -> None:
        try:
            trajectory = from_trajectory(message)
            self._gate.commanded(trajectory[0], self._world.time, time.monotonic())
            with self._lock:
                if trajectory[0] == 0.0 or trajectory[0] >= self._deaf_until:
                    self._world.accept_trajectory(*trajectory)
        except TrajectoryRejected as rejected:
            self._refuse("/joint_commands", str(rejected))

    def _on_gripper(self, message: Float64) -> None:
        try:
            with self._lock:
                if self._world.time >= self._deaf_until:
                    self._world.command_gripper(float(message.data))
        except ValueError as error:
            self._refuse("/gripper_command", str(error))

    def _on_instruction(self, message: String, info: dict[str, int]) -> None:
        source = (int(info["source_timestamp"]), message.data)
        if source == self._last_instruction:
            return
        self._last_instruction = source
        try:
            text = clean(message.data)
        except BadInstruction as bad:
            self._refuse("/instruction", str(bad))
            return
        with self._lock:
            if text:
                self._referee.begin(text, self._world.truth())
            else:
                self._referee.clear("the instruction was withdrawn")

    def _on_reset(self, request: ResetScene.Request, response: ResetScene.Response) -> ResetScene.Response:
        try:
            with self._lock:
                response.instruction = self._world.reset(request.task, int(request.seed), request.scene)
                self._deaf_until = self._world.time + DEAF_AFTER_RESET
                self._referee.clear("the scene was reset; no instruction has been given since")
            response.success = True
            response.message = f"scene '{self._world.cell.name}', task '{request.task}', seed {request.seed}"
            self.get_logger().info(f"reset: {response.message}")
        except (DataError, UnknownTask, LayoutError) as error:
            response.success, response.message = False, str(error)
            self.get_logger().warning(f"reset refused: {error}")
        return response

    def _refuse(self, topic: str, reason: str) -> None:
        self._bad[topic] = self._bad.get(topic, 0) + 1
        count = self._bad[topic]
        now = time.monotonic()
        if now - self._complained.get(topic, -QUIET) >= QUIET:  # rclpy's own throttle would count all topics as one
            self._complained[topic] = now
            self.get_logger().warning(f"{topic}: message ignored ({count} so far): {reason}")

    # -------------------------------------------------------------------------------- what goes out

    def _publish_joints(self, stamp: Time, state: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        message = self._joint_message
        message.header.stamp = stamp
        message.position, message.velocity, message.effort = (to_doubles(values) for values in state)
        self._joint_publisher.publish(message)

    def _joint_state(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        world, (angle, rate) = self._world, self._world.knuckle
        return (
            np.append(world.joint_positions, angle),
            np.append(world.joint_velocities, rate),
            np.append(world.joint_efforts, 0.0),
        )

    def _publish_images(self, stamp: float, images: dict[str, np.ndarray]) -> None:
        """In the cameras' thread."""
        for name, pixels in images.items():
            info = self._infos[name]
            info.header.stamp = to_time(stamp)
            self._image_publishers[name].publish(to_image(stamp, info.header.frame_id, pixels))
            self._info_publishers[name].publish(info)

    def _publish_picture(self, truth: Truth, outcome: Outcome, snapshot: Snapshot) -> None:
        if self._cameras is not None:
            self._cameras.draw(snapshot)
        self._truth_publisher.publish(to_truth(truth))
        self._outcome_publisher.publish(to_outcome(outcome))

    def _report(self, now: float, wall: float) -> None:
        factor, cameras = self._pacer.achieved(now, wall), self._cameras
        warning = ""
        if factor < 0.95 * self._pacer.factor:
            warning = f"simulation time runs at {factor:.2f} of real time, {self._pacer.factor:g} asked for"
            self.get_logger().warning(f"{warning}: this machine is too busy", throttle_duration_sec=10.0)
        executor = self._world.executor
        values = {
            "real_time_factor": f"{factor:.3f}",
            "real_time_factor_wanted": f"{self._pacer.factor:g}",
            "time_lost": f"{self._pacer.lost:.2f} s",
            "waited_for_commands": str(self._gate.waits),
            "episode": str(self._world.episode),
            "trajectories_accepted": str(executor.accepted),
            "trajectories_rejected": str(executor.rejected),
            **{f"bad_messages{topic}": str(count) for topic, count in self._bad.items()},
        }
        if cameras is not None:
            values |= {"pictures": str(cameras.drawn), "pictures_left_out": str(cameras.left_out)}
        self._diagnostics_publisher.publish(to_diagnostics(now, "sim: simulation", warning, values))

    # ------------------------------------------------------------------------------------- running

    def run(self, stop: StopFlag) -> None:
        """Simulate until told to stop."""
        tick, next_report = 0, time.monotonic() + 1.0
        clock, world = Clock(), self._world
        while not stop.is_set():
            picture: tuple[Truth, Outcome, Snapshot] | None = None
            with self._lock:
                world.step(self._substeps)
                now, joints = world.time, self._joint_state()
                tick += 1
                if tick % self._picture_ticks == 0:
                    truth = world.truth()
                    outcome = self._referee.update(truth, world.touched())
                    picture = truth, outcome, Snapshot.of(world.model, world.data)
            clock.clock = to_time(now)
            self._clock_publisher.publish(clock)
            self._publish_joints(clock.clock, joints)
            if picture is not None:
                self._publish_picture(*picture)
            wall = time.monotonic()
            if wall >= next_report:
                next_report = wall + 1.0
                self._report(now, wall)
            wait = self._pacer.wait(now, time.monotonic())
            if wait > 0.0:
                time.sleep(wait)
            self._take_command()
            while self._gate.closed(now, time.monotonic()) and not stop.is_set():
                time.sleep(0.2 * TICK)
                self._take_command()
                self._clock_publisher.publish(clock)  # the last one may have been lost: it is best effort

    def close(self) -> None:
        """End the cameras' thread."""
        if self._cameras is not None:
            self._cameras.stop()


def _start_ros(arguments: list[str] | None) -> None:
    """Initialise rclpy; signals are handled by main.

    Raises:
        BadParameter: the ROS arguments cannot be parsed.
    """
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # RCLError, which rclpy does not export
        raise BadParameter(str(error)) from None


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    os.environ.setdefault("LP_NUM_THREADS", "1")
    sys.setswitchinterval(0.0005)
    stop = StopFlag.on_signals()
    node = None
    try:
        _start_ros(arguments)
        node = SimNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        messages = threading.Thread(target=executor.spin, name="messages", daemon=True)
        messages.start()
        node.run(stop)
        executor.shutdown()
        messages.join(timeout=5.0)
        return 0
    except (RenderingUnavailable, LayoutError, InvalidParameterTypeException, ValueError) as error:
        print(f"sim_node: {error}", file=sys.stderr)
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # launchers send it twice
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
