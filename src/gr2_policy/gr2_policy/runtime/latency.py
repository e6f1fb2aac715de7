"""Where the time goes between an image and the chunk that was made of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Timing:
    """The stages of one chunk's way.

    Attributes:
        waiting: from the image's stamp to the beginning of the inference, in ROS time [s].
        inference: the inference itself, on the steady clock [s].
        publishing: from its end to the publication, on the steady clock [s].
        age: from the image's stamp to the publication, in ROS time [s]: the sum of the others where that runs at the
            pace of the world, which a busy simulator's does not.
    """

    waiting: float
    inference: float
    publishing: float
    age: float


STAGES = tuple(item.name for item in fields(Timing))


class LatencyLog:
    """The last timings, and what they say.

    Args:
        length: how many are kept.
    """

    def __init__(self, length: int = 500) -> None:
        self._timings: deque[Timing] = deque(maxlen=length)

    def add(self, timing: Timing) -> None:
        """Count one chunk."""
        self._timings.append(timing)

    def percentiles(self) -> dict[str, tuple[float, float]]:
        """Stage -> median and 99th percentile [s]; empty before the first chunk."""
        timings = list(self._timings)  # the writer is another thread
        if not timings:
            return {}
        values = np.array([[getattr(timing, stage) for stage in STAGES] for timing in timings])
        low, high = np.percentile(values, (50, 99), axis=0)
        return {stage: (float(low[i]), float(high[i])) for i, stage in enumerate(STAGES)}


class DelayEstimate:
    """A running quantile of the time from an image to its chunk: what the policy has to look ahead.

    Args:
        share: of the chunks that shall not be slower than the estimate.
        length: of the chunks it is taken over.
    """

    def __init__(self, share: float = 0.9, length: int = 32) -> None:
        self._share = share
        self._ages: deque[float] = deque(maxlen=length)

    def add(self, age: float) -> None:
        """Count one chunk that was published ``age`` [s] after its image."""
        self._ages.append(age)

    @property
    def value(self) -> float:
        """The estimate [s]; 0 before the first chunk."""
        return float(np.quantile(list(self._ages), self._share)) if self._ages else 0.0
