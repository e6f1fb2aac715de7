"""What is sent to the robot: a set point with its own braking tail, and the last check before it goes out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gr2_wbc.limits import braking_time
from gr2_wbc.robot import JointLimits

_TOLERANCE = 1e-6  # relative, on limits
_CONTINUITY = 1e-6  # [rad] between a command and the one it replaces


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
        """Make the trajectory from a start state to ``velocities`` (n,) one period later."""
        self.stamp = stamp
        self.start = start
        self.start_velocity = start_velocity
        hold = (hold_periods - 1) * period
        tail = max(braking_time(velocities, limits), period)
        point = start + 0.5 * period * (start_velocity + velocities)
        held = point + hold * velocities
        self.times = np.array((period, period + hold, period + hold + tail))
        self.positions = np.array((point, held, held + 0.5 * tail * velocities))
        self.velocities = np.array((velocities, velocities, np.zeros_like(velocities)))

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
        positions, velocities: (n,) set point one period after ``stamp`` [rad], [rad/s].
        gripper: 0 open ... 1 closed.
        state: of the controller.
        reason: why this state was entered.
        plan: the trajectory with the braking tail; None before the arm was taken over.
        stamp: control time of the cycle [s].
    """

    active: bool
    positions: np.ndarray
    velocities: np.ndarray
    gripper: float
    state: int
    reason: str
    plan: CommandTrajectory | None
    stamp: float

    def trajectory(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times (3,) relative to ``stamp`` [s], positions (3, n) [rad] and velocities (3, n) [rad/s].

        Raises:
            CommandRejected: the command is not to be sent.
        """
        if not self.active or self.plan is None:
            raise CommandRejected(f"nothing is commanded: {self.reason}")
        return self.plan.times, self.plan.positions, self.plan.velocities


class CommandGate:
    """The last check on everything that goes out; nothing bypasses it."""

    def __init__(self, limits: JointLimits) -> None:
        self._limits = limits
        self._velocity = limits.velocity * (1.0 + _TOLERANCE)
        self._acceleration = limits.acceleration * (1.0 + _TOLERANCE)
        self._continuity = np.full(len(limits.names), _CONTINUITY)

    def check(self, candidate: CommandTrajectory, previous: CommandTrajectory) -> CommandTrajectory:
        """Check a candidate against the limits and against the trajectory it replaces.

        A joint that is already beyond a position limit must not get further beyond it.

        Raises:
            CommandRejected: it must not be sent.
        """
        limits = self._limits
        for name, values in (("positions", candidate.positions), ("velocities", candidate.velocities)):
            if not np.isfinite(values).all():
                raise CommandRejected(f"{name} of the command are not finite")
        period, held, end = candidate.times.tolist()
        if not 0.0 < period < held < end < math.inf:
            raise CommandRejected(f"times of the command do not increase: {period}, {held}, {end} s")

        position, velocity = previous.evaluate(candidate.stamp)
        speed = candidate.velocities[0]
        self._require(np.abs(candidate.start - position), self._continuity, "leaves the last command")
        self._require(np.abs(speed - velocity), self._acceleration * period + 1e-9, "changes velocity")
        self._require(np.abs(speed), self._velocity, "moves")
        self._require(np.abs(candidate.velocities[1]), self._acceleration * (end - held), "brakes")
        implied = position + 0.5 * period * (velocity + speed)
        self._require(np.abs(candidate.positions[0] - implied), self._continuity, "does not fit its velocity")
        low = np.minimum(position, limits.lower) - _CONTINUITY
        high = np.maximum(position, limits.upper) + _CONTINUITY
        for point in (candidate.positions[0], candidate.positions[2]):
            self._require(point, high, "goes beyond its upper position limit")
            self._require(low, point, "goes beyond its lower position limit")
        return candidate

    def _require(self, values: np.ndarray, bounds: np.ndarray, what: str) -> None:
        if (values <= bounds).all():  # False for NaN
            return
        index = int(np.argmax(values - bounds))
        raise CommandRejected(
            f"{self._limits.names[index]} {what}: {values[index]:.6g}, allowed is {bounds[index]:.6g}"
        )
