"""The parts of the fake driver behave as the sources of the real ones say, unkind details included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gr2_sim.build import ARM_JOINTS, ROBOT
from gr2_sim.fake_kortex.command_limiter import CommandLimiter, CommandLimits, OutOfBounds
from gr2_sim.fake_kortex.control_loop import ControlLoop
from gr2_sim.fake_kortex.driver import KortexDriver, to_degrees, to_radians
from gr2_sim.fake_kortex.faults import FAULTS, Faults, UnknownFault
from gr2_sim.fake_kortex.gen3 import Gen3
from gr2_sim.fake_kortex.gripper_controller import (
    Ending,
    GoalRejected,
    GripperController,
    GripperControllerConfig,
)
from gr2_sim.fake_kortex.settings import BadControllers, Settings, read_settings, urdf_limits
from gr2_sim.fake_kortex.trajectory_controller import (
    Trajectory,
    TrajectoryController,
    TrajectoryControllerConfig,
    TrajectoryRejected,
)
from gr2_sim.world import World
from gr2_wbc.robots import load_robot

STREAM = TrajectoryControllerConfig(interpolate_from_desired_state=True, cmd_timeout=0.5)
TURN = 2.0 * np.pi
NAN = float("nan")


def controller(config: TrajectoryControllerConfig = STREAM, at: tuple[float, ...] = (0.0, 0.0)) -> TrajectoryController:
    """Of two joints, the first continuous."""
    made = TrajectoryController(("a", "b"), np.array([True, False]), config, 0.001)
    made.activate(1.0, np.array(at))
    made.update(1.0, np.array(at), np.zeros(2))
    return made


def trajectory(
    *points: tuple[float, tuple[float, float]],
    stamp: float = 0.0,
    end: float = 0.0,
    names: tuple[str, ...] = ("a", "b"),
) -> Trajectory:
    times, positions = zip(*points, strict=True) if points else ((), ())
    rates = [(0.0, 0.0)] * len(times)
    if end:
        rates[-1] = (end, end)
    return Trajectory(stamp, names, times, positions, tuple(rates))


# --------------------------------------------------------------------------------------- trajectory controller


def test_cubic_from_the_last_command_to_the_point_and_rest_there() -> None:
    made = controller()
    made.accept(1.0, trajectory((1.0, (1.0, -1.0)), stamp=1.0))
    path = [made.update(1.0 + 0.001 * k, np.zeros(2), np.zeros(2)) for k in range(1, 1200)]
    assert path[499][0] == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.diff(np.array(path), axis=0)).max() < 0.0016  # 1.5 rad/s in the middle, no jump
    assert path[-1] == pytest.approx([1.0, -1.0])


@pytest.mark.parametrize("desired", [True, False])
def test_a_new_trajectory_begins_at_the_command_or_at_the_sagging_measurement(desired: bool) -> None:
    made = controller(replace(STREAM, interpolate_from_desired_state=desired))
    sagging = np.array([-0.1, 0.0])
    made.accept(1.0, trajectory((0.1, (0.0, 0.0))))
    first = made.update(1.001, sagging, np.zeros(2))
    assert first[0] == pytest.approx(0.0 if desired else -0.1, abs=0.001)


def test_joints_come_in_any_order_by_name() -> None:
    made = controller()
    made.accept(1.0, trajectory((0.001, (0.5, 0.2)), names=("b", "a")))
    for k in range(1, 5):
        command = made.update(1.0 + 0.001 * k, np.zeros(2), np.zeros(2))
    assert command == pytest.approx([0.2, 0.5])


def test_continuous_joints_begin_in_the_turn_of_the_first_point() -> None:
    made = controller(at=(3.1, 0.0))
    made.accept(1.0, trajectory((0.1, (3.1 - TURN, 0.0))))
    command = made.update(1.001, np.array([3.1, 0.0]), np.zeros(2))
    assert command[0] == pytest.approx(3.1 - TURN, abs=1e-6), "the command jumps by a turn, the angle does not move"


def test_after_the_timeout_the_measured_position_is_held_not_the_last_point() -> None:
    made = controller()
    made.accept(1.0, trajectory((0.01, (1.0, 0.0))))
    measured = np.array([0.98, 0.0])
    for k in range(1, 1000):
        command = made.update(1.0 + 0.001 * k, measured, np.zeros(2))
        if k == 400:
            assert command[0] == 1.0
    assert made.timeouts == 1
    assert made.holding
    assert command[0] == 0.98


def test_numbers_that_are_none_pass() -> None:
    made = controller()
    made.accept(1.0, trajectory((0.01, (NAN, 0.0))))
    made.update(1.001, np.zeros(2), np.zeros(2))
    assert np.isnan(made.update(1.05, np.zeros(2), np.zeros(2))[0])


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (trajectory((0.1, (0.0, 0.0)), end=0.2), "not zero"),
        (trajectory((0.1, (0.0, 0.0)), stamp=0.5), "ends in the past"),
        (trajectory((0.1, (0.0, 0.0)), (0.1, (0.0, 0.0))), "strictly increasing"),
        (trajectory(), "Empty"),
        (trajectory((0.1, (0.0, 0.0)), names=("a", "c")), "Incoming joint c"),
        (Trajectory(0.0, ("a",), (0.1,), ((0.0,),), ((),)), "don't match"),
        (Trajectory(0.0, ("a", "b"), (0.1,), ((0.0,),), ((),)), "positions at point #0"),
        (Trajectory(0.0, ("a", "b"), (0.1,), ((0.0, 0.0),), ((0.0,),)), "velocities at point #0"),
    ],
)
def test_what_the_controller_refuses(message: Trajectory, words: str) -> None:
    made = controller()
    with pytest.raises(TrajectoryRejected, match=words):
        made.accept(1.0, message)
    assert made.update(1.001, np.zeros(2), np.zeros(2)) == pytest.approx([0.0, 0.0]), "the one before goes on"


# --------------------------------------------------------------------------------------------- command limits


def limits(velocity: float) -> CommandLimits:
    return CommandLimits(("a", "b"), np.array([-np.inf, -1.0]), np.array([np.inf, 1.0]), np.array([velocity, 0.5]))


def test_commands_are_held_to_speed_and_range() -> None:
    limiter = CommandLimiter(limits(1.0))
    at = np.zeros(2)
    assert limiter.enforce(np.array([1.0, 2.0]), at, 0.001) == pytest.approx([0.001, 0.0005])
    for _ in range(5000):
        command = limiter.enforce(np.array([1.0, 2.0]), at, 0.001)
    assert command == pytest.approx([1.0, 1.0])
    assert limiter.enforced > 1000


def test_a_number_that_is_none_passes_and_what_follows_is_held_to_the_last_that_was_one() -> None:
    limiter = CommandLimiter(limits(1.0))
    assert limiter.enforce(np.array([0.0005, 0.0]), np.zeros(2), 0.001)[0] == 0.0005
    assert np.isnan(limiter.enforce(np.array([NAN, 0.0]), np.zeros(2), 0.001)[0])
    assert limiter.enforce(np.array([3.0, 0.0]), np.zeros(2), 0.001)[0] == pytest.approx(0.0015)


def test_a_joint_measured_beyond_its_limits_ends_the_process() -> None:
    limiter = CommandLimiter(limits(1.0))
    limiter.enforce(np.zeros(2), np.array([0.0, 1.008]), 0.001)
    with pytest.raises(OutOfBounds, match="'b'"):
        limiter.enforce(np.zeros(2), np.array([0.0, 1.01]), 0.001)


@pytest.mark.parametrize(("velocity", "turned"), [(1.0, True), (np.inf, False)])
def test_a_speed_limit_on_a_continuous_joint_makes_a_timeout_turn_it_once_around(velocity: float, turned: bool) -> None:
    """Why our description gives ros2_control no limits of continuous joints: see urdf_limits."""
    made, limiter = controller(at=(3.0, 0.0)), CommandLimiter(limits(velocity))
    made.accept(1.0, trajectory((0.5, (3.4, 0.0))))  # over pi: measured as -2.88 from there
    angle, way = 3.0, 0.0
    for k in range(1, 9000):
        measured = np.array([to_radians(np.array([np.degrees(angle)]))[0], 0.0])
        command = limiter.enforce(made.update(1.0 + 0.001 * k, measured, np.zeros(2)), measured, 0.001)
        step = float(to_radians(to_degrees(command[:1] - angle))[0])  # the drive goes the shorter way
        angle, way = angle + step, way + abs(step)
    assert made.timeouts == 1
    assert (way > TURN) == turned, f"{way:.2f} rad"
    assert angle % TURN == pytest.approx(3.4, abs=1e-3)


# ------------------------------------------------------------------------------------------------- the driver


@pytest.mark.parametrize("angle", [-9.0, -np.pi, -3.0, -1e-3, 0.0, 1.0, 3.1, 3.2, 6.28, 6.3, 13.0])
def test_angles_go_out_as_0_to_360_degrees_and_come_back_as_plus_minus_pi(angle: float) -> None:
    degrees = to_degrees(np.array([angle]))
    assert degrees.dtype == np.float32
    assert 0.0 <= degrees[0] <= 360.0
    back = to_radians(degrees)[0]
    assert -np.pi <= back <= np.pi
    assert np.cos(back - angle) == pytest.approx(1.0, abs=1e-9)


class Cell:
    """An arm in its world with driver and controllers, run in steps of a millisecond."""

    def __init__(self, settings: Settings) -> None:
        self.world = World("table")
        self.world.reset(time=100.0)
        self.arm = Gen3(self.world)
        self.loop = ControlLoop(KortexDriver(self.arm), urdf_limits(load_robot(ROBOT)), settings, 0.001)
        self.faults = Faults(self.arm, self.loop)
        self.endings: list[tuple[int, Ending]] = []
        self.fastest = 0.0

    def run(self, seconds: float) -> None:
        self.fastest = 0.0
        for _ in range(round(1000 * seconds)):
            ended = self.loop.cycle(self.world.time)
            self.endings += [ended] if ended else []
            self.world.step(1)
            self.fastest = max(self.fastest, float(np.abs(self.world.joint_velocities).max()))

    def go(self, joint: int, by: float, seconds: float) -> None:
        target = self.loop.trajectory.desired.copy()
        target[joint] += by
        message = Trajectory(0.0, ARM_JOINTS, (seconds,), (tuple(target),), ((0.0,) * 7,))
        self.loop.trajectory.accept(self.world.time, message)


@pytest.fixture
def cell() -> Cell:
    made = Cell(Settings(True, 50.0, STREAM, GripperControllerConfig(allow_stalling=True)))
    made.run(0.05)
    return made


def test_the_arm_follows_through_the_wrap_both_ways_and_does_not_turn_back(cell: Cell) -> None:
    start = cell.world.joint_positions.copy()
    for by in (2.4, -2.4):  # joint_7 begins at -1.63: through -pi, and back
        cell.go(6, -by, 4.0)
        cell.run(6.0)  # and beyond the timeout
        assert cell.fastest < 1.2
    assert cell.world.joint_positions == pytest.approx(start, abs=0.01)
    assert cell.loop.trajectory.timeouts == 2


@pytest.mark.parametrize(("until", "jumps"), [(1.2, True), (2.0, False)])
def test_an_arm_in_fault_stops_and_jumps_to_what_is_wanted_when_it_is_reset(
    cell: Cell, until: float, jumps: bool
) -> None:
    """Unless the controller's timeout has struck before: it then wants the arm where it stands."""
    cell.go(0, 0.8, 2.0)
    cell.run(0.8)
    cell.faults.inject("fault")
    cell.run(until)
    assert cell.loop.state is not None
    assert cell.loop.state.in_fault
    stands = cell.world.joint_positions[0]
    assert stands < 0.5
    assert cell.loop.reset_fault()
    cell.run(0.3)
    assert not cell.loop.state.in_fault
    assert (cell.fastest > 1.0) == jumps, "the jump that /arm/reset_fault is there to prevent"


