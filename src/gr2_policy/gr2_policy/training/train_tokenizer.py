"""Stage 1: learn the image tokenizer, from the frames of any datasets; captions and actions are not used.

examples:
  ./gr2 train-tokenizer --data data/demos --out runs/tokenizer
  ./gr2 train-tokenizer --data data/demos --data data/video:3 --out runs/tokenizer --minutes 10
  ./gr2 shell -- tensorboard --logdir runs         curves and pictures; pictures are also in the run's folder
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.console import Console

from gr2_policy.data.reader import Dataset
from gr2_policy.model.losses import VggPerceptual
from gr2_policy.model.vqgan import VqGan
from gr2_policy.training import common
from gr2_policy.training.settings import Settings
from gr2_policy.training.stage import Stage
from gr2_policy.training.tokenizer_stage import TokenizerStage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 train-tokenizer``."""
    common.add_common_arguments(parser)
    parser.add_argument("--vgg", type=Path, help="safetensors file of VGG-16, for the perceptual loss")


def run(args: argparse.Namespace) -> int:
    """See :func:`gr2_policy.training.common.run_stage`."""

    def make(_console: Console) -> tuple[Stage, Settings]:
        recipe = common.parse_recipe(args)
        sources = common.parse_sources(args)
        settings = common.with_sources(recipe.tokenizer.settings, sources)
        torch.manual_seed(settings.seed)
        stage = TokenizerStage(
            VqGan(recipe.model_config().tokenizer),
            recipe.tokenizer.losses,
            [Dataset(Path(source.folder)) for source in sources],
            [source.weight for source in sources],
            settings.schedule.steps,
            settings.seed,
            recipe.tokenizer.crop,
            VggPerceptual(args.vgg) if args.vgg else None,
        )
        return stage, settings

    return common.run_stage(args, make)
