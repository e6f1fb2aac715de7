"""The fake driver's action follow_joint_trajectory over DDS, as MoveIt uses it: results, cancel, preemption, faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from example_interfaces.srv import Trigger as ResetFault
from rclpy.action import ActionClient
from rclpy.duration import Duration
from tests.real_cell import ROBOT, Cell, real
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from gr2_bringup import stack

Result = FollowJointTrajectory.Result
PATIENCE = 30.0  # [s]
LONG = 60.0  # [s] of a motion that a test ends before its time


class Arm(Cell):
    """The fake driver alone, and a client of its action."""

    def __init__(self, running: Any) -> None:
        super().__init__(running)
        name = "/joint_trajectory_controller/follow_joint_trajectory"
        self.client = ActionClient(self.node, FollowJointTrajectory, name)
        self.stream = self.node.create_publisher(JointTrajectory, stack.JOINT_TRAJECTORY_TOPIC, 1)
        self.feedback: list[FollowJointTrajectory.Feedback] = []

    def trajectory(self, by: float, seconds: float) -> JointTrajectory:
        """Of joint_1 by an angle [rad] from where it stands."""
        target = self.positions.copy()
        target[0] += by
        point = JointTrajectoryPoint(positions=target.tolist(), velocities=[0.0] * 7)
        point.time_from_start = Duration(nanoseconds=round(1e9 * seconds)).to_msg()
        return JointTrajectory(joint_names=list(ROBOT.joint_names), points=[point])

    def send(self, trajectory: JointTrajectory, **given: object) -> Any:
        """The goal's handle."""
        self.feedback.clear()
        goal = FollowJointTrajectory.Goal(trajectory=trajectory, **given)
        return self.answer(self.client.send_goal_async(goal, lambda told: self.feedback.append(told.feedback)))

    def result(self, handle: Any) -> tuple[int, Any]:
        """Status and result of a goal."""
        told = self.answer(handle.get_result_async())
        return told.status, told.result

    def answer(self, future: Any) -> Any:
        self.running.wait(future.done, PATIENCE, "no answer of the action")
        return future.result()

    def under_way(self) -> None:
        """Wait until feedback comes and the arm moves."""
        start = self.positions[0]
        moved = lambda: bool(self.feedback) and abs(self.positions[0] - start) > 0.02  # noqa: E731
        self.running.wait(moved, PATIENCE, "the arm does not move")


@pytest.fixture(scope="module")
def shared(start_shared: Callable[..., Any]) -> Iterator[Arm]:
    """One driver for the tests that leave it sound."""
    made = Arm(start_shared(nodes=[node for node in real() if node.name == "arm"]))
    yield made
    made.client.destroy()
    made.close()


@pytest.fixture
def arm(shared: Arm) -> Arm:
    """The file's driver, at rest, the controller's own tolerances in force."""
    assert shared.client.wait_for_server(PATIENCE)
    shared.running.wait(lambda: bool(shared.running.motion), PATIENCE, "no joint states")
    assert shared.result(shared.send(shared.trajectory(0.0, 0.1)))[0] == GoalStatus.STATUS_SUCCEEDED
    shared.rest(PATIENCE)
    return shared


def test_a_goal_is_reached_with_feedback_on_the_way(arm: Arm) -> None:
    start = arm.positions[0]
    handle = arm.send(arm.trajectory(0.3, 2.0))
    assert handle.accepted
    status, result = arm.result(handle)
    assert (status, result.error_code) == (GoalStatus.STATUS_SUCCEEDED, Result.SUCCESSFUL)
    assert result.error_string == "Goal successfully reached!"
    arm.rest(PATIENCE)
    assert arm.positions[0] - start == pytest.approx(0.3, abs=0.02)
    assert arm.feedback
    told = arm.feedback[-1]
    assert told.joint_names == list(ROBOT.joint_names)
    np.testing.assert_allclose(
        np.subtract(told.desired.positions, told.actual.positions)[1:6:2], told.error.positions[1:6:2]
    )
    assert len(told.desired.accelerations) == len(told.actual.velocities) == 7


