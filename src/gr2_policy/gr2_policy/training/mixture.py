"""Draws windows from several token stores: which one a sample is, is a function of the seed, the step and its index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gr2_policy.data.writer import DatasetError
from gr2_policy.training.settings import Source
from gr2_policy.training.tokens import TokenStore, Window, chosen


@dataclass(frozen=True)
class Picked:
    """Which window a sample is: source, episode, first frame."""

    source: int
    episode: int
    start: int


class Mixture:
    """Windows of T frames from weighted sources; within a source all its windows are as likely.

    Args:
        sources: what is drawn from.
        stores: their tokens.
        timesteps: T.
        frame_dt: time from one frame of a window to the next [s].
        seed: of the order.

    Raises:
        DatasetError: a source's rate does not fit, or nothing of it can be used.
    """

    def __init__(
        self, sources: Sequence[Source], stores: Sequence[TokenStore], timesteps: int, frame_dt: float, seed: int
    ) -> None:
        if not sources:
            raise DatasetError("there is nothing to learn from: no sources are given")
        self.stores = list(stores)
        self.timesteps, self._seed = timesteps, seed
        weights = np.array([source.weight for source in sources], float)
        self._weights = weights / weights.sum()
        self._strides: list[int] = []
        self._episodes: list[np.ndarray] = []
        self._ends: list[np.ndarray] = []
        self._held_out: list[tuple[int, int, int]] = []
        for source, store in zip(sources, stores, strict=True):
            stride = frame_dt * store.fps
            if stride < 0.5 or abs(stride - round(stride)) > 0.01:
                raise DatasetError(
                    f"{source.folder} has {store.fps} frames a second: {frame_dt} s between frames is not a multiple"
                )
            self._strides.append(round(stride))
            span = (timesteps - 1) * round(stride)
            asked, held_out = chosen(store.episodes, source)
            usable = [i for i in asked if store.episodes[i].length > span]
            lengths = [(i, store.episodes[i].length - span) for i in held_out]
            self._held_out += [(len(self._ends), i, windows) for i, windows in lengths if windows > 0]
            if not usable:
                raise DatasetError(f"{source.folder} has no episode of more than {span} frames that was asked for")
            self._episodes.append(np.array(usable))
            self._ends.append(np.cumsum([store.episodes[i].length - span for i in usable]))

    @property
    def windows(self) -> int:
        """Number of different windows."""
        return int(sum(ends[-1] for ends in self._ends))

    def learned(self, source: int) -> list[int]:
        """The episodes of a source that are learned from."""
        return [int(number) for number in self._episodes[source]]

    def held_out(self, most: int) -> list[Picked]:
        """At most so many windows of what is held out, spread evenly over it."""
        return _spread(self._held_out, most)

    def spread(self, most: int) -> list[Picked]:
        """At most so many windows of all the rest, likewise."""
        rows = [
            (source, int(episode), int(windows))
            for source, (episodes, ends) in enumerate(zip(self._episodes, self._ends, strict=True))
            for episode, windows in zip(episodes, np.diff(ends, prepend=0), strict=True)
        ]
        return _spread(rows, most)

    def pick(self, step: int, index: int) -> Picked:
        """The index-th sample of a step."""
        random = np.random.default_rng((self._seed, step, index))
        source = int(random.choice(len(self._weights), p=self._weights))
        ends = self._ends[source]
        place = int(random.integers(ends[-1]))
        row = int(np.searchsorted(ends, place, side="right"))
        start = place - (int(ends[row - 1]) if row else 0)
        return Picked(source, int(self._episodes[source][row]), start)

    def window(self, picked: Picked, views: Sequence[str], horizon: int = 0) -> Window:
        """The window itself, its views in this order; ``horizon`` as in TokenStore.window."""
        store = self.stores[picked.source]
        stride = self._strides[picked.source]
        window = store.window(picked.episode, picked.start, self.timesteps, stride, horizon)
        return replace(window, tokens=window.tokens[:, [store.views.index(view) for view in views]])

    def name(self, picked: Picked) -> str:
        """For messages."""
        episode = self.stores[picked.source].episodes[picked.episode]
        return f"episode {episode.number} ('{episode.instruction}') from frame {picked.start} of source {picked.source}"


def _spread(rows: Sequence[tuple[int, int, int]], most: int) -> list[Picked]:
    """Windows of rows of source, episode and number of windows."""
    ends = np.cumsum([windows for _, _, windows in rows])
    if not len(ends):
        return []
    picked = []
    for place in np.unique(np.linspace(0, ends[-1] - 1, min(most, int(ends[-1]))).astype(int)):
        row = int(np.searchsorted(ends, place, side="right"))
        source, episode, windows = rows[row]
        picked.append(Picked(source, episode, int(place) - int(ends[row]) + windows))
    return picked
