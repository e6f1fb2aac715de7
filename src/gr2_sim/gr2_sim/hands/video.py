"""Render action-free video of everyday manipulation, with captions: what stands in for video of people.

Hands, mittens, tongs, claws and other robots do the tasks of the training scenes; a clip is kept only if the referee
agrees that the task was done. The same command gives the same clips, whatever the number of workers. Interrupted, it
goes on where it was. The result is a LeRobotDataset v3 without states and actions, which `./gr2 pretrain --data` reads.

examples:
  ./gr2 video --out data/video --clips 20000 --workers 8
  ./gr2 video --out data/pour --clips 200 --tasks pour_blue_beaker_into_bowl,pour_green_cup_into_pan
  ./gr2 dataset view data/video
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gr2_policy.data.reader import Dataset
from gr2_policy.data.staging import save_episode
from gr2_policy.data.video import VideoError, VideoFormat
from gr2_policy.data.writer import DatasetError, DatasetWriter
from gr2_sim.evaluation import KNOWN_ERRORS, ONE_THREAD
from gr2_sim.hands.acting import FPS, act
from gr2_sim.hands.factory import Factory, Report
from gr2_sim.hands.hand_world import HandWorld
from gr2_sim.hands.scenes import video_scene
from gr2_sim.layout import LayoutError
from gr2_sim.settings import HeldOut
from gr2_sim.tasks import UnknownTask, find_task, load_tasks
from gr2_sim.teacher import Teacher

SEEDS = 50_000_000
"""Arrangements of clips begin here, away from those of demonstrations and of evaluation."""
RETRY = 10_000_000
"""From the seed of one attempt at a clip to that of the next; so many clips can there be."""
TRIES = 6
STAGING = ".staging"
ROBOT_ID = "none"
"""What the dataset says the robot was."""


@dataclass(frozen=True)
class VideoOrder:
    """What is to be rendered.

    Attributes:
        tasks: names of tasks, by turns.
        seed: shifts all clips.
        size: edge of the frames [px].
    """

    tasks: tuple[str, ...]
    seed: int = 0
    size: int = 128

    def task(self, number: int) -> str:
        """Task of a clip: each once in every round, in another order in each."""
        turn, place = divmod(number, len(self.tasks))
        return self.tasks[int(np.random.default_rng([self.seed, turn]).permutation(len(self.tasks))[place])]

    def seed_of(self, number: int, attempt: int = 0) -> int:
        """Seed of an attempt at a clip."""
        return SEEDS + self.seed + number + attempt * RETRY


# --- in a worker ---

_order: VideoOrder
_stage: tuple[HandWorld, Teacher] | None = None


def _prepare(order: VideoOrder) -> None:
    global _order, _stage
    _order, _stage = order, None


def make_clip(number: int, path: Path) -> list[str]:
    """Make clip number n and put it aside; see gr2_sim.hands.factory.Make."""
    global _stage
    task = _order.task(number)
    if _stage is None:
        _stage = HandWorld(video_scene(find_task(task), _order.seed_of(number))), Teacher()
    failures = []
    for attempt in range(TRIES):
        try:
            take = act(*_stage, task, _order.seed_of(number, attempt), _order.size)
        except LayoutError as crowded:  # the things drawn for this scene found no room
            failures.append(str(crowded))
            continue
        if take.clip is not None:
            save_episode(path, take.clip)
            return failures
        failures.append(take.why)
    return failures


# --- in the main process ---


def render(
    order: VideoOrder,
    clips: int,
    folder: Path,
    workers: int = 1,
    video: VideoFormat | None = None,
    progress: Callable[[int], None] | None = None,
    shard: int = 50,
) -> Report:
    """Render what is missing of the first clips of an order into the dataset in a folder.

    Args:
        order: what is wanted.
        clips: how many.
        folder: of the dataset; one of the same order is continued.
        workers: processes.
        video: how frames are stored.
        progress: called with the clips done.
        shard: clips stored at a time.

    Raises:
        DatasetError: the folder holds something else, or clips of another order.
        VideoError, OSError: it cannot be written.
        one of KNOWN_ERRORS, HeldOut: a clip cannot be set up.
    """
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    for task in order.tasks:
        find_task(task)
    writer = DatasetWriter(folder, FPS, ROBOT_ID, video)
    made_of = {**asdict(order), "tasks": list(order.tasks)}
    before = writer.about.setdefault("video", made_of)
    if before != made_of:
        changed = ", ".join(key for key in made_of if before.get(key) != made_of[key])
        raise DatasetError(f"{folder} holds clips made with another {changed}; choose another folder")
    stored = set()
    if writer.episodes:
        stored = {(info.seed - SEEDS - order.seed) % RETRY for info in Dataset(folder).episodes}
    staging = folder.with_name(folder.name + STAGING)
    factory = Factory(make_clip, _prepare, order, writer, staging, shard)
    report = factory.run([number for number in range(clips) if number not in stored], workers, progress)
    if not report.given_up:
        shutil.rmtree(staging, ignore_errors=True)
    return report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 video``."""
    parser.add_argument("--out", type=Path, required=True, help="folder of the dataset; an unfinished one is continued")
    parser.add_argument("--clips", type=int, default=20000, help="how many (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--tasks", default="all", help="names with commas between, or all (default)")
    parser.add_argument("--seed", type=int, default=0, help="shifts all clips (default: %(default)s)")
    parser.add_argument("--size", type=int, default=128, help="edge of the frames [px] (default: %(default)s)")
    parser.add_argument(
        "--quality",
        type=int,
        default=18,
        help="H.264 rate factor (default: %(default)s); 0: lossless, ten times the size",
    )


def run(args: argparse.Namespace) -> int:
    """Render, with progress; returns the exit code: 0 all made, 1 some could not be made, 2 a wrong call."""
    console = Console(stderr=True)
    started = time.monotonic()
    try:
        if min(args.clips, args.workers) < 1 or args.clips > RETRY:
            raise ValueError(f"--clips must be 1 ... {RETRY}, --workers at least 1")
        if args.size % 2 or not 16 <= args.size <= 1024:
            raise ValueError("--size must be even, from 16 to 1024")
        tasks = tuple(load_tasks()) if args.tasks == "all" else tuple(args.tasks.split(","))
        video = VideoFormat(quality=args.quality)
        order = VideoOrder(tasks, args.seed, args.size)
        with Progress(
            TextColumn("clips"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(), TimeRemainingColumn(), console=console,
        ) as bar:  # fmt: skip
            line = bar.add_task("clips", total=args.clips, rate="")
            first: list[int] = []

            def show(done: int) -> None:
                if not first:
                    first.append(done)
                rate = 60.0 * (done - first[0]) / max(time.monotonic() - started, 1e-9)
                bar.update(line, completed=done, rate=f"{rate:.0f} a minute")

            report = render(order, args.clips, args.out, args.workers, video, show)
    except (DatasetError, VideoError, HeldOut, UnknownTask, *KNOWN_ERRORS, OSError, ValueError) as error:
        console.print(f"error: {error}", style="red", highlight=False, markup=False)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on", style="yellow")
        return 130
    seconds = time.monotonic() - started
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    console.print(
        f"{report.kept} clips in {args.out}, {report.kept - report.before} of them made in {seconds:.0f} s,"
        f" {size / 1e6:.1f} MB; {len(report.failures)} attempts did not succeed",
        highlight=False,
    )
    for failure in report.failures[:5]:
        console.print(f"  {failure}", highlight=False, markup=False)
    for number in report.given_up:
        console.print(f"  clip {number} could not be made", style="red", highlight=False)
    return 1 if report.given_up else 0
