"""What a stage of training is, to the loop that all three share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Part:
    """One batch, or a part of it, on one process.

    Attributes:
        step: the optimiser step it belongs to.
        names: of its samples, for messages.
        data: whatever the stage's loss takes.
    """

    step: int
    names: tuple[str, ...]
    data: Any


class Stage(Protocol):
    """What is learned, and from what.

    Attributes:
        name: of the stage.
        module: what is trained; called with a part's data and the step, it returns a loss and its parts.
        identity: plain data that must be the same for a run to go on.
    """

    name: str
    identity: Any

    @property
    def module(self) -> nn.Module: ...

    def batch(self, step: int, indices: range, device: torch.device) -> Part:
        """The samples of these indices, of all those of a step."""

    def pictures(self, module: nn.Module, device: torch.device) -> dict[str, np.ndarray]:
        """Pictures (height, width, 3) uint8 that show what was learned, by name."""

    def held_out(self, device: torch.device) -> dict[str, float]:
        """Figures on data that is not learned from, by name; none where there is none."""

    def export(self, module: nn.Module, folder: Path, about: dict[str, Any]) -> None:
        """Write a checkpoint to be used."""
