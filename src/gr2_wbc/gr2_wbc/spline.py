"""Smoothing splines: the trajectory optimisation behind every splice.

A uniform quintic B-spline x(t) with m segments of length h is fitted to samples p_i at times t_i by

    minimise  sum_i w_i |x(t_i) - p_i|^2 + lambda * integral |x'''|^2 dt
    subject to x(0), x'(0), x''(0) given,

an equality-constrained least-squares problem solved as one small linear system. It is C4 inside, and continuous in
position, velocity and acceleration where it joins what came before. The null space of the penalty (parabolas) is
fixed by the three constraints, so the system is regular whatever the samples.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.polynomial import polynomial

_DEGREE = 5


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
_FALLING = np.array([np.ones(6), _POWERS, _POWERS * (_POWERS - 1)])


@lru_cache(maxsize=256)
def _jerk_gram(segments: int) -> np.ndarray:
    size = segments + _DEGREE
    gram = np.zeros((size, size))
    for j in range(segments):
        gram[j : j + 6, j : j + 6] += _JERK
    return gram


class Spline:
    """A fitted curve of dimension D over 0 ... duration.

    Attributes:
        duration: [s].
        coefficients: (m, 6, D), polynomial in the segment's own parameter 0 ... 1.
    """

    def __init__(self, coefficients: np.ndarray, duration: float) -> None:
        self.coefficients = coefficients
        self.duration = duration
        self._step = duration / len(coefficients)

    def evaluate(self, time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Value (D,), first and second derivative (D,) at a time [s], clamped to 0 ... duration."""
        step = self._step
        last = len(self.coefficients) - 1
        position = min(max(time, 0.0), self.duration) / step
        segment = min(int(position), last)
        s = position - segment
        s2, s3, s4 = s * s, s**3, s**4
        powers = np.array(
            (
                (1.0, s, s2, s3, s4, s4 * s),
                (0.0, 1.0, 2.0 * s, 3.0 * s2, 4.0 * s3, 5.0 * s4),
                (0.0, 0.0, 2.0, 6.0 * s, 12.0 * s2, 20.0 * s3),
            )
        )
        value, first, second = powers @ self.coefficients[segment]
        return value, first / step, second / (step * step)

    def evaluate_many(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values and derivatives as :meth:`evaluate` gives them, (k, D) each, at times (k,) [s]."""
        scaled = np.clip(times, 0.0, self.duration) / self._step
        segment = np.minimum(scaled.astype(int), len(self.coefficients) - 1)
        powers = (scaled - segment)[:, None] ** np.arange(6)
        found = []
        for order in range(3):
            shifted = np.zeros_like(powers)
            shifted[:, order:] = powers[:, : 6 - order] * _FALLING[order, order:]
            found.append(np.einsum("ta,tad->td", shifted, self.coefficients[segment]) / self._step**order)
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
    """
    duration = float(times[-1])
    step = duration / segments
    size = segments + _DEGREE
    scaled = times / step
    segment = np.minimum(scaled.astype(int), segments - 1)
    local = scaled - segment
    rows = local[:, None] ** np.arange(6) @ _BASIS
    design = np.zeros((len(times), size))
    np.put_along_axis(design, segment[:, None] + np.arange(6), rows, axis=1)
    weighted = design * weights[:, None]

    system = np.zeros((size + 3, size + 3))
    system[:size, :size] = weighted.T @ design + smoothing * step**-5 * _jerk_gram(segments)
    constraint = _BASIS[:3] * np.array([[1.0], [1.0], [2.0]])
    system[size:, :6] = constraint
    system[:6, size:] = constraint.T
    right = np.zeros((size + 3, samples.shape[1]))
    right[:size] = weighted.T @ samples
    right[size:] = initial * np.array([[1.0], [step], [step * step]])
    control = np.linalg.solve(system, right)[:size]
    windows = np.lib.stride_tricks.sliding_window_view(control, 6, axis=0)
    return Spline(np.einsum("ab,jdb->jad", _BASIS, windows), duration)
