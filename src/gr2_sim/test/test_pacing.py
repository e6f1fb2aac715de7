"""Simulation time against the wall clock."""

from __future__ import annotations

import pytest

from gr2_sim.pacing import LARGEST_LAG, CommandGate, Pacer


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


def test_time_waits_for_a_controller_that_lags_and_goes_on_without_a_silent_one() -> None:
    gate = CommandGate(tick=0.005)
    assert not gate.closed(5.0, 100.0), "nobody has sent a command yet"
    gate.commanded(5.0, 5.0, 100.0)
    assert not gate.closed(5.015, 100.01)
    assert gate.closed(5.02, 100.02)
    assert gate.closed(5.02, 100.1)
    gate.commanded(5.01, 5.02, 100.11)
    assert not gate.closed(5.02, 100.12)
    assert gate.closed(5.03, 100.2)
    assert not gate.closed(5.03, 100.37), "a controller that is silent for long is not waited for"
    assert not gate.closed(9.0, 104.0)
    assert gate.waits == 2


def test_strange_stamps_do_not_open_the_gate() -> None:
    gate = CommandGate(tick=0.005)
    gate.commanded(5.0, 5.0, 100.0)
    for stamp in (0.0, 1e9, -3.0, float("nan")):
        gate.commanded(stamp, 5.02, 100.01)
    assert gate.closed(5.02, 100.02)
