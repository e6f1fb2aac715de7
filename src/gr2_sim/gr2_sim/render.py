"""A picture of the cell, both cameras side by side: ``python -m gr2_sim.render --out cell.png``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gr2_policy.policy import UnknownInstruction
from gr2_sim.cameras import Cameras, RenderingUnavailable, fine_model
from gr2_sim.layout import LayoutError
from gr2_sim.rollout import Rollout, RolloutConfig
from gr2_sim.tasks import UnknownTask, task_for
from gr2_sim.teacher import Teacher
from gr2_sim.world import World

OVERSAMPLING = 2
GUTTER = 8
"""White stripe between the pictures [px]."""


def draw(world: World, size: int) -> np.ndarray:
    """Both cameras of a world in good quality, side by side.

    Args:
        world: as it stands; its model is changed to be drawn with shadows.
        size: edge of each picture [px].

    Returns:
        (size, 2 * size + GUTTER, 3) uint8 RGB.

    Raises:
        RenderingUnavailable: no OpenGL here.
    """
    fine_model(world.model)
    world.refresh_view()
    edge = OVERSAMPLING * size
    cameras = Cameras(world.model, edge, edge)
    try:
        pictures = [cameras.render(world.data, name) for name in world.cell.cameras]
    finally:
        cameras.close()
    small = [np.asarray(Image.fromarray(p).resize((size, size), Image.Resampling.LANCZOS)) for p in pictures]
    stripe = np.full((size, GUTTER, 3), 255, dtype=np.uint8)
    return np.concatenate([small[0]] + [part for picture in small[1:] for part in (stripe, picture)], axis=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gr2_sim.render", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("cell.png"), help="PNG file to write")
    parser.add_argument("--scene", default="table")
    parser.add_argument("--seed", type=int, default=0, help="of the arrangement")
    parser.add_argument("--size", type=int, default=720, help="edge of each picture [px]")
    parser.add_argument("--instruction", default="", help="let the scripted teacher work on this before the picture")
    parser.add_argument("--time", type=float, default=3.0, help="for how long [s]")
    options = parser.parse_args(arguments)
    try:
        world = World(options.scene)
        if options.instruction:
            task = task_for(options.instruction)
            rollout = Rollout(world, Teacher(), RolloutConfig(time_limit=options.time))
            rollout.run(task.name, options.seed, options.instruction)
        else:
            world.reset(seed=options.seed)
        Image.fromarray(draw(world, options.size)).save(options.out)
    except (RenderingUnavailable, UnknownInstruction, UnknownTask, LayoutError, ValueError, OSError) as error:
        print(f"render: {error}", file=sys.stderr)
        return 1
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
