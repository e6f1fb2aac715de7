"""A chunk made into a curve: poses given more time where they ask for too much, joined to the motion under way.

The curve is a smoothing spline (:mod:`gr2_wbc.spline`) in six dimensions, position and rotation vector relative to
the orientation at its start, followed by a time law (:mod:`gr2_wbc.time_law`). ``docs/trajectories.md`` has the
mathematics.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
import pinocchio as pin

from gr2_wbc import kernels
from gr2_wbc.chunk import Chunk
from gr2_wbc.config import ReferenceConfig
from gr2_wbc.robot import ToolLimits
from gr2_wbc.rotation import angular_velocity, steps_between, tangents, turnings
from gr2_wbc.spline import Spline, fit
from gr2_wbc.time_law import TimeLaw, shortest

_GRID_PER_SEGMENT = 4
_JOIN_ATTEMPTS = 4
_JOIN_STRETCH = 1.5
_STRAIN = 1.5  # joining may take this many times the reference's acceleration
_SHARE = 0.9  # of speeds and of the braking rate that the time law uses; the rest is for the steps in time
_LARGEST_TURN = 3.6  # [rad] from the start of a curve; rotation vectors degenerate at 2 pi
_MOST_POSES = 64  # in one curve, unless they are over within the next:
_LEAST_WINDOW = 1.5  # [s]
_SEGMENT = (0.05, 0.2)  # shortest and longest segment of a spline [s], unless that is many for few poses:
_MORE_SEGMENTS = 16  # there are at most two to a pose and this many
MOST_SEGMENTS = 2 * _MOST_POSES + _MORE_SEGMENTS


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


@dataclass(frozen=True, eq=False)
class Poses:
    """Poses to be passed and when, counted from the start of a curve.

    Attributes:
        times: (k,) increasing [s]; those up to 0 are past.
        positions, orientations, gripper: (k, 3) [m], (k, 4) x y z w, (k,) 0 ... 1.
    """

    times: np.ndarray
    positions: np.ndarray
    orientations: np.ndarray
    gripper: np.ndarray

    def shifted(self, by: float) -> Poses:
        """The same poses, counted from ``by`` seconds later on."""
        return Poses(self.times - by, self.positions, self.orientations, self.gripper)


def poses_of(chunk: Chunk, start: float, config: ReferenceConfig, limits: ToolLimits) -> Poses:
    """The poses of a chunk at their own times, where the tool can do that; later where it cannot.

    Between two poses the tool takes at least the time that its speed limits allow. At a corner, where the velocity
    along the poses changes by more than the reference's acceleration allows, the times to both sides grow, unless the
    corner is so small that smoothing it away stays within the tolerance. Times count from the stamp on: what could not
    have been passed by ``start`` is not taken for passed.
    """
    moves = np.diff(chunk.positions, axis=0)
    turns = steps_between(chunk.orientations)
    steps = np.maximum(_norms(moves) / (_SHARE * limits.linear), _norms(turns) / (_SHARE * limits.angular))
    steps = np.maximum(steps, chunk.dt)
    if len(moves) > 1:
        middle = 0.5 * (steps[1:] + steps[:-1])
        factor = np.ones(len(middle))
        for values, acceleration, tolerance in (
            (moves, config.linear_acceleration, config.position_tolerance),
            (turns, config.angular_acceleration, config.angle_tolerance),
        ):
            rates = values / steps[:, None]
            corner = _norms(rates[1:] - rates[:-1]) * middle
            # A zigzag of this second difference that is smoothed to a line departs from it by a quarter.
            factor = np.maximum(factor, corner / np.maximum(acceleration * middle**2, 4.0 * tolerance))
        factor = np.sqrt(factor)
        steps *= np.maximum(np.concatenate([factor[:1], factor]), np.concatenate([factor, factor[-1:]]))
    times = chunk.stamp + chunk.dt - start + np.concatenate([[0.0], np.cumsum(steps)])
    return Poses(times, chunk.positions, chunk.orientations, chunk.gripper)


class Path:
    """A curve through poses that begins with a given motion, over time 0 ... duration [s], at rest at its end.

    Attributes:
        duration: time of coming to rest [s].
        length: path time of the end [s].
        total: path time of the last pose, beyond the end where the path is partial [s].
        partial: whether the poses go on beyond the end; :meth:`rest` has them.
    """

    def __init__(
        self, poses: Poses, dt: float, motion: Motion, config: ReferenceConfig, limits: ToolLimits, longest: float
    ) -> None:
        """Fit the curve.

        Args:
            poses: with at least one that lies ahead.
            dt: time between poses as their sender meant it [s].
            motion: state of motion at the start.
            longest: how long it will be followed at most [s].
        """
        self._base = motion.rotation
        ahead = int(np.searchsorted(poses.times, 0.0, side="right"))
        first = max(ahead - 1, 0)  # the pose before tells, with the next one, where the chunk is now
        last = min(len(poses.times), max(ahead + _MOST_POSES, int(np.searchsorted(poses.times, _LEAST_WINDOW))))
        vectors = tangents(motion.rotation, poses.orientations[first:last])
        far = np.flatnonzero(_norms(vectors) > _LARGEST_TURN)
        if len(far):
            last = min(last, max(first + int(far[0]), ahead + 1))
        self.partial = last < len(poses.times)
        times = poses.times[first:last]
        samples = np.hstack([poses.positions[first:last], vectors[: last - first]])
        gap = _now(times, samples)
        gap[:3] -= motion.position
        initial = np.zeros((3, 6))
        initial[0, :3] = motion.position
        for row, rates in ((1, motion.velocity), (2, motion.acceleration)):
            initial[row, :3] = rates[:3]
            initial[row, 3:] = motion.rotation.T @ rates[3:]

        times, samples = times[ahead - first :], samples[ahead - first :]
        end = float(times[-1])
        join = _join_time(gap, config, limits)
        least = max(config.min_duration, shortest(_SHARE * config.brake_rate, config.rate_smoothing))
        for _ in range(_JOIN_ATTEMPTS):
            stretch = max(1.0, least / end, join / end)
            self._spline = _fit(times * stretch, samples, initial, join, dt, config)
            curve = self._spline.on_grid(_GRID_PER_SEGMENT)
            if not _strained(curve[2], join / self._spline.duration, config):
                break
            join *= _JOIN_STRETCH
        rates = _tool_rates(curve)
        self._poses = Poses(poses.times * stretch, poses.positions, poses.orientations, poses.gripper)
        self._pose_times = self._poses.times.tolist()
        self.total = self._pose_times[-1]
        self._end_pose = last
        hold_before = ahead > 0 and join <= config.min_join_time
        self._gripper_before = float(poses.gripper[ahead - 1]) if hold_before else None
        self._ahead = ahead
        self.length = self._spline.duration
        self._law = TimeLaw(
            _caps(rates, config, limits),
            self.length,
            _SHARE * config.brake_rate,
            config.resume_rate,
            config.rate_smoothing,
            longest,
        )
        self.duration = self._law.duration

    def at(self, time: float) -> tuple[float, float, float]:
        """Path time [s], speed scale and its rate [1/s] at a time [s]."""
        return self._law.at(time)

    def rest(self, path_time: float) -> Poses:
        """The poses, counted from this path time [s] on."""
        return self._poses.shifted(path_time)

    def motion(self, path_time: float, scale: float, scale_rate: float) -> Motion:
        """State of motion at a path time [s], followed at a speed scale that changes by ``scale_rate`` [1/s]."""
        value, first, second = self._spline.evaluate(path_time)
        velocity, along = first.copy(), second.copy()
        velocity[3:] = angular_velocity(self._base, value[3:], first[3:])
        # The rate of J(v) v' along the curve, by a central difference.
        step = 1e-4
        after = angular_velocity(self._base, value[3:] + step * first[3:], first[3:] + step * second[3:])
        before = angular_velocity(self._base, value[3:] - step * first[3:], first[3:] - step * second[3:])
        along[3:] = (after - before) / (2.0 * step)
        return Motion(
            position=value[:3].copy(),
            rotation=self._base @ pin.exp3(value[3:]),
            velocity=velocity * scale,
            acceleration=along * (scale * scale) + velocity * scale_rate,
        )

    def sample(
        self, path_time: float, scale: float, scale_rate: float, ahead: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pose at a path time [s], and the twist ``ahead`` seconds later, to second order.

        Returns:
            Position (3,) [m], rotation (3, 3), and linear over angular velocity (6,) in the base frame.
        """
        position, rotation, twist = np.empty(3), np.empty((3, 3)), np.empty(6)
        table, share = self._spline.place(path_time)
        kernels.path_sample(table, share, scale, scale_rate, ahead, self._base, position, rotation, twist)
        return position, rotation, twist

    def gripper(self, path_time: float) -> float | None:
        """Gripper value of the last pose reached at a path time [s]; None: leave it as it is.

        Before the first pose that lies ahead, the value of the pose just past holds, unless the arm is still on its
        way to that pose.
        """
        reached = min(bisect_right(self._pose_times, path_time + 1e-9), self._end_pose) - 1
        return float(self._poses.gripper[reached]) if reached >= self._ahead else self._gripper_before