def test_a_lasting_fault_is_not_reset_until_its_cause_is_gone(cell: Cell) -> None:
    cell.faults.inject("lasting fault")
    cell.run(0.01)
    assert not cell.loop.reset_fault()
    cell.faults.inject("")
    assert cell.loop.reset_fault()


def test_a_lost_session_stops_the_controllers_and_the_arm_stands(cell: Cell) -> None:
    cell.go(0, 0.8, 2.0)
    cell.run(0.8)
    cell.faults.inject("session")
    cell.run(1.0)
    assert "does not answer" in cell.loop.error
    assert float(np.abs(cell.world.joint_velocities).max()) < 0.01
    assert not cell.loop.reset_fault()


def test_a_set_point_that_is_no_number_reaches_the_arm(cell: Cell) -> None:
    """Nothing on the way checks it; what the arm then does is our guess: a fault."""
    bad = (NAN,) + (0.0,) * 6
    cell.loop.trajectory.accept(cell.world.time, Trajectory(0.0, ARM_JOINTS, (0.01,), (bad,), ((0.0,) * 7,)))
    cell.run(0.05)
    assert cell.arm.not_finite == 1
    assert "not a number" in cell.arm.fault
    assert np.isfinite(cell.world.joint_positions).all()


def test_a_frozen_driver_leaves_the_arm_at_its_last_set_points(cell: Cell) -> None:
    cell.go(0, 0.8, 2.0)
    cell.run(0.8)
    cell.faults.inject("frozen")
    cell.run(1.0)
    assert float(np.abs(cell.world.joint_velocities).max()) < 0.01
    cell.faults.inject("")
    cell.run(0.01)
    assert not cell.loop.frozen


