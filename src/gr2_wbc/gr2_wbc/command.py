"""What is sent to the robot: a set point with its own braking tail, and the last check before it goes out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gr2_wbc.limits import braking_time
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

        Velocities that are next to nothing are none, and the command then holds for a while without a tail.
        """
        self.stamp = stamp
        self.start = start
        self.start_velocity = start_velocity
        hold = (hold_periods - 1) * period
        tail = max(braking_time(velocities, limits), period)
        if float(np.abs(velocities).max(initial=0.0)) < _STANDING_SPEED:
            # A standing arm needs no tail, but a trajectory that is over when it arrives late would be rejected.
            velocities, tail = np.zeros_like(velocities), _STANDING_TAIL
        point = start + 0.5 * period * (start_velocity + velocities)
        held = point + hold * velocities
        self.times = np.array((period, period + hold, period + hold + tail))
        self.positions = np.array((point, held, held + 0.5 * tail * velocities))
        self.velocities = np.array((velocities, velocities, np.zeros_like(velocities)))

    def braking(self, time: float) -> bool:
        """Whether it is on its braking tail at control time [s]."""
        return self.times[1] < time - self.stamp < self.times[2]

    def evaluate(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Commanded positions and velocities (n,) at control time [s]; at rest after the end."""
        elapsed = max(time - self.stamp, 0.0)
        period, held, end = self.times.tolist()
        if elapsed >= end:
            return self.positions[2].copy(), np.zeros_like(self.start)
        if elapsed >= held:
            rate = (elapsed - held) / (end - held)
            velocity = self.velocities[1] * (1.0 - rate)
            return self.positions[1] + 0.5 * (elapsed - held) * (self.velocities[1] + velocity), velocity
        if elapsed >= period:
            return self.positions[0] + (elapsed - period) * self.velocities[0], self.velocities[0].copy()
        velocity = self.start_velocity + (elapsed / period) * (self.velocities[0] - self.start_velocity)
        return self.start + 0.5 * elapsed * (self.start_velocity + velocity), velocity


@dataclass(frozen=True, eq=False)
class Command:
    """The outcome of one control cycle.

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

    def check(self, candidate: CommandTrajectory, previous: CommandTrajectory) -> CommandTrajectory:
        """Check a candidate against the limits and against the trajectory it replaces.

        A joint that is already beyond a position limit must not get further beyond it.

        Raises:
            CommandRejected: it must not be sent.
        """
        if not math.isfinite(candidate.positions.sum() + candidate.velocities.sum()):
            raise CommandRejected("positions or velocities of the command are not finite")
        period, held, end = candidate.times.tolist()
        if not 0.0 < period < held < end < math.inf:
            raise CommandRejected(f"times of the command do not increase: {period}, {held}, {end} s")

        position, velocity = previous.evaluate(candidate.stamp)
        speed = candidate.velocities[0]
        implied = position + 0.5 * period * (velocity + speed)
        values = np.array(
            (
                np.abs(candidate.start - position),
                np.abs(candidate.positions[0] - implied),
                np.abs(speed - velocity),
                np.abs(speed),
                np.abs(candidate.velocities[1]),
                candidate.positions[0],
                candidate.positions[2],
                -candidate.positions[0],
                -candidate.positions[2],
            )
        )
        bounds = self._bounds.copy()
        bounds[2] *= period
        bounds[4] *= end - held
        bounds[5:7] = np.maximum(position, bounds[5:7])
        bounds[7:9] = np.maximum(-position, bounds[7:9])
        if not (values <= bounds + _CONTINUITY).all():  # a NaN fails as well
            raise CommandRejected(self._explain(values, bounds))
        return candidate

    def _explain(self, values: np.ndarray, bounds: np.ndarray) -> str:
        row, joint = np.unravel_index(int(np.argmax(values - bounds)), values.shape)
        return (
            f"{self._limits.names[joint]} {_WORDS[row]}: {values[row, joint]:.6g}, allowed is {bounds[row, joint]:.6g}"
        )
