"""What a training of an experiment cost, and where its losses ended."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

SHOWN = ("video", "pose")
"""Curves of `gr2 finetune` that a page tells."""
TAIL = 0.1
"""Share of a run over which the end of a curve is averaged."""


class Costs:
    """Processor time of each step [s], kept beside what the experiment makes; a step that went on adds to it."""

    def __init__(self, out: Path) -> None:
        self._path = out / "costs.json"
        self.seconds: dict[str, float] = {}
        if self._path.exists():
            self.seconds = {key: float(value) for key, value in json.loads(self._path.read_text("utf-8")).items()}

    def add(self, made: Path, seconds: float) -> None:
        """Note what was spent on the way to a file."""
        self.seconds[str(made)] = self.seconds.get(str(made), 0.0) + seconds
        aside = self._path.with_name(f".{self._path.name}")
        aside.write_text(json.dumps(self.seconds, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, self._path)


def final_losses(run: Path) -> dict[str, float]:
    """Mean of each shown curve over the end of a training; empty where there are none."""
    if not (run / "curves").is_dir():
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "curves"), size_guidance={"scalars": 0})
    events.Reload()
    found: dict[str, float] = {}
    for name in SHOWN:
        if name in events.Tags()["scalars"]:
            found[name] = _end_of([(point.step, point.value) for point in events.Scalars(name)])
    return found


def _end_of(points: Sequence[tuple[int, float]]) -> float:
    last = max(step for step, _ in points)
    end = [value for step, value in points if step >= (1.0 - TAIL) * last]
    return sum(end) / len(end)
