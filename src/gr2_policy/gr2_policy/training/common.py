"""What the three training commands share: options, progress on the terminal, errors that are no tracebacks."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gr2_policy.data.episode import BadEpisode
from gr2_policy.data.reader import Dataset
from gr2_policy.data.video import VideoError
from gr2_policy.data.writer import DatasetError
from gr2_policy.model.checkpoint import CheckpointError
from gr2_policy.model.config import ConfigError
from gr2_policy.model.text import TextEncoderError
from gr2_policy.model.transforms import Transforms
from gr2_policy.model.vqgan import VqGan
from gr2_policy.training import loop
from gr2_policy.training.recipe import Recipe, load_recipe
from gr2_policy.training.settings import Settings, Source
from gr2_policy.training.state import StateError
from gr2_policy.training.tokens import TokenStore, tokenise

KNOWN_ERRORS = (
    BadEpisode,
    CheckpointError,
    ConfigError,
    DatasetError,
    StateError,
    TextEncoderError,
    VideoError,
    loop.TrainingDiverged,
    OSError,
    ValueError,
)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every stage."""
    parser.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="FOLDER[:WEIGHT]",
        help="a dataset; may be given several times, each with how often it is drawn from",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an unfinished one goes on")
    parser.add_argument("--recipe", default="mini", help="name or YAML file (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a recipe's entry")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop, and save, after so long")
    parser.add_argument(
        "--reschedule", action="store_true", help="go on with other steps or learning rates than the run began with"
    )
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch on the processor (default: its own choice)")
    parser.add_argument("--cpu", action="store_true", help="do not use a GPU")


def add_hold_out(parser: argparse.ArgumentParser) -> None:
    """The option of the two stages that learn from episodes of tasks."""
    parser.add_argument(
        "--hold-out",
        type=int,
        default=0,
        metavar="N",
        help="keep the last N episodes of each task apart, and measure on them (curves held_out/…)",
    )


def parse_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe with the changes of the command line."""
    changes = {}
    for pair in args.set:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair}: expected NAME=VALUE")
        changes[name] = yaml.safe_load(value)
    return load_recipe(args.recipe, changes)


def parse_sources(args: argparse.Namespace) -> tuple[Source, ...]:
    """The datasets of the command line."""
    sources = []
    for text in args.data:
        folder, colon, weight = text.rpartition(":")
        is_weight = bool(colon) and weight.replace(".", "", 1).isdigit()
        sources.append(
            Source(
                folder if is_weight else text,
                float(weight) if is_weight else 1.0,
                getattr(args, "episodes_per_task", 0),
                tuple(args.tasks.split(",")) if getattr(args, "tasks", "") else (),
                getattr(args, "hold_out", 0),
            )
        )
    return tuple(sources)


def run_stage(args: argparse.Namespace, make: Callable[[Console], tuple[loop.Stage, Settings]]) -> int:
    """Train, with progress.

    Returns:
        0 finished, 1 stopped before, to go on with the same command; 2 a wrong call or data that cannot be used.
    """
    console = Console(stderr=True)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        stage, settings = make(console)
        with _bar(console) as bar:
            line = bar.add_task(stage.name, total=settings.schedule.steps, words="")

            def report(progress: loop.Progress) -> None:
                bar.update(line, completed=progress.step, words=words(progress))

            outcome = loop.train(stage, settings, args.out, report, args.minutes, args.cpu, args.reschedule)
    except KNOWN_ERRORS as error:
        console.print(f"gr2: {error}", style="red", highlight=False, markup=False)
        return 2
    except KeyboardInterrupt:
        return 130
    figures = json.dumps({name: round(value, 5) for name, value in outcome.figures.items()})
    print(f"{stage.name}: step {outcome.step} of {settings.schedule.steps} in {args.out}: {figures}")
    if not outcome.finished:
        print("stopped before the end; the same command goes on from here")
    return 0 if outcome.finished else 1


def words(progress: loop.Progress) -> str:
    """What matters most of a progress, on one line."""
    shown = [f"{name} {value:.4g}" for name, value in list(progress.figures.items())[:5]]
    hours, rest = divmod(int(min(progress.left, 359999)), 3600)
    return f"{' '.join(shown)}  {progress.rate:.1f}/s  left {hours}:{rest // 60:02d}:{rest % 60:02d}"


def open_stores(
    sources: tuple[Source, ...], tokenizer: VqGan, transforms: Transforms, console: Console, cpu: bool
) -> list[TokenStore]:
    """The tokens of all sources, made where they are not there yet, with progress."""
    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    stores = []
    with _bar(console) as bar:
        for source in sources:
            dataset = Dataset(Path(source.folder))
            line = bar.add_task(f"tokens of {source.folder}", total=len(dataset), words="")

            def progress(done: int, total: int, line: Any = line) -> None:
                bar.update(line, completed=done, total=total)

            stores.append(tokenise(dataset, tokenizer, transforms, device, progress, source))
            whole = next(task.total for task in bar.tasks if task.id == line)
            bar.update(line, completed=whole)
    tokenizer.to("cpu")
    return stores


def require_actions(sources: tuple[Source, ...]) -> None:
    """Make sure that all sources are demonstrations.

    Raises:
        DatasetError: one is video without actions, or cannot be read.
    """
    for source in sources:
        shape = Dataset(Path(source.folder)).shape
        if not shape.robot:
            count = "one view" if len(shape.views) == 1 else f"{len(shape.views)} views"
            raise DatasetError(
                f"{source.folder} is action-free video of {count} ({', '.join(sorted(shape.views))}): it has no states"
                f" and actions to learn from; it is for video pre-training: gr2 pretrain --data {source.folder}"
            )


def with_sources(settings: Settings, sources: tuple[Source, ...]) -> Settings:
    """The settings, with what is learned from."""
    return replace(settings, sources=sources)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
        console=console,
    )