def test_names_are_told_in_another_order_or_exchanged(cell: Cell) -> None:
    names = list("abcde")
    assert cell.faults.told(names) == (names, [0, 1, 2, 3, 4])
    cell.faults.inject("order")
    assert cell.faults.told(names) == (names[::-1], [4, 3, 2, 1, 0])
    cell.faults.inject("exchanged")
    assert cell.faults.told(names) == (list("adcbe"), [0, 1, 2, 3, 4])
    with pytest.raises(UnknownFault, match="there are"):
        cell.faults.inject("gremlin")
    assert set(FAULTS) >= {"fault", "session", "frozen", "order"}


# ------------------------------------------------------------------------------------------------ the gripper


def test_gripper_goals_reach_stall_and_preempt(cell: Cell) -> None:
    first, none = cell.loop.gripper.accept(cell.world.time, [0.4])
    assert none is None
    cell.run(1.0)
    assert cell.endings == [(first, Ending.REACHED)]
    assert cell.loop.state is not None
    assert cell.loop.state.gripper == pytest.approx(0.4, abs=0.01)
    second, _ = cell.loop.gripper.accept(cell.world.time, [0.0])
    third, preempted = cell.loop.gripper.accept(cell.world.time, [0.8])
    assert preempted == second
    cell.run(1.0)
    assert cell.endings[-1] == (third, Ending.REACHED)


