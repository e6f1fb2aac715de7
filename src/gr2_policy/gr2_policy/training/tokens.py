"""Datasets as tokens: every frame goes through the frozen tokenizer once, before training, and training reads numbers.

A store is a folder beside the dataset, named after the tokenizer: shards as safetensors with the image tokens, states
and chunks of whole episodes, and ``manifest.json``. A shard is complete when the manifest, written after it, names it;
an interrupted tokenisation goes on with the next shard.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from gr2_policy.data.reader import Dataset
from gr2_policy.data.writer import DatasetError
from gr2_policy.model.transforms import Transforms, pixels_to_tensor
from gr2_policy.model.vqgan import VqGan
from gr2_policy.training.settings import Source

MANIFEST = "manifest.json"
_EPISODES = 50  # in a shard
_IMAGES = 32  # encoded at a time


@dataclass(frozen=True)
class TokenisedEpisode:
    """Where an episode is in a store.

    Attributes:
        shard: number of its shard.
        first, length: its frames there.
        instruction, task, number: as in the dataset.
    """

    shard: int
    first: int
    length: int
    instruction: str
    task: str
    number: int


@dataclass(frozen=True)
class Window:
    """Frames of one episode, evenly spaced.

    Attributes:
        tokens: (T, views, n) int64.
        states: (T, 8) see :data:`gr2_policy.data.episode.POSE`; None for video without a robot.
        chunks: (T, k, 8) poses and gripper commands; None likewise.
        known: (T, k) bool, False beyond the end of the demonstration.
        instruction: in words.
    """

    tokens: np.ndarray
    states: np.ndarray | None
    chunks: np.ndarray | None
    known: np.ndarray | None
    instruction: str


class Labelled(Protocol):
    """An episode of which the task is known."""

    @property
    def task(self) -> str: ...


def store_folder(dataset: Path, tokenizer: VqGan) -> Path:
    """Where the tokens of a dataset lie."""
    return dataset.with_name(f"{dataset.name}.tokens-{tokenizer.identity()[:12]}")


def tokenise(
    dataset: Dataset,
    tokenizer: VqGan,
    transforms: Transforms,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
    source: Source | None = None,
) -> TokenStore:
    """The store of a dataset, of all its views, made as far as it is not there.

    Args:
        dataset: to be tokenised.
        tokenizer: a frozen one; it stays on ``device``.
        transforms: say how images are resized.
        device: to encode on.
        progress: called with the episodes done and all.
        source: what of it is used, and must be there; None: all.

    Raises:
        DatasetError, VideoError: the dataset is damaged or lacks a view of the transforms.
    """
    folder = store_folder(dataset.folder, tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    lacking = [view for view in transforms.views if view not in dataset.shape.views]
    if lacking:
        raise DatasetError(f"{dataset.folder} has no images of {', '.join(lacking)}")
    tokenizer = tokenizer.to(device)
    used = range(len(dataset)) if source is None else sorted(itertools.chain(*chosen(dataset.episodes, source)))
    wanted = [dataset.episodes[index].number for index in used]
    manifest = _manifest(folder, tokenizer, transforms, dataset)
    if not _missing(manifest, wanted):
        return TokenStore(folder)
    with _alone(folder):
        manifest = _manifest(folder, tokenizer, transforms, dataset)
        missing = _missing(manifest, wanted)
        if not manifest["shards"]:
            for old in folder.glob("shard-*.safetensors"):  # of a dataset that is no more what it was
                old.unlink()
        for begin in range(0, len(missing), _EPISODES):
            batch = missing[begin : begin + _EPISODES]
            manifest = _add_shard(folder, manifest, dataset, batch, tokenizer, transforms, device)
            if progress:
                progress(len(wanted) - len(missing) + begin + len(batch), len(wanted))
        return TokenStore(folder)


def _missing(manifest: dict[str, Any], wanted: list[int]) -> list[int]:
    there = {item["number"] for item in manifest["episodes"]}
    return [number for number in wanted if number not in there]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Trainings that begin at once make a store one after the other; each then finds what the one before has made."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def chosen(episodes: Iterable[Labelled], source: Source) -> tuple[list[int], list[int]]:
    """Indices of the episodes that a source learns from, and of those that it holds out: each task's first, and last.

    Raises:
        DatasetError: a task has too few.
    """
    by_task: dict[str, list[int]] = defaultdict(list)
    for index, episode in enumerate(episodes):
        if not source.tasks or episode.task in source.tasks:
            by_task[episode.task].append(index)
    learned, held_out = [], []
    for task, indices in by_task.items():
        kept = len(indices) - source.hold_out
        if source.hold_out and kept < max(1, source.episodes_per_task):
            words = f"{source.folder} has {len(indices)} episodes of {task or 'video'}"
            wanted = f" and learn from {source.episodes_per_task}" if source.episodes_per_task else ""
            raise DatasetError(f"{words}: too few to hold {source.hold_out} out{wanted}")
        learned += indices[: min(kept, source.episodes_per_task) if source.episodes_per_task else kept]
        held_out += indices[kept:]
    return sorted(learned), sorted(held_out)


def _manifest(folder: Path, tokenizer: VqGan, transforms: Transforms, dataset: Dataset) -> dict[str, Any]:
    path = folder / MANIFEST
    about = {
        "tokenizer": tokenizer.identity(),
        "views": sorted(dataset.shape.views),
        "resolution": transforms.resolution,
        "fps": dataset.fps,
        "horizon": dataset.shape.horizon,
        "robot_id": dataset.robot_id,
    }
    if path.exists():
        manifest = json.loads(path.read_text(encoding="utf-8"))
        same = {key: manifest[key] for key in about} == about
        known = {(info.number, info.length, info.instruction) for info in dataset.episodes}
        if same and all((e["number"], e["length"], e["instruction"]) in known for e in manifest["episodes"]):
            return dict(manifest)
    return about | {"shards": 0, "episodes": []}


def _add_shard(
    folder: Path,
    manifest: dict[str, Any],
    dataset: Dataset,
    numbers: Sequence[int],
    tokenizer: VqGan,
    transforms: Transforms,
    device: torch.device,
) -> dict[str, Any]:
    tokens, states, actions, chunks, entries, first = [], [], [], [], [], 0
    for number in numbers:
        episode, info = dataset.read(number), dataset.episodes[number]
        views = [np.stack([transforms.resize(f) for f in episode.images[view]]) for view in manifest["views"]]
        tokens.append(encode(tokenizer, np.stack(views, axis=1), device))
        states.append(episode.states.astype(np.float32))
        actions.append(episode.actions.astype(np.float32))
        if episode.chunks is not None:
            chunks.append(episode.chunks.astype(np.float32))
        entry = TokenisedEpisode(manifest["shards"], first, len(episode), info.instruction, info.task, number)
        entries.append(asdict(entry))
        first += len(episode)
    arrays = {"tokens": np.concatenate(tokens), "states": np.concatenate(states), "actions": np.concatenate(actions)}
    if chunks:
        arrays["chunks"] = np.concatenate(chunks)
    target = folder / shard_name(manifest["shards"])
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    save_file(arrays, aside)
    aside.replace(target)
    manifest = manifest | {"shards": manifest["shards"] + 1, "episodes": manifest["episodes"] + entries}
    new = folder / f".{MANIFEST}.{os.getpid()}"
    new.write_text(json.dumps(manifest) + "\n", encoding="utf-8")
    new.replace(folder / MANIFEST)
    return manifest


def encode(tokenizer: VqGan, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Images (F, views, h, w, 3) uint8 to tokens (F, views, n) uint16."""
    flat = images.reshape(-1, *images.shape[2:])
    parts = [
        tokenizer.encode(pixels_to_tensor(flat[begin : begin + _IMAGES]).to(device)).cpu().numpy()
        for begin in range(0, len(flat), _IMAGES)
    ]
    return np.concatenate(parts).reshape(*images.shape[:2], -1).astype(np.uint16)


