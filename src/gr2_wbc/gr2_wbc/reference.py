"""The reference motion: a chunk made into a smooth path, and how fast it is followed.

A chunk becomes a :class:`Path` over path time. Its start is the motion under way (position, velocity and acceleration
continuous), its later part follows the chunk's poses; rotations are fitted in the tangent space at the start.
Path time runs with a speed scale 0 ... 1. The scale falls where the path is faster than the tool may move, where
the arm lags behind, and at the path's end, so that the arm slows down along its path instead of leaving it, and
comes to rest on it when no fresh chunk arrives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pinocchio as pin

from gr2_wbc.chunk import Chunk
from gr2_wbc.config import ReferenceConfig
from gr2_wbc.robot import ToolLimits
from gr2_wbc.rotation import angular_velocity, tangents
from gr2_wbc.spline import Spline, fit

_GRID_PER_SEGMENT = 4
_JOIN_ATTEMPTS = 4
_JOIN_STRETCH = 1.5
_SHARE = 0.9  # of speeds and of the braking rate that the speed caps use; the rest is for the steps in time


@dataclass(frozen=True, eq=False)
class Motion:
    """A state of motion of the tool: pose, twist and its rate, all expressed in the base frame.

    Attributes:
        position: (3,) [m].
        rotation: (3, 3).
        velocity: (6,) linear [m/s] and angular [rad/s].
        acceleration: (6,) [m/s^2], [rad/s^2].
    """

    position: np.ndarray
    rotation: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray


class Path:
    """A chunk joined to the motion under way, over path time 0 ... duration [s].

    Attributes:
        chunk: what it was made of.
        start: control time at which path time is 0 [s].
        duration: [s]
    """

    def __init__(self, chunk: Chunk, start: float, motion: Motion, config: ReferenceConfig, limits: ToolLimits) -> None:
        """Fit the path.

        Args:
            chunk: checked, with at least one pose later than ``start``.
            start: control time [s].
            motion: reference state at ``start``.
        """
        self.chunk = chunk
        self.start = start
        self._base = motion.rotation
        times = chunk.stamp + chunk.dt * np.arange(1, len(chunk.positions) + 1) - start
        ahead = times > 0.0
        samples = np.hstack([chunk.positions, tangents(motion.rotation, chunk.orientations)])
        gap = _interpolate(times, samples)
        gap[:3] -= motion.position
        to_base = motion.rotation.T
        initial = np.zeros((3, 6))
        initial[0, :3] = motion.position
        for row, rates in ((1, motion.velocity), (2, motion.acceleration)):
            initial[row, :3] = rates[:3]
            initial[row, 3:] = to_base @ rates[3:]

        times, samples = times[ahead], samples[ahead]
        join = _join_time(gap, config, limits)
        for _ in range(_JOIN_ATTEMPTS):
            stretch = max(1.0, config.min_duration / times[-1], join / times[-1])
            self._spline = _fit(times * stretch, samples, initial, join, chunk.dt, config)
            if not self._strained(join, config):
                break
            join *= _JOIN_STRETCH
        self._sample_times = times * stretch
        self._grippers = chunk.gripper[ahead]
        passed = chunk.gripper[~ahead]
        self._gripper_before = float(passed[-1]) if passed.size and join <= config.min_join_time else None
        self.duration = self._spline.duration
        self._cap_grid, self._cap_squared = self._speed_caps(config, limits)

    def motion(self, time: float, scale: float, scale_rate: float) -> Motion:
        """State of motion at path time [s], followed at a speed scale that changes by ``scale_rate`` [1/s]."""
        value, first, second = self._spline.evaluate(time)
        rotation_vector = value[3:]
        velocity = np.concatenate([first[:3], angular_velocity(self._base, rotation_vector, first[3:])])
        # The angular acceleration along the path by a central difference: it is wanted at splices only.
        step = 1e-4
        after, rate_after, _ = self._spline.evaluate(time + step)
        before, rate_before, _ = self._spline.evaluate(time - step)
        spread = min(time + step, self.duration) - max(time - step, 0.0)
        turning = angular_velocity(self._base, after[3:], rate_after[3:])
        turning = (turning - angular_velocity(self._base, before[3:], rate_before[3:])) / spread
        along = np.concatenate([second[:3], turning])
        return Motion(
            position=value[:3].copy(),
            rotation=self._base @ pin.exp3(rotation_vector),
            velocity=velocity * scale,
            acceleration=along * (scale * scale) + velocity * scale_rate,
        )

    def sample(self, time: float, ahead: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pose at path time [s], and the pose's derivative (to second order) ``ahead`` seconds of path time later.

        Returns:
            Position (3,) [m], rotation (3, 3), and linear over angular velocity (6,) in the base frame.
        """
        value, first, second = self._spline.evaluate(time)
        velocity = first + ahead * second
        velocity[3:] = angular_velocity(self._base, value[3:] + ahead * first[3:], velocity[3:])
        return value[:3], self._base @ pin.exp3(value[3:]), velocity

    def speed_cap(self, time: float) -> float:
        """Largest speed scale at path time [s] within the tool's limits and with the path's end at rest."""
        return math.sqrt(max(float(np.interp(time, self._cap_grid, self._cap_squared)), 0.0))

    def gripper(self, time: float) -> float | None:
        """Gripper value of the last pose reached at path time [s]; None: leave it as it is.

        Before the first pose that lies ahead, the value of the pose just past holds, unless the arm is still on its
        way to that pose.
        """
        reached = int(np.searchsorted(self._sample_times, time + 1e-9, side="right")) - 1
        return float(self._grippers[reached]) if reached >= 0 else self._gripper_before

    def _strained(self, join: float, config: ReferenceConfig) -> bool:
        """Whether joining within ``join`` [s] takes more than 1.5 times the reference's acceleration."""
        _, _, second = self._spline.evaluate_many(np.linspace(0.1, 1.0, 8) * min(join, self._spline.duration))
        linear, angular = np.linalg.norm(second[:, :3], axis=1), np.linalg.norm(second[:, 3:], axis=1)
        return bool(
            linear.max() > 1.5 * config.linear_acceleration or angular.max() > 1.5 * config.angular_acceleration
        )

    def _speed_caps(self, config: ReferenceConfig, limits: ToolLimits) -> tuple[np.ndarray, np.ndarray]:
        """Squares of the largest scale on a grid: speed limits, then a backward pass at the braking rate to 0."""
        grid = np.linspace(0.0, self.duration, len(self._spline.coefficients) * _GRID_PER_SEGMENT + 1)
        _, first, second = self._spline.evaluate_many(grid)
        caps = np.ones(len(grid))
        for limit, values in (
            ((_SHARE * limits.linear) ** 2, np.sum(first[:, :3] ** 2, axis=1)),
            ((_SHARE * limits.angular) ** 2, np.sum(first[:, 3:] ** 2, axis=1)),
            (config.linear_acceleration, np.linalg.norm(second[:, :3], axis=1)),
            (config.angular_acceleration, np.linalg.norm(second[:, 3:], axis=1)),
        ):
            caps = np.minimum(caps, limit / np.maximum(values, 1e-9))
        caps[-1] = 0.0
        gain = 2.0 * _SHARE * config.brake_rate * (grid[1] - grid[0])
        for index in range(len(grid) - 2, -1, -1):
            caps[index] = min(caps[index], caps[index + 1] + gain)
        return grid, caps


