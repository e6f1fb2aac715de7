"""The joint trajectory controller: trajectories on its topic, and goals of its action.

As in ros2_controllers: a new trajectory replaces the one before at the next update; it begins at the last command
(``interpolate_from_desired_state``) or at the measured state; continuous joints begin in the turn of the first point;
past the last point that point is held; ``cmd_timeout`` after it the *measured* position is held. Nothing is checked
for being finite. A trajectory on the topic takes the place of a goal's and leaves the goal: what comes then is judged
as if it were the goal's. A goal's tolerances stay in force until the next goal, also for the topic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gr2_sim.fake_kortex import trajectory_goal
from gr2_sim.fake_kortex.interpolation import Knot, Sample, between
from gr2_sim.fake_kortex.tolerances import Constraints, Tolerances, exceeded
from gr2_sim.fake_kortex.trajectory_goal import Feedback, Goal, Outcome

_EPSILON = float(np.finfo(np.float32).eps)


class TrajectoryRejected(ValueError):
    """A trajectory is not taken; the one before goes on. The message is the controller's."""


@dataclass(frozen=True)
class TrajectoryControllerConfig:
    """Parameters of the controller; the defaults are those of Jazzy.

    Attributes:
        interpolate_from_desired_state: begin at the last command, not at the measured state.
        allow_nonzero_velocity_at_trajectory_end: take trajectories that do not end at rest.
        allow_partial_joints_goal: take trajectories of some of the joints; here always false.
        cmd_timeout: [s] after a trajectory's end until the measured position is held; 0, or not more than the
            constraints' goal_time: never.
        constraints: tolerances where a goal brings none.
    """

    interpolate_from_desired_state: bool = False
    allow_nonzero_velocity_at_trajectory_end: bool = False
    allow_partial_joints_goal: bool = False
    cmd_timeout: float = 0.0
    constraints: Constraints = field(default_factory=Constraints)


@dataclass(frozen=True)
class Trajectory:
    """A trajectory message.

    Attributes:
        stamp: [s] that the times count from; 0: the update that first sees it.
        joint_names: in the order of the columns.
        times: (m,) [s].
        positions: m rows of n numbers [rad].
        velocities, accelerations, efforts: m rows of n, or of none, numbers [rad/s], [rad/s^2], [Nm]; no rows: none.
    """

    stamp: float
    joint_names: tuple[str, ...]
    times: tuple[float, ...]
    positions: tuple[Sequence[float], ...]
    velocities: tuple[Sequence[float], ...]
    accelerations: tuple[Sequence[float], ...] = ()
    efforts: tuple[Sequence[float], ...] = ()


@dataclass(frozen=True, eq=False)
class _Running:
    """A trajectory in the controller's joint order, and the state it was entered from."""

    start: float
    times: np.ndarray
    knots: tuple[Knot, ...]
    holding: bool
    sampled: bool = False
    before_time: float = 0.0
    before: Knot | None = None


