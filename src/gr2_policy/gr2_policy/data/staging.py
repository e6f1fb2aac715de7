"""One episode in one file, for the time between its recording and its place in a dataset. Plain arrays, no pickle."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np

from gr2_policy.data.episode import BadEpisode, Episode

_ARRAYS = ("stamps", "states", "actions", "joints", "chunks")
_IMAGES, _MASKS = "images.", "masks."


def save_episode(path: Path, episode: Episode) -> None:
    """Write it aside and rename it."""
    arrays = {name: getattr(episode, name) for name in _ARRAYS if getattr(episode, name) is not None}
    arrays |= {f"{_IMAGES}{view}": frames for view, frames in episode.images.items()}
    arrays |= {f"{_MASKS}{view}": labels for view, labels in episode.masks.items()}
    about = {
        "instruction": episode.instruction,
        "task": episode.task,
        "seed": episode.seed,
        "success_frame": episode.success_frame,
        "notes": dict(episode.notes),
    }
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            np.savez(file, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def load_episode(path: Path) -> Episode:
    """Read it again.

    Raises:
        BadEpisode: the file is damaged or not one of these.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            arrays = {name: file[name] for name in _ARRAYS if name in file.files}
            images = {name.removeprefix(_IMAGES): file[name] for name in file.files if name.startswith(_IMAGES)}
            masks = {name.removeprefix(_MASKS): file[name] for name in file.files if name.startswith(_MASKS)}
        return Episode(images=images, masks=masks, **arrays, **about)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise BadEpisode(f"{path} is not an episode put aside: {error}") from error
