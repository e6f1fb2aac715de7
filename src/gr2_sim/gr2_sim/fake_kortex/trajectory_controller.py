"""The joint trajectory controller, as far as a stream of trajectories on its topic meets it.

As in ros2_controllers: a new trajectory replaces the one before at the next update; it begins at the last command
(``interpolate_from_desired_state``) or at the measured state; continuous joints begin in the turn of the first point;
past the last point that point is held; ``cmd_timeout`` after it the *measured* position is held. Nothing is checked
for being finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

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
        cmd_timeout: [s] after a trajectory's end until the measured position is held; 0: never.
    """

    interpolate_from_desired_state: bool = False
    allow_nonzero_velocity_at_trajectory_end: bool = False
    allow_partial_joints_goal: bool = False
    cmd_timeout: float = 0.0


@dataclass(frozen=True)
class Trajectory:
    """A trajectory message.

    Attributes:
        stamp: [s] that the times count from; 0: the update that first sees it.
        joint_names: in the order of the columns.
        times: (m,) [s].
        positions: m rows of n numbers [rad].
        velocities: m rows of n, or of none, numbers [rad/s].
    """

    stamp: float
    joint_names: tuple[str, ...]
    times: tuple[float, ...]
    positions: tuple[Sequence[float], ...]
    velocities: tuple[Sequence[float], ...]


@dataclass(frozen=True, eq=False)
class _Running:
    """A trajectory in the controller's joint order, and the state it was entered from."""

    start: float
    times: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray | None
    holding: bool
    sampled: bool = False
    before_time: float = 0.0
    before_position: np.ndarray | None = None
    before_velocity: np.ndarray | None = None


class TrajectoryController:
    """Follows trajectories; called once a control period.

    Args:
        joints: names of the n joints, in the order of all arrays.
        continuous: (n,) bool: joints of type continuous in the URDF.
        config: parameters.
        period: of the control loop [s].
    """

    def __init__(
        self, joints: Sequence[str], continuous: np.ndarray, config: TrajectoryControllerConfig, period: float
    ) -> None:
        self.joints = tuple(joints)
        self._continuous = np.asarray(continuous, dtype=bool)
        self._config = config
        self._period = period
        self.timeouts = 0
        self.desired = np.zeros(len(self.joints))

    def activate(self, now: float, measured: np.ndarray) -> None:
        """Begin to hold the measured positions (n,) [rad]."""
        still = np.zeros(len(self.joints))
        self._command, self._command_velocity, self._command_time = measured.copy(), still, now
        self.desired = measured.copy()
        self._running = self._hold(measured)

    def accept(self, now: float, trajectory: Trajectory) -> None:
        """Take a trajectory from the topic.

        Raises:
            TrajectoryRejected: the controller's own checks, and only those.
        """
        self._validate(now, trajectory)
        order = [trajectory.joint_names.index(name) for name in self.joints]
        rows = np.array([list(row) for row in trajectory.positions], dtype=float)[:, order]
        rates = None
        if all(len(row) for row in trajectory.velocities):
            rates = np.array([list(row) for row in trajectory.velocities], dtype=float)[:, order]
        self._running = _Running(trajectory.stamp, np.array(trajectory.times, dtype=float), rows, rates, holding=False)

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
        if not running.sampled:
            running = self._running = self._entered(running, now, measured, velocities)
        self.desired, _ = self._sample(running, now)
        command, rate = self._sample(running, now + self._period)
        end = running.start + running.times[-1]
        if not running.holding and self._config.cmd_timeout > 0.0 and now - end > self._config.cmd_timeout:
            self.timeouts += 1
            self._running = self._hold(measured)
        self._command, self._command_velocity, self._command_time = command, rate, now
        return command

    def _hold(self, measured: np.ndarray) -> _Running:
        return _Running(0.0, np.zeros(1), measured[None].copy(), None, holding=True)

    def _entered(self, running: _Running, now: float, measured: np.ndarray, velocities: np.ndarray) -> _Running:
        """The trajectory with the state it is entered from, in the turn of its first point."""
        if self._config.interpolate_from_desired_state:
            position, velocity, time = self._command, self._command_velocity, self._command_time
        else:
            position, velocity, time = measured, velocities, now
        first = running.positions[0]
        with np.errstate(invalid="ignore"):
            distance = np.remainder(first - position + math.pi, 2.0 * math.pi) - math.pi
        return replace(
            running,
            start=running.start or now,
            sampled=True,
            before_time=time,
            before_position=np.where(self._continuous, first - distance, position),
            before_velocity=velocity.copy(),
        )

    def _sample(self, running: _Running, now: float) -> tuple[np.ndarray, np.ndarray]:
        elapsed = now - running.start
        times, rates = running.times, running.velocities
        if elapsed < times[0]:
            assert running.before_position is not None
            span = running.start + float(times[0]) - running.before_time
            rate = rates[0] if rates is not None else None
            before = running.before_velocity if rates is not None else None
            return _between(
                now - running.before_time, span, running.before_position, before, running.positions[0], rate
            )
        index = int(np.searchsorted(times, elapsed, side="right"))
        if index >= len(times):
            last = rates[-1] if rates is not None else np.zeros(len(self.joints))
            return running.positions[-1], last
        first, second = (None, None) if rates is None else (rates[index - 1], rates[index])
        span = float(times[index] - times[index - 1])
        return _between(
            elapsed - float(times[index - 1]),
            span,
            running.positions[index - 1],
            first,
            running.positions[index],
            second,
        )

    def _validate(self, now: float, trajectory: Trajectory) -> None:
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


def _between(
    elapsed: float,
    span: float,
    first: np.ndarray,
    first_rate: np.ndarray | None,
    second: np.ndarray,
    second_rate: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities (n,) between two points: cubic where both have velocities, else linear."""
    if first_rate is None or second_rate is None or span <= 0.0:
        slope = (second - first) / span if span > 0.0 else np.zeros(len(first))
        return first + min(max(elapsed, 0.0), max(span, 0.0)) * slope, slope
    s = min(max(elapsed, 0.0), span) / span
    v0, v1 = span * first_rate, span * second_rate
    cubic, square = 2.0 * (first - second) + v0 + v1, 3.0 * (second - first) - 2.0 * v0 - v1
    return first + s * (v0 + s * (square + s * cubic)), (v0 + s * (2.0 * square + s * 3.0 * cubic)) / span
