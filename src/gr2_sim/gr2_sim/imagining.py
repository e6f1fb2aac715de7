"""How well a policy's imagination agrees with what then happened, episode by episode of an evaluation.

Now and then the policy imagines what its cameras will see shortly after; when that time has come, the picture is
compared with what is seen, and so is the picture it was imagined from: who imagines nothing new is as good as that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gr2_policy.policy import ActionChunk, Frame, Imagines, Observation, Policy, PolicyError
from gr2_sim.tally import Result


@dataclass(frozen=True)
class Agreement:
    """Means over an episode, and over its cameras.

    Attributes:
        instants: that were imagined and then seen.
        tokens, tokens_copied: share of tokens that differ from what was imagined, and from the frame before.
        pixels, pixels_copied: mean absolute difference of pixels, 0 ... 1, likewise.
        worst: largest share of differing tokens of one instant, above that of the frame before.
    """

    instants: int
    tokens: float
    tokens_copied: float
    pixels: float
    pixels_copied: float
    worst: float


class ImaginationWatch:
    """Watches a rollout; see gr2_sim.rollout.Rollout.

    Args:
        policy: that is run; it must be able to imagine.
        rate: instants a second of simulated time.

    Raises:
        PolicyError: the policy cannot imagine.
    """

    def __init__(self, policy: Policy, rate: float) -> None:
        if not isinstance(policy, Imagines):
            raise PolicyError(f"the policy {policy.model_id} cannot imagine")
        self._policy, self._period = policy, 1.0 / rate
        self._begin()

    def _begin(self) -> None:
        self._next = -np.inf
        self._waiting: tuple[Frame, Frame] | None = None  # what was imagined, and what it was imagined from
        self._found: list[tuple[float, float, float, float]] = []

    def watch(self, observation: Observation, _chunk: ActionChunk) -> None:
        """Called with every observation that the policy was given."""
        policy = self._policy
        assert isinstance(policy, Imagines)
        due = self._waiting[0].stamp if self._waiting else np.inf
        if self._waiting is None and observation.stamp < self._next:
            return
        seen = policy.look(observation)
        if self._waiting and abs(observation.stamp - due) < 0.5 * policy.frame_dt:
            imagined, before = self._waiting
            self._found.append((*differences(imagined, seen), *differences(before, seen)))
            self._waiting = None
        elif observation.stamp > due:
            self._waiting = None
        if self._waiting is None and observation.stamp >= self._next:
            self._next = observation.stamp + self._period
            self._waiting = (policy.imagine(policy.fork(), lambda: None), seen)

    def finish(self) -> Agreement | None:
        """The episode is over: its figures; None if nothing was compared."""
        found = np.array(self._found)
        self._begin()
        if not len(found):
            return None
        tokens, pixels, tokens_copied, pixels_copied = (float(value) for value in found.mean(axis=0))
        worst = float((found[:, 0] - found[:, 2]).max())
        return Agreement(len(found), tokens, tokens_copied, pixels, pixels_copied, worst)


def differences(first: Frame, second: Frame) -> tuple[float, float]:
    """Share of tokens that differ, and mean absolute difference of pixels, 0 ... 1; over all cameras."""
    tokens = [np.mean(first.tokens[name] != second.tokens[name]) for name in first.tokens]
    pixels = [np.mean(np.abs(_signed(first.images, n) - _signed(second.images, n))) / 255.0 for n in first.images]
    return float(np.mean(tokens)), float(np.mean(pixels))


def _signed(images: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    return images[name].astype(np.int16)


def agreement(results: Sequence[Result]) -> dict[str, float]:
    """Of a whole evaluation: means over the instants, and how well surprise tells failures from successes.

    Surprise is how much more an imagined frame differs from reality than the frame before does; ``auroc_mean`` and
    ``auroc_worst`` take its mean and its largest value over an episode.
    """
    kept = [r for r in results if r.imagined]
    if not kept:
        return {"instants": 0}
    rows = [r.imagined for r in kept if r.imagined]
    instants = np.array([row["instants"] for row in rows])
    names = ("tokens", "tokens_copied", "pixels", "pixels_copied")
    means = {name: float(np.average([row[name] for row in rows], weights=instants)) for name in names}
    failed = np.array([not r.success for r in kept])
    surprise = np.array([row["tokens"] - row["tokens_copied"] for row in rows])
    worst = np.array([row["worst"] for row in rows])
    scores = {"auroc_mean": auroc(surprise, failed), "auroc_worst": auroc(worst, failed)}
    return {"instants": int(instants.sum()), "episodes": len(kept), **means, **scores}


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive scores higher than a negative (Mann-Whitney), ties counting half; nan without both.

    Args:
        scores: (n,).
        positive: (n,) bool.
    """
    from scipy.stats import rankdata

    good, bad = int(positive.sum()), int((~positive).sum())
    if not good or not bad:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - good * (good + 1) / 2.0) / (good * bad))
