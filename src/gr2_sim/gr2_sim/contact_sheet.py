"""A contact sheet of a suite, one tile an episode: ``python -m gr2_sim.contact_sheet --suite bin --out sheet.jpg``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from gr2_sim.cameras import RenderingUnavailable
from gr2_sim.chains import CHAIN_SUITES, ENVIRONMENTS, chain_scene
from gr2_sim.layout import LayoutError
from gr2_sim.parts import DataError
from gr2_sim.rollout import RolloutConfig
from gr2_sim.suites import SUITES, Job, jobs_of, suite_of
from gr2_sim.tasks import UnknownTask
from gr2_sim.world import World

LINE = 13
"""Height [px] of the words below a picture."""


def tiles_of(suite: str, tasks: Sequence[str], count: int) -> list[Job]:
    """Episodes of a suite that stand for it: spread over its tasks, each with a seed of its own.

    Raises:
        ValueError, UnknownTask: no such suite or task.
    """
    if suite in CHAIN_SUITES:
        return [Job(f"environment {e}", "", i, chain_scene(e), "") for i in range(2) for e in ENVIRONMENTS]
    jobs = jobs_of(suite_of(suite, "", RolloutConfig(), tasks=tuple(tasks), episodes=count))
    labels = list(dict.fromkeys(job.label for job in jobs))
    chosen = [labels[i * len(labels) // count % len(labels)] for i in range(count)]
    return [next(j for j in jobs if j.label == label and j.seed == number) for number, label in enumerate(chosen)]


def draw_tile(world: World, job: Job, size: int, camera: str) -> Image.Image:
    """One episode as it begins, as a policy sees it (no shadows) but finer, with its words below."""
    world.reset(job.task, job.seed, job.scene)
    picture = world.render(camera, 2 * size, 2 * size)
    words = job.instruction if job.label == job.task else job.label
    tile = Image.new("RGB", (size, size + LINE), "white")
    tile.paste(Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS))
    ImageDraw.Draw(tile).text((2, size + 1), words[: size // 6], fill="black")
    return tile


def sheet(jobs: Sequence[Job], size: int, columns: int, camera: str = "head") -> Image.Image:
    """All tiles in rows.

    Raises:
        RenderingUnavailable: no OpenGL here.
    """
    rows = -(-len(jobs) // columns)
    whole = Image.new("RGB", (columns * size, rows * (size + LINE)), "white")
    world = World(jobs[0].scene)
    try:
        for number, job in enumerate(jobs):
            tile = draw_tile(world, job, size, camera)
            whole.paste(tile, (number % columns * size, number // columns * (size + LINE)))
            print(f"\r{number + 1}/{len(jobs)} tiles  ", end="", file=sys.stderr, flush=True)
    finally:
        world.close()
    print(file=sys.stderr)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gr2_sim.contact_sheet", description=__doc__)
    parser.add_argument("--suite", default="simple", help=f"one of {', '.join(SUITES)}")
    parser.add_argument("--tasks", default="", help="names with commas between; empty: all")
    parser.add_argument("--count", type=int, default=24, help="tiles")
    parser.add_argument("--size", type=int, default=176, help="edge of a tile [px]")
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--camera", default="head", help="head or wrist")
    parser.add_argument("--quality", type=int, default=80, help="of the JPEG")
    parser.add_argument("--out", type=Path, default=Path("sheet.jpg"))
    options = parser.parse_args(arguments)
    try:
        tasks = [name for name in options.tasks.split(",") if name]
        jobs = tiles_of(options.suite, tasks, options.count)
        picture = sheet(jobs, options.size, options.columns, options.camera)
        picture.save(options.out, quality=options.quality)
    except (RenderingUnavailable, LayoutError, UnknownTask, DataError, ValueError, KeyError, OSError) as error:
        print(f"contact_sheet: {error}", file=sys.stderr)
        return 1
    print(f"wrote {options.out}: {np.prod(picture.size) / 1e6:.1f} Mpx")
    return 0


if __name__ == "__main__":
    sys.exit(main())
