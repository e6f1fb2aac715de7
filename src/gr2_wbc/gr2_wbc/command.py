"""What is sent to the robot: a set point with its own braking tail, and the last check before it goes out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gr2_wbc import kernels
from gr2_wbc.robot import JointLimits
from gr2_wbc.safety import State

_TOLERANCE = 1e-6  # relative, on limits
_CONTINUITY = 1e-6  # [rad], [rad/s], absolute on everything
_STANDING_SPEED = 1e-4  # [rad/s]
_STANDING_TAIL = 0.5  # [s]
_WORDS = (
    "leaves the last command",
    "does not fit its velocity",
    "changes velocity within a period",
    "moves",
    "cannot stop in time from",
    "goes beyond its upper position limit",
    "comes to rest beyond its upper position limit",
    "goes beyond its lower position limit, negated",
    "comes to rest beyond its lower position limit, negated",
)


class CommandRejected(RuntimeError):
    """A command failed the last check and was not sent. The message names the joint and the numbers."""


class CommandTrajectory:
    """A set point and its stop, as the executor will run it.

    From (q0, v0) at ``stamp`` to the set point one period later, then on at its velocity for ``hold - period``
    seconds, then to rest within T = max|v| / a: q + v T / 2 with v = 0, reached by a cubic Hermite segment, which for
    these end points IS the parabola of constant deceleration.

    Attributes:
        stamp: control time of its start [s].
        start: (n,) commanded position at ``stamp`` [rad].
        start_velocity: (n,) [rad/s].
        times: (3,) of set point, end of the constant velocity, and rest, after ``stamp`` [s].
        positions: (3, n) [rad].
        velocities: (3, n) [rad/s].
    """

    def __init__(
        self,
        stamp: float,
        start: np.ndarray,
        start_velocity: np.ndarray,
        velocities: np.ndarray,
        limits: JointLimits,
        period: float,
        hold_periods: int,
    ) -> None:
        """Make the trajectory from a start state to ``velocities`` (n,) one period later.

        Velocities that are next to nothing are none, and the command then holds for a while without a tail: a standing
        arm needs none, but a trajectory that is over when it arrives late would be rejected.
        """
        self.stamp = stamp
        self.start = start
        self.start_velocity = start_velocity
        dof = len(start)
        self.times, self.positions, self.velocities = np.empty(3), np.empty((3, dof)), np.empty((3, dof))
        kernels.make_command(
            *(start, start_velocity, velocities, limits.acceleration, period, hold_periods * period),
            *(_STANDING_SPEED, _STANDING_TAIL, self.times, self.positions, self.velocities),
        )

    def braking(self, time: float) -> bool:
        """Whether it is on its braking tail at control time [s]."""
        return bool(self.times[1] < time - self.stamp < self.times[2])

    def evaluate(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Commanded positions and velocities (n,) at control time [s]; at rest after the end."""
        dof = len(self.start)
        positions, velocities = np.empty(dof), np.empty(dof)
        kernels.evaluate_command(
            *(time - self.stamp, self.times, self.start, self.start_velocity, self.positions, self.velocities),
            *(positions, velocities),
        )
        return positions, velocities


