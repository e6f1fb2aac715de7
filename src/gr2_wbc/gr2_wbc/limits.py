"""Bounds on joint velocities that keep position, velocity and acceleration within limits, now and after braking."""

from __future__ import annotations

import math

import numpy as np

from gr2_wbc.robot import JointLimits

_BRAKING_SHARE = 0.9  # of the acceleration limit; the rest covers braking in steps of a period
_TOLERANCE = 1e-6  # [rad/s]


class BrakingProfile:
    """How fast one may move at a distance d from a bound: gain d close by, a constant deceleration further away.

    The two parts meet with equal speed and slope, so the profile never demands more than ``deceleration``. Beyond the
    bound (d < 0) it demands a motion back, no faster than ``recovery``.
    """

    def __init__(self, gain: np.ndarray | float, deceleration: np.ndarray | float, recovery: float) -> None:
        """Set up.

        Args:
            gain: speed per distance close by [1/s], scalar or one per distance.
            deceleration: [units/s^2], scalar or one per distance.
            recovery: largest demanded speed back [units/s].
        """
        self._gain = gain
        self._deceleration = deceleration
        self._recovery = recovery
        self._knee_speed = deceleration / gain
        self._knee = self._knee_speed / gain

    def speed(self, distance: np.ndarray) -> np.ndarray:
        """Largest speed towards the bound [units/s] at distances [units], of any shape; negative: away from it."""
        near = np.maximum(self._gain * distance, -self._recovery)
        beyond = np.maximum(distance - self._knee, 0.0)
        far = np.sqrt(self._knee_speed**2 + 2.0 * self._deceleration * beyond)
        return np.where(distance > self._knee, far, near)


class JointBounds:
    """Box on the next joint velocities: velocity, braking distance to the position limits, acceleration.

    A command moves to the new velocity v within a period, holds it for ``hold`` seconds and then brakes all joints
    within a common time of at most T = max(v_max / a). So a joint goes on for at most
    (v_now + v) period / 2 + v hold + v T / 2, which the position profile keeps within the limits. Where bounds
    contradict each other the acceleration limit is kept: a joint that starts beyond a limit comes back without a jump.
    """

    def __init__(self, limits: JointLimits, period: float, hold: float, recovery: float) -> None:
        """Set up.

        Args:
            limits: of the robot.
            period: time between cycles [s].
            hold: time for which a command holds its velocity after the first point [s].
            recovery: largest demanded speed back inside a position limit [rad/s].
        """
        self._limits = limits
        self._half_period = 0.5 * period
        self._step = limits.acceleration * period
        tail = float(np.max(limits.velocity / limits.acceleration))
        gain = 1.0 / (0.5 * period + hold + 0.5 * tail)
        self._profile = BrakingProfile(gain, _BRAKING_SHARE * limits.acceleration, recovery)

    def bounds(self, positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
        """Lower and upper bound (n,) [rad/s] of the next velocities, for the commanded state now.

        The third value tells that a joint moves towards a position limit so fast that a new command could not stop it
        in time. This happens in late cycles only, when the last command is already braking harder than a new one,
        which would hold its velocity first, can.
        """
        limits = self._limits
        under_way = positions + self._half_period * velocities
        room = np.array((limits.upper - under_way, under_way - limits.lower))
        up, down = np.minimum(self._profile.speed(room), limits.velocity)
        slowest, fastest = velocities - self._step, velocities + self._step
        too_fast = ((slowest > up + _TOLERANCE) & (velocities > 0.0)) | (
            (fastest < -down - _TOLERANCE) & (velocities < 0.0)
        )
        lower = np.minimum(np.maximum(-down, slowest), fastest)
        return lower, np.minimum(np.maximum(up, slowest), fastest), bool(too_fast.any())


def attainable(rows: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Largest values (r,) that rows (r, n) times x can take for x in a box of lower and upper (n,)."""
    middle, half = 0.5 * (lower + upper), 0.5 * (upper - lower)
    return rows @ middle + np.abs(rows) @ half


def brake_velocities(velocities: np.ndarray, limits: JointLimits, period: float) -> np.ndarray:
    """Velocities (n,) [rad/s] one period later when all joints brake together, along a straight line in joint space."""
    time = braking_time(velocities, limits)
    return velocities * max(0.0, 1.0 - period / time) if time > 0.0 else np.zeros_like(velocities)


def braking_time(velocities: np.ndarray, limits: JointLimits) -> float:
    """Shortest common time [s] in which all joints come to rest with constant decelerations within the limits."""
    return math.fabs(float(np.max(np.abs(velocities) / limits.acceleration)))
