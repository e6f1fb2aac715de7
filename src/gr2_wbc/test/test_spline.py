"""The smoothing spline: its constraints hold exactly, it is smooth, and it optimises what it says."""

from __future__ import annotations

import numpy as np
import pytest

from gr2_wbc.spline import _BASIS, Spline, SplineError, fit

RNG = np.random.default_rng(3)
TIMES = np.arange(1, 17) * 0.1
INITIAL = np.array([[0.1, -0.2], [0.5, 0.3], [-1.0, 2.0]])


def smooth(frequency: float = 3.0, samples: np.ndarray | None = None, weights: np.ndarray | None = None):
    samples = np.column_stack([np.sin(2.0 * TIMES), np.cos(TIMES)]) if samples is None else samples
    weights = np.ones(len(TIMES)) if weights is None else weights
    return fit(TIMES, samples, weights, INITIAL, 16, (2.0 * np.pi * frequency) ** -6 / 0.1)


def test_the_start_is_met_exactly():
    assert np.allclose(smooth().evaluate(0.0), INITIAL, atol=1e-9)


def test_derivatives_are_those_of_the_value():
    spline, step = smooth(), 1e-5
    for time in (0.03, 0.1, 0.55, 0.999, 1.5):
        before, here, after = (spline.evaluate(time + shift) for shift in (-step, 0.0, step))
        assert np.allclose((after[0] - before[0]) / (2 * step), here[1], atol=1e-6)
        assert np.allclose((after[1] - before[1]) / (2 * step), here[2], atol=1e-5)


def test_many_evaluations_are_the_single_ones():
    spline = smooth()
    times = np.array([-0.1, 0.0, 0.37, 1.6, 2.0])
    many = spline.evaluate_many(times)
    for index, time in enumerate(times):
        for one, all_of_them in zip(spline.evaluate(float(time)), many, strict=True):
            assert np.allclose(one, all_of_them[index], atol=1e-12)


def test_slow_motion_is_followed_and_noise_smoothed_away():
    smooth_motion = np.column_stack([np.sin(2.0 * TIMES), np.cos(TIMES)])
    initial = np.array([[0.0, 1.0], [2.0, 0.0], [0.0, -1.0]])
    spline = fit(TIMES, smooth_motion, np.ones(16), initial, 16, (2.0 * np.pi * 3.0) ** -6 / 0.1)
    assert np.abs(spline.evaluate_many(TIMES)[0] - smooth_motion).max() < 1e-3
    zigzag = np.column_stack([0.01 * (-1.0) ** np.arange(16), np.zeros(16)])
    still = fit(TIMES, zigzag, np.ones(16), np.zeros((3, 2)), 16, (2.0 * np.pi * 1.5) ** -6 / 0.1)
    assert np.abs(still.evaluate_many(TIMES[:-3])[0]).max() < 2e-3


def test_it_minimises_its_cost():
    """Any admissible change of the control points makes the cost larger; checked by dense quadrature."""
    samples = RNG.normal(0.0, 0.1, (16, 1))
    smoothing = (2.0 * np.pi * 3.0) ** -6 / 0.1

    def cost(shift: np.ndarray) -> float:
        spline = fit(TIMES, samples, np.ones(16), np.zeros((3, 1)), 16, smoothing)
        spline = Spline(spline.coefficients + shift, spline.duration)
        grid = np.linspace(0.0, 1.6, 3201)
        jerk = np.gradient(spline.evaluate_many(grid)[2][:, 0], grid)
        misfit = np.sum((spline.evaluate_many(TIMES)[0] - samples) ** 2)
        return misfit + smoothing * np.trapezoid(jerk**2, grid)

    least = cost(np.zeros((16, 6, 1)))
    other = fit(TIMES, samples + 0.1, np.ones(16), np.zeros((3, 1)), 16, smoothing).coefficients
    base = fit(TIMES, samples, np.ones(16), np.zeros((3, 1)), 16, smoothing).coefficients
    for factor in (-0.5, -0.1, 0.1, 0.5):
        assert cost(factor * (other - base)) > least


def test_no_weight_at_all_is_still_a_regular_system():
    spline = smooth(weights=np.zeros(16))
    value, first, second = spline.evaluate(1.0)
    assert np.allclose(value, INITIAL[0] + INITIAL[1] + 0.5 * INITIAL[2], atol=1e-6)
    assert np.allclose(second, INITIAL[2], atol=1e-5)
    assert np.isfinite(first).all()


@pytest.mark.parametrize("segments", [1, 3, 40])
def test_any_number_of_segments(segments):
    spline = fit(TIMES, RNG.normal(size=(16, 2)), np.ones(16), INITIAL, segments, 1e-7)
    assert np.allclose(spline.evaluate(0.0), INITIAL, atol=1e-8)
    assert np.isfinite(spline.evaluate(1.6)[0]).all()


def test_the_banded_solution_is_that_of_the_full_system():
    """The optimality conditions, written out densely with multipliers for the constraints."""
    rng = np.random.default_rng(5)
    for count, segments in ((3, 3), (16, 16), (16, 40), (60, 50)):
        times = np.sort(rng.uniform(0.05, 3.0, count))
        samples, weights = rng.normal(size=(count, 6)), rng.uniform(0.0, 1.0, count)
        initial = rng.normal(size=(3, 6))
        spline = fit(times, samples, weights, initial, segments, 1e-6)

        def curve(control: np.ndarray, segments=segments, duration=float(times[-1])) -> Spline:
            windows = np.lib.stride_tricks.sliding_window_view(control, 6, axis=0)
            return Spline(np.einsum("ab,jdb->jad", _BASIS, windows), duration)

        size = segments + 5
        unit = curve(np.eye(size))
        values = unit.evaluate_many(times)[0]
        places, quadrature = np.polynomial.legendre.leggauss(4)
        step = times[-1] / segments
        grid = (np.arange(segments)[:, None] + 0.5 * (places + 1.0)).ravel() * step
        near = 1e-4 * step
        jerk = (unit.evaluate_many(grid + near)[2] - unit.evaluate_many(grid - near)[2]) / (2.0 * near)
        system = np.zeros((size + 3, size + 3))
        system[:size, :size] = values.T @ (weights[:, None] * values)
        system[:size, :size] += 1e-6 * jerk.T @ (np.tile(0.5 * step * quadrature, segments)[:, None] * jerk)
        constraint = np.array(unit.evaluate(0.0))
        system[size:, :size], system[:size, size:] = constraint, constraint.T
        right = np.vstack([values.T @ (weights[:, None] * samples), initial])
        other = curve(np.linalg.solve(system, right)[:size])
        assert np.allclose(spline.evaluate_many(times)[0], other.evaluate_many(times)[0], atol=1e-5)


def test_the_grid_is_the_curve():
    spline = smooth()
    for points in (1, 4):
        many = spline.evaluate_many(np.linspace(0.0, 1.6, 16 * points + 1))
        for one, other in zip(spline.on_grid(points), many, strict=True):
            assert np.allclose(one, other, atol=1e-9)


def test_numbers_that_are_not_finite_are_no_curve():
    with pytest.raises(SplineError, match="no curve"):
        fit(TIMES, np.full((16, 2), 0.0), np.full(16, np.nan), INITIAL, 16, 1e-7)
