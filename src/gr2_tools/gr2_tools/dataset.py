"""Look at demonstrations before training on them, and make them of recordings.

examples:
  ./gr2 dataset info data/demos                     what is in it
  ./gr2 dataset view data/demos --out sheet.png     pictures of some episodes, and histograms of the actions
  ./gr2 dataset check data/demos                    read everything; report damage, dead frames, jumps, duplicates
  ./gr2 dataset from-bags data/mine runs/*/bag      recordings of the running stack become demonstrations
  ./gr2 dataset to-bag data/demos 3 runs/demo3      a demonstration becomes a recording: ./gr2 replay runs/demo3
  ./gr2 dataset from-calvin data/calvin task_D_D/training
  ./gr2 dataset augment data/demos data/augmented --copies 2    the same motions in other rooms, among other things
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from gr2_policy.data import inspect
from gr2_policy.data.episode import BadEpisode, Episode
from gr2_policy.data.reader import Dataset
from gr2_policy.data.video import VideoError, VideoFormat
from gr2_policy.data.writer import DatasetError, DatasetWriter
from gr2_tools.bag_to_episodes import Alignment, convert
from gr2_tools.errors import BagError

_BARS = " ▁▂▃▄▅▆▇█"
_SHOWN = 50  # findings
_SHARD = 50  # demonstrations stored at a time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 dataset``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    info = actions.add_parser("info", help="what is in it")
    info.add_argument("--json", action="store_true", help="for programs")
    view = actions.add_parser("view", help="pictures and histograms")
    view.add_argument("--out", type=Path, help="PNG file of the pictures (default: NAME.png beside the folder)")
    view.add_argument("--rows", type=int, default=12, help="episodes shown (default: %(default)s)")
    check = actions.add_parser("check", help="what is wrong with it; exit code 1 if anything is")
    check.add_argument("--json", action="store_true", help="for programs")
    bags = actions.add_parser("from-bags", help="make demonstrations of recordings, one for each instruction in them")
    to_bag = actions.add_parser("to-bag", help="make a recording of a demonstration")
    calvin = actions.add_parser("from-calvin", help="import a split of the CALVIN dataset")
    augment = actions.add_parser("augment", help="other backgrounds and other things about; actions stay as they are")
    for action in (info, view, check, bags, to_bag, calvin, augment):
        action.add_argument("folder", type=Path, help="of the dataset")
    to_bag.add_argument("episode", type=int, help="its number")
    to_bag.add_argument("bag", type=Path, help="folder to create")
    augment.add_argument("out", type=Path, help="folder of the new dataset; an unfinished one is continued")
    augment.add_argument("--copies", type=int, default=1, help="of each demonstration (default: %(default)s)")
    augment.add_argument("--seed", type=int, default=0, help="of what is drawn (default: %(default)s)")
    augment.add_argument("--drop", type=float, default=0.5, help="share in which needless things vanish (%(default)s)")
    augment.add_argument("--add", type=int, default=3, help="largest number of things added (default: %(default)s)")
    augment.add_argument("--same-background", action="store_true", help="only exchange things")
    augment.add_argument("--masks", type=Path, help="masks of recordings: VIEW/NNNNNN.npz, see docs/data.md")
    augment.add_argument("--cameras", type=Path, help="where the cameras were, YAML (default: those of the simulator)")
    calvin.add_argument("source", type=Path, help="folder with episode_*.npz and lang_annotations")
    calvin.add_argument("--quality", type=int, default=0, help="0: lossless video (default); 1 ... 51: H.264 with loss")
    bags.add_argument("bags", type=Path, nargs="+", help="rosbag2 folders or files")
    bags.add_argument("--robot", default="gen3_2f85", help="what they were recorded on (default: %(default)s)")
    bags.add_argument("--every", type=int, default=1, help="take each so-many-th frame (default: %(default)s)")
    bags.add_argument("--quality", type=int, default=0, help="0: lossless video (default); 1 ... 51: H.264 with loss")
    bags.add_argument(
        "--all", action="store_true", help="take those without success too (recordings without a referee always count)"
    )


def run(args: argparse.Namespace) -> int:
    """The exit code: 0 well, 1 something is wrong with the dataset, 2 a wrong call."""
    console = Console(stderr=True)
    try:
        if args.action == "from-bags":
            return _from_bags(args, console)
        if args.action == "from-calvin":
            return _from_calvin(args, console)
        if args.action == "augment":
            return _augment(args, console)
        dataset = Dataset(args.folder)
        actions = {"info": _info, "view": _view, "check": _check, "to-bag": _to_bag}
        return actions[args.action](dataset, args, console)
    except (DatasetError, VideoError, BadEpisode, BagError, ValueError, OSError) as error:
        console.print(f"gr2 dataset: {error}", style="red", highlight=False)
        return 2


def _info(dataset: Dataset, args: argparse.Namespace, _console: Console) -> int:
    summary = inspect.summarise(dataset)
    if args.json:
        print(json.dumps(asdict(summary), indent=1))
        return 0
    size = sum(path.stat().st_size for path in dataset.folder.rglob("*") if path.is_file())
    chunks = f"{dataset.shape.horizon} poses" if dataset.shape.horizon else "none stored: actions in a row"
    views = ", ".join(f"{view} {width}x{height}" for view, (height, width) in dataset.shape.views.items())
    table = Table("", "", show_header=False, box=None)
    for name, value in (
        ("robot", dataset.robot_id),
        ("episodes", f"{summary.episodes}, {summary.successes} of them confirmed by a referee"),
        ("frames", f"{summary.frames} at {dataset.fps} Hz: {summary.seconds / 60.0:.1f} minutes"),
        ("cameras", views),
        ("chunks", chunks if dataset.shape.robot else "none: video without a robot"),
        ("on disk", f"{size / 1e6:.1f} MB, {size / 1e6 / max(summary.episodes, 1):.2f} MB an episode"),
        ("instructions", f"{summary.instructions}"),
    ):
        table.add_row(name, value)
    Console().print(table)
    tasks = Table("task", "episodes")
    for task, count in summary.tasks.items():
        tasks.add_row(task, str(count))
    Console().print(tasks)
    return 0


def _view(dataset: Dataset, args: argparse.Namespace, _console: Console) -> int:
    from PIL import Image

    out = args.out or args.folder.resolve().with_name(args.folder.resolve().name + ".png")
    sheet = inspect.contact_sheet(dataset, rows=args.rows)
    aside = out.with_name(out.name + ".tmp")
    Image.fromarray(sheet).save(aside, format="PNG")
    aside.replace(out)
    for histogram in inspect.action_histograms(dataset):
        top = max(int(histogram.counts.max()), 1)
        bars = "".join(_BARS[-(-8 * int(count) // top)] for count in histogram.counts)
        edges = f"{histogram.edges[0]:+.3f} … {histogram.edges[-1]:+.3f} {histogram.unit}"
        print(f"{histogram.name:>8s} |{bars}| {edges}")
    print(f"pictures of {min(args.rows, len(dataset))} episodes: {out}")
    return 0


def _check(dataset: Dataset, args: argparse.Namespace, console: Console) -> int:
    steps = iter(track(range(len(dataset)), "reading", console=console, transient=True))

    def progress(_done: int) -> None:
        next(steps, None)

    findings = inspect.check(dataset, progress=progress)
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
        return 1 if findings else 0
    kinds: dict[str, int] = {}
    for finding in findings:
        kinds[finding.kind] = kinds.get(finding.kind, 0) + 1
    for finding in findings[:_SHOWN]:
        print(f"{finding.kind:>10s}  episode {finding.episode}: {finding.text}")
    if len(findings) > _SHOWN:
        print(f"… and {len(findings) - _SHOWN} more (--json lists all)")
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    print(f"{len(dataset)} episodes, {dataset.total_frames} frames read: {counts or 'nothing wrong was found'}")
    return 1 if findings else 0


def _from_bags(args: argparse.Namespace, console: Console) -> int:
    """Convert bag after bag; each is stored before the next is read."""
    if args.every < 1:
        raise ValueError(f"--every must be at least 1, got {args.every}")
    writer: DatasetWriter | None = None
    rejected = 0
    for path in track(args.bags, "converting", console=console, transient=True):
        result = convert(path, Alignment(every=args.every))
        for report in result.reports:
            print(report)
        rejected += result.rejected
        if not result.episodes:
            print(f"{path}: no demonstrations")
            continue
        writer = writer or DatasetWriter(
            args.folder, result.fps, args.robot, VideoFormat(args.quality), {"made_by": "gr2 dataset from-bags"}
        )
        if writer.fps != result.fps:
            raise DatasetError(f"{path} was recorded at {result.fps} Hz, the dataset is at {writer.fps} Hz")
        referee = any(episode.success_frame >= 0 for episode in result.episodes)
        kept = [episode for episode in result.episodes if args.all or not referee or episode.success_frame >= 0]
        writer.append(kept)
        print(f"{path}: {len(kept)} demonstrations, {len(result.episodes) - len(kept)} without success left out")
    print(f"{writer.episodes if writer else 0} demonstrations in {args.folder}; {rejected} rejected")
    return 1 if rejected or writer is None else 0


def _to_bag(dataset: Dataset, args: argparse.Namespace, _console: Console) -> int:
    from gr2_tools.episode_to_bag import write_bag

    if not 0 <= args.episode < len(dataset):
        raise ValueError(f"there is no episode {args.episode}: the dataset has 0 … {len(dataset) - 1}")
    if not dataset.shape.robot:
        raise DatasetError(f"{dataset.folder} is video without a robot: a bag would have nothing to say")
    path = write_bag(args.bag, dataset.read(args.episode), dataset.shape.joints, 1.0 / dataset.fps)
    print(f"'{dataset.episodes[args.episode].instruction}': {path}")
    return 0


def _from_calvin(args: argparse.Namespace, console: Console) -> int:
    from gr2_policy.data.calvin import FPS, ROBOT_ID, Calvin

    source = Calvin(args.source)
    writer = DatasetWriter(
        args.folder, FPS, ROBOT_ID, VideoFormat(args.quality), {"made_by": "gr2 dataset from-calvin"}
    )
    shard: list[Episode] = []
    for number in track(range(writer.episodes, len(source)), "importing", console=console, transient=True):
        shard.append(source.read(number))
        if len(shard) == _SHARD or number == len(source) - 1:
            writer.append(shard)
            shard = []
    print(f"{writer.episodes} demonstrations in {args.folder}")
    return 0


def _augment(args: argparse.Namespace, console: Console) -> int:
    from gr2_sim.augment.augmenter import Augmentation
    from gr2_sim.augment.datasets import augment_dataset
    from gr2_sim.augment.views import load_calibration

    if args.copies < 1:
        raise ValueError(f"--copies must be at least 1, got {args.copies}")
    source = Dataset(args.folder)
    what = Augmentation(not args.same_background, args.drop, args.add)
    steps = iter(track(range(args.copies * len(source)), "augmenting", console=console, transient=True))

    def progress(_done: int) -> None:
        next(steps, None)

    made = augment_dataset(
        source,
        args.out,
        args.copies,
        args.seed,
        load_calibration(args.cameras),
        what,
        args.masks,
        progress,
    )
    print(f"{made} demonstrations in {args.out}: {args.copies} of each of {len(source)}")
    return 0
