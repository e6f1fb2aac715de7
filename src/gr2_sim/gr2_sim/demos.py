"""Record demonstrations of the scripted teacher as a LeRobotDataset v3: both cameras, states, chunks, instructions.

An episode is kept only if the referee agrees that the task was done; else the next arrangement is tried. The same
command gives the same dataset, whatever the number of workers. Interrupted, it goes on where it was; a worker that
dies costs the episode it was at, which is tried again.

examples:
  ./gr2 demos --out data/demos --episodes 50 --workers 2
  ./gr2 demos --out data/drawer --tasks open_drawer,close_drawer --episodes 10
  ./gr2 dataset view data/drawer                        a picture of what was recorded
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gr2_policy.data.episode import BadEpisode
from gr2_policy.data.reader import Dataset
from gr2_policy.data.staging import load_episode, save_episode
from gr2_policy.data.video import VideoError, VideoFormat
from gr2_policy.data.writer import DatasetError, DatasetWriter
from gr2_policy.policy import load_policy
from gr2_sim.bins import BIN_TASK, bin_scene
from gr2_sim.build import ARM_JOINTS, ROBOT
from gr2_sim.chains import CHAIN_SUITES, chain_scene, chain_tasks
from gr2_sim.demonstrator import FRAME_PERIOD, Demonstrator, Disturbance
from gr2_sim.evaluation import KNOWN_ERRORS, ONE_THREAD
from gr2_sim.settings import TRAINING, HeldOut, training_instruction, training_scene
from gr2_sim.tasks import Task, UnknownTask, find_task, the_tasks
from gr2_sim.workers import Work
from gr2_sim.world import FAST_TIMESTEP, World

SEEDS = 1_000_000
"""Arrangements of demonstrations begin here; evaluation uses smaller seeds, so that no arrangement serves both."""
SUITES = (TRAINING, "bin", *CHAIN_SUITES)
"""Settings that demonstrations may be recorded in; the other settings are for evaluation only."""
TRIES = 6
"""Arrangements tried for one demonstration."""
RETRY = 100_000
"""From the seed of one try to that of the next. Looks and environments go by the seed's remainder, so demonstrations
count up by one: in steps of TRIES, they would all have been of the same look."""
STAGING = ".staging"
"""Ending of the folder, beside that of the dataset, of demonstrations that are made but not stored yet."""

Job = tuple[str, int]


class DemosError(RuntimeError):
    """Recording cannot go on. The message says why."""


@dataclass(frozen=True)
class Order:
    """What is to be recorded.

    Attributes:
        tasks: names of tasks.
        episodes: demonstrations of each.
        seed: shifts all arrangements.
        suite: one of SUITES: which scenes the tasks are done in.
        size: edge of the images [px].
        disturbance: see Disturbance.
        varied: the teacher has a style of its own in each demonstration; else it does everything in the plainest way.
        masks: what the pixels show is recorded too.
    """

    tasks: tuple[str, ...]
    episodes: int = 50
    seed: int = 0
    suite: str = TRAINING
    size: int = 128
    disturbance: Disturbance = field(default_factory=Disturbance)
    varied: bool = True
    masks: bool = False

    def jobs(self) -> list[Job]:
        """Task and number of each demonstration: first one of every task, then the second ..."""
        return [(task, number) for number in range(self.episodes) for task in self.tasks]


# --- in a worker ---

_order: Order
_demonstrator: Demonstrator | None = None


def _prepare(order: Order) -> None:
    global _order, _demonstrator
    _order, _demonstrator = order, None


def _make(task: str, number: int, folder: Path) -> tuple[bool, list[str]]:
    """Make one demonstration, the same for the same task and number, and put it aside.

    Returns:
        whether one was kept, and how the failed tries ended.
    """
    global _demonstrator
    if _demonstrator is None:
        world = World(timestep=FAST_TIMESTEP)
        _demonstrator = Demonstrator(
            world,
            load_policy("teacher", varied=_order.varied),
            _order.size,
            _order.disturbance,
            masks=_order.masks,
        )
    failures: list[str] = []
    chosen = find_task(task)
    for attempt in range(TRIES):
        seed = seed_of(_order, number, attempt)
        instruction, scene = training_instruction(chosen, seed), scene_of(_order.suite, chosen, seed)
        demonstration, episode = _demonstrator.record(task, seed, instruction, scene)
        if episode.success and not episode.stopped:
            save_episode(aside(folder, (task, number)), demonstration)
            return True, failures
        failures.append(f"{task}, seed {seed}: {episode.stopped or episode.detail}")
    return False, failures


def seed_of(order: Order, number: int, attempt: int = 0) -> int:
    """Seed of a try at a demonstration."""
    return SEEDS + order.seed + number + attempt * RETRY


def scene_of(suite: str, task: Task, seed: int) -> str:
    """Scene of a demonstration of a suite; one of the training split."""
    if suite == "bin":
        return bin_scene("cluttered_seen" if seed % 2 else "seen", seed)
    if suite in CHAIN_SUITES:
        environments = CHAIN_SUITES[suite]
        return chain_scene(environments[seed % len(environments)])
    return training_scene(task, seed)


def tasks_of(suite: str) -> tuple[str, ...]:
    """All tasks of a suite."""
    if suite == "bin":
        return (BIN_TASK,)
    return tuple(task.name for task in chain_tasks()) if suite in CHAIN_SUITES else tuple(the_tasks())


def aside(folder: Path, job: Job) -> Path:
    """File of a demonstration that is made but not stored yet."""
    return folder / f"{job[0]}-{job[1]:06d}.npz"


# --- in the main process ---


@dataclass
class Report:
    """How recording went.

    Attributes:
        kept: demonstrations in the dataset.
        failures: tries that did not succeed, in words.
        given_up: demonstrations that could not be made.
    """

    kept: int = 0
    failures: list[str] = field(default_factory=list)
    given_up: list[Job] = field(default_factory=list)


def record(
    order: Order,
    folder: Path,
    workers: int = 1,
    video: VideoFormat | None = None,
    progress: Callable[[int, int], None] | None = None,
    shard: int = 20,
) -> Report:
    """Record what is missing of an order into the dataset in a folder.

    Args:
        order: what is wanted.
        folder: of the dataset; one of the same order is continued.
        workers: processes.
        video: how images are stored.
        progress: called with the demonstrations made and wanted, as they come.
        shard: demonstrations stored at a time.

    Raises:
        DemosError: the dataset in the folder is of another order.
        DatasetError, VideoError, OSError: it cannot be written.
        one of KNOWN_ERRORS: the order cannot be carried out.
    """
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    lacking = [task for task in order.tasks if task not in tasks_of(order.suite)]
    if lacking:
        raise UnknownTask(f"the suite '{order.suite}' has no task {', '.join(lacking)}")
    store = Store(folder, order, video, shard)
    report = Report(kept=len(order.jobs()) - len(store.queue))
    store.take(report, {job for job in store.queue if store.aside(job).exists()})

    def advance(job: Job, kept: bool, failures: list[str]) -> None:
        report.failures += failures
        if kept:
            store.take(report, {job})
        else:
            report.given_up.append(job)
            store.give_up(report, job)
        if progress:
            progress(report.kept + len(store.ready), len(order.jobs()))

    work = Work[Job, tuple[bool, list[str]]](_make, lambda job: (*job, store.staging), _prepare, order, workers)
    try:
        work.do(
            [job for job in store.queue if job not in store.ready],
            lambda job, outcome: advance(job, *outcome),
            lambda job, why: advance(job, False, [f"{job[0]}, number {job[1]}: {why}"]),
        )
    finally:
        store.flush(report)
    if not store.queue:
        shutil.rmtree(store.staging, ignore_errors=True)
    return report


class Store:
    """Moves demonstrations into the dataset in the order's order, whatever the order they come in.

    Attributes:
        queue: demonstrations that are not in the dataset yet.
        ready: those of them that are made.
        staging: where these lie.
    """

    def __init__(self, folder: Path, order: Order, video: VideoFormat | None, shard: int) -> None:
        made_of = {key: value for key, value in asdict(order).items() if key not in ("episodes", "tasks", "masks")}
        made_of |= {"masks": True} if order.masks else {}
        self._writer = DatasetWriter(folder, round(1.0 / FRAME_PERIOD), ROBOT, video)
        before = self._writer.about.setdefault("demos", made_of)
        if before != made_of:
            changed = ", ".join(key for key in {**before, **made_of} if before.get(key) != made_of.get(key))
            raise DemosError(f"{folder} holds demonstrations made with another {changed}; choose another folder")
        stored = set()
        if self._writer.episodes:
            first = SEEDS + order.seed
            stored = {(info.task, (info.seed - first) % RETRY) for info in Dataset(folder).episodes}
        self._shard = shard
        self.staging = folder.with_name(folder.name + STAGING)
        self.staging.mkdir(parents=True, exist_ok=True)
        self.queue = [job for job in order.jobs() if job not in stored]
        self.ready: set[Job] = set()

    def aside(self, job: Job) -> Path:
        """Where a demonstration lies until it is stored."""
        return aside(self.staging, job)

    def take(self, report: Report, made: set[Job]) -> None:
        """Note demonstrations as made; store what makes up a full shard."""
        self.ready |= made
        while len(row := self._row()) >= self._shard:
            self._write(report, row[: self._shard])

    def give_up(self, report: Report, job: Job) -> None:
        """Do not wait for a demonstration any more."""
        self.queue.remove(job)
        self.take(report, set())

    def flush(self, report: Report) -> None:
        """Store what lies there without a gap; what comes after one stays aside for the next time."""
        if row := self._row():
            self._write(report, row)

    def _row(self) -> list[Job]:
        return list(itertools.takewhile(self.ready.__contains__, self.queue))

    def _write(self, report: Report, jobs: list[Job]) -> None:
        self._writer.append([load_episode(self.aside(job)) for job in jobs], ARM_JOINTS)
        for job in jobs:
            self.aside(job).unlink()
            self.ready.discard(job)
        del self.queue[: len(jobs)]
        report.kept += len(jobs)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 demos``."""
    parser.add_argument("--out", type=Path, required=True, help="folder of the dataset; an unfinished one is continued")
    parser.add_argument("--tasks", default="all", help="names with commas between, or all of the suite (default)")
    parser.add_argument("--episodes", type=int, default=50, help="demonstrations of each task (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="shifts all arrangements (default: %(default)s)")
    parser.add_argument("--suite", default=TRAINING, choices=SUITES, help="which scenes (default: %(default)s)")
    parser.add_argument("--size", type=int, default=128, help="edge of the images [px] (default: %(default)s)")
    parser.add_argument("--quality", type=int, default=0, help="0: lossless video (default); 1 ... 51: H.264 with loss")
    parser.add_argument(
        "--disturb",
        type=float,
        default=Disturbance.distance,
        help="how far the tool is led aside [m], 0 for never (default: %(default)s)",
    )
    parser.add_argument("--masks", action="store_true", help="also record what pixels show, for gr2 dataset augment")
    parser.add_argument(
        "--style",
        choices=("varied", "plain"),
        default="varied",
        help="varied: pace, height and detours differ from one demonstration to the next, as between people (default);"
        " plain: always the straightest way, which takes fewer demonstrations to learn",
    )


def run(args: argparse.Namespace) -> int:
    """Record, with progress; returns the exit code: 0 all made, 1 some could not be made, 2 a wrong call."""
    console = Console(stderr=True)
    try:
        tasks = tasks_of(args.suite) if args.tasks == "all" else tuple(args.tasks.split(","))
        disturbance = Disturbance(distance=args.disturb) if args.disturb else Disturbance(share=0.0, distance=0.0)
        order = Order(
            tasks, args.episodes, args.seed, args.suite, args.size, disturbance, args.style == "varied", args.masks
        )
        if min(args.episodes, args.workers) < 1:
            raise ValueError("--episodes and --workers must be at least 1")
        if args.episodes > RETRY:
            raise ValueError(f"--episodes may be at most {RETRY}: later seeds are those of second tries")
        began = time.monotonic()
        with _bar(console) as bar:
            line = bar.add_task("demonstrations", total=len(order.jobs()), rate="")
            start: list[int] = []

            def progress(made: int, total: int) -> None:
                start.append(made)
                rate = 60.0 * (made - start[0]) / max(time.monotonic() - began, 1e-9)
                bar.update(line, completed=made, rate=f"{rate:.1f} a minute")

            report = record(order, args.out, args.workers, VideoFormat(args.quality), progress)
    except (*KNOWN_ERRORS, HeldOut, DemosError, DatasetError, BadEpisode, VideoError, ValueError, OSError) as error:
        console.print(f"gr2 demos: {error}", style="red", highlight=False)
        return 2
    except KeyboardInterrupt:
        console.print("gr2 demos: interrupted; the same command goes on from here")
        return 130
    for text in report.failures:
        console.print(f"tried again: {text}", highlight=False)
    for task, number in report.given_up:
        console.print(f"could not be made: {task}, number {number}", style="red", highlight=False)
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    wall = time.monotonic() - began
    each = size / 1e6 / max(report.kept, 1)
    print(
        f"{report.kept} demonstrations in {args.out}: {size / 1e6:.1f} MB, {each:.2f} MB each;"
        f" {len(report.failures)} tries failed; {wall:.0f} s with {args.workers} worker(s)"
    )
    return 1 if report.given_up else 0


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
