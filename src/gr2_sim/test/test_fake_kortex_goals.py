"""Goals of the fake driver's follow_joint_trajectory end as the sources of the trajectory controller say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gr2_sim.build import ARM_JOINTS, ROBOT
from gr2_sim.fake_kortex.control_loop import ControlLoop
from gr2_sim.fake_kortex.driver import KortexDriver
from gr2_sim.fake_kortex.gen3 import Gen3
from gr2_sim.fake_kortex.interpolation import Knot, between
from gr2_sim.fake_kortex.settings import BadControllers, Settings, read_settings, urdf_limits
from gr2_sim.fake_kortex.tolerances import Constraints, IllegalTolerance, JointTolerance, Tolerances, exceeded, of_goal
from gr2_sim.fake_kortex.trajectory_controller import (
    Trajectory,
    TrajectoryController,
    TrajectoryControllerConfig,
    TrajectoryRejected,
)
from gr2_sim.fake_kortex.trajectory_goal import CANCELED, DEACTIVATED, OFF_PATH, PREEMPTED, REACHED, Code, Goal, Status
from gr2_sim.world import World
from gr2_wbc.robots import load_robot

NAN = float("nan")
JOINTS = ("a", "b")
TURN = 2.0 * np.pi
CONFIG = TrajectoryControllerConfig(interpolate_from_desired_state=True)
LOOSE = Tolerances.of(Constraints(), JOINTS)


class Bench:
    """A controller of two joints, the first continuous, that are where the test puts them.

    Attributes:
        follows: the joints are always where they are wanted.
        measured: (2,) [rad].
    """

    def __init__(self, config: TrajectoryControllerConfig = CONFIG) -> None:
        self.made = TrajectoryController(JOINTS, np.array([True, False]), config, 0.001)
        self.measured, self.now, self.follows = np.zeros(2), 1.0, True
        self.made.activate(self.now, self.measured)
        self.run(0.01)

    def run(self, seconds: float) -> np.ndarray:
        for _ in range(round(1000 * seconds)):
            command = self.made.update(self.now, self.measured, np.zeros(2))
            self.measured = command if self.follows else self.measured
            self.now += 0.001
        return command

    def goal(self, *positions: float, seconds: float = 0.1, tolerances: Tolerances = LOOSE) -> Goal:
        message = to(*positions, seconds=seconds)
        self.made.check(self.now, message)
        return self.made.begin(message, tolerances)


def to(*positions: float, seconds: float = 0.1) -> Trajectory:
    return Trajectory(0.0, JOINTS, (seconds,), (positions,), ((0.0, 0.0),))


def within(path: float = 0.0, goal: float = 0.0, seconds: float = 0.0) -> Tolerances:
    return Tolerances(np.full(2, path), np.full(2, goal), seconds)


# -------------------------------------------------------------------------------------------------- how goals end


def test_a_goal_is_reached_at_its_end_with_feedback_on_the_way_and_the_last_point_held() -> None:
    bench = Bench(replace(CONFIG, cmd_timeout=0.05))
    goal = bench.goal(0.1, -0.1)
    bench.run(0.05)
    assert goal.outcome is None
    assert goal.feedback is not None
    assert goal.feedback.desired.positions == pytest.approx([0.05, -0.05], abs=0.003)
    assert goal.feedback.desired.velocities == pytest.approx([1.5, -1.5], abs=0.03)
    assert goal.feedback.elapsed == pytest.approx(0.049, abs=1e-6)
    bench.run(0.052)
    assert goal.outcome == REACHED
    assert bench.made.holding
    bench.follows, bench.measured = False, np.array([0.3, 0.3])
    assert bench.run(0.5) == pytest.approx([0.1, -0.1]), (
        "the last point, not what is measured: no timeout after success"
    )
    assert bench.made.timeouts == 0


def test_without_tolerances_a_goal_is_reached_when_its_time_is_over_wherever_the_joints_are() -> None:
    bench = Bench()
    bench.follows = False
    goal = bench.goal(0.5, 0.5)
    bench.run(0.11)
    assert goal.outcome == REACHED


def test_a_joint_off_its_path_aborts_and_the_measured_position_is_held() -> None:
    bench = Bench()
    bench.follows = False
    goal = bench.goal(0.5, 0.5, tolerances=within(path=0.1))
    bench.run(0.1)
    assert goal.outcome == OFF_PATH
    assert goal.outcome.code is Code.PATH_TOLERANCE_VIOLATED
    assert bench.run(0.01) == pytest.approx([0.0, 0.0])
    assert bench.made.holding


def test_a_goal_that_is_not_reached_in_time_aborts() -> None:
    bench = Bench()
    bench.follows = False
    goal = bench.goal(0.5, 0.5, tolerances=within(goal=0.1, seconds=0.2))
    bench.run(0.25)
    assert goal.outcome is None
    bench.run(0.1)
    assert goal.outcome is not None
    assert (goal.outcome.status, goal.outcome.code) == (Status.ABORTED, Code.GOAL_TOLERANCE_VIOLATED)
    assert "goal_time_tolerance exceeding by 0.20" in goal.outcome.text
    assert bench.run(0.01) == pytest.approx([0.0, 0.0])


def test_a_goal_reached_late_but_in_time_is_reached() -> None:
    bench = Bench()
    bench.follows = False
    goal = bench.goal(0.5, 0.5, tolerances=within(goal=0.1, seconds=0.2))
    bench.run(0.2)
    bench.measured = np.array([0.45, 0.55])
    bench.run(0.01)
    assert goal.outcome == REACHED


@pytest.mark.parametrize(("timeout", "told"), [(0.0, None), (0.3, REACHED)])
def test_without_a_goal_time_it_waits_for_ever_or_a_command_timeout_calls_it_reached(
    timeout: float, told: object
) -> None:
    """Unkind, but so it is: when the timeout holds, nothing is outside of its tolerance any more."""
    bench = Bench(replace(CONFIG, cmd_timeout=timeout))
    bench.follows = False
    goal = bench.goal(0.5, 0.5, tolerances=within(goal=0.1))
    bench.run(2.0)
    assert goal.outcome == told
    assert bench.run(0.01) == pytest.approx([0.5, 0.5])


def test_a_command_timeout_not_longer_than_the_goal_time_is_off() -> None:
    bench = Bench(replace(CONFIG, cmd_timeout=0.3, constraints=Constraints(goal_time=0.3)))
    bench.made.accept(bench.now, to(0.1, 0.1))
    bench.run(1.0)
    assert bench.made.timeouts == 0


def test_a_new_goal_preempts_the_one_before() -> None:
    bench = Bench()
    first = bench.goal(0.1, 0.0)
    bench.run(0.05)
    second = bench.goal(-0.1, 0.0)
    assert first.outcome == PREEMPTED
    assert first.outcome.code is Code.INVALID_GOAL
    bench.run(0.11)
    assert second.outcome == REACHED
    assert first.outcome == PREEMPTED


def test_a_goal_that_is_not_taken_leaves_the_one_before() -> None:
    bench = Bench()
    first = bench.goal(0.1, 0.0)
    with pytest.raises(TrajectoryRejected, match="c doesn't match"):
        bench.made.check(bench.now, replace(to(0.0, 0.0), joint_names=("a", "c")))
    bench.run(0.11)
    assert first.outcome == REACHED


def test_a_cancelled_goal_holds_the_measured_position_and_an_old_one_cannot_be_cancelled() -> None:
    bench = Bench()
    first = bench.goal(0.1, 0.0)
    bench.run(0.05)
    where = bench.measured
    bench.made.cancel(first, where)
    assert first.outcome == CANCELED
    assert bench.run(0.2) == pytest.approx(where)
    second = bench.goal(0.2, 0.0)
    bench.made.cancel(first, where)
    assert second.outcome is None


def test_a_trajectory_on_the_topic_takes_the_goals_place_but_does_not_end_it() -> None:
    bench = Bench()
    goal = bench.goal(0.1, 0.0, seconds=0.1)
    bench.run(0.05)
    bench.made.accept(bench.now, to(-0.2, 0.0, seconds=0.2))
    bench.run(0.19)
    assert goal.outcome is None
    bench.run(0.02)
    assert goal.outcome == REACHED
    assert bench.measured == pytest.approx([-0.2, 0.0]), "where the topic wanted it"


def test_a_goals_tolerances_stay_in_force_for_the_topic() -> None:
    bench = Bench()
    bench.goal(0.1, 0.0, tolerances=within(path=0.05))
    bench.run(0.2)
    bench.follows = False
    bench.made.accept(bench.now, to(0.5, 0.0))
    bench.run(0.1)
    assert bench.made.holding
    bench.goal(0.5, 0.0)
    bench.made.accept(bench.now, to(0.5, 0.0))
    bench.run(0.05)
    assert not bench.made.holding


def test_errors_of_continuous_joints_go_the_shorter_way() -> None:
    bench = Bench()
    bench.measured = bench.measured + [TURN, 0.0]
    bench.follows = False
    goal = bench.goal(0.01, 0.01, tolerances=within(path=0.1, goal=0.1))
    bench.run(0.11)
    assert goal.outcome == REACHED
    assert goal.feedback is not None
    assert np.abs(goal.feedback.error).max() < 0.011


def test_numbers_that_are_none_are_taken_and_reached() -> None:
    bench = Bench()
    goal = bench.goal(NAN, 0.0, tolerances=within(path=0.1, goal=0.1))
    assert np.isnan(bench.run(0.11)[0])
    assert goal.outcome == REACHED


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"accelerations": ((0.0,),)}, "accelerations at point #0"),
        ({"efforts": ((0.0, 0.0),)}, "effort"),
        ({"joint_names": ("a",)}, "don't match"),
        ({"joint_names": ()}, "don't match"),
    ],
)
def test_what_is_not_taken(change: dict[str, object], words: str) -> None:
    """What goals and the topic share is tested with the topic."""
    with pytest.raises(TrajectoryRejected, match=words):
        Bench().made.check(1.0, replace(to(0.0, 0.0), **change))  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------- tolerances


def test_tolerances_of_a_goal_leave_replace_or_take_away_the_controllers() -> None:
    default = Tolerances.of(Constraints(0.5, {"a": 0.1, "b": 0.2}, {"b": 0.01}), JOINTS)
    assert default.path.tolist() == [0.1, 0.2]
    assert default.goal.tolist() == [0.0, 0.01]
    made = of_goal(default, JOINTS, 0.0, [], [])
    assert (made.path.tolist(), made.goal.tolist(), made.goal_time) == ([0.1, 0.2], [0.0, 0.01], 0.5)
    given = [JointTolerance("b", -1.0), JointTolerance("a", 0.3, velocity=0.1)]
    made = of_goal(default, JOINTS, 2.0, given, [JointTolerance("a", NAN)])
    assert (made.path.tolist(), made.goal.tolist(), made.goal_time) == ([0.3, 0.0], [0.0, 0.01], 2.0)
    assert of_goal(default, JOINTS, -1.0, [], []).goal_time == 0.0


@pytest.mark.parametrize(
    ("seconds", "path", "goal", "words"),
    [
        (-0.5, [], [], "illegal goal_time_tolerance"),
        (0.0, [JointTolerance("c", 0.1)], [], "'c' specified in goal.path_tolerance does not exist"),
        (0.0, [], [JointTolerance("a", -0.1)], "goal.goal_tolerance has a invalid position"),
        (0.0, [], [JointTolerance("a", velocity=-2.0)], "invalid velocity"),
    ],
)
def test_tolerances_that_make_no_sense(
    seconds: float, path: list[JointTolerance], goal: list[JointTolerance], words: str
) -> None:
    with pytest.raises(IllegalTolerance, match=words):
        of_goal(LOOSE, JOINTS, seconds, path, goal)


def test_a_tolerance_of_zero_is_none_and_what_is_no_number_is_not_beyond_one() -> None:
    assert exceeded(np.array([9.0, NAN, 0.2, -0.2]), np.array([0.0, 0.1, 0.1, 0.1])).tolist() == [0, 0, 1, 1]


def test_constraints_come_from_the_controllers_file(tmp_path: Path) -> None:
    path = tmp_path / "controllers.yaml"
    text = "joint_trajectory_controller: {{ros__parameters: {{action_monitor_rate: 5, constraints: {}}}}}"
    path.write_text(text.format("{goal_time: 0.3, joint_1: {trajectory: 0.2, goal: 0.1}, joint_2: {goal: 1}}"))
    read = read_settings(path)
    assert read.action_monitor_rate == 5.0
    assert read.trajectory.constraints == Constraints(
        0.3, {"joint_1": 0.2, "joint_2": 0.0}, {"joint_1": 0.1, "joint_2": 1}
    )
    for wrong, words in (
        ("3", "constraints is 3"),
        ("{goal_time: -1}", "goal_time is -1"),
        ("{a: {goal: x}}", "goal is 'x'"),
    ):
        path.write_text(text.format(wrong))
        with pytest.raises(BadControllers, match=words):
            read_settings(path)


# -------------------------------------------------------------------------------------------------- interpolation


def test_points_with_accelerations_are_met_in_all_of_them() -> None:
    first = Knot(np.array([0.1]), np.array([0.2]), np.array([0.3]))
    second = Knot(np.array([0.5]), np.array([-0.1]), np.array([0.7]))
    for elapsed, knot in ((0.0, first), (0.8, second)):
        made = between(elapsed, 0.8, first, second)
        assert made.positions == pytest.approx(knot.positions)
        assert made.velocities == pytest.approx(knot.velocities)
        assert made.accelerations == pytest.approx(knot.accelerations)


@pytest.mark.parametrize("accelerations", [False, True])
def test_velocities_and_accelerations_are_derivatives(accelerations: bool) -> None:
    knots = [
        Knot(np.array([p]), np.array([v]), np.array([a]) if accelerations else None)
        for p, v, a in ((0.1, 0.2, 0.3), (0.5, -0.1, 0.7))
    ]
    before, here, after = (between(0.3 + step, 0.8, *knots) for step in (-1e-5, 0.0, 1e-5))
    assert (after.positions - before.positions) / 2e-5 == pytest.approx(here.velocities, abs=1e-6)
    assert (after.velocities - before.velocities) / 2e-5 == pytest.approx(here.accelerations, abs=1e-6)


def test_accelerations_without_velocities_want_every_joint_at_zero() -> None:
    bench = Bench()
    bench.measured = np.array([0.5, 0.5])
    bench.made.activate(bench.now, bench.measured)
    bench.run(0.01)
    message = Trajectory(0.0, JOINTS, (0.1,), ((0.5, 0.5),), ((),), ((0.0, 0.0),))
    bench.made.accept(bench.now, message)
    assert bench.run(0.05).tolist() == [0.0, 0.0]


# -------------------------------------------------------------------------------------------------------- the arm


class Cell:
    """An arm with driver and controllers, run in steps of a millisecond, with a goal of joint_1 on its way."""

    def __init__(self, tolerances: Tolerances | None = None) -> None:
        self.world = World("table")
        self.world.reset(time=100.0)
        self.arm = Gen3(self.world)
        self.loop = ControlLoop(KortexDriver(self.arm), urdf_limits(load_robot(ROBOT)), Settings(True), 0.001)
        self.run(0.05)
        target = self.loop.trajectory.desired.copy()
        target[0] += 0.4
        message = Trajectory(0.0, ARM_JOINTS, (1.0,), (tuple(target),), ((0.0,) * 7,))
        self.goal = self.loop.trajectory.begin(message, tolerances or self.loop.trajectory.default_tolerances)
        self.run(0.3)

    def run(self, seconds: float) -> None:
        for _ in range(round(1000 * seconds)):
            self.loop.cycle(self.world.time)
            self.world.step(1)


def test_a_lost_session_aborts_the_goal_as_deactivating_the_controller_does() -> None:
    cell = Cell()
    assert cell.loop.running
    cell.arm.session = False
    cell.run(0.01)
    assert cell.goal.outcome == DEACTIVATED
    assert not cell.loop.running


@pytest.mark.parametrize(("tolerance", "outcome"), [(0.0, REACHED), (0.1, OFF_PATH)])
def test_a_fault_of_the_arm_is_seen_by_tolerances_only(tolerance: float, outcome: object) -> None:
    """The controller does not know of faults: without a tolerance it says reached, and the arm stands."""
    cell = Cell(Tolerances(np.full(7, tolerance), np.zeros(7), 0.0))
    cell.arm.enter_fault("a test's")
    cell.run(0.9)
    assert cell.goal.outcome == outcome
    assert cell.loop.state is not None
    assert cell.loop.state.in_fault


def test_a_hanging_driver_leaves_the_goal_where_it_is() -> None:
    cell = Cell()
    cell.loop.frozen = True
    cell.run(2.0)
    assert cell.goal.outcome is None
    cell.loop.frozen = False
    cell.run(0.01)
    assert cell.goal.outcome == REACHED
