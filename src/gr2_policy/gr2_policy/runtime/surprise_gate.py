"""What surprise leads to: nothing, a new plan at once, or a hold until the world is as expected again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from gr2_policy.runtime.surprise import Surprise

ACTIONS = ("none", "replan", "hold")


class Reaction(Enum):
    """What to do now."""

    NONE = "none"
    REPLAN = "replan"
    HOLD = "hold"
    RESUME = "resume"


@dataclass(frozen=True)
class GateConfig:
    """When surprise leads to something.

    Attributes:
        action: ``none``, ``replan`` or ``hold``.
        threshold: score from which on.
        calm: successive comparisons of scores below half the threshold that end a hold.
    """

    action: str = "none"
    threshold: float = 6.0
    calm: int = 3

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"surprise_action is '{self.action}'; it may be {', '.join(ACTIONS)}")
        if self.threshold <= 0.0 or self.calm < 1:
            raise ValueError(f"surprise_threshold {self.threshold} and surprise_calm {self.calm} must be positive")


class SurpriseGate:
    """Follows the scores of successive comparisons."""

    def __init__(self, config: GateConfig) -> None:
        self.config = config
        self.holding = False
        self.replans = 0
        self.holds = 0
        self._calm = 0

    def clear(self) -> None:
        """A new instruction ends a hold."""
        self.holding = False

    def feel(self, surprises: Sequence[Surprise]) -> Reaction:
        """One comparison, of all cameras."""
        score = max((surprise.score for surprise in surprises if surprise.settled), default=0.0)
        if self.holding:
            self._calm = self._calm + 1 if score < 0.5 * self.config.threshold else 0
            if self._calm < self.config.calm:
                return Reaction.NONE
            self.holding = False
            return Reaction.RESUME
        if score < self.config.threshold or self.config.action == "none":
            return Reaction.NONE
        if self.config.action == "replan":
            self.replans += 1
            return Reaction.REPLAN
        self.holding, self._calm = True, 0
        self.holds += 1
        return Reaction.HOLD