class TrajectoryController:
    """Follows trajectories; called once a control period.

    Args:
        joints: names of the n joints, in the order of all arrays.
        continuous: (n,) bool: joints of type continuous in the URDF.
        config: parameters.
        period: of the control loop [s].

    Attributes:
        desired: positions that are wanted now (n,) [rad].
        timeouts: how often ``cmd_timeout`` has struck.
        tolerances: in force; a goal's stay when it has ended.
        goal: the one that is carried out.
    """

    def __init__(
        self, joints: Sequence[str], continuous: np.ndarray, config: TrajectoryControllerConfig, period: float
    ) -> None:
        self.joints = tuple(joints)
        self._continuous = np.asarray(continuous, dtype=bool)
        self._config = config
        self._period = period
        self._timeout = config.cmd_timeout if config.cmd_timeout > config.constraints.goal_time else 0.0
        self.timeouts = 0
        self.desired = np.zeros(len(self.joints))
        self.default_tolerances = Tolerances.of(config.constraints, self.joints)
        self.tolerances = self.default_tolerances
        self.goal: Goal | None = None

    def activate(self, now: float, measured: np.ndarray) -> None:
        """Begin to hold the measured positions (n,) [rad]."""
        self._command, self._command_time = Knot(measured.copy()).still, now
        self.desired = measured.copy()
        self._running = self._hold(Knot(measured))

    def accept(self, now: float, trajectory: Trajectory) -> None:
        """Take a trajectory from the topic. A goal at hand is not ended by it.

        Raises:
            TrajectoryRejected: the controller's own checks, and only those.
        """
        self.check(now, trajectory)
        self._follow(trajectory)

    def begin(self, trajectory: Trajectory, tolerances: Tolerances) -> Goal:
        """Take the trajectory of a goal, which was checked; the goal at hand is preempted."""
        self._end_goal(trajectory_goal.PREEMPTED)
        self._follow(trajectory)
        self.tolerances = tolerances
        self.goal = Goal(tolerances)
        return self.goal

    def cancel(self, goal: Goal, measured: np.ndarray) -> None:
        """Hold the measured positions (n,) [rad], if this goal is at hand."""
        if goal is self.goal:
            self._end_goal(trajectory_goal.CANCELED)
            self._running = self._hold(Knot(measured))

    def deactivate(self) -> None:
        """The controller is stopped, and the goal at hand with it."""
        self._end_goal(trajectory_goal.DEACTIVATED)

    @property
    def holding(self) -> bool:
        """Whether it holds a position of its own, not a trajectory's."""
        return self._running.holding

    def update(self, now: float, measured: np.ndarray, velocities: np.ndarray) -> np.ndarray:
        """Positions to command for the next period (n,) [rad].

        Args:
            now: [s].
            measured, velocities: state (n,) [rad], [rad/s].
        """
        running = self._running
        first = not running.sampled
        if first:
            running = self._running = self._entered(running, now, measured, velocities)
        desired = self._sample(running, now)
        self.desired = desired.positions
        command = self._sample(running, now + self._period)
        ended = now + self._period - running.start >= running.times[-1]
        late = now - running.start - float(running.times[-1])
        if ended and not running.holding and 0.0 < self._timeout < late:
            self.timeouts += 1
            self._running = self._hold(Knot(measured))
        tolerances, off_path, off_goal = self.tolerances, False, False
        if tolerances.any and not self._running.holding:  # what is held is not checked
            error = self._error(desired.positions, measured)
            off_path = (first or not ended) and bool(exceeded(error, tolerances.path).any())
            off_goal = ended and bool(exceeded(error, tolerances.goal).any())
        too_late = off_goal and 0.0 < tolerances.goal_time < late
        if not off_path and not too_late:
            self._command, self._command_time = command, now
        if self.goal is not None:
            off = self._error(desired.positions, measured)
            self.goal.feedback = Feedback(now, now - running.start, desired, measured, velocities, off)
        if off_path:
            self._end_goal(trajectory_goal.OFF_PATH)
            self._running = self._hold(Knot(measured))
        elif too_late:
            self._end_goal(trajectory_goal.late(late))
            self._running = self._hold(Knot(measured))
        elif self.goal is not None and ended and not off_goal:
            self._end_goal(trajectory_goal.REACHED)
            self._running = self._hold(running.knots[-1])  # also if the timeout has just struck
        return self._command.positions

    def _end_goal(self, outcome: Outcome) -> None:
        if self.goal is not None:
            self.goal.end(outcome)
            self.goal = None

    def _error(self, desired: np.ndarray, measured: np.ndarray) -> np.ndarray:
        error = desired - measured
        with np.errstate(invalid="ignore"):
            shorter = np.remainder(error + math.pi, 2.0 * math.pi) - math.pi
        return np.where(self._continuous, shorter, error)

    def _follow(self, trajectory: Trajectory) -> None:
        order = [trajectory.joint_names.index(name) for name in self.joints]

        def column(rows: tuple[Sequence[float], ...], index: int) -> np.ndarray | None:
            row = rows[index] if index < len(rows) else ()
            return np.array(list(row), dtype=float)[order] if len(row) else None

        knots = tuple(
            Knot(
                np.array(list(row), dtype=float)[order],
                column(trajectory.velocities, index),
                column(trajectory.accelerations, index),
            )
            for index, row in enumerate(trajectory.positions)
        )
        self._running = _Running(trajectory.stamp, np.array(trajectory.times, dtype=float), knots, holding=False)

    def _hold(self, knot: Knot) -> _Running:
        held = Knot(knot.positions.copy(), knot.velocities, knot.accelerations)
        return _Running(0.0, np.zeros(1), (held,), holding=True)

    def _entered(self, running: _Running, now: float, measured: np.ndarray, velocities: np.ndarray) -> _Running:
        """The trajectory with the state it is entered from, in the turn of its first point."""
        first = running.knots[0]
        if self._config.interpolate_from_desired_state:
            last, time = self._command, self._command_time
            state = Knot(last.positions, last.velocities, last.accelerations)
        else:  # there is no state of accelerations
            still = None if first.accelerations is None else np.zeros(len(measured))
            state, time = Knot(measured, velocities.copy(), still), now
        with np.errstate(invalid="ignore"):
            distance = np.remainder(first.positions - state.positions + math.pi, 2.0 * math.pi) - math.pi
        position = np.where(self._continuous, first.positions - distance, state.positions)
        return replace(
            running,
            start=running.start or now,
            sampled=True,
            before_time=time,
            before=replace(state, positions=position),
        )

    def _sample(self, running: _Running, now: float) -> Sample:
        elapsed, times, knots = now - running.start, running.times, running.knots
        if elapsed < times[0]:
            assert running.before is not None
            span = running.start + float(times[0]) - running.before_time
            return between(now - running.before_time, span, running.before, knots[0])
        index = int(np.searchsorted(times, elapsed, side="right"))
        if index >= len(times):
            return knots[-1].still
        span = float(times[index] - times[index - 1])
        return between(elapsed - float(times[index - 1]), span, knots[index - 1], knots[index])

    def check(self, now: float, trajectory: Trajectory) -> None:
        """Look at a trajectory as the controller does before it takes one, from topic or action.

        Raises:
            TrajectoryRejected: it would not be taken.
        """
        names, count = trajectory.joint_names, len(trajectory.joint_names)
        if count != len(self.joints):
            raise TrajectoryRejected("Joints on incoming trajectory don't match the controller joints.")
        if not trajectory.times:
            raise TrajectoryRejected("Empty trajectory received.")
        for name in names:
            if name not in self.joints:
                raise TrajectoryRejected(f"Incoming joint {name} doesn't match the controller's joints.")
        if len(set(names)) != count:
            raise TrajectoryRejected("Joint names repeat.")
        if not self._config.allow_nonzero_velocity_at_trajectory_end:
            for name, rate in zip(names, trajectory.velocities[-1], strict=False):
                if abs(rate) > _EPSILON:
                    raise TrajectoryRejected(f"Velocity of last trajectory point of joint {name} is not zero: {rate}")
        if trajectory.stamp != 0.0 and trajectory.stamp + trajectory.times[-1] < now:
            raise TrajectoryRejected("Received trajectory with non-zero start time that ends in the past")
        for index, time in enumerate(trajectory.times):
            if index and time <= trajectory.times[index - 1]:
                raise TrajectoryRejected(f"Time between points {index - 1} and {index} is not strictly increasing")
            if len(trajectory.positions[index]) != count:
                raise TrajectoryRejected(f"Mismatch between joint_names and positions at point #{index}")
            if len(trajectory.velocities[index]) not in (0, count):
                raise TrajectoryRejected(f"Mismatch between joint_names and velocities at point #{index}")
            if trajectory.accelerations and len(trajectory.accelerations[index]) not in (0, count):
                raise TrajectoryRejected(f"Mismatch between joint_names and accelerations at point #{index}")
            if trajectory.efforts and len(trajectory.efforts[index]):
                raise TrajectoryRejected("Trajectories with effort fields are only supported with effort commands.")
