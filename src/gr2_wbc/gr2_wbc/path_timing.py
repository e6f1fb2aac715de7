"""From waypoints in joint space to a timed motion within velocity, acceleration and tool speed limits.

Corners are rounded with parabolas. The timing is the fastest one along the path (time-optimal path parameterisation by
reachability: Pham and Pham, "A new approach to time-optimal path parameterization based on reachability analysis",
2018), then averaged over a short window, which bounds the jerk and keeps every bound on velocity and acceleration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gr2_wbc.joint_motion import JointMotion
from gr2_wbc.joints import JointLimits

STEP = 0.02  # [rad, m] largest distance between points of the path at which limits are looked at
ROUNDING = 0.3  # [rad, m] largest distance from a corner at which its rounding begins
SHARPEST = 1e-3  # the same of the least rounded corner
_BISECTIONS = 24


@dataclass(frozen=True)
class TimingConfig:
    """How fast planned motions are.

    Attributes:
        speed: share of the joints' and the tool's velocity limits.
        acceleration: share of the acceleration limits; the rest is for feedback.
        window: time over which the motion is averaged [s]; the jerk is at most 2 acceleration / window.
        period: time between samples of the result [s].
    """

    speed: float = 0.5
    acceleration: float = 0.5
    window: float = 0.1
    period: float = 0.005


@dataclass(frozen=True, eq=False)
class _Piece:
    """Part of a path q(s) = start + direction s + curvature s^2 / 2 for 0 <= s <= length; |q'| = 1 at straight ends."""

    start: np.ndarray
    direction: np.ndarray
    curvature: np.ndarray
    length: float

    def at(self, s: np.ndarray) -> np.ndarray:
        return self.start + np.outer(s, self.direction) + 0.5 * np.outer(s * s, self.curvature)

    def slope(self, s: np.ndarray) -> np.ndarray:
        return self.direction + np.outer(s, self.curvature)


def timed_motion(
    name: str,
    waypoints: np.ndarray,
    limits: JointLimits,
    config: TimingConfig | None = None,
    free: Callable[[np.ndarray], bool] = lambda _: True,
    tool_speed: Callable[[np.ndarray, np.ndarray], float] = lambda _q, _v: 0.0,
) -> JointMotion:
    """A motion through waypoints, from rest to rest.

    Args:
        name: for messages.
        waypoints: (k, n), the segments between them are free.
        limits: of the joints.
        config: how fast.
        free: whether a configuration (n,) may be passed; corners are rounded less until they may.
        tool_speed: share of the tool's speed limits taken at a configuration (n,) and joint velocities (n,).
    """
    config = config or TimingConfig()
    points = np.asarray(waypoints, dtype=float)
    moved = np.linalg.norm(np.diff(points, axis=0), axis=1)
    points = points[np.concatenate([[True], moved > 1e-9])]
    if len(points) == 1:
        return JointMotion(name, config.period, points, np.zeros_like(points))
    pieces = _rounded(points, free)
    times, positions = _fastest(pieces, limits, config, tool_speed)
    return _averaged(name, times, positions, config)


def _rounded(points: np.ndarray, free: Callable[[np.ndarray], bool]) -> list[_Piece]:
    """Straight pieces with parabolas at the corners."""
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    directions = np.diff(points, axis=0) / lengths[:, None]
    cuts = np.zeros(len(points))
    for corner in range(1, len(points) - 1):
        cut = min(0.5 * lengths[corner - 1], 0.5 * lengths[corner], ROUNDING)
        while cut > SHARPEST:
            piece = _corner(points[corner], directions[corner - 1], directions[corner], cut)
            count = max(3, int(np.ceil(piece.length / (0.5 * STEP))))
            if all(free(point) for point in piece.at(np.linspace(0.0, piece.length, count))):
                break
            cut *= 0.5
        cuts[corner] = max(cut, min(SHARPEST, 0.5 * lengths[corner - 1], 0.5 * lengths[corner]))
    pieces = []
    straight = np.zeros(points.shape[1])
    for segment, (length, direction) in enumerate(zip(lengths, directions, strict=True)):
        if cuts[segment] > 0.0:
            pieces.append(_corner(points[segment], directions[segment - 1], direction, cuts[segment]))
        rest = length - cuts[segment] - cuts[segment + 1]
        if rest > 1e-12:
            pieces.append(_Piece(points[segment] + cuts[segment] * direction, direction, straight, rest))
    return pieces


def _corner(point: np.ndarray, before: np.ndarray, after: np.ndarray, cut: float) -> _Piece:
    return _Piece(point - cut * before, before, (after - before) / (2.0 * cut), 2.0 * cut)