def shard_name(number: int) -> str:
    """File of the n-th shard."""
    return f"shard-{number:05d}.safetensors"


class TokenStore:
    """Reads a store. Shards stay on disk and are mapped into memory.

    Attributes:
        episodes: what there is.
        fps: frames a second.
        horizon: poses of the stored chunks; 0: none are stored.
        tokenizer: identity of what made the tokens.
        views: in the order of the tokens.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            episodes = [TokenisedEpisode(**item) for item in manifest["episodes"]]
            self.episodes = sorted(episodes, key=lambda episode: episode.number)  # whatever the order they were made in
            self.fps, self.horizon = int(manifest["fps"]), int(manifest["horizon"])
            self.tokenizer, self.views = str(manifest["tokenizer"]), tuple(manifest["views"])
            self.robot_id = str(manifest["robot_id"])
            self._shards = [safe_open(folder / shard_name(i), "np") for i in range(manifest["shards"])]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path} cannot be used: {error!r}") from error

    def window(self, number: int, start: int, count: int, stride: int, horizon: int = 0) -> Window:
        """A window of an episode.

        Args:
            number: of the episode.
            start: its first frame.
            count, stride: frames of the window, and from one to the next.
            horizon: poses of the chunks wanted; 0: no states or chunks.
        """
        episode = self.episodes[number]
        shard = self._shards[episode.shard]
        stop = start + (count - 1) * stride + 1
        if start < 0 or stop > episode.length:
            raise IndexError(f"frames {start} ... {stop - 1} of an episode of {episode.length}")
        here = slice(episode.first + start, episode.first + stop)
        tokens = shard.get_slice("tokens")[here][::stride].astype(np.int64)
        if not horizon:
            return Window(tokens, None, None, None, episode.instruction)
        states = shard.get_slice("states")[here][::stride]
        if self.horizon:
            chunks = shard.get_slice("chunks")[here][::stride]
            known = np.ones(chunks.shape[:2], bool)
        else:
            chunks, known = self._chunks(episode, shard, range(start, stop, stride), horizon)
        if chunks.shape[1] < horizon:
            lack = horizon - chunks.shape[1]
            chunks = np.concatenate([chunks, np.repeat(chunks[:, -1:], lack, axis=1)], axis=1)
            known = np.concatenate([known, np.zeros((len(known), lack), bool)], axis=1)
        return Window(tokens, states, chunks[:, :horizon], known[:, :horizon], episode.instruction)

    @staticmethod
    def _chunks(episode: TokenisedEpisode, shard: Any, frames: range, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        """The actions that follow each frame, where no chunks are stored."""
        stop = min(frames[-1] + horizon, episode.length)
        actions = shard.get_slice("actions")[episode.first + frames[0] : episode.first + stop]
        wanted = np.array(frames)[:, None] - frames[0] + np.arange(horizon)
        return actions[wanted.clip(max=len(actions) - 1)], wanted < len(actions)

    def displacement_sources(self, numbers: Sequence[int], most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """States (T, 8) and chunks (T, k, 8) of at most so many of these episodes, spread over them, for statistics."""
        for place in np.unique(np.linspace(0, len(numbers) - 1, min(most, len(numbers))).astype(int)):
            episode = self.episodes[numbers[place]]
            shard = self._shards[episode.shard]
            here = slice(episode.first, episode.first + episode.length)
            yield shard.get_slice("states")[here], shard.get_slice("chunks" if self.horizon else "actions")[here]
