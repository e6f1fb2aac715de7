"""Shots cut into clips of some seconds at one rate, as a video streams by: one clip is in memory at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from gr2_policy.curation.decode import Moment
from gr2_policy.curation.settings import Cutting
from gr2_policy.curation.shots import ShotDetector
from gr2_policy.curation.sources import Source


@dataclass(frozen=True, eq=False)
class Clip:
    """A piece of one shot.

    Attributes:
        key: unique and the same on every machine.
        source: where it is from.
        begin: in the source [s].
        fps: its rate.
        frames: (T, size, size, 3) uint8 RGB.
    """

    key: str
    source: Source
    begin: float
    fps: int
    frames: np.ndarray

    @property
    def seconds(self) -> float:
        """Its duration [s]."""
        return len(self.frames) / self.fps


def clips_of(source: Source, stream: Iterable[Moment], cutting: Cutting) -> Iterator[Clip]:
    """The clips of a source; what is shorter than the shortest is left out.

    Raises:
        VideoError: from the stream; the clips before were given.
    """
    detector = ShotDetector(cutting.cut_ratio, cutting.cut_least)
    least, most = round(cutting.shortest * cutting.fps), round(cutting.longest * cutting.fps)
    frames: list[np.ndarray] = []
    begin, tick = 0, 0
    for moment in stream:
        if detector.begins(moment.thumb) and frames:
            if len(frames) >= least:
                yield _clip(source, begin, cutting.fps, frames)
            frames = []
        for _ in range(moment.ticks):
            assert moment.picture is not None
            if not frames:
                begin = tick
            frames.append(moment.picture)
            tick += 1
            if len(frames) == most:
                yield _clip(source, begin, cutting.fps, frames)
                frames = []
    if len(frames) >= least:
        yield _clip(source, begin, cutting.fps, frames)


def _clip(source: Source, begin: int, fps: int, frames: list[np.ndarray]) -> Clip:
    digest = hashlib.sha256(f"{source.name}@{begin}/{fps}".encode()).hexdigest()[:20]
    return Clip(digest, source, begin / fps, fps, np.stack(frames))