def _fastest(
    pieces: Sequence[_Piece],
    limits: JointLimits,
    config: TimingConfig,
    tool_speed: Callable[[np.ndarray, np.ndarray], float],
) -> tuple[np.ndarray, np.ndarray]:
    """Times (m,) [s] and positions (m, n) of the fastest motion along the path."""
    velocity, acceleration = config.speed * limits.velocity, config.acceleration * limits.acceleration
    positions: list[np.ndarray] = [pieces[0].start]
    before: list[np.ndarray] = []
    after: list[np.ndarray] = []
    curvatures: list[np.ndarray] = []
    steps: list[float] = []
    for piece in pieces:
        count = max(4, int(np.ceil(piece.length / STEP)))
        s = np.linspace(0.0, piece.length, count + 1)
        slopes = piece.slope(s)
        positions.extend(piece.at(s)[1:])
        before.extend(slopes[:-1])
        after.extend(slopes[1:])
        curvatures.extend([piece.curvature] * count)
        steps.extend(np.diff(s))
    # x = (ds/dt)^2 at each node; between two nodes d2s/dt2 = u is constant, so x_next = x + 2 u step.
    fastest = np.full(len(steps) + 1, np.inf)
    for index, (start, end) in enumerate(zip(before, after, strict=True)):
        for node, slope in ((index, start), (index + 1, end)):
            share = max(float(np.max(np.abs(slope) / velocity)), tool_speed(positions[node], slope) / config.speed)
            fastest[node] = min(fastest[node], 1.0 / max(share, 1e-9) ** 2)
    fastest[0] = fastest[-1] = 0.0
    # Backward: from how fast can one still stop at the end. Then forward: as fast as that allows.
    reachable = np.zeros(len(fastest))
    for k in range(len(steps) - 1, -1, -1):
        bounds = _Interval(before[k], after[k], curvatures[k], steps[k], acceleration, reachable[k + 1])
        reachable[k] = bounds.largest(fastest[k])
    x = np.zeros(len(fastest))
    for k in range(len(steps)):
        bounds = _Interval(before[k], after[k], curvatures[k], steps[k], acceleration, reachable[k + 1])
        x[k + 1] = min(max(x[k] + 2.0 * steps[k] * bounds.range(x[k])[1], 0.0), reachable[k + 1])
    speed = np.sqrt(x)
    pauses = 2.0 * np.array(steps) / np.maximum(speed[:-1] + speed[1:], 1e-6)
    return _dense(np.concatenate([[0.0], np.cumsum(pauses)]), speed, pieces, steps, config.period)


class _Interval:
    """Which u are allowed between two nodes, for the x at the first."""

    def __init__(
        self,
        before: np.ndarray,
        after: np.ndarray,
        curvature: np.ndarray,
        step: float,
        acceleration: np.ndarray,
        next_largest: float,
    ) -> None:
        # |slope u + curvature x| <= acceleration at both ends; at the second, x is x + 2 u step.
        self._rates = np.concatenate([before, after + 2.0 * step * curvature])
        self._curvature = np.concatenate([curvature, curvature])
        self._acceleration = np.concatenate([acceleration, acceleration])
        self._step = step
        self._next_largest = next_largest

    def range(self, x: float) -> tuple[float, float]:
        """Smallest and largest u; the first is larger than the second where there is none."""
        middle = self._curvature * x
        low, high = -x / (2.0 * self._step), (self._next_largest - x) / (2.0 * self._step)
        flat = np.abs(self._rates) < 1e-9
        if np.any(np.abs(middle[flat]) > self._acceleration[flat] + 1e-12):
            return np.inf, -np.inf
        rates, middle, room = self._rates[~flat], middle[~flat], self._acceleration[~flat]
        first, second = (-room - middle) / rates, (room - middle) / rates
        return (
            max(low, float(np.minimum(first, second).max(initial=-np.inf))),
            min(high, float(np.maximum(first, second).min(initial=np.inf))),
        )

    def largest(self, limit: float) -> float:
        """Largest x up to a limit for which some u is allowed; the allowed x are an interval from 0."""
        low, high = self.range(limit)
        if low <= high:
            return limit
        inside, outside = 0.0, limit
        for _ in range(_BISECTIONS):
            middle = 0.5 * (inside + outside)
            low, high = self.range(middle)
            inside, outside = (middle, outside) if low <= high else (inside, middle)
        return inside


def _dense(
    times: np.ndarray, speed: np.ndarray, pieces: Sequence[_Piece], steps: Sequence[float], period: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions at every period: s(t) is a parabola between nodes, q(s) is exact."""
    nodes = np.concatenate([[0.0], np.cumsum(steps)])
    grid = np.append(np.arange(0.0, times[-1], period), times[-1])
    index = np.clip(np.searchsorted(times, grid, side="right") - 1, 0, len(steps) - 1)
    since, pause = grid - times[index], times[index + 1] - times[index]
    change = (speed[index + 1] - speed[index]) / pause
    s = np.clip(nodes[index] + speed[index] * since + 0.5 * change * since**2, 0.0, nodes[-1])
    ends = np.cumsum([piece.length for piece in pieces])
    which = np.minimum(np.searchsorted(ends, s), len(pieces) - 1)
    positions = np.empty((len(grid), len(pieces[0].start)))
    for number, piece in enumerate(pieces):
        chosen = which == number
        positions[chosen] = piece.at(s[chosen] - (ends[number] - piece.length))
    return grid, positions


def _averaged(name: str, times: np.ndarray, positions: np.ndarray, config: TimingConfig) -> JointMotion:
    """The motion averaged over the window: as if it stood before its start and after its end."""
    count = max(1, round(config.window / config.period))
    grid = np.arange(0.0, times[-1] + 0.5 * config.period, config.period)
    even = np.column_stack([np.interp(grid, times, column) for column in positions.T])
    even[-1] = positions[-1]
    padded = np.concatenate([np.repeat(even[:1], count, axis=0), even, np.repeat(even[-1:], count, axis=0)])
    sums = np.cumsum(np.concatenate([np.zeros((1, padded.shape[1])), padded]), axis=0)
    smooth = (sums[count:] - sums[:-count]) / count
    smooth[0], smooth[-1] = even[0], even[-1]
    velocities = np.gradient(smooth, config.period, axis=0)
    velocities[0] = velocities[-1] = 0.0
    return JointMotion(name, config.period, smooth, velocities)
