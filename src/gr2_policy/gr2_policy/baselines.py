"""Two policies to set a learned one beside: one that knows nothing, and one that remembers everything.

``random`` wanders. ``nearest`` looks for the frame of a demonstration that resembles the present one most, and does
what was done there: it is what memory without understanding reaches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gr2_policy.data.reader import Dataset
from gr2_policy.data.writer import DatasetError
from gr2_policy.gr2_backend import ACTION_SPACE, ROBOT
from gr2_policy.model import geometry
from gr2_policy.model.config import TextConfig
from gr2_policy.model.text import TextEncoder, load_text_encoder
from gr2_policy.model.transforms import BadObservation
from gr2_policy.policy import ActionChunk, Observation, PolicyError

DT = 0.1
HORIZON = 16
_SIDE = 16  # px that images are compared at
_REACH = 0.05  # [m] difference of tool positions that counts as much as images of which every pixel is 10 % off
_GRIPPER = 0.5  # difference of openings that does
_PIXEL = 0.1


class _Plain:
    """What both have in common with each other, see :class:`gr2_policy.policy.Policy`."""

    robot_id = ROBOT
    action_space = ACTION_SPACE
    chunk_dt = DT
    normalization_hash = ""
    privileged = False
    history = 0


class RandomPolicy(_Plain):
    """Straight ways in random directions at up to ``speed`` [m/s], the gripper opened or closed at random."""

    def __init__(self, seed: int = 0, speed: float = 0.1) -> None:
        self.model_id = f"random-seed{seed}"
        self._speed, self._seed = speed, seed
        self._random = np.random.default_rng(seed)

    def reset(self, instruction: str) -> None:
        """See Policy. Each instruction begins another random walk, always the same one."""
        self._random = np.random.default_rng([self._seed, *instruction.encode()])

    def infer(self, observation: Observation) -> ActionChunk:
        """See Policy."""
        direction = self._random.normal(size=3)
        way = self._speed * direction / max(float(np.linalg.norm(direction)), 1e-6)
        times = DT * np.arange(1, HORIZON + 1)
        return ActionChunk(
            DT,
            observation.tool_position + times[:, None] * way,
            np.tile(observation.tool_orientation, (HORIZON, 1)),
            np.full(HORIZON, float(self._random.random() < 0.5)),
        )


@dataclass(frozen=True)
class _Memory:
    """All frames of all demonstrations.

    Attributes:
        looks: (n, features) small images of all views, 0 ... 1.
        states: (n, 8) tool poses and gripper openings.
        chunks: (n, HORIZON, 8) what was done.
        asked: (n,) index of each frame's instruction.
        instructions: in words.
        views: whose images were taken.
    """

    looks: np.ndarray
    states: np.ndarray
    chunks: np.ndarray
    asked: np.ndarray
    instructions: list[str]
    views: tuple[str, ...]


class NearestPolicy(_Plain):
    """What the nearest frame's demonstrator did, carried over to the present pose of the tool.

    Args:
        dataset: demonstrations with a chunk in each frame.
        episodes_per_task: use so many of each task; 0: all.

    Raises:
        DatasetError: it cannot be read, or holds no chunks.
    """

    def __init__(self, dataset: Path, episodes_per_task: int = 0) -> None:
        self._memory = remember(dataset, episodes_per_task)
        self.model_id = f"nearest-{len(self._memory.looks)}-frames"
        self._text = load_text_encoder(TextConfig())
        self._known = np.stack([_sentence(self._text, words) for words in self._memory.instructions])
        self._chosen = np.arange(len(self._memory.looks))

    def reset(self, instruction: str) -> None:
        """See Policy. Only the demonstrations with the most similar words are looked at."""
        likeness = self._known @ _sentence(self._text, instruction)
        best = int(np.argmax(likeness))
        self._chosen = np.flatnonzero(self._memory.asked == best)

    def infer(self, observation: Observation) -> ActionChunk:
        """See Policy."""
        memory, chosen = self._memory, self._chosen
        looks = (memory.looks[chosen] - look(observation, memory.views)) / _PIXEL
        reach = (memory.states[chosen, :3] - observation.tool_position) / _REACH
        gripper = (memory.states[chosen, 7] - observation.gripper) / _GRIPPER
        distance = np.square(looks).mean(axis=1) + np.square(reach).sum(axis=1) + np.square(gripper)
        nearest = int(chosen[np.argmin(distance)])
        then, chunk = memory.states[nearest], memory.chunks[nearest]
        moved = geometry.to_displacements(chunk[:, :3], chunk[:, 3:7], then[:3], then[3:7])
        positions, orientations = geometry.from_displacements(
            moved, observation.tool_position, observation.tool_orientation
        )
        return ActionChunk(DT, positions, orientations, np.round(chunk[:, 7]))


def remember(folder: Path, episodes_per_task: int = 0) -> _Memory:
    """Read all demonstrations of a dataset; see :class:`NearestPolicy`."""
    dataset, counts = Dataset(folder), dict[str, int]()
    looks, states, chunks, asked = [], [], [], []
    instructions: dict[str, int] = {}
    views = tuple(dataset.shape.views)
    for info in dataset.episodes:
        counts[info.task] = counts.get(info.task, 0) + 1
        if episodes_per_task and counts[info.task] > episodes_per_task:
            continue
        episode = dataset.read(info.number)
        if episode.chunks is None or episode.chunks.shape[1] < HORIZON:
            raise DatasetError(f"{folder}: episode {info.number} holds no chunks of {HORIZON} poses to copy")
        frames = [_small(np.stack([episode.images[view][i] for view in views])) for i in range(len(episode))]
        looks.append(np.stack(frames))
        states.append(episode.states)
        chunks.append(episode.chunks[:, :HORIZON])
        number = instructions.setdefault(info.instruction, len(instructions))
        asked.append(np.full(len(episode), number))
    if not looks:
        raise DatasetError(f"{folder} holds no demonstrations")
    return _Memory(
        np.concatenate(looks),
        np.concatenate(states),
        np.concatenate(chunks),
        np.concatenate(asked),
        list(instructions),
        views,
    )


def look(observation: Observation, views: tuple[str, ...]) -> np.ndarray:
    """The small images of an observation, as they are remembered.

    Raises:
        BadObservation: a view is missing.
    """
    lacking = [view for view in views if view not in observation.images]
    if lacking:
        raise BadObservation(f"there is no image of {', '.join(lacking)}")
    return np.concatenate([_small(observation.images[view][None]) for view in views])


def _small(images: np.ndarray) -> np.ndarray:
    """Images (v, h, w, 3) uint8 to (v * _SIDE * _SIDE * 3,) float32."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255.0
    return torch.nn.functional.adaptive_avg_pool2d(pixels, _SIDE).flatten().numpy()


def _sentence(text: TextEncoder, words: str) -> np.ndarray:
    mean = text.encode([words]).features[0].mean(dim=0).numpy()
    return mean / np.linalg.norm(mean)


def make_random(seed: int | str = 0, speed: float | str = 0.1) -> RandomPolicy:
    """The factory behind the entry point ``random``."""
    return RandomPolicy(int(seed), float(speed))


def make_nearest(dataset: str = "", episodes_per_task: int | str = 0) -> NearestPolicy:
    """The factory behind the entry point ``nearest``.

    Raises:
        PolicyError: no dataset was named, or it cannot be used.
    """
    if not dataset:
        raise PolicyError("the policy nearest needs demonstrations to copy from: dataset=FOLDER")
    try:
        return NearestPolicy(Path(dataset), int(episodes_per_task))
    except DatasetError as error:
        raise PolicyError(str(error)) from error
