"""Has numbered clips made by worker processes and stores them in order, so that a broken run can go on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gr2_policy.data.staging import load_episode
from gr2_policy.data.writer import DatasetWriter
from gr2_sim.workers import Work

Make = Callable[[int, Path], list[str]]
"""Runs in a worker: writes clip number n to a file, or does not; says in words what failed on the way."""


@dataclass
class Report:
    """How a run went.

    Attributes:
        kept: clips in the dataset.
        before: those of them that were there.
        failures: attempts that did not succeed, in words.
        given_up: clips that could not be made.
    """

    kept: int = 0
    before: int = 0
    failures: list[str] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)


class Factory:
    """Makes what is missing of some clips.

    Args:
        make: see Make; it and its arguments travel to other processes.
        prepare, about: called with `about` in each worker before anything else.
        writer: of the dataset.
        staging: folder of clips that are made but not stored yet.
        shard: clips stored at a time.
    """

    def __init__(
        self, make: Make, prepare: Callable[[Any], None], about: Any, writer: DatasetWriter, staging: Path, shard: int
    ) -> None:
        self._make, self._prepare, self._about = make, prepare, about
        self._writer, self._staging, self._shard = writer, staging, shard

    def run(self, numbers: Sequence[int], workers: int, progress: Callable[[int], None] | None = None) -> Report:
        """Make and store clips.

        Args:
            numbers: of the clips, in the order in which they are stored.
            workers: processes.
            progress: called with the clips done, as they come.

        Raises:
            what `make` raises; DatasetError, VideoError, OSError: the dataset cannot be written. What was made before
            is stored all the same.
        """
        self._staging.mkdir(parents=True, exist_ok=True)
        report = Report(self._writer.episodes, self._writer.episodes)
        self._queue, self._ready = list(numbers), {n for n in numbers if self.aside(n).exists()}

        def advance(number: int, failures: list[str]) -> None:
            report.failures += failures
            if self.aside(number).exists():
                self._ready.add(number)
            else:
                report.given_up.append(number)
                self._queue.remove(number)
            self._store(report, self._shard)
            if progress:
                progress(report.kept + len(self._ready))

        work = Work[int, list[str]](
            self._make, lambda number: (number, self.aside(number)), self._prepare, self._about, workers
        )
        left = [number for number in numbers if number not in self._ready]
        try:
            work.do(left, advance, lambda number, why: advance(number, [f"clip {number}: {why}"]))
        finally:
            self._store(report, 1)
        return report

    def aside(self, number: int) -> Path:
        """Where a clip lies until it is stored."""
        return self._staging / f"{number:08d}.npz"

    def _store(self, report: Report, least: int) -> None:
        """Store clips that lie there without a gap, as long as there are so many."""
        while len(row := list(itertools.takewhile(self._ready.__contains__, self._queue))[: self._shard]) >= least:
            self._writer.append([load_episode(self.aside(number)) for number in row])
            for number in row:
                self.aside(number).unlink()
                self._ready.discard(number)
            del self._queue[: len(row)]
            report.kept += len(row)
            if not self._queue:
                return