def test_gripper_that_cannot_move_on_has_stalled() -> None:
    for allowed, ending in ((True, Ending.STALLED), (False, Ending.STALLED_ABORTED)):
        made = GripperController(GripperControllerConfig(allow_stalling=allowed))
        number, _ = made.accept(0.0, [0.8])
        assert made.update(0.5, 0.4, 0.0) is None
        assert made.update(1.1, 0.4, 0.0) == (number, ending)
        assert made.update(1.2, 0.4, 0.0) is None


def test_gripper_goal_needs_exactly_one_position_and_a_cancelled_one_holds() -> None:
    made = GripperController(GripperControllerConfig())
    with pytest.raises(GoalRejected, match="got 2"):
        made.accept(0.0, [0.1, 0.2])
    number, _ = made.accept(0.0, [0.8])
    made.cancel(number, 0.3)
    assert made.command == 0.3
    assert made.update(9.0, 0.1, 0.0) is None


# ------------------------------------------------------------------------------------------------- settings


def test_what_the_file_does_not_say_is_as_in_jazzy_and_what_it_says_wrongly_is_named(tmp_path: Path) -> None:
    path = tmp_path / "controllers.yaml"
    path.write_text("joint_trajectory_controller: {ros__parameters: {cmd_timeout: 1}}")
    read = read_settings(path)
    assert not read.enforce_command_limits
    assert read.trajectory == TrajectoryControllerConfig(cmd_timeout=1.0)
    for text, words in (
        ("controller_manager: {ros__parameters: {enforce_command_limits: 1}}", "enforce_command_limits is 1"),
        ("joint_trajectory_controller: {ros__parameters: {cmd_timeout: soon}}", "cmd_timeout is 'soon'"),
        ("joint_trajectory_controller: 3", "no ros__parameters"),
        ("[", "controllers.yaml"),
    ):
        path.write_text(text)
        with pytest.raises(BadControllers, match=words):
            read_settings(path)
