"""The time law: below its caps, within its rates, smooth, and at the end exactly when it says so."""

from __future__ import annotations

import numpy as np
import pytest

from gr2_wbc.time_law import TimeLaw, shortest

BRAKE, RESUME, SMOOTHING = 3.6, 2.0, 0.1


def table(law: TimeLaw, step: float = 0.002, first: float = 0.0) -> np.ndarray:
    """Path time, scale and rate (k, 3) every ``step`` seconds."""
    return np.array([law.at(time) for time in np.arange(first, law.duration + 0.05, step)])


@pytest.mark.parametrize("seed", range(30))
def test_any_caps_are_kept_with_bounded_and_continuous_rates(seed):
    rng = np.random.default_rng(seed)
    length = float(rng.uniform(shortest(BRAKE, SMOOTHING), 6.0))
    count = int(rng.integers(13, 200))
    places = np.sort(rng.uniform(0.0, 1.0, 6))
    caps = np.interp(np.linspace(0.0, 1.0, count), places, rng.uniform(0.02, 1.6, 6))
    law = TimeLaw(caps, length, BRAKE, RESUME, SMOOTHING, 1e9)
    time, scale, rate = table(law).T
    assert scale[0] == 1.0
    assert time[-1] == pytest.approx(length, abs=1e-12)
    assert scale[-1] == 0.0
    # At the start the scale is 1 whatever the caps are; from there it may brake no faster than this.
    unavoidable = np.sqrt(np.maximum(1.0 - 2.0 * BRAKE * np.maximum(time - SMOOTHING, 0.0), 0.0))
    allowed = np.maximum(np.sqrt(np.minimum(np.interp(time, np.linspace(0.0, length, count), caps), 1.0)), unavoidable)
    assert (scale - allowed)[time < length - 1e-3].max() < 0.03
    assert rate.min() >= -BRAKE * 1.01
    assert rate.max() <= RESUME * 1.01
    # The law is a table with a constant rate over each 10 ms.
    rates = table(law, 0.01, 0.005)[:, 2]
    assert np.abs(np.diff(rates) / 0.01).max() <= (BRAKE + RESUME) / SMOOTHING * 1.05
    # The scale is the rate of the path time.
    moved = np.diff(time) / 0.002
    assert np.abs(moved - 0.5 * (scale[1:] + scale[:-1]))[:-60].max() < 0.03


def test_without_caps_only_the_end_is_slow():
    law = TimeLaw(np.full(65, 9.0), 1.6, BRAKE, RESUME, SMOOTHING, 1e9)
    for time in (0.0, 0.4, 0.8, 1.2, 1.35):
        assert law.at(time) == pytest.approx((time, 1.0, 0.0), abs=1e-9)
    assert law.duration < 1.6 + shortest(BRAKE, SMOOTHING) + 0.05


def test_a_table_that_is_cut_goes_on_as_it_ends():
    law = TimeLaw(np.full(65, 0.01), 60.0, BRAKE, RESUME, SMOOTHING, 2.0)
    assert law.duration == pytest.approx(2.0, abs=0.02)
    end, scale, _ = law.at(law.duration)
    assert law.at(law.duration + 1.0)[0] == pytest.approx(end + scale)
    assert scale == pytest.approx(0.1, abs=1e-3)