def test_wrong_joints_and_wrong_times_are_rejected_and_the_goal_at_hand_goes_on(arm: Arm) -> None:
    first = arm.send(arm.trajectory(0.4, LONG))
    wrong = arm.trajectory(0.1, 1.0)
    wrong.joint_names = ["elbow", *wrong.joint_names[1:]]
    assert not arm.send(wrong).accepted
    wrong = arm.trajectory(0.1, 1.0)
    wrong.points = [wrong.points[0], wrong.points[0]]
    assert not arm.send(wrong).accepted
    assert not arm.send(JointTrajectory(joint_names=list(ROBOT.joint_names))).accepted
    arm.running.wait(lambda: first.status == GoalStatus.STATUS_EXECUTING, PATIENCE, "the first goal does not go on")
    log = arm.running.log("arm")
    assert "Incoming joint elbow doesn't match the controller's joints." in log
    arm.answer(first.cancel_goal_async())


def test_a_cancelled_goal_leaves_the_arm_where_it_is(arm: Arm) -> None:
    handle = arm.send(arm.trajectory(1.2, LONG / 4.0))
    result = handle.get_result_async()
    arm.under_way()
    answer = arm.answer(handle.cancel_goal_async())
    assert len(answer.goals_canceling) == 1
    told = arm.answer(result)
    assert told.status == GoalStatus.STATUS_CANCELED
    assert (told.result.error_code, told.result.error_string) == (Result.SUCCESSFUL, "")
    where = arm.rest(PATIENCE)
    arm.stands(0.5, where)


def test_a_new_goal_preempts_the_one_at_hand(arm: Arm) -> None:
    first = arm.send(arm.trajectory(0.5, LONG))
    result = first.get_result_async()
    second = arm.send(arm.trajectory(-0.1, 1.0))
    told = arm.answer(result)
    assert (told.status, told.result.error_code) == (GoalStatus.STATUS_ABORTED, Result.INVALID_GOAL)
    assert "preempted" in told.result.error_string
    assert arm.result(second)[0] == GoalStatus.STATUS_SUCCEEDED


def test_a_trajectory_on_the_topic_takes_the_goals_place_and_its_end_is_the_goals(arm: Arm) -> None:
    start = arm.positions[0]
    handle = arm.send(arm.trajectory(0.5, LONG))
    result = handle.get_result_async()
    arm.running.wait(lambda: arm.stream.get_subscription_count() > 0, PATIENCE, "nobody hears the topic")
    # A goal is answered before its trajectory is taken.
    arm.running.wait(lambda: bool(arm.feedback), PATIENCE, "no feedback")
    begun = time.monotonic()
    arm.stream.publish(arm.trajectory(-0.2, 1.0))
    told = arm.answer(result)
    assert told.status == GoalStatus.STATUS_SUCCEEDED
    assert time.monotonic() - begun < LONG / 2.0
    arm.rest(PATIENCE)
    assert arm.positions[0] - start == pytest.approx(-0.2, abs=0.03)


def test_a_fault_of_the_arm_aborts_a_goal_that_brings_tolerances(arm: Arm) -> None:
    limit = [JointTolerance(name="joint_1", position=0.35)]  # more than a held-up machine makes
    handle = arm.send(arm.trajectory(1.2, 6.0), path_tolerance=limit)
    result = handle.get_result_async()
    arm.under_way()
    arm.inject("fault")
    told = arm.answer(result)
    assert (told.status, told.result.error_code) == (GoalStatus.STATUS_ABORTED, Result.PATH_TOLERANCE_VIOLATED)
    where = arm.rest(PATIENCE)
    reset = arm.node.create_client(ResetFault, "/fault_controller/reset_fault")
    assert reset.wait_for_service(PATIENCE)
    assert arm.answer(reset.call_async(ResetFault.Request())).success
    arm.stands(0.5, where)


def test_a_lost_session_aborts_the_goal_and_takes_no_other(start: Callable[..., Any]) -> None:
    arm = Arm(start(nodes=[node for node in real() if node.name == "arm"]))
    assert arm.client.wait_for_server(PATIENCE)
    arm.running.wait(lambda: bool(arm.running.motion), PATIENCE, "no joint states")
    handle = arm.send(arm.trajectory(0.5, LONG))
    result = handle.get_result_async()
    arm.running.wait(lambda: bool(arm.feedback), PATIENCE, "no feedback")
    arm.inject("session")
    told = arm.answer(result)
    assert (told.status, told.result.error_code) == (GoalStatus.STATUS_ABORTED, Result.INVALID_GOAL)
    assert told.result.error_string == "Current goal cancelled during deactivate transition."
    assert not arm.send(arm.trajectory(0.1, 1.0)).accepted
    arm.client.destroy()
