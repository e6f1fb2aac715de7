"""Bounds on joint velocities that keep position, velocity and acceleration within limits, now and after braking."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gr2_wbc import kernels
from gr2_wbc.robot import JointLimits

_BRAKING_SHARE = 0.9  # of the acceleration limit; the rest covers braking in steps of a period


class BrakingProfile(NamedTuple):
    """How fast one may move at a distance d from a bound: gain d close by, a constant deceleration further away.

    The far part v^2 = knee^2 + 2 deceleration (d - knee / gain), knee = deceleration / gain, meets the near one with
    equal speed and slope, so the profile never demands more than the deceleration. Beyond the bound (d < 0) it demands
    a motion back, no faster than ``recovery``. (``braking_speed`` in ``kernels/arrays.h`` computes it.)

    Attributes:
        gain: speed per distance close by [1/s].
        deceleration: [units/s^2].
        recovery: largest demanded speed back [units/s].
    """

    gain: float
    deceleration: float
    recovery: float


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
        tail = float(np.max(limits.velocity / limits.acceleration))
        gain = 1.0 / (0.5 * period + hold + 0.5 * tail)
        deceleration, step = _BRAKING_SHARE * limits.acceleration, limits.acceleration * period
        self._limits = (limits.lower, limits.upper, limits.velocity, deceleration, step, 0.5 * period, gain, recovery)

    def bounds(self, positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
        """Lower and upper bound (n,) [rad/s] of the next velocities, for the commanded state now.

        The third value tells that a joint moves towards a position limit so fast that a new command could not stop it
        in time. This happens in late cycles only, when the last command is already braking harder than a new one,
        which would hold its velocity first, can.
        """
        lower, upper = np.empty(len(positions)), np.empty(len(positions))
        too_fast = kernels.joint_bounds(positions, velocities, *self._limits, lower, upper)
        return lower, upper, too_fast


def brake_velocities(velocities: np.ndarray, limits: JointLimits, period: float) -> np.ndarray:
    """Velocities (n,) [rad/s] one period later when all joints brake together, along a straight line in joint space."""
    time = braking_time(velocities, limits.acceleration)
    return velocities * max(0.0, 1.0 - period / time) if time > 0.0 else np.zeros_like(velocities)


def braking_time(velocities: np.ndarray, accelerations: np.ndarray) -> float:
    """Shortest common time [s] in which all joints come to rest with constant decelerations within the limits (n,)."""
    times = np.abs(velocities / accelerations)
    return float(times[times.argmax()])  # with a NaN among them: that
