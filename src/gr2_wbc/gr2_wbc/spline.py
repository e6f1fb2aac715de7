"""Smoothing splines: the trajectory optimisation behind every splice.

A uniform quintic B-spline x(t) with m segments of length h is fitted to samples p_i at times t_i by

    minimise  sum_i w_i |x(t_i) - p_i|^2 + lambda * integral |x'''|^2 dt
    subject to x(0), x'(0), x''(0) given.

The three constraints are solved for three control points (the second to fourth, for which this is best conditioned);
what is left is a positive definite system of bandwidth 5, solved by a banded Cholesky decomposition in a time
proportional to m. The curve is C4 inside, and continuous in position, velocity and acceleration where it joins what
came before. The null space of the penalty (parabolas) is fixed by the three constraints, so the system is regular
whatever the samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import polynomial
from scipy.linalg.lapack import dpbsv

_DEGREE = 5


class SplineError(ArithmeticError):
    """A curve could not be fitted: the samples, weights or constraints are not finite."""


def _segment_matrix() -> np.ndarray:
    """M with x(s) = [1 s ... s^5] M [c_j ... c_{j+5}] on segment j, s in 0 ... 1 (Cox-de Boor recursion)."""
    pieces: list[np.ndarray] = [np.array([1.0])]
    for degree in range(1, _DEGREE + 1):
        raised: list[np.ndarray] = [np.zeros(degree + 1) for _ in range(degree + 1)]
        for i, piece in enumerate(pieces):
            raised[i] = polynomial.polyadd(raised[i], polynomial.polymul([i / degree, 1.0 / degree], piece))
            falling = [(degree - i) / degree, -1.0 / degree]
            raised[i + 1] = polynomial.polyadd(raised[i + 1], polynomial.polymul(falling, piece))
        pieces = raised
    return np.column_stack(pieces[::-1])


def _jerk_matrix(basis: np.ndarray) -> np.ndarray:
    """Integral of the product of third derivatives over a segment of unit length, (6, 6) on control points."""
    powers = np.arange(_DEGREE + 1)
    factor = powers * (powers - 1) * (powers - 2)
    exponent = powers[:, None] + powers[None, :] - 5
    gram = np.where(exponent > 0, np.outer(factor, factor) / np.maximum(exponent, 1), 0.0)
    return basis.T @ gram @ basis


_BASIS = _segment_matrix()
_JERK = _jerk_matrix(_BASIS)
_POWERS = np.arange(_DEGREE + 1)
_START = _BASIS[:3] * np.array([[1.0], [1.0], [2.0]])  # value and derivatives at 0, in units of the segment's length
_TO_START = np.linalg.inv(_START[:, 1:4])  # control points 1 ... 3 are _TO_START start + _TO_FREE (c_0, c_4)
_TO_FREE = -_TO_START @ _START[:, [0, 4]]


@dataclass(frozen=True)
class _Shape:
    """What all fits with one number of segments share; n = segments + 2 free control points.

    Attributes:
        free: (n,) indices of the free control points.
        banded: (flat index into a band matrix (6, n), flat index into a full one (n, n)).
        penalty: jerk penalty on the free control points, in the order of ``banded``.
        coupling: (n, 3) penalty between free control points and the constraints.
        windows: (m, 6) control points of each segment.
    """

    free: np.ndarray
    banded: tuple[np.ndarray, np.ndarray]
    penalty: np.ndarray
    coupling: np.ndarray
    windows: np.ndarray


@lru_cache(maxsize=512)
def _shape(segments: int) -> _Shape:
    size = segments + _DEGREE
    gram = np.zeros((size, size))
    along = np.arange(segments)
    for i in range(6):
        for j in range(6):
            gram[along + i, along + j] += _JERK[i, j]
    free = np.array([0, *range(4, size)])
    count = len(free)
    # The bound control points are _TO_START start + _TO_FREE (c_0, c_4): put that in for them.
    bound, mixed = gram[1:4, 1:4], gram[1:4][:, free]
    penalty = gram[free][:, free]
    penalty[:2] += _TO_FREE.T @ mixed
    penalty[:, :2] += mixed.T @ _TO_FREE
    penalty[:2, :2] += _TO_FREE.T @ bound @ _TO_FREE
    coupling = mixed.T @ _TO_START
    coupling[:2] += _TO_FREE.T @ bound @ _TO_START
    row, column = np.nonzero(np.triu(np.tri(count, k=_DEGREE)))
    full = row * count + column
    return _Shape(
        free=free,
        banded=((_DEGREE + row - column) * count + column, full),
        penalty=penalty.ravel()[full],
        coupling=coupling,
        windows=np.arange(segments)[:, None] + np.arange(6),
    )


def prepare(most: int) -> None:
    """Do beforehand what is the same for all fits with a number of segments, up to this one."""
    for segments in range(1, most + 1):
        _shape(segments)


@lru_cache(maxsize=8)
def _grid(points: int) -> np.ndarray:
    """(3 points, 6): rows that give value, first and second derivative at ``points`` places of a segment."""
    places = np.arange(points)[:, None] / points
    orders = [
        np.ones(6) * places**_POWERS,
        _POWERS * places ** np.maximum(_POWERS - 1, 0),
        _POWERS * (_POWERS - 1) * places ** np.maximum(_POWERS - 2, 0),
    ]
    return np.vstack(orders)


class Spline:
    """A fitted curve of dimension D over 0 ... duration.

    Attributes:
        duration: [s].
        coefficients: (m, 6, D), polynomial in the segment's own parameter 0 ... 1.
    """

    def __init__(self, coefficients: np.ndarray, duration: float) -> None:
        self.coefficients = coefficients
        self.duration = duration
        segments, _, dimension = coefficients.shape
        self._last = segments - 1
        self._step = step = duration / segments
        # Value, first and second derivative side by side: one small product gives all three.
        table = np.zeros((segments, 6, 3 * dimension))
        table[:, :, :dimension] = coefficients
        table[:, :5, dimension : 2 * dimension] = coefficients[:, 1:] * (_POWERS[1:, None] / step)
        table[:, :4, 2 * dimension :] = coefficients[:, 2:] * ((_POWERS[2:] * _POWERS[1:5])[:, None] / step**2)
        self._table = table

    def place(self, time: float) -> tuple[np.ndarray, float]:
        """Where a time [s] lies, clamped to 0 ... duration.

        Returns:
            The segment's table (6, 3 D), polynomials of value, first and second derivative side by side, and the
            segment's own parameter 0 ... 1.
        """
        s = min(max(time, 0.0), self.duration) / self._step
        segment = min(int(s), self._last)
        return self._table[segment], s - segment

    def evaluate(self, time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Value (D,), first and second derivative (D,) at a time [s], clamped to 0 ... duration."""
        table, s = self.place(time)
        value, first, second = (s**_POWERS).dot(table).reshape(3, -1)
        return value, first, second

    def evaluate_many(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values and derivatives as :meth:`evaluate` gives them, (k, D) each, at times (k,) [s]."""
        scaled = np.clip(times, 0.0, self.duration) / self._step
        segment = np.minimum(scaled.astype(int), self._last)
        powers = (scaled - segment)[:, None] ** _POWERS
        value, first, second = np.split((powers[:, None] @ self._table[segment])[:, 0], 3, axis=1)
        return value, first, second

    def on_grid(self, points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values and derivatives (m points + 1, D) each at equal distances, ``points`` to a segment, and at the end."""
        segments, _, dimension = self.coefficients.shape
        inside = (_grid(points) @ self.coefficients).reshape(segments, 3, points, dimension)
        found = np.empty((3, segments * points + 1, dimension))
        found[:, :-1] = inside.transpose(1, 0, 2, 3).reshape(3, -1, dimension)
        found[1:, :-1] /= np.array((self._step, self._step**2))[:, None, None]
        found[:, -1] = self._table[-1].sum(axis=0).reshape(3, dimension)
        return found[0], found[1], found[2]


def fit(
    times: np.ndarray,
    samples: np.ndarray,
    weights: np.ndarray,
    initial: np.ndarray,
    segments: int,
    smoothing: float,
) -> Spline:
    """Fit a curve over 0 ... times[-1]; see the module's docstring.

    Args:
        times: (r,) increasing, all > 0 [s].
        samples: (r, D).
        weights: (r,) of the samples.
        initial: (3, D) value, velocity and acceleration at 0.
        segments: number m of segments.
        smoothing: lambda [s^5]; omega^-6 / dt smooths motion above omega [rad/s] in samples dt apart.

    Raises:
        SplineError: the data are not finite.
    """
    duration = float(times[-1])
    step = duration / segments
    shape = _shape(segments)
    count = len(shape.free)
    scaled = times / step
    segment = np.minimum(scaled.astype(int), segments - 1)
    rows = (scaled - segment)[:, None] ** _POWERS @ _BASIS
    design = np.zeros((len(times), segments + _DEGREE))
    design[np.arange(len(times))[:, None], segment[:, None] + _POWERS] = rows
    start = initial * np.array([[1.0], [step], [step * step]])
    bound = design[:, 1:4]
    free = design[:, shape.free]
    free[:, :2] += bound @ _TO_FREE
    weighted = free.T * weights
    penalty = smoothing * step**-5
    band = np.zeros((_DEGREE + 1) * count)
    band[shape.banded[0]] = (weighted @ free).ravel()[shape.banded[1]] + penalty * shape.penalty
    known = _TO_START @ start
    right = weighted @ (samples - bound @ known) - penalty * (shape.coupling @ start)
    _, solved, failed = dpbsv(band.reshape(_DEGREE + 1, count), right)
    if failed or not math.isfinite(solved.sum()):
        raise SplineError(f"no curve through {len(times)} samples over {duration:.3f} s (LAPACK dpbsv: {failed})")
    control = np.empty((segments + _DEGREE, samples.shape[1]))
    control[shape.free] = solved
    control[1:4] = known + _TO_FREE @ solved[:2]
    return Spline(_BASIS @ control[shape.windows], duration)
