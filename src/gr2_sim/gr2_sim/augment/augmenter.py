"""One demonstration as it might have been recorded elsewhere: same motion, other room, other things about.

Only pixels that show neither the robot nor what the task is about are changed; states, actions and words are those of
the original, so the demonstration is as valid as it was. Things are added only where the tool never comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gr2_policy.data.episode import LABELS, BadEpisode, Episode
from gr2_sim.augment.backgrounds import behind, draw_room, replaced
from gr2_sim.augment.distractors import Layer, choose
from gr2_sim.augment.views import view_of

ROBOT, TASK, OTHER = LABELS.index("robot"), LABELS.index("task"), LABELS.index("other")


@dataclass(frozen=True)
class Augmentation:
    """What is changed.

    Attributes:
        background: draw another table top, floor and wall.
        drop: share of the copies in which things that the task does not need vanish.
        add: largest number of things added.
    """

    background: bool = True
    drop: float = 0.5
    add: int = 3

    def __post_init__(self) -> None:
        if not (0.0 <= self.drop <= 1.0 and 0 <= self.add <= 10):
            raise ValueError(f"drop must be 0 ... 1 and add 0 ... 10, got {self}")


def augment(
    episode: Episode, seed: int, calibration: Mapping[str, Mapping[str, Any]], what: Augmentation | None = None
) -> Episode:
    """Another version of an episode, the same for the same arguments.

    Args:
        episode: with masks of all its views.
        seed: draws.
        calibration: of its cameras, see views.load_calibration.
        what: see Augmentation.

    Raises:
        BadEpisode: a view has no masks. CalibrationError: where a camera is, is not known.
    """
    what = what or Augmentation()
    if lacking := sorted(set(episode.images) - set(episode.masks)):
        raise BadEpisode(
            f"there are no masks of view {', '.join(lacking)}: record with gr2 demos --masks, or give some"
        )
    random = np.random.default_rng([seed, 21])
    views = {name: view_of(name, calibration, episode.states) for name in episode.images}
    room = draw_room(random)
    dropping = bool(random.random() < what.drop)
    wanted = int(random.integers(what.add + 1))
    placed = choose(episode.states, episode.masks, views, wanted, not dropping, random)
    sizes = {name: (frames.shape[1], frames.shape[2]) for name, frames in episode.images.items()}
    layer = Layer(placed, views, sizes, random) if placed else None
    images, masks = {}, {}
    try:
        for name, frames in episode.images.items():
            new = None
            pictures, labels = frames.copy(), episode.masks[name].copy()
            for frame in range(len(frames)):
                own = episode.masks[name][frame]
                drop = (own == OTHER) & dropping
                if what.background or dropping:
                    if new is None or not views[name].still:
                        new = behind(room, views[name], frame, *own.shape)
                    pictures[frame] = replaced(frames[frame], own, new, drop)
                labels[frame][drop] = LABELS.index("table")
                if layer is not None:
                    drawn, there = layer.draw(name, frame)
                    there = there & (own != ROBOT) & (own != TASK) & (drop | (own != OTHER))
                    pictures[frame][there] = drawn[there]
                    labels[frame][there] = OTHER
            images[name], masks[name] = pictures, labels
    finally:
        if layer is not None:
            layer.close()
    notes = {**episode.notes, "augmented": seed, "added": ", ".join(spot.thing.label for spot in placed)}
    return replace(episode, images=images, masks=masks, notes=notes)