@dataclass(eq=False, slots=True)
class Command:
    """The outcome of one control cycle; not to be changed (making it frozen would cost more than the whole gate).

    Attributes:
        active: whether it is to be sent; False in IDLE and STOPPED, where the robot is left to its own stop.
        positions, velocities: (n,) set point one period after the cycle [rad], [rad/s].
        gripper: 0 open ... 1 closed.
        state: of the controller.
        reason: why this state was entered.
        plan: the trajectory with the braking tail; meaningless before the arm was taken over.
        stamp: control time that the times of the trajectory count from [s]: that of the cycle, or of an earlier one
            while its braking tail is left to run out.
    """

    active: bool
    positions: np.ndarray
    velocities: np.ndarray
    gripper: float
    state: State
    reason: str
    plan: CommandTrajectory
    stamp: float

    def trajectory(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times (3,) relative to ``stamp`` [s], positions (3, n) [rad] and velocities (3, n) [rad/s].

        Raises:
            CommandRejected: the command is not to be sent.
        """
        if not self.active:
            raise CommandRejected(f"nothing is commanded: {self.reason}")
        return self.plan.times, self.plan.positions, self.plan.velocities


class CommandGate:
    """The last check on everything that goes out; nothing bypasses it."""

    def __init__(self, limits: JointLimits) -> None:
        self._limits = limits
        still = np.zeros(len(limits.names))
        velocity, acceleration = limits.velocity * (1.0 + _TOLERANCE), limits.acceleration * (1.0 + _TOLERANCE)
        self._bounds = np.array(
            (
                *(still, still, acceleration, velocity, acceleration),
                *(limits.upper, limits.upper, -limits.lower, -limits.lower),
            )
        )
        self._allowed = self._bounds + _CONTINUITY
        # What is compared with them is linear in the position and velocity due (rows 0, 1), the candidate's start (2),
        # its set point and place of rest (3, 4), and its velocities at the first two points (5, 6).
        self._terms = np.empty((7, len(still)))
        self._map = np.zeros((9, 7))
        self._map[0, [0, 2]] = -1.0, 1.0
        self._map[1, [0, 3]] = -1.0, 1.0
        self._map[[3, 5, 6, 7, 8], [5, 3, 4, 3, 4]] = 1.0, 1.0, 1.0, -1.0, -1.0
        self._ones = np.ones(3 * len(still))

    def check(self, candidate: CommandTrajectory, previous: CommandTrajectory) -> CommandTrajectory:
        """Check a candidate against the limits and against the trajectory it replaces.

        A joint that is already beyond a position limit must not get further beyond it.

        Raises:
            CommandRejected: it must not be sent.
        """
        due = previous.evaluate(candidate.stamp)
        points = candidate.start, candidate.times, candidate.positions, candidate.velocities
        if not kernels.command_passes(*due, *points, self._allowed):
            self._require(candidate, *due)
        return candidate

    def _require(self, candidate: CommandTrajectory, position: np.ndarray, velocity: np.ndarray) -> None:
        """The same once more, number by number, for a joint that was beyond a limit already and for what is said."""
        positions, velocities = candidate.positions, candidate.velocities
        # A sum is finite only if all its terms are.
        total = positions.ravel().dot(self._ones) + velocities.ravel().dot(self._ones)
        if not math.isfinite(total + candidate.start.dot(self._ones[: len(candidate.start)])):
            raise CommandRejected("positions or velocities of the command are not finite")
        period, held, end = candidate.times.tolist()
        if not 0.0 < period < held < end < math.inf:
            raise CommandRejected(f"times of the command do not increase: {period}, {held}, {end} s")

        terms, tail = self._terms, end - held
        terms[0], terms[1] = position, velocity
        terms[2], terms[3], terms[4], terms[5:] = candidate.start, positions[0], positions[2], velocities[:2]
        # Changes of velocity are compared as accelerations.
        entries = self._map
        entries[1, 1] = entries[1, 5] = -0.5 * period
        entries[2, 5] = 1.0 / period
        entries[2, 1] = -entries[2, 5]
        entries[4, 6] = 1.0 / tail
        values = entries.dot(terms)
        np.abs(values[:5], out=values[:5])
        if b"\0" in (values <= self._allowed).tobytes():  # a NaN fails as well
            self._require_no_worse(values, position, period, tail)

    def _require_no_worse(self, values: np.ndarray, position: np.ndarray, period: float, tail: float) -> None:
        """The same with position limits that are widened to where the joints are already; raises what is left."""
        bounds = self._bounds.copy()
        bounds[5:7] = np.maximum(position, bounds[5:7])
        bounds[7:9] = np.maximum(-position, bounds[7:9])
        if not (values <= bounds + _CONTINUITY).all():
            scale = np.ones((9, 1))
            scale[2], scale[4] = period, tail
            raise CommandRejected(self._explain(scale * values, scale * bounds))

    def _explain(self, values: np.ndarray, bounds: np.ndarray) -> str:
        row, joint = np.unravel_index(int(np.argmax(values - bounds)), values.shape)
        return (
            f"{self._limits.names[joint]} {_WORDS[row]}: {values[row, joint]:.6g}, allowed is {bounds[row, joint]:.6g}"
        )
