"""Surprise is relative to what is usual, and leads to what was asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gr2_policy.policy import Frame
from gr2_policy.runtime.surprise import RunningSpread, Surprise, SurpriseConfig, SurpriseMeter
from gr2_policy.runtime.surprise_gate import GateConfig, Reaction, SurpriseGate


def frame(tokens: np.ndarray, value: int, stamp: float = 1.0) -> Frame:
    return Frame(stamp, {"head": tokens}, {"head": np.full((4, 4, 3), value, np.uint8)})


def felt(score: float, settled: bool = True) -> list[Surprise]:
    return [Surprise("head", 1.0, 0.2, 0.1, 0.1, score, 0.0, settled)]


def test_distances_are_shares_of_tokens_and_of_the_pixels_range() -> None:
    tokens = np.arange(8)
    (found,) = SurpriseMeter().compare(frame(tokens, 0), frame(np.where(tokens < 2, 99, tokens), 51), 0.2)
    assert found.token_distance == 0.25
    assert found.pixel_distance == pytest.approx(0.2)
    assert (found.camera, found.stamp, found.horizon) == ("head", 1.0, 0.2)


def test_differences_of_dark_and_bright_do_not_wrap() -> None:
    (found,) = SurpriseMeter().compare(frame(np.zeros(1), 255), frame(np.zeros(1), 0), 0.2)
    (other,) = SurpriseMeter().compare(frame(np.zeros(1), 0), frame(np.zeros(1), 255), 0.2)
    assert found.pixel_distance == other.pixel_distance == 1.0


def test_what_is_usual_is_no_surprise_and_what_is_not_is() -> None:
    random = np.random.default_rng(0)
    meter = SurpriseMeter(SurpriseConfig(settle=10))
    tokens = np.arange(100)

    def score(share: float) -> Surprise:
        changed = np.where(random.random(100) < share, 999, tokens)
        return meter.compare(frame(tokens, 10), frame(changed, 10), 0.2)[0]

    first = [score(0.4) for _ in range(10)]
    assert all(not found.settled and found.score == 0.0 for found in first)
    usual = [score(0.4).score for _ in range(40)]
    assert max(usual) < 4.0
    assert abs(np.median(usual)) < 1.0
    assert score(1.0).score > 6.0


def test_a_still_world_is_not_surprised_by_a_flicker() -> None:
    """All distances were 0, so their spread is; the least believed spread stands in."""
    spread = RunningSpread(100, 10, 0.02)
    for _ in range(20):
        spread.score(0.0)
    assert spread.score(0.04) == pytest.approx(2.0)


def test_a_few_large_values_do_not_become_usual() -> None:
    spread = RunningSpread(100, 10, 0.01)
    random = np.random.default_rng(1)
    for _ in range(50):
        spread.score(0.2 + 0.01 * random.standard_normal())
    assert [spread.score(0.9) > 20.0 for _ in range(5)] == [True] * 5


def test_nothing_happens_by_default() -> None:
    gate = SurpriseGate(GateConfig())
    assert gate.feel(felt(1000.0)) is Reaction.NONE
    assert not gate.holding


def test_replan_is_asked_for_each_time() -> None:
    gate = SurpriseGate(GateConfig("replan", threshold=6.0))
    scores = [1.0, 7.0, 8.0, 2.0]
    assert [gate.feel(felt(score)) for score in scores] == [
        Reaction.NONE,
        Reaction.REPLAN,
        Reaction.REPLAN,
        Reaction.NONE,
    ]
    assert gate.replans == 2


def test_hold_ends_after_calm_in_a_row() -> None:
    gate = SurpriseGate(GateConfig("hold", threshold=6.0, calm=2))
    assert gate.feel(felt(9.0)) is Reaction.HOLD
    assert [gate.feel(felt(score)) for score in (9.0, 1.0, 4.0, 1.0)] == [Reaction.NONE] * 4
    assert gate.holding
    assert gate.feel(felt(1.0)) is Reaction.RESUME
    assert not gate.holding


def test_new_instruction_ends_a_hold() -> None:
    gate = SurpriseGate(GateConfig("hold"))
    gate.feel(felt(9.0))
    gate.clear()
    assert not gate.holding


def test_scores_that_mean_nothing_yet_lead_to_nothing() -> None:
    gate = SurpriseGate(GateConfig("hold"))
    assert gate.feel(felt(100.0, settled=False)) is Reaction.NONE


@pytest.mark.parametrize("wrong", [{"action": "panic"}, {"threshold": 0.0}, {"calm": 0}])
def test_impossible_settings_are_named(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(GateConfig(), **wrong)
