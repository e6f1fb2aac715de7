"""A timed motion in joint space, and how the controller follows it: through the same program, in place of the tool.

The motion says where each joint should be when. Time along it runs with a scale 0 ... 1, which falls where the arm
lags behind and when the motion is given up, so that the arm slows down along its path instead of leaving it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gr2_wbc.contributors import Cost, CycleState
from gr2_wbc.joints import JointLimits

GAIN = 12.0  # [1/s] feedback on the commanded positions
LAG = 0.08  # [rad or m] at which time along the motion stands still
FREE_LAG = 0.25  # share of it that does not slow the motion
BRAKE_RATE, RESUME_RATE = 4.0, 2.0  # [1/s] how fast the scale may fall and rise
REACHED = 2e-3  # [rad or m] a joint is at its goal
AT_REST = 1e-2  # [rad/s or m/s]
SETTLE_TIME = 1.0  # [s] after the motion's end in which the goal must be reached
STUCK_TIME = 3.0  # [s] without progress after which a motion is given up


@dataclass(frozen=True, eq=False)
class JointMotion:
    """Joint positions and velocities over time, from rest to rest.

    Attributes:
        name: what it moves to, for messages.
        period: time between samples [s].
        positions, velocities: (m, n) samples [rad, m], [rad/s, m/s].
    """

    name: str
    period: float
    positions: np.ndarray
    velocities: np.ndarray

    @property
    def duration(self) -> float:
        """[s]"""
        return (len(self.positions) - 1) * self.period

    @property
    def goal(self) -> np.ndarray:
        """(n,) where it ends."""
        return self.positions[-1]

    def sample(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Positions and velocities (n,) at a time [s] since its start, by cubic interpolation; clipped to its ends."""
        place = min(max(time / self.period, 0.0), float(len(self.positions) - 1))
        index = min(int(place), max(len(self.positions) - 2, 0))
        if len(self.positions) == 1:
            return self.positions[0], self.velocities[0]
        u = place - index
        p0, p1 = self.positions[index], self.positions[index + 1]
        v0, v1 = self.period * self.velocities[index], self.period * self.velocities[index + 1]
        a, b = 2.0 * (p0 - p1) + v0 + v1, 3.0 * (p1 - p0) - 2.0 * v0 - v1
        return ((a * u + b) * u + v0) * u + p0, ((3.0 * a * u + 2.0 * b) * u + v0) / self.period


class JointTracking:
    """Follow joint positions and velocities; all joints weigh the same."""

    def __init__(self, limits: JointLimits) -> None:
        self._limits = limits
        self._identity = np.eye(len(limits.names))
        self.positions = np.zeros(len(limits.names))
        self.velocities = np.zeros(len(limits.names))

    def add(self, state: CycleState, cost: Cost) -> None:
        """See :class:`gr2_wbc.contributors.Contributor`."""
        wanted = self.velocities + GAIN * (self.positions - state.positions)
        fastest = float(np.max(np.abs(wanted) / self._limits.velocity))
        if fastest > 1.0:  # all joints together: the arm stays on its straight line
            wanted = wanted / fastest
        cost.hessian += self._identity
        cost.gradient -= wanted


class JointFollower:
    """Runs one motion after another.

    Attributes:
        motion: under way; None: none.
        scale: of time along it.
        abandoned: it was given up and the arm comes to rest.
        contributors: what the program serves meanwhile.
    """

    def __init__(self, limits: JointLimits, period: float) -> None:
        self._period = period
        self._tracking = JointTracking(limits)
        self.contributors = [self._tracking]
        self.motion: JointMotion | None = None
        self.scale = 0.0
        self.abandoned = False
        self._time = self._overtime = self._stuck = 0.0

    @property
    def active(self) -> bool:
        """Whether a motion is under way."""
        return self.motion is not None

    @property
    def remaining(self) -> float:
        """Time [s] until the motion ends, at full scale."""
        return max(0.0, self.motion.duration - self._time) if self.motion is not None else 0.0

    def start(self, motion: JointMotion) -> None:
        """Follow a motion from its beginning."""
        self.motion = motion
        self.scale, self.abandoned = 1.0, False
        self._time = self._overtime = self._stuck = 0.0

    def abandon(self) -> None:
        """Come to rest along the motion."""
        self.abandoned = self.active

    def drop(self) -> None:
        """Forget the motion at once."""
        self.motion, self.abandoned = None, False

    def advance(self, state: CycleState, speed_limit: float = 1.0) -> str:
        """Advance by a period and set what the program is to serve.

        Args:
            state: the commanded state.
            speed_limit: largest scale allowed now.

        Returns:
            How the motion ended, in words; empty while it goes on.
        """
        if self.motion is None:
            return ""
        tracking, motion = self._tracking, self.motion
        lag = float(np.max(np.abs(motion.sample(self._time)[0] - state.positions)))
        wanted = min(1.0, max(0.0, (1.0 - lag / LAG) / (1.0 - FREE_LAG)), speed_limit)
        if self.abandoned:
            wanted = 0.0
        step = min(max(wanted - self.scale, -BRAKE_RATE * self._period), RESUME_RATE * self._period)
        self.scale += step
        self._time = min(self._time + self.scale * self._period, motion.duration)
        tracking.positions, tracking.velocities = motion.sample(self._time)
        if self._time < motion.duration:
            tracking.velocities = self.scale * tracking.velocities
        return self._ended(state, lag)

    def _ended(self, state: CycleState, lag: float) -> str:
        motion = self.motion
        assert motion is not None
        resting = float(np.max(np.abs(state.velocities))) < AT_REST
        if self.abandoned:
            if self.scale <= 0.0 and resting:
                self.drop()
                return f"the motion to {motion.name} was given up"
            return ""
        if self._time >= motion.duration:
            self._overtime += self._period
            if lag < REACHED and resting:
                self.drop()
                return f"{motion.name} is reached"
            if self._overtime > SETTLE_TIME:
                self.drop()
                return f"the motion to {motion.name} ended {lag:.3f} short of it"
        self._stuck = self._stuck + self._period if self.scale < 0.02 else 0.0
        if self._stuck > STUCK_TIME:
            self.drop()
            return f"the motion to {motion.name} was given up: something is in the way"
        return ""
