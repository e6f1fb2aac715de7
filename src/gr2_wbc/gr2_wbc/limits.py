"""Bounds on joint velocities that keep position, velocity and acceleration within limits, now and after braking."""

from __future__ import annotations

import numpy as np

from gr2_wbc.robot import JointLimits

_BRAKING_SHARE = 0.9  # of the acceleration limit; the rest covers braking in steps of a period
_TOLERANCE = 1e-6  # [rad/s]
_DIRECTIONS = np.array([[1.0], [-1.0]])


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
        self._slowest = np.asarray(-recovery)
        self._twice = 2.0 * deceleration
        self._knee_squared = np.asarray((deceleration / gain) ** 2)  # square of the speed where the parts meet

    def speed(self, distance: np.ndarray) -> np.ndarray:
        """Largest speed towards the bound [units/s] at distances [units], of any shape; negative: away from it."""
        # The far part v^2 = knee^2 + 2 a (d - knee / gain), knee = a / gain, is at most its tangent gain d, which is
        # the near part.
        far = self._twice * distance
        far -= self._knee_squared
        np.maximum(far, self._knee_squared, out=far)
        np.sqrt(far, out=far)
        np.minimum(far, self._gain * distance, out=far)
        return np.maximum(far, self._slowest, out=far)

    def free(self, speed: np.ndarray) -> np.ndarray:
        """Distance [units] from which on the profile allows a speed [units/s] (and more)."""
        knee = np.sqrt(self._knee_squared)
        return np.where(speed > knee, (speed**2 + self._knee_squared) / self._twice, speed / self._gain)


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
        self._half_period = 0.5 * period
        self._step = limits.acceleration * period
        self._velocity = limits.velocity
        tail = float(np.max(limits.velocity / limits.acceleration))
        gain = 1.0 / (0.5 * period + hold + 0.5 * tail)
        self._profile = BrakingProfile(gain, _BRAKING_SHARE * limits.acceleration, recovery)
        # Rows are the two directions of motion: positive, negative.
        self._ends = np.array((limits.upper, -limits.lower))
        free = self._ends - self._profile.free(limits.velocity)
        # Where all joints are inside these positions and velocities, no position limit bounds their velocities.
        self._free_upper, self._free_lower = (
            np.array((free[0], limits.velocity)),
            np.array((-free[1], -limits.velocity)),
        )
        self._state = np.empty_like(free)
        self._slowest = -limits.velocity

    def bounds(self, positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
        """Lower and upper bound (n,) [rad/s] of the next velocities, for the commanded state now.

        The third value tells that a joint moves towards a position limit so fast that a new command could not stop it
        in time. This happens in late cycles only, when the last command is already braking harder than a new one,
        which would hold its velocity first, can.
        """
        velocity, step = self._velocity, self._step
        under_way = positions + self._half_period * velocities
        state = self._state
        state[0], state[1] = under_way, velocities
        if not any_true((state > self._free_upper) | (state < self._free_lower)):
            # No joint is near a position limit, which is the rule: velocity and acceleration limits remain.
            return np.maximum(velocities - step, self._slowest), np.minimum(velocities + step, velocity), False
        speeds = _DIRECTIONS * velocities
        slowest, fastest = speeds - step, speeds + step
        allowed = np.minimum(self._profile.speed(self._ends - _DIRECTIONS * under_way), velocity)
        upper, lower = np.minimum(np.maximum(allowed, slowest), fastest)
        too_fast = (slowest > allowed + _TOLERANCE) & (speeds > 0.0)
        return -lower, upper, any_true(too_fast)


def attainable(rows: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Largest values (r,) that rows (r, n) times x can take for x in a box of lower and upper (n,)."""
    return np.maximum(rows, 0.0).dot(upper) + np.minimum(rows, 0.0).dot(lower)


def brake_velocities(velocities: np.ndarray, limits: JointLimits, period: float) -> np.ndarray:
    """Velocities (n,) [rad/s] one period later when all joints brake together, along a straight line in joint space."""
    time = braking_time(velocities, limits.acceleration)
    return velocities * max(0.0, 1.0 - period / time) if time > 0.0 else np.zeros_like(velocities)


def braking_time(velocities: np.ndarray, accelerations: np.ndarray) -> float:
    """Shortest common time [s] in which all joints come to rest with constant decelerations within the limits (n,)."""
    times = np.abs(velocities / accelerations)
    return float(times[times.argmax()])  # with a NaN among them: that


def any_true(flags: np.ndarray) -> bool:
    """Whether any of these booleans is set; a tenth of the time of ``flags.any()`` for a handful."""
    return b"\1" in flags.tobytes()
