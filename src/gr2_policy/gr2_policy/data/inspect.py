"""Looks at a dataset as its user should before training on it: what is in it, and what is wrong with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gr2_policy.data.episode import BadEpisode, Episode
from gr2_policy.data.reader import Dataset
from gr2_policy.data.video import VideoError
from gr2_policy.data.writer import DatasetError


@dataclass(frozen=True)
class Bounds:
    """From where on something is reported.

    Attributes:
        speed: of the measured tool [m/s].
        turning: of the measured tool [rad/s].
        gap: time between frames, as a multiple of the nominal one.
        dead: frames in a row whose images do not change while the tool moves.
        dead_video: likewise for video without a robot, in which nobody need move for a moment.
        moving: speed [m/s] from which the tool counts as moving.
        reach: distance [m] from the measured tool to where the action sends it.
    """

    speed: float = 1.0
    turning: float = 4.0
    gap: float = 1.5
    dead: int = 2
    dead_video: int = 15
    moving: float = 0.05
    reach: float = 0.15


@dataclass(frozen=True)
class Finding:
    """Something wrong: the kind, the episode's number, and where and how much in words."""

    kind: str
    episode: int
    text: str


@dataclass(frozen=True)
class Summary:
    """What is in a dataset.

    Attributes:
        episodes, frames: numbers.
        seconds: duration.
        tasks: demonstrations of each task (or instruction, where tasks have no names).
        instructions: number of different ones.
        successes: episodes that a referee confirmed.
    """

    episodes: int
    frames: int
    seconds: float
    tasks: dict[str, int]
    instructions: int
    successes: int


def summarise(dataset: Dataset) -> Summary:
    """From the description alone; no file of numbers or images is read."""
    return Summary(
        episodes=len(dataset),
        frames=dataset.total_frames,
        seconds=dataset.total_frames / dataset.fps,
        tasks=dict(Counter(info.task or info.instruction for info in dataset.episodes)),
        instructions=len(dataset.instructions),
        successes=sum(info.success_frame >= 0 for info in dataset.episodes),
    )


