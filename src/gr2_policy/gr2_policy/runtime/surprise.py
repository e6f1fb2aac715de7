"""Surprise: how far what was seen is from what had been imagined, measured by how far it usually is.

Imagination is never exact, and less so where the picture is busy. So a distance says little by itself; what counts is
how far it stands above its own running median, in units of its own running spread (the median absolute deviation,
which a few large values do not move).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from gr2_policy.policy import Frame

_GAUSSIAN = 1.4826  # standard deviation of a normal distribution in units of its median absolute deviation


@dataclass(frozen=True)
class SurpriseConfig:
    """How surprise is measured.

    Attributes:
        memory: comparisons that tell what is usual.
        settle: comparisons before the scores mean anything.
        least_token_spread: smallest spread of the share of differing tokens that is believed.
        least_pixel_spread: smallest spread of the mean absolute pixel difference (0 ... 1) that is believed.
    """

    memory: int = 100
    settle: int = 10
    least_token_spread: float = 0.02
    least_pixel_spread: float = 0.005


@dataclass(frozen=True)
class Surprise:
    """One camera at one instant.

    Attributes:
        camera: its name.
        stamp: the instant [s].
        horizon: how far ahead it had been imagined [s].
        token_distance: share of tokens that differ.
        pixel_distance: mean absolute difference of pixels, 0 ... 1.
        token_score, pixel_score: the distances above their running medians, in units of their running spreads.
        settled: False: too few comparisons so far; the scores are 0.
    """

    camera: str
    stamp: float
    horizon: float
    token_distance: float
    pixel_distance: float
    token_score: float
    pixel_score: float
    settled: bool

    @property
    def score(self) -> float:
        """The larger of the two scores."""
        return max(self.token_score, self.pixel_score)


class RunningSpread:
    """What is usual for one number.

    Args:
        memory: values it is taken over.
        settle: values needed before it says anything.
        least: smallest spread that is believed.
    """

    def __init__(self, memory: int, settle: int, least: float) -> None:
        self._values: deque[float] = deque(maxlen=memory)
        self._settle = settle
        self._least = least

    @property
    def settled(self) -> bool:
        """Whether enough values were seen."""
        return len(self._values) >= self._settle

    def score(self, value: float) -> float:
        """How far a value is above the ones before it, which it then joins; 0 while they are too few."""
        score = 0.0
        if self.settled:
            values = np.array(self._values)
            median = float(np.median(values))
            spread = _GAUSSIAN * float(np.median(np.abs(values - median)))
            score = (value - median) / max(spread, self._least)
        self._values.append(value)
        return score


class SurpriseMeter:
    """Compares instants that were imagined and then seen."""

    def __init__(self, config: SurpriseConfig | None = None) -> None:
        self.config = config or SurpriseConfig()
        self._usual: dict[str, tuple[RunningSpread, RunningSpread]] = {}

    def compare(self, imagined: Frame, seen: Frame, horizon: float) -> list[Surprise]:
        """One surprise for each camera.

        Args:
            imagined, seen: the same cameras at (nearly) the same instant.
            horizon: how far ahead it had been imagined [s].
        """
        return [self._compare(camera, imagined, seen, horizon) for camera in imagined.tokens]

    def _compare(self, camera: str, imagined: Frame, seen: Frame, horizon: float) -> Surprise:
        tokens = float(np.mean(imagined.tokens[camera] != seen.tokens[camera]))
        difference = imagined.images[camera].astype(np.int16) - seen.images[camera]
        pixels = float(np.mean(np.abs(difference))) / 255.0
        if camera not in self._usual:
            config = self.config
            self._usual[camera] = (
                RunningSpread(config.memory, config.settle, config.least_token_spread),
                RunningSpread(config.memory, config.settle, config.least_pixel_spread),
            )
        usual_tokens, usual_pixels = self._usual[camera]
        settled = usual_tokens.settled
        return Surprise(
            camera=camera,
            stamp=imagined.stamp,
            horizon=horizon,
            token_distance=tokens,
            pixel_distance=pixels,
            token_score=usual_tokens.score(tokens),
            pixel_score=usual_pixels.score(pixels),
            settled=settled,
        )