class Reference:
    """Follows paths. Holds one :class:`Path` at a time, or none while standing still."""

    def __init__(self, config: ReferenceConfig, limits: ToolLimits) -> None:
        self._config = config
        self._limits = limits
        self._path: Path | None = None
        self._rest = (np.zeros(3), np.eye(3))
        self._time = 0.0
        self._path_time = 0.0
        self._scale = 0.0
        self._scale_rate = 0.0
        self._lag = 0.0
        self._abandoned = False

    @property
    def active(self) -> bool:
        """Whether a path is being followed."""
        return self._path is not None

    @property
    def scale(self) -> float:
        """Present path speed scale, 0 ... 1; 1 while standing still."""
        return self._scale if self._path is not None else 1.0

    @property
    def chunk(self) -> Chunk | None:
        """The chunk being followed."""
        return self._path.chunk if self._path is not None else None

    @property
    def remaining(self) -> float:
        """Path time left [s]."""
        return self._path.duration - self._path_time if self._path is not None else 0.0

    @property
    def braking(self) -> bool:
        """Whether the path is so near its end (or given up) that the motion along it is being brought to rest."""
        if self._path is None:
            return False
        return self._abandoned or self.remaining <= 0.5 / (_SHARE * self._config.brake_rate)

    @property
    def abandoned(self) -> bool:
        """Whether the path was given up before its end."""
        return self._path is not None and self._abandoned

    @property
    def finished(self) -> bool:
        """Whether the path stands still for good."""
        if self._path is None:
            return True
        return self._scale == 0.0 and (self._abandoned or self.remaining <= 0.0)

    def hold(self, now: float, position: np.ndarray, rotation: np.ndarray) -> None:
        """Stand still at a pose from control time ``now`` [s] on; drops the path."""
        self._path = None
        self._rest = (position.copy(), rotation.copy())
        self._time = now
        self._scale = self._scale_rate = 0.0

    def abandon(self) -> None:
        """Give the path up: come to rest along it, and do not go on."""
        self._abandoned = True

    def splice(self, chunk: Chunk, arm: Motion) -> None:
        """Replace the path by one through a chunk (checked, not yet over), continuing the motion under way.

        Args:
            chunk: the new chunk.
            arm: the commanded motion of the tool. The path starts from it instead of the reference where the arm lags
                so much that the path is slowed, e.g. in front of an obstacle: the reference never runs ahead.
        """
        motion = arm
        if self._path is not None and self._lag <= self._config.free_lag:
            motion = self._path.motion(self._path_time, self._scale, self._scale_rate)
        self._path = Path(chunk, self._time, motion, self._config, self._limits)
        self._path_time = 0.0
        self._scale = 1.0
        self._scale_rate = 0.0
        self._lag = 0.0
        self._abandoned = False

    def advance(self, now: float, period: float, hold: float, position_lag: float, angle_lag: float) -> None:
        """Advance to control time ``now``.

        Args:
            now: control time [s], not before that of the last call.
            period: nominal time between calls [s].
            hold: after a gap longer than this the commands under way were already braking [s].
            position_lag, angle_lag: distance of the commanded tool pose to the reference [m], [rad].
        """
        elapsed, self._time = now - self._time, now
        if self._path is None or elapsed <= 0.0:
            return
        config = self._config
        if elapsed > hold:
            # A late cycle: what was sent has begun to brake, and the path resumes from there.
            self._scale *= max(0.0, 1.0 - (elapsed - hold) * config.brake_rate)
            elapsed = hold
        if now > self._path.chunk.end + config.max_overtime:
            self._abandoned = True
        lag = self._lag = max(position_lag / config.position_lag, angle_lag / config.angle_lag)
        target = min(1.0, max(0.0, 1.0 - (lag - config.free_lag) / (1.0 - config.free_lag)))
        soon = self._path_time + self._scale * elapsed
        target = 0.0 if self._abandoned else min(target, self._path.speed_cap(soon))
        lowest = self._scale - config.brake_rate * elapsed
        highest = self._scale + config.resume_rate * elapsed
        scale = min(max(target, lowest, 0.0), highest, 1.0)
        self._scale_rate = (scale - self._scale) / elapsed
        self._path_time += 0.5 * (scale + self._scale) * elapsed
        self._scale = scale
        if self.remaining <= config.brake_rate * period * period:
            self._path_time, self._scale, self._scale_rate = self._path.duration, 0.0, 0.0

    def sample(self, ahead: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Reference position (3,) [m] and rotation (3, 3) now, and twist (6,) [m/s, rad/s] ``ahead`` seconds later."""
        if self._path is None:
            return *self._rest, np.zeros(6)
        position, rotation, rate = self._path.sample(self._path_time, self._scale * ahead)
        return position, rotation, rate * self._scale

    def gripper(self) -> float | None:
        """Gripper value of the last pose reached, 0 open ... 1 closed; None: leave it as it is."""
        return self._path.gripper(self._path_time) if self._path is not None else None


def _interpolate(times: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Samples at time 0, linearly; the first one where all lie ahead."""
    return np.array([np.interp(0.0, times, column) for column in samples.T])


def _join_time(gap: np.ndarray, config: ReferenceConfig, limits: ToolLimits) -> float:
    """Time [s] in which a gap (6,) is closed from rest to rest with least jerk, within acceleration and speed."""
    linear, angular = float(np.linalg.norm(gap[:3])), float(np.linalg.norm(gap[3:]))
    return max(
        config.min_join_time,
        math.sqrt(5.7735 * linear / config.linear_acceleration),
        math.sqrt(5.7735 * angular / config.angular_acceleration),
        1.875 * linear / limits.linear,
        1.875 * angular / limits.angular,
    )


def _fit(
    times: np.ndarray,
    samples: np.ndarray,
    initial: np.ndarray,
    join: float,
    dt: float,
    config: ReferenceConfig,
) -> Spline:
    segments = max(3, round(times[-1] / dt))
    weights = np.minimum(times / join, 1.0) ** 4
    smoothing = (2.0 * math.pi * config.smoothing_frequency) ** -6 / dt
    return fit(times, samples, weights, initial, segments, smoothing)