def check(
    dataset: Dataset, bounds: Bounds | None = None, progress: Callable[[int], None] | None = None
) -> list[Finding]:
    """Read everything, and report what is damaged or suspicious.

    Args:
        dataset: to be read.
        bounds: see Bounds.
        progress: called with the number of episodes looked at.
    """
    bounds = bounds or Bounds()
    findings: list[Finding] = []
    first_pictures: dict[bytes, int] = {}
    for info in dataset.episodes:
        try:
            episode = dataset.read(info.number)
            episode.check()
        except (DatasetError, VideoError, BadEpisode) as error:
            findings.append(Finding("damaged", info.number, str(error)))
            continue
        findings += [Finding(kind, info.number, text) for kind, text in check_episode(episode, dataset.fps, bounds)]
        key = b"".join(frames[[0, len(frames) // 2]].tobytes() for frames in episode.images.values())
        before = first_pictures.setdefault(key, info.number)
        if before != info.number:
            findings.append(Finding("duplicate", info.number, f"shows the same pictures as episode {before}"))
        if progress:
            progress(info.number + 1)
    return findings


def check_episode(episode: Episode, fps: int, bounds: Bounds) -> list[tuple[str, str]]:
    """What is suspicious in one episode: kind and words."""
    found: list[tuple[str, str]] = []
    period = 1.0 / fps
    steps = np.diff(episode.stamps)
    for frame in np.nonzero(np.abs(steps - period) > (bounds.gap - 1.0) * period)[0]:
        found.append(("gap", f"frame {frame + 1} comes {1e3 * steps[frame]:.0f} ms after the one before"))
    moving, least, meanwhile = np.ones(len(steps), bool), bounds.dead_video, ""
    if episode.has_robot:
        of_robot, moving = _check_robot(episode, steps, bounds)
        found += of_robot
        least, meanwhile = bounds.dead, " while the tool moves"
    for view, frames in episode.images.items():
        flat = frames.reshape(len(frames), -1)
        for frame in np.nonzero(flat.max(axis=1) == flat.min(axis=1))[0]:
            found.append(("blank", f"frame {frame} of '{view}' has one colour only"))
        same = (flat[1:] == flat[:-1]).all(axis=1) & moving
        found += [
            ("dead", f"'{view}' stands still in frames {a} ... {b}{meanwhile}")
            for a, b in _runs(same)
            if b - a >= least
        ]
    return found


def _check_robot(episode: Episode, steps: np.ndarray, bounds: Bounds) -> tuple[list[tuple[str, str]], np.ndarray]:
    """What is suspicious in states and actions, and in which steps (T - 1,) the tool moves."""
    found: list[tuple[str, str]] = []
    speed = np.linalg.norm(np.diff(episode.states[:, :3], axis=0), axis=1) / steps
    for frame in np.nonzero(speed > bounds.speed)[0]:
        found.append(("jump", f"frame {frame + 1}: the tool moves at {speed[frame]:.2f} m/s"))
    cosine = np.abs((episode.states[1:, 3:7] * episode.states[:-1, 3:7]).sum(axis=1)).clip(0.0, 1.0)
    turning = 2.0 * np.arccos(cosine) / steps
    for frame in np.nonzero(turning > bounds.turning)[0]:
        found.append(("jump", f"frame {frame + 1}: the tool turns at {turning[frame]:.2f} rad/s"))
    far = np.linalg.norm(episode.actions[:, :3] - episode.states[:, :3], axis=1)
    for frame in np.nonzero(far > bounds.reach)[0]:
        found.append(("far action", f"frame {frame}: the action lies {far[frame]:.3f} m from the tool"))
    outside = (episode.actions[:, 7] < -0.01) | (episode.actions[:, 7] > 1.01)
    for frame in np.nonzero(outside)[0]:
        found.append(("gripper", f"frame {frame}: the gripper command is {episode.actions[frame, 7]:.2f}, not 0 ... 1"))
    return found, speed > bounds.moving


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last frame of each run of frames that equal the one before."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def contact_sheet(dataset: Dataset, rows: int = 12, columns: int = 5, tile: int = 128) -> np.ndarray:
    """Pictures of some episodes, a row each, every view side by side: (height, width, 3) uint8.

    The episodes are spread over the tasks, the frames over the episode.
    """
    by_task: dict[str, list[int]] = defaultdict(list)
    for info in dataset.episodes:
        by_task[info.task or info.instruction].append(info.number)
    queues = list(by_task.values())
    chosen = sorted(
        queues[i % len(queues)][i // len(queues)]
        for i in range(min(rows, len(dataset)))
        if i // len(queues) < len(queues[i % len(queues)])
    )
    pictures = []
    for number in chosen:
        episode = dataset.read(number)
        frames = np.linspace(0, len(episode) - 1, columns).round().astype(int)
        pictures.append(
            np.concatenate(
                [_fit(images[frame], tile) for frame in frames for images in episode.images.values()], axis=1
            )
        )
    return np.concatenate(pictures, axis=0)


def _fit(image: np.ndarray, tile: int) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((tile, tile), Image.Resampling.BOX))


@dataclass(frozen=True)
class Histogram:
    """Of one number: edges (n + 1,) and counts (n,)."""

    name: str
    unit: str
    edges: np.ndarray
    counts: np.ndarray


def action_histograms(dataset: Dataset, bins: int = 15, most: int = 200) -> list[Histogram]:
    """How far actions move the tool from where it is, turn it, and close the gripper; from at most so many episodes.

    None for video without a robot.
    """
    if not dataset.shape.robot:
        return []
    steps, turns, grips = [], [], []
    for number in np.unique(np.linspace(0, len(dataset) - 1, min(most, len(dataset))).astype(int)):
        episode = dataset.read(int(number), images=False)
        steps.append(episode.actions[:, :3] - episode.states[:, :3])
        cosine = np.abs((episode.actions[:, 3:7] * episode.states[:, 3:7]).sum(axis=1)).clip(0.0, 1.0)
        turns.append(2.0 * np.arccos(cosine))
        grips.append(episode.actions[:, 7])
    columns = [("x", "m"), ("y", "m"), ("z", "m"), ("turn", "rad"), ("gripper", "0 open, 1 closed")]
    values = [*np.concatenate(steps).T, np.concatenate(turns), np.concatenate(grips)]
    histograms = []
    for (name, unit), column in zip(columns, values, strict=True):
        low, high = float(column.min()), float(column.max())
        if high - low < 1e-6:  # all alike: a range that bins can be cut from
            low, high = low - 1e-3, high + 1e-3
        counts, edges = np.histogram(column, bins, (low, high))
        histograms.append(Histogram(name, unit, edges, counts))
    return histograms
