"""The fake driver as a node: topics, actions and services of ros2_kortex and its controllers, in real time.

    fake_kortex_node --ros-args -p controllers:=kortex_controllers.yaml

Beside the driver's own interfaces it serves what a real cell has otherwise: both cameras; and, as no real cell can,
the scene's truth and the referee's outcome. ``/fake_kortex/inject`` (std_msgs/String) makes things go wrong
(``faults.py``). The control loop runs at 1 kHz, in bursts of one joint state's period; messages come and go once a
burst. Time is the system's, and nothing waits for anybody, as with the arm.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from control_msgs.action import ParallelGripperCommand
from control_msgs.msg import JointTrajectoryControllerState
from diagnostic_msgs.msg import DiagnosticArray
from example_interfaces.msg import Bool as ExampleBool
from example_interfaces.srv import Trigger as ExampleTrigger
from gr2_msgs.msg import SceneTruth, TaskOutcome
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from gr2_sim.build import ARM_JOINTS, KNUCKLE_JOINT, ROBOT
from gr2_sim.camera_thread import Snapshot
from gr2_sim.cameras import RenderingUnavailable
from gr2_sim.conversions import to_diagnostics, to_doubles, to_time
from gr2_sim.fake_kortex.command_limiter import OutOfBounds
from gr2_sim.fake_kortex.control_loop import ControlLoop
from gr2_sim.fake_kortex.driver import KortexDriver
from gr2_sim.fake_kortex.faults import Faults, UnknownFault
from gr2_sim.fake_kortex.follow_trajectory import FollowTrajectoryServer, to_trajectory
from gr2_sim.fake_kortex.gen3 import Gen3
from gr2_sim.fake_kortex.gripper_controller import Ending, GoalRejected
from gr2_sim.fake_kortex.settings import Settings, read_settings, urdf_limits
from gr2_sim.fake_kortex.trajectory_controller import TrajectoryRejected
from gr2_sim.layout import LayoutError
from gr2_sim.sim_node import LATCHED, NEWEST, RELIABLE, BadParameter, SimNode
from gr2_wbc.polling import Polled
from gr2_wbc.robots import load_robot
from gr2_wbc.stop_flag import StopFlag

TRAJECTORY_CONTROLLER = "/joint_trajectory_controller"
GRIPPER_CONTROLLER = "/robotiq_gripper_controller"
FAULT_CONTROLLER = "/fault_controller"
LARGEST_LAG = 0.2  # [s] that a loop which comes late makes up for; what is more is lost, and the arm jumps
PRIORITY = 40  # of SCHED_FIFO; below the controller's
FAULT_RATE = 50.0  # [Hz] of internal_fault


class FakeKortexNode(SimNode):
    """The simulated cell behind the interfaces of the arm's driver.

    Raises:
        ValueError: a parameter makes no sense.
        LayoutError, RenderingUnavailable: see :class:`gr2_sim.sim_node.SimNode`.
    """

    def __init__(self) -> None:
        self._joint_rate = 250.0
        super().__init__()
        self._world.reset(str(self.get_parameter("task").value), int(self._value("seed")), time=self._ros_time())
        period = self._world.timestep
        self._arm = Gen3(self._world)
        self._loop = ControlLoop(KortexDriver(self._arm), urdf_limits(load_robot(ROBOT)), self._settings, period)
        self._faults = Faults(self._arm, self._loop)
        self._goals: dict[int, ServerGoalHandle] = {}
        self._follow_server = FollowTrajectoryServer(
            self,
            f"{TRAJECTORY_CONTROLLER}/follow_joint_trajectory",
            self._loop,
            self._lock,
            self._ros_time,
            self._refuse,
            self._settings.action_monitor_rate,
        )
        self.lost = 0.0

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _ros_time(self) -> float:
        return 1e-9 * float(self.get_clock().now().nanoseconds)

    def _connect(self) -> None:
        """In the place of the simulator's own topics."""
        path = str(self.declare_parameter("controllers", "").value)
        self._settings = read_settings(Path(path)) if path else Settings()
        self._joint_rate = float(self.declare_parameter("joint_state_rate", 250.0).value)
        if not 20.0 <= self._joint_rate <= 1000.0:
            raise BadParameter(f"joint_state_rate is {self._joint_rate}; expected 20 ... 1000 Hz")
        names, sensor = self._world.cell.cameras, qos_profile_sensor_data
        self._image_publishers = {n: self.create_publisher(Image, f"/{n}_camera/image_raw", sensor) for n in names}
        self._info_publishers = {
            n: self.create_publisher(CameraInfo, f"/{n}_camera/camera_info", sensor) for n in names
        }
        self._joint_publisher = self.create_publisher(JointState, "/joint_states", RELIABLE)
        self._truth_publisher = self.create_publisher(SceneTruth, "/sim/truth", RELIABLE)
        self._outcome_publisher = self.create_publisher(TaskOutcome, "/sim/outcome", LATCHED)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE)
        self._state_publisher = self.create_publisher(
            JointTrajectoryControllerState, f"{TRAJECTORY_CONTROLLER}/controller_state", RELIABLE
        )
        self._fault_publisher = self.create_publisher(ExampleBool, f"{FAULT_CONTROLLER}/internal_fault", NEWEST)
        self._commands = Polled().subscribe(
            self, JointTrajectory, f"{TRAJECTORY_CONTROLLER}/joint_trajectory", self._on_trajectory, NEWEST
        )
        self.create_service(ExampleTrigger, f"{FAULT_CONTROLLER}/reset_fault", self._on_reset_fault)
        self.create_subscription(String, "/fake_kortex/inject", self._on_inject, RELIABLE)
        self.create_subscription(String, "/instruction", self._on_instruction, RELIABLE)  # type: ignore[arg-type]
        self.create_subscription(String, "/instruction", self._on_instruction, LATCHED)  # type: ignore[arg-type]
        self._gripper_server = ActionServer(
            self,
            ParallelGripperCommand,
            f"{GRIPPER_CONTROLLER}/gripper_cmd",
            execute_callback=lambda handle: ParallelGripperCommand.Result(),
            goal_callback=self._on_gripper_goal,
            handle_accepted_callback=self._on_gripper_accepted,
            cancel_callback=self._on_gripper_cancel,
        )
        self._joint_message = JointState(name=[*ARM_JOINTS, KNUCKLE_JOINT])

    # -------------------------------------------------------------------------------- what comes in

    def _on_trajectory(self, message: JointTrajectory) -> None:
        if self._loop.error or self._loop.frozen:
            return
        trajectory = to_trajectory(message)  # not under the lock: the control loop would wait
        try:
            with self._lock:
                self._loop.trajectory.accept(self._ros_time(), trajectory)
            self._arm.accepted += 1
        except TrajectoryRejected as rejected:
            self._arm.rejected += 1
            self._refuse(f"{TRAJECTORY_CONTROLLER}/joint_trajectory", str(rejected))

    def _on_inject(self, message: String) -> None:
        try:
            with self._lock:
                meaning = self._faults.inject(message.data)
            self.get_logger().warning(f"injected '{message.data}': {meaning}")
        except UnknownFault as unknown:
            self._refuse("/fake_kortex/inject", str(unknown))

    def _on_reset_fault(
        self, _request: ExampleTrigger.Request, response: ExampleTrigger.Response
    ) -> ExampleTrigger.Response:
        with self._lock:
            response.success = bool(self._loop.reset_fault())  # the real one leaves the message empty, too
        return response

    def _on_gripper_goal(self, goal: ParallelGripperCommand.Goal) -> GoalResponse:
        if self._loop.error or self._loop.frozen or len(goal.command.position) != 1:
            self._refuse(f"{GRIPPER_CONTROLLER}/gripper_cmd", f"{len(goal.command.position)} positions, or stopped")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_gripper_accepted(self, handle: ServerGoalHandle) -> None:
        with self._lock:
            try:
                number, before = self._loop.gripper.accept(self._ros_time(), list(handle.request.command.position))
            except GoalRejected as rejected:
                self._refuse(f"{GRIPPER_CONTROLLER}/gripper_cmd", str(rejected))
                return
            self._goals[number] = handle
        if before is not None:
            self._end_goal(before, Ending.PREEMPTED)

    def _on_gripper_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        with self._lock:
            state = self._loop.state
            for number, one in self._goals.items():
                if one is handle and state is not None:
                    self._loop.gripper.cancel(number, state.gripper)
        return CancelResponse.ACCEPT

    def _end_goal(self, number: int, ending: Ending) -> None:
        """Give a goal its result; its execution, for the action server, is only that."""
        handle = self._goals.pop(number, None)
        if handle is None:
            return
        state = self._loop.state

        def execute(goal: ServerGoalHandle) -> ParallelGripperCommand.Result:
            if goal.is_cancel_requested:
                goal.canceled()
            elif ending in (Ending.REACHED, Ending.STALLED):
                goal.succeed()
            else:
                goal.abort()
            result = ParallelGripperCommand.Result()
            result.stalled = ending in (Ending.STALLED, Ending.STALLED_ABORTED)
            result.reached_goal = ending is Ending.REACHED
            result.state = JointState(name=[KNUCKLE_JOINT], position=[float(state.gripper) if state else 0.0])
            return result

        handle.execute(execute)

    # -------------------------------------------------------------------------------- what goes out

    def _publish_images(self, stamp: float, images: dict[str, np.ndarray]) -> None:
        if stamp > 0.0:  # the first picture is drawn before time is set
            super()._publish_images(stamp, images)

    def _publish_state(self, now: float, tick: int) -> None:
        """Joint states each time, the rest more seldom."""
        loop, state = self._loop, self._loop.state
        if state is None or loop.error or loop.frozen:
            return
        message, stamp = self._joint_message, to_time(now)
        message.header.stamp = stamp
        message.name, order = self._faults.told([*ARM_JOINTS, KNUCKLE_JOINT])
        # The broadcaster tells NaN where there is no interface: the knuckle has no effort.
        message.position = to_doubles(np.append(state.positions, state.gripper)[order])
        message.velocity = to_doubles(np.append(state.velocities, state.gripper_velocity)[order])
        message.effort = to_doubles(np.append(state.efforts, np.nan)[order])
        self._joint_publisher.publish(message)
        if tick % max(1, round(self._joint_rate / FAULT_RATE)) == 0:
            self._fault_publisher.publish(ExampleBool(data=bool(state.in_fault)))
        if tick % max(1, round(self._joint_rate / self._settings.state_publish_rate)) == 0:
            told = JointTrajectoryControllerState(joint_names=list(ARM_JOINTS), speed_scaling_factor=1.0)
            told.header.stamp = stamp
            told.reference = JointTrajectoryPoint(positions=loop.trajectory.desired.tolist())
            told.feedback = JointTrajectoryPoint(positions=state.positions.tolist())
            self._state_publisher.publish(told)

    def _report(self, now: float, wall: float) -> None:
        loop, arm = self._loop, self._arm
        warning = loop.error or (f"in fault: {arm.fault}" if arm.fault else "")
        if loop.frozen:
            warning = "frozen (injected)"
        values = {
            "trajectories_accepted": str(arm.accepted),
            "trajectories_rejected": str(arm.rejected),
            "commands_limited": str(loop.limiter.enforced) if loop.limiter else "not enforced",
            "command_timeouts": str(loop.trajectory.timeouts),
            "set_points_not_finite": str(arm.not_finite),
            "time_lost": f"{self.lost:.2f} s",
            **{f"bad_messages{topic}": str(count) for topic, count in self._bad.items()},
        }
        self._diagnostics_publisher.publish(to_diagnostics(now, "arm: fake kortex", warning, values))

    # ------------------------------------------------------------------------------------- running

    def run(self, stop: StopFlag) -> None:
        """Run the arm in real time until told to stop.

        Raises:
            OutOfBounds: as the real process of ros2_control ends.
        """
        # As ros2_control does; this thread alone: messages and pictures may be late.
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        except OSError as error:
            self.get_logger().info(f"no real-time priority: {error.strerror}")
        world, tick, period = self._world, 0, 1.0 / self._joint_rate
        deadline = next_report = time.monotonic()
        reached = self._ros_time()  # how far the world has come
        picture_ticks = max(1, round(self._joint_rate / float(self._value("camera_rate"))))
        while not stop.is_set():
            self._take_command()
            now, picture = self._ros_time(), None
            if not 0.0 <= now - reached <= LARGEST_LAG:
                self.lost += max(now - reached, 0.0)
                reached = now - period
            with self._lock:
                while reached + world.timestep <= now:
                    world.data.time = reached
                    ended = self._loop.cycle(reached)
                    world.step(1)
                    reached += world.timestep
                    if ended is not None:
                        self._end_goal(*ended)
                tick += 1
                if tick % picture_ticks == 0:
                    truth = world.truth()
                    outcome = self._referee.update(truth, world.touched())
                    picture = truth, outcome, Snapshot.of(world.model, world.data)
            self._publish_state(reached, tick)
            if picture is not None:
                self._publish_picture(*picture)
            steady = time.monotonic()
            if steady >= next_report:
                next_report = steady + 1.0
                self._report(now, steady)
            deadline = max(deadline + period, steady)
            time.sleep(max(deadline - time.monotonic(), 0.0))

    def close(self) -> None:
        """End the cameras' thread and the actions' servers."""
        super().close()
        self._follow_server.destroy()
        self._gripper_server.destroy()


def _spin(executor: SingleThreadedExecutor, stop: StopFlag) -> None:
    while rclpy.ok() and not stop.is_set():
        executor.spin_once(timeout_sec=0.2)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    sys.setswitchinterval(0.0005)
    stop = StopFlag.on_signals()
    node = None
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        node = FakeKortexNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        messages = threading.Thread(target=_spin, args=(executor, stop), name="messages", daemon=True)
        messages.start()
        node.run(stop)
        messages.join(timeout=5.0)  # first: a callback under way would meet an executor that is gone
        executor.shutdown()
        return 0
    except (OutOfBounds, RenderingUnavailable, LayoutError, InvalidParameterTypeException, ValueError) as error:
        print(f"fake_kortex_node: {error}", file=sys.stderr)
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
