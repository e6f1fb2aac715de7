"""Augments whole datasets, some demonstrations at a time, so that a broken run goes on."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from gr2_policy.data.episode import BadEpisode, Episode
from gr2_policy.data.reader import Dataset
from gr2_policy.data.writer import DatasetError, DatasetWriter
from gr2_sim.augment.augmenter import Augmentation, augment

_SHARD = 20


def augment_dataset(
    source: Dataset,
    folder: Path,
    copies: int,
    seed: int,
    calibration: Mapping[str, Mapping[str, Any]],
    what: Augmentation,
    masks: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write so many other versions of each demonstration: all of them once, then again.

    Args:
        source: of the demonstrations.
        folder: of the new dataset; an unfinished one of the same make is continued.
        copies: of each.
        seed: of what is drawn.
        calibration: see gr2_sim.augment.views.load_calibration.
        what: what is changed.
        masks: folder with VIEW/NNNNNN.npz for episode NNNNNN; None: those of the dataset.
        progress: called with the number done, for each.

    Returns:
        demonstrations in the new dataset.

    Raises:
        DatasetError, VideoError, BadEpisode: the source or its masks cannot be used. CalibrationError: nor its cameras.
    """
    if masks is None and not source.shape.masks:
        raise DatasetError(f"{source.folder} has no masks: record it with gr2 demos --masks, or give some with --masks")
    if not source.shape.robot:
        raise DatasetError(f"{source.folder} is video without a robot: where its cameras move is not known")
    made_of = {"from": source.folder.name, "seed": seed, **asdict(what)}
    writer = DatasetWriter(folder, source.fps, source.robot_id, source.video)
    before = writer.about.setdefault("augmented", made_of)
    if before != made_of:
        changed = ", ".join(key for key in made_of if before.get(key) != made_of[key])
        raise DatasetError(f"{folder} was augmented with another {changed}; choose another folder")
    waiting: list[Episode] = []
    total = copies * len(source)
    for number in range(writer.episodes, total):
        copy, index = divmod(number, len(source))
        episode = source.read(index, masks=masks is None)
        if masks is not None:
            episode = replace(episode, masks=given_masks(masks, index, episode))
        waiting.append(augment(episode, seed + 1_000_003 * copy + index, calibration, what))
        if len(waiting) == _SHARD or number == total - 1:
            writer.append(waiting, source.shape.joints)
            waiting = []
        if progress:
            progress(number + 1)
    return writer.episodes


def given_masks(folder: Path, number: int, episode: Episode) -> dict[str, np.ndarray]:
    """Masks of an episode from files: an array `labels` (T, h, w) uint8 each, see gr2_policy.data.episode.LABELS.

    Raises:
        BadEpisode: a file is missing or does not fit the episode.
    """
    found = {}
    for view in episode.images:
        path = folder / view / f"{number:06d}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                found[view] = file["labels"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise BadEpisode(f"{path} has no masks of view '{view}', episode {number}: {error}") from None
    replace(episode, masks=found).check()
    return found
