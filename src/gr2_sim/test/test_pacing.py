"""Simulation time against the wall clock."""

from __future__ import annotations

import pytest

from gr2_sim.pacing import LARGEST_LAG, Pacer


def test_waits_for_the_wall() -> None:
    pacer = Pacer(2.0)
    assert pacer.wait(0.0, 100.0) == 0.0
    assert pacer.wait(1.0, 100.1) == pytest.approx(0.4)
    assert pacer.lost == 0.0


def test_small_lags_are_made_up_large_ones_given_up() -> None:
    pacer = Pacer(1.0)
    pacer.wait(0.0, 100.0)
    assert pacer.wait(0.1, 100.1 + 0.5 * LARGEST_LAG) == 0.0
    assert pacer.wait(0.2, 100.2) == pytest.approx(0.0, abs=1e-9), "a small lag is made up"
    assert pacer.wait(0.3, 101.3) == 0.0
    assert pacer.lost == pytest.approx(1.0 - LARGEST_LAG)
    assert pacer.wait(0.4, 101.3) == pytest.approx(0.1 - LARGEST_LAG), "time goes on from there, no race to catch up"


def test_reports_the_factor() -> None:
    pacer = Pacer(1.0)
    assert pacer.achieved(0.0, 100.0) == 1.0
    assert pacer.achieved(0.5, 101.0) == pytest.approx(0.5)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), 1e9])
def test_impossible_factors(factor: float) -> None:
    with pytest.raises(ValueError, match="real_time_factor"):
        Pacer(factor)
