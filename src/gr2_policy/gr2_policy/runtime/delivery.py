"""Whether a finished chunk is still of use, and the time that the next one has to allow for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gr2_policy.policy import ActionChunk
from gr2_policy.runtime.latency import DelayEstimate


class Verdict(Enum):
    """What becomes of a chunk."""

    PUBLISH = "publish"
    TOO_OLD = "too old"
    BROKEN_PREFIX = "broken prefix"


@dataclass
class DeliveryConfig:
    """When a chunk is of no use.

    Attributes:
        deadline: oldest image that a chunk may be made of when it is published [s]; 0: half the chunk's length.
        delay: time from an image to its chunk that the policy is told [s]; negative: as measured.
    """

    deadline: float = 0.0
    delay: float = -1.0


class Delivery:
    """Judges chunk after chunk.

    A chunk may begin with what the chunk before was going to do anyway (its committed prefix). If the controller has
    refused that one meanwhile, the new chunk would begin where the arm never went: it is dropped, and so the policy
    starts anew from the next image.
    """

    def __init__(self, config: DeliveryConfig) -> None:
        self.config = config
        self.too_old = 0
        self.broken_prefix = 0
        self._ages = DelayEstimate()
        self._refused = 0

    @property
    def delay(self) -> float:
        """What the policy has to allow for [s]."""
        return self._ages.value if self.config.delay < 0.0 else self.config.delay

    @property
    def refusals(self) -> int:
        """How often the controller has refused a chunk, see :meth:`refused`."""
        return self._refused

    def refused(self, count: int) -> None:
        """The controller has refused ``count`` chunks in all."""
        self._refused = count

    def judge(self, chunk: ActionChunk, age: float, bound: bool) -> Verdict:
        """Whether to publish a chunk, and count it.

        Args:
            chunk: just made.
            age: time since its image [s].
            bound: whether it goes on from a chunk that was refused meanwhile.
        """
        self._ages.add(max(age, 0.0))
        limit = self.config.deadline or 0.5 * len(chunk.positions) * chunk.dt
        if age > limit:
            self.too_old += 1
            return Verdict.TOO_OLD
        if bound:
            self.broken_prefix += 1
            return Verdict.BROKEN_PREFIX
        return Verdict.PUBLISH
