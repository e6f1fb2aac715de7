"""Demonstrations as plain arrays, for a trainer that reads neither our datasets nor our text encoder.

A folder with ``head.npy``, ``wrist.npy`` (N, side, side, 3) uint8; ``state.npy`` (N, 10); ``action.npy`` (N, k, 7):
exactly the numbers that gr2's own fine-tuning learns from; ``asked.npy`` (N,) the instruction of
each frame; ``words.npy`` (instructions, features) their sentence embeddings; ``about.json``, written last.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gr2_policy.data.reader import Dataset, EpisodeInfo
from gr2_policy.data.writer import DatasetError
from gr2_policy.gr2_backend import ACTION_SPACE
from gr2_policy.model import geometry
from gr2_policy.model.config import TextConfig, to_dict
from gr2_policy.model.text import load_text_encoder
from gr2_policy.model.transforms import Normalization, Transforms

ABOUT = "about.json"
VIEWS = ("head", "wrist")
DT = 0.1


def chosen(dataset: Dataset, tasks: tuple[str, ...], episodes_per_task: int) -> list[EpisodeInfo]:
    """Episodes of these tasks (none: all), at most so many of each (0: all)."""
    counts: dict[str, int] = {}
    found = []
    for info in dataset.episodes:
        if tasks and info.task not in tasks:
            continue
        counts[info.task] = counts.get(info.task, 0) + 1
        if not episodes_per_task or counts[info.task] <= episodes_per_task:
            found.append(info)
    if not found:
        raise DatasetError(f"{dataset.folder} has no demonstrations of {', '.join(tasks) or 'anything'}")
    return found


def export(
    folder: Path,
    out: Path,
    side: int,
    horizon: int,
    tasks: tuple[str, ...] = (),
    episodes_per_task: int = 0,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> int:
    """Write the arrays of a dataset; the number of frames.

    Args:
        folder: of the dataset.
        out: to write to.
        side: of the images [px].
        horizon: poses of a chunk.
        tasks, episodes_per_task: see :func:`chosen`.
        progress: called with the episodes done and all.

    Raises:
        DatasetError: it cannot be read, or has no chunks of this length.
    """
    dataset = Dataset(folder)
    infos = chosen(dataset, tasks, episodes_per_task)
    total = sum(info.length for info in infos)
    out.mkdir(parents=True, exist_ok=True)
    (out / ABOUT).unlink(missing_ok=True)
    plain = Transforms(VIEWS, side, DT)
    shapes = dict.fromkeys(VIEWS, (total, side, side, 3))
    pixels = {v: np.lib.format.open_memmap(out / f"{v}.npy", "w+", np.uint8, s) for v, s in shapes.items()}
    states, chunks = np.empty((total, 8)), np.empty((total, horizon, 8))
    asked, instructions, at = np.empty(total, np.int64), dict[str, int](), 0
    for number, info in enumerate(infos):
        episode = dataset.read(info.number)
        if episode.chunks is None or episode.chunks.shape[1] < horizon:
            raise DatasetError(f"{folder}: episode {info.number} holds no chunks of {horizon} poses")
        here = slice(at, at + len(episode))
        for view in VIEWS:
            pixels[view][here] = np.stack([plain.resize(frame) for frame in episode.images[view]])
        states[here], chunks[here] = episode.states, episode.chunks[:, :horizon]
        asked[here] = instructions.setdefault(info.instruction, len(instructions))
        at = here.stop
        progress(number + 1, len(infos))
    moved = np.stack(
        [geometry.to_displacements(c[:, :3], c[:, 3:7], s[:3], s[3:7]) for s, c in zip(states, chunks, strict=True)]
    )
    normalization = Normalization.fit(states[:, :3], moved)
    transforms = Transforms(VIEWS, side, DT, dataset.robot_id, ACTION_SPACE, DT, normalization=normalization)
    actions = np.concatenate([moved / transforms.step_scales(), chunks[:, :, 7:]], axis=2)
    text = load_text_encoder(TextConfig())
    words = np.stack([text.encode([sentence]).features[0].mean(dim=0).numpy() for sentence in instructions])
    np.save(out / "state.npy", np.stack([transforms.state(s[:3], s[3:7], s[7]).numpy() for s in states]))
    np.save(out / "action.npy", actions.astype(np.float32))
    np.save(out / "asked.npy", asked)
    np.save(out / "words.npy", words.astype(np.float32))
    about = {
        "dataset": str(folder),
        "tasks": list(tasks),
        "episodes": len(infos),
        "frames": total,
        "side": side,
        "horizon": horizon,
        "instructions": list(instructions),
        "transforms": to_dict(transforms),
    }
    aside = out / f".{ABOUT}"
    aside.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    aside.replace(out / ABOUT)
    return total