def braking_length(config: ReferenceConfig) -> float:
    """Path time [s] before its end from which a path is followed more and more slowly."""
    return shortest(_SHARE * config.brake_rate, config.rate_smoothing)


def _norms(values: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ij,ij->i", values, values))


def _now(times: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Samples at time 0: between the first two if that is where it lies, else the first."""
    if len(times) < 2 or times[0] >= 0.0:
        return samples[0].copy()
    share = times[0] / (times[0] - times[1])
    return samples[0] + share * (samples[1] - samples[0])


def _join_time(gap: np.ndarray, config: ReferenceConfig, limits: ToolLimits) -> float:
    """Time [s] in which a gap (6,) is closed from rest to rest with least jerk, within acceleration and speed."""
    linear, angular = math.sqrt(float(gap[:3] @ gap[:3])), math.sqrt(float(gap[3:] @ gap[3:]))
    return max(
        config.min_join_time,
        math.sqrt(5.7735 * linear / config.linear_acceleration),
        math.sqrt(5.7735 * angular / config.angular_acceleration),
        1.875 * linear / limits.linear,
        1.875 * angular / limits.angular,
    )


def _fit(
    times: np.ndarray, samples: np.ndarray, initial: np.ndarray, join: float, dt: float, config: ReferenceConfig
) -> Spline:
    low, high = _SEGMENT
    segments = min(max(3, round(times[-1] / min(max(dt, low), high))), 2 * len(times) + _MORE_SEGMENTS)
    weights = np.minimum(times / join, 1.0) ** 4
    smoothing = (2.0 * math.pi * config.smoothing_frequency) ** -6 / dt
    return fit(times, samples, weights, initial, segments, smoothing)


def _tool_rates(curve: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """(4, k) norms of linear and angular velocity and acceleration on the grid of a curve."""
    value, first, second = curve
    spin, spin_rate = turnings(value[:, 3:], first[:, 3:], second[:, 3:])
    return np.array([_norms(first[:, :3]), _norms(spin), _norms(second[:, :3]), _norms(spin_rate)])


def _strained(second: np.ndarray, share: float, config: ReferenceConfig) -> bool:
    """Whether the first share of the curve, past its given start, takes more acceleration than joining may.

    So near to the curve's start the second derivatives (k, 6) of its coordinates are its accelerations.
    """
    begin, end = math.ceil(0.1 * share * len(second)), math.ceil(min(share, 1.0) * len(second))
    linear, angular = _norms(second[begin:end, :3]).max(), _norms(second[begin:end, 3:]).max()
    return bool(linear > _STRAIN * config.linear_acceleration or angular > _STRAIN * config.angular_acceleration)


def _caps(rates: np.ndarray, config: ReferenceConfig, limits: ToolLimits) -> np.ndarray:
    """Squares of the largest speed scale on the grid, by the tool's speeds and the reference's accelerations."""
    bounds = (
        (_SHARE * limits.linear) ** 2,
        (_SHARE * limits.angular) ** 2,
        config.linear_acceleration,
        config.angular_acceleration,
    )
    values = np.vstack([rates[:2] ** 2, rates[2:]])
    return (np.array(bounds)[:, None] / np.maximum(values, 1e-9)).min(axis=0)
