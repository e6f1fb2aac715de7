"""The adapter between gr2 and the controllers of ros2_kortex, as a node.

/gripper_command (Float64)  ──►  goals of /robotiq_gripper_controller/gripper_cmd (ParallelGripperCommand)
/fault_controller/internal_fault  ──►  /e_stop, as long as the arm is in fault
/arm/reset_fault (Trigger)  ──►  trajectory controller to where the arm stands, then /fault_controller/reset_fault
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

import numpy as np
import rclpy
from control_msgs.action import ParallelGripperCommand
from control_msgs.msg import JointTrajectoryControllerState
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from example_interfaces.msg import Bool as ExampleBool
from example_interfaces.srv import Trigger as ExampleTrigger
from gr2_msgs.msg import WbcStatus
from rclpy.action import ActionClient
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from gr2_bringup.arm_adapter import BadOpening, GripperGoals, settling
from gr2_wbc.joint_input import BadJointState, JointStateReader
from gr2_wbc.polling import Polled, take
from gr2_wbc.robot import RobotFileError, UnknownRobot
from gr2_wbc.robots import load_robot
from gr2_wbc.stop_flag import StopFlag

PERIOD = 0.02  # [s] between two looks at the arm's fault, which is told a thousand times a second
LASTING = 3  # looks in a row that find a fault: the driver also tells one for moments, while it changes servoing modes
E_STOP_PERIOD = 0.2  # [s] at least between two e-stops while the fault lasts
PATIENCE = 2.0  # [s] for answers of the controllers
SETTLED = 0.02  # [rad] between the trajectory controller and the arm
QUIET = 5.0  # [s] between two complaints


class NotReset(RuntimeError):
    """The fault was not reset; the message says why, and what to do."""


class ArmAdapter(Node):
    """The node `arm_adapter`.

    Raises:
        UnknownRobot, RobotFileError: the robot's description is not usable.
    """

    def __init__(self) -> None:
        super().__init__("arm_adapter")
        self._robot = load_robot(str(self.declare_parameter("robot", "gen3_2f85").value))
        self._goals = GripperGoals(self._robot.gripper)
        self._fault = False
        self._found = 0
        self._stopped_at = 0.0
        self._status: WbcStatus | None = None
        self._resetting = False
        self._waiting: list[tuple[float, Future]] = []
        newest, reliable = QoSProfile(depth=1), QoSProfile(depth=10)
        self._e_stop = self.create_publisher(Bool, "/e_stop", reliable)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", reliable)
        self._trajectories = self.create_publisher(
            JointTrajectory, "/joint_trajectory_controller/joint_trajectory", newest
        )
        self.create_subscription(Float64, "/gripper_command", self._on_gripper, newest)
        self.create_subscription(WbcStatus, "/wbc_status", self._on_status, newest)
        self._faults = Polled().subscribe(self, ExampleBool, "/fault_controller/internal_fault", print, newest)
        self._gripper = ActionClient(self, ParallelGripperCommand, "/robotiq_gripper_controller/gripper_cmd")
        self._reset = self.create_client(ExampleTrigger, "/fault_controller/reset_fault")
        # In a group of its own: while a reset waits, everything else goes on.
        group = ReentrantCallbackGroup()
        self.create_service(Trigger, "/arm/reset_fault", self._on_reset, callback_group=group)  # type: ignore[arg-type]
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(PERIOD, self._tick, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)

    # -- every 20 ms ---------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = time.monotonic()
        told = [bool(message.data) for message, _ in take(self._faults, 4)]
        if told:
            self._found = self._found + 1 if all(told) else 0
            self._watch(self._found >= LASTING, now)
        goal = self._goals.due(now) if self._gripper.server_is_ready() else None
        if goal is not None:
            self._send(*goal)
        for entry in [entry for entry in self._waiting if entry[0] <= now]:
            self._waiting.remove(entry)
            entry[1].set_result(None)

    def _watch(self, fault: bool, now: float) -> None:
        if fault and not self._fault:
            self.get_logger().error(
                "the arm is in fault: stopped. Remove the cause, call /arm/reset_fault, then /wbc/reset"
            )
        elif self._fault and not fault:
            self.get_logger().info("the arm is not in fault any more; /wbc/reset goes on")
        stopped = self._status is not None and self._status.state == WbcStatus.STOPPED
        if fault and (not self._fault or (not stopped and now - self._stopped_at > E_STOP_PERIOD)):
            self._stopped_at = now
            self._e_stop.publish(Bool(data=True))
        self._fault = fault

    # -- the gripper ---------------------------------------------------------------------------------------------------

    def _on_gripper(self, message: Float64) -> None:
        try:
            self._goals.wish(float(message.data))
        except BadOpening as bad:
            self.get_logger().warning(f"/gripper_command: {bad}", throttle_duration_sec=QUIET)

    def _send(self, number: int, position: float) -> None:
        goal = ParallelGripperCommand.Goal()
        goal.command = JointState(name=[self._robot.gripper.joint], position=[float(position)])
        self._gripper.send_goal_async(goal).add_done_callback(partial(self._on_answer, number))

    def _on_answer(self, number: int, future: Future) -> None:
        handle: Any = future.result()
        self._goals.answered(number, handle.accepted)
        if handle.accepted:
            handle.get_result_async().add_done_callback(partial(self._on_result, number))
        else:
            self.get_logger().warning("the gripper's controller refuses the goal", throttle_duration_sec=QUIET)

    def _on_result(self, number: int, future: Future) -> None:
        result: Any = future.result()
        self._goals.ended(number, bool(result.result.reached_goal or result.result.stalled))

    # -- resetting a fault ---------------------------------------------------------------------------------------------

    def _on_status(self, message: WbcStatus) -> None:
        self._status = message

    async def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._resetting:
            response.success, response.message = False, "a reset is under way"
            return response
        self._resetting = True
        try:
            response.success, response.message = True, await self._reset_fault()
        except NotReset as not_reset:
            response.success, response.message = False, str(not_reset)
            self.get_logger().error(f"/arm/reset_fault: {not_reset}")
        finally:
            self._resetting = False
        return response

    async def _reset_fault(self) -> str:
        """See the module's docstring; what to do next.

        Raises:
            NotReset: it cannot be done.
        """
        if not self._fault:
            raise NotReset("the arm reports no fault")
        if self._status is not None and self._status.state != WbcStatus.STOPPED:
            raise NotReset(f"the controller is {self._status.state_name}, not STOPPED; say true on /e_stop first")
        if not self._reset.service_is_ready():
            raise NotReset("there is no /fault_controller/reset_fault: is the driver running?")
        reader, limits = JointStateReader(self._robot), self._robot.limits
        reference, measured = await self._seen(reader)
        positions, duration = settling(limits, reference, measured)
        self._trajectories.publish(_hold(self._robot.joint_names, positions, duration))
        await self._pause(duration + 0.2)
        reference, measured = await self._seen(reader)
        away = np.abs(limits.difference(measured, reference))
        if not away.max() <= SETTLED:
            joint = limits.names[int(np.argmax(away))]
            raise NotReset(
                f"the trajectory controller still wants {joint} {away.max():.3f} rad from where it stands, and the arm "
                "would jump there: is it active, and does nobody else send it trajectories?"
            )
        answer = await self._within(self._reset.call_async(ExampleTrigger.Request()), "/fault_controller/reset_fault")
        if not answer.success:
            raise NotReset("the arm did not clear its fault: is the cause gone? The web application names it")
        for _ in range(round(PATIENCE / 0.1)):
            await self._pause(0.1)
            if not self._fault:
                return "the fault is reset; /wbc/reset goes on"
        raise NotReset("the arm accepted the reset but still reports a fault")

    async def _seen(self, reader: JointStateReader) -> tuple[np.ndarray, np.ndarray]:
        """What the trajectory controller wants and where the arm is, both in the robot's order [rad]."""
        wanted, joints = Future(), Future()

        def on_wanted(message: JointTrajectoryControllerState) -> None:
            if not wanted.done():
                wanted.set_result(message)

        def on_joints(message: JointState) -> None:
            if not joints.done():
                joints.set_result(message)

        topic = "/joint_trajectory_controller/controller_state"
        subscriptions = [
            self.create_subscription(JointTrajectoryControllerState, topic, on_wanted, qos_profile_sensor_data),
            self.create_subscription(JointState, "/joint_states", on_joints, qos_profile_sensor_data),
        ]
        try:
            state = await self._within(wanted, topic)
            told = await self._within(joints, "/joint_states")
        finally:
            for subscription in subscriptions:
                self.destroy_subscription(subscription)
        try:
            measured = reader.read(told.name, told.position, told.velocity).positions
            still = np.zeros(len(state.joint_names))
            reference = reader.read(state.joint_names, state.reference.positions, still).positions
        except BadJointState as bad:
            raise NotReset(f"joint states cannot be used: {bad}") from bad
        if measured is None or reference is None:
            raise NotReset("joint states do not hold the arm's joints")
        return reference, measured

    def _pause(self, seconds: float) -> Future:
        future = Future()
        self._waiting.append((time.monotonic() + seconds, future))
        return future

    async def _within(self, future: Future, what: str) -> Any:
        end = time.monotonic() + PATIENCE
        while not future.done():
            if time.monotonic() > end:
                raise NotReset(f"nothing came from {what} within {PATIENCE:.0f} s: is the driver running?")
            await self._pause(PERIOD)
        return future.result()

    # -- once a second -------------------------------------------------------------------------------------------------

    def _report(self) -> None:
        level, text = DiagnosticStatus.OK, "the arm is not in fault"
        if self._fault:
            level, text = DiagnosticStatus.ERROR, "the arm is in fault (/arm/reset_fault, then /wbc/reset)"
        elif not self._gripper.server_is_ready():
            level, text = DiagnosticStatus.WARN, "the gripper's controller is not there"
        status = DiagnosticStatus(level=level, name=f"{self.get_name()}: arm", message=text)
        status.hardware_id = self._robot.robot_id
        status.values = [KeyValue(key="gripper_goals_failed", value=str(self._goals.failures))]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def _hold(names: tuple[str, ...], positions: np.ndarray, duration: float) -> JointTrajectory:
    """A trajectory to rest at positions (n,) [rad] in this time [s], beginning when it arrives."""
    point = JointTrajectoryPoint(positions=positions.tolist(), velocities=[0.0] * len(positions))
    point.time_from_start.sec, point.time_from_start.nanosec = divmod(round(duration * 1e9), 1_000_000_000)
    return JointTrajectory(joint_names=list(names), points=[point])


def main(args: list[str] | None = None) -> int:
    """Run the node. Returns the exit status."""
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    ending = StopFlag.on_signals()
    node = None
    try:
        node = ArmAdapter()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while rclpy.ok() and not ending.is_set():
            executor.spin_once(timeout_sec=0.1)
    except (RobotFileError, UnknownRobot) as error:
        print(f"arm_adapter: {error}", file=sys.stderr)
        return 2
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
