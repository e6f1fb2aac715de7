"""Bounds on joint velocities that keep position, velocity and acceleration within limits, now and after braking."""

from __future__ import annotations

import math

import numpy as np

from gr2_wbc.robot import JointLimits


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
        """Largest speed towards the bound [units/s] at distances (k,) [units]; negative: away from it."""
        near = np.maximum(self._gain * distance, -self._recovery)
        beyond = np.maximum(distance - self._knee, 0.0)
        far = np.sqrt(self._knee_speed**2 + 2.0 * self._deceleration * beyond)
        return np.where(distance > self._knee, far, near)


class JointBounds:
    """Box on the next joint velocities: velocity, braking distance to the position limits, acceleration.

    A command holds its velocity for ``hold`` seconds and then brakes all joints within the common time
    max|v| / a, so a joint at speed v goes on for at most v (hold + max(v_max / a) / 2). The position profile keeps
    this within its limits. Where bounds contradict each other the acceleration limit is kept: a joint that starts
    beyond a limit comes back without a jump.
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
        self._step = limits.acceleration * period
        tail = float(np.max(limits.velocity / limits.acceleration))
        # One period more: the bound must hold after the step, for the velocity chosen in it.
        self._profile = BrakingProfile(1.0 / (hold + 0.5 * tail + period), limits.acceleration, recovery)

    def bounds(self, positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bound (n,) [rad/s] of the next velocities, for the commanded state now."""
        limits = self._limits
        up = np.minimum(self._profile.speed(limits.upper - positions), limits.velocity)
        down = np.minimum(self._profile.speed(positions - limits.lower), limits.velocity)
        slowest, fastest = velocities - self._step, velocities + self._step
        return np.clip(-down, slowest, fastest), np.clip(up, slowest, fastest)


def brake_velocities(velocities: np.ndarray, limits: JointLimits, period: float) -> np.ndarray:
    """Velocities (n,) [rad/s] one period later when all joints brake together, along a straight line in joint space."""
    time = braking_time(velocities, limits)
    return velocities * max(0.0, 1.0 - period / time) if time > 0.0 else np.zeros_like(velocities)


def braking_time(velocities: np.ndarray, limits: JointLimits) -> float:
    """Shortest common time [s] in which all joints come to rest with constant decelerations within the limits."""
    return math.fabs(float(np.max(np.abs(velocities) / limits.acceleration)))
