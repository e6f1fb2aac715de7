"""Imagination beside what happened, in an evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gr2_policy.data.video import read_video
from gr2_policy.policy import ActionChunk, Frame, Observation, PolicyError, load_policy
from gr2_sim.evaluation import evaluate
from gr2_sim.imagining import ImaginationWatch, agreement, auroc
from gr2_sim.rollout import RolloutConfig
from gr2_sim.suites import suite_of
from gr2_sim.tally import Result

CHUNK = ActionChunk(0.1, np.zeros((1, 3)), np.array([[0.0, 0.0, 0.0, 1.0]]), np.zeros(1))


class Dreamer:
    """Sees a number; imagines that it grows by ``step`` in each frame."""

    model_id = "dreamer"
    frame_dt = 0.2

    def __init__(self, step: int) -> None:
        self._step, self._seen = step, 0.0
        self._value = 0

    def fork(self) -> tuple[float, int]:
        return self._seen, self._value

    def imagine(self, fork: object, between: object) -> Frame:
        stamp, value = fork  # type: ignore[misc]
        return frame(stamp + self.frame_dt, value + self._step)

    def look(self, observation: Observation) -> Frame:
        self._seen, self._value = observation.stamp, int(observation.images["head"][0, 0, 0])
        return frame(observation.stamp, self._value)


def frame(stamp: float, value: int) -> Frame:
    image = np.full((2, 2, 3), value, np.uint8)
    return Frame(stamp, {"head": np.full(4, value)}, {"head": image})


def observation(index: int, value: int) -> Observation:
    image = np.full((2, 2, 3), value, np.uint8)
    down = np.array([1.0, 0.0, 0.0, 0.0])
    return Observation(0.2 * index, "x", {"head": image}, np.zeros(3), down, 0.0, np.zeros(7))


@pytest.mark.parametrize(("step", "tokens", "pixels"), [(2, 0.0, 0.0), (5, 1.0, 3.0 / 255.0)])
def test_what_is_imagined_is_compared_with_what_comes(step: int, tokens: float, pixels: float) -> None:
    watch = ImaginationWatch(Dreamer(step), rate=2.5)  # type: ignore[arg-type]
    for index in range(10):
        watch.watch(observation(index, 10 + 2 * index), CHUNK)
    found = watch.finish()
    assert found is not None
    assert found.instants == 5
    assert (found.tokens, found.pixels) == pytest.approx((tokens, pixels))
    assert (found.tokens_copied, found.pixels_copied) == pytest.approx((1.0, 2.0 / 255.0))
    assert watch.finish() is None  # the next episode begins with nothing


def test_auroc_is_the_chance_to_rank_a_pair_rightly() -> None:
    scores, failed = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert auroc(scores, failed) == pytest.approx(0.75)
    assert auroc(np.ones(4), failed) == pytest.approx(0.5)
    assert np.isnan(auroc(scores, np.zeros(4, bool)))


def test_figures_of_an_evaluation() -> None:
    def result(success: bool, tokens: float) -> Result:
        row = {"instants": 2, "tokens": tokens, "tokens_copied": 0.1, "pixels": 0.0, "pixels_copied": 0.0, "worst": 0.0}
        return Result("t", 0, "x", success, 1.0, "", 1, 0, "", imagined=row)

    found = agreement([result(True, 0.1), result(True, 0.2), result(False, 0.3)])
    assert found["tokens"] == pytest.approx(0.2)
    assert found["auroc_mean"] == 1.0
    assert agreement([Result("t", 0, "x", True, 1.0, "", 1, 0, "")]) == {"instants": 0}


def test_an_untrained_model_is_evaluated_with_videos_and_imagination(tmp_path: Path) -> None:
    rollout = RolloutConfig(time_limit=2.0, width=64, height=64)
    suite = suite_of(
        "simple",
        "gr2",
        rollout,
        options={"untrained": "nano"},
        tasks=("press_button",),
        episodes=1,
        videos=str(tmp_path),
        imagine=1.0,
    )
    (result,) = evaluate(suite)
    assert result.imagined is not None
    assert result.imagined["instants"] >= 1
    (video,) = tmp_path.glob("press_button-failure-0.mp4")
    assert read_video(video).shape[1:] == (64, 128, 3)


def test_a_teacher_does_not_imagine() -> None:
    with pytest.raises(PolicyError, match="cannot imagine"):
        ImaginationWatch(load_policy("teacher"), 1.0)
