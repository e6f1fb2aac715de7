"""Look at demonstrations before training on them.

examples:
  ./gr2 dataset info data/demos                     what is in it
  ./gr2 dataset view data/demos --out sheet.png     pictures of some episodes, and histograms of the actions
  ./gr2 dataset check data/demos                    read everything; report damage, dead frames, jumps, duplicates
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
from gr2_policy.data.episode import BadEpisode
from gr2_policy.data.reader import Dataset
from gr2_policy.data.video import VideoError
from gr2_policy.data.writer import DatasetError

_BARS = " ▁▂▃▄▅▆▇█"
_SHOWN = 50  # findings


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
    for action in (info, view, check):
        action.add_argument("folder", type=Path, help="of the dataset")


def run(args: argparse.Namespace) -> int:
    """The exit code: 0 well, 1 something is wrong with the dataset, 2 a wrong call."""
    console = Console(stderr=True)
    try:
        dataset = Dataset(args.folder)
        return {"info": _info, "view": _view, "check": _check}[args.action](dataset, args, console)
    except (DatasetError, VideoError, BadEpisode, OSError) as error:
        console.print(f"gr2 dataset: {error}", style="red", highlight=False)
        return 2


def _info(dataset: Dataset, args: argparse.Namespace, _console: Console) -> int:
    summary = inspect.summarise(dataset)
    if args.json:
        print(json.dumps(asdict(summary), indent=1))
        return 0
    size = sum(path.stat().st_size for path in dataset.folder.rglob("*") if path.is_file())
    views = ", ".join(f"{view} {width}x{height}" for view, (height, width) in dataset.shape.views.items())
    table = Table("", "", show_header=False, box=None)
    for name, value in (
        ("robot", dataset.robot_id),
        ("episodes", f"{summary.episodes}, {summary.successes} of them confirmed by a referee"),
        ("frames", f"{summary.frames} at {dataset.fps} Hz: {summary.seconds / 60.0:.1f} minutes"),
        ("cameras", views),
        ("chunks", f"{dataset.shape.horizon} poses" if dataset.shape.horizon else "none stored: actions in a row"),
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
    findings = inspect.check(dataset, progress=lambda _done: next(steps, None))
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
