"""The trajectory controller's action, follow_joint_trajectory, as the node offers it.

The control loop fills goals (``trajectory_goal.py``); a timer looks at them ``action_monitor_rate`` times a second,
tells feedback and gives results. A goal that is preempted is told so at once. All of it runs in the executor's thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from control_msgs.action import FollowJointTrajectory
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.task import Future
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from gr2_sim.conversions import to_doubles, to_time
from gr2_sim.fake_kortex import tolerances
from gr2_sim.fake_kortex.control_loop import ControlLoop
from gr2_sim.fake_kortex.tolerances import IllegalTolerance, JointTolerance, Tolerances
from gr2_sim.fake_kortex.trajectory_controller import Trajectory, TrajectoryRejected
from gr2_sim.fake_kortex.trajectory_goal import Feedback, Goal, Outcome, Status

NOT_RUNNING = "Can't accept new action goals. Controller is not running."


class FollowTrajectoryServer:
    """Carries out goals with the control loop's trajectory controller.

    Args:
        node: that offers the action.
        name: of the action.
        loop: of controllers and driver.
        lock: that the control loop is run under.
        now: the loop's time [s].
        refuse: told why a goal was not taken: name of the action, reason.
        rate: [Hz] of feedback and results.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        loop: ControlLoop,
        lock: threading.Lock,
        now: Callable[[], float],
        refuse: Callable[[str, str], None],
        rate: float,
    ) -> None:
        self._node, self._name, self._loop, self._lock, self._now = node, name, loop, lock, now
        self._refuse = refuse
        self._goals: dict[bytes, tuple[ServerGoalHandle, Goal, Future]] = {}
        self._server = ActionServer(
            node,
            FollowJointTrajectory,
            name,
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
        )
        self._clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(1.0 / rate, self._monitor, clock=self._clock)

    def destroy(self) -> None:
        """End the action's server."""
        self._timer.cancel()
        self._server.destroy()

    def _on_goal(self, goal: FollowJointTrajectory.Goal) -> GoalResponse:
        try:
            if not self._loop.running:
                raise TrajectoryRejected(NOT_RUNNING)
            with self._lock:
                self._loop.trajectory.check(self._now(), to_trajectory(goal.trajectory))
        except TrajectoryRejected as rejected:
            self._refuse(self._name, str(rejected))
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_accepted(self, handle: ServerGoalHandle) -> None:
        with self._lock:
            made = self._loop.trajectory.begin(
                to_trajectory(handle.request.trajectory), self._tolerances(handle.request)
            )
            if self._loop.error:  # lost between the two callbacks
                self._loop.trajectory.deactivate()
        self._monitor()
        self._goals[bytes(handle.goal_id.uuid)] = handle, made, Future()
        handle.execute()

    def _tolerances(self, goal: FollowJointTrajectory.Goal) -> Tolerances:
        controller = self._loop.trajectory
        path, end = (
            [JointTolerance(one.name, one.position, one.velocity, one.acceleration) for one in given]
            for given in (goal.path_tolerance, goal.goal_tolerance)
        )
        seconds = goal.goal_time_tolerance.sec + 1e-9 * goal.goal_time_tolerance.nanosec
        try:
            return tolerances.of_goal(controller.default_tolerances, controller.joints, seconds, path, end)
        except IllegalTolerance as illegal:
            self._node.get_logger().error(f"{self._name}: {illegal}")
            return controller.default_tolerances

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        with self._lock:
            state = self._loop.state
            for one, goal, _ in self._goals.values():
                if one is handle and state is not None:
                    self._loop.trajectory.cancel(goal, state.positions)
        return CancelResponse.ACCEPT

    def _monitor(self) -> None:
        """Tell what has become of the goals."""
        if self._loop.frozen:
            return
        for handle, goal, result in self._goals.values():
            outcome, feedback = goal.outcome, goal.feedback
            if outcome is not None and not result.done():
                result.set_result(outcome)
            elif outcome is None and feedback is not None:
                handle.publish_feedback(to_feedback(self._loop.trajectory.joints, feedback))

    async def _execute(self, handle: ServerGoalHandle) -> FollowJointTrajectory.Result:
        key = bytes(handle.goal_id.uuid)
        outcome: Outcome = await self._goals[key][2]
        del self._goals[key]
        if outcome.status is Status.CANCELED:
            handle.canceled()
        elif outcome.status is Status.SUCCEEDED:
            handle.succeed()
        else:
            handle.abort()
        self._node.get_logger().info(f"{self._name}: goal {outcome.status.value}: {outcome.text}")
        return FollowJointTrajectory.Result(error_code=int(outcome.code.value), error_string=outcome.text)


def to_trajectory(message: JointTrajectory) -> Trajectory:
    """As the controller takes it."""
    stamp, points = message.header.stamp, message.points
    return Trajectory(
        stamp=stamp.sec + 1e-9 * stamp.nanosec,
        joint_names=tuple(message.joint_names),
        times=tuple(p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in points),
        positions=tuple(p.positions for p in points),
        velocities=tuple(p.velocities for p in points),
        accelerations=tuple(p.accelerations for p in points),
        efforts=tuple(p.effort for p in points),
    )


def to_feedback(joints: tuple[str, ...], feedback: Feedback) -> FollowJointTrajectory.Feedback:
    """Of a goal's newest cycle. Errors of velocities are always zero: see :mod:`gr2_sim.fake_kortex.tolerances`."""
    message, still = FollowJointTrajectory.Feedback(joint_names=list(joints)), to_doubles(np.zeros(len(joints)))
    message.header.stamp = to_time(feedback.stamp)
    elapsed = Duration(nanoseconds=round(1e9 * feedback.elapsed)).to_msg()
    message.desired = JointTrajectoryPoint(
        positions=to_doubles(feedback.desired.positions),
        velocities=to_doubles(feedback.desired.velocities),
        accelerations=to_doubles(feedback.desired.accelerations),
        effort=still,
        time_from_start=elapsed,
    )
    message.actual = JointTrajectoryPoint(
        positions=to_doubles(feedback.positions),
        velocities=to_doubles(feedback.velocities),
        effort=still,
        time_from_start=elapsed,
    )
    message.error = JointTrajectoryPoint(positions=to_doubles(feedback.error), velocities=still, effort=still)
    return message
