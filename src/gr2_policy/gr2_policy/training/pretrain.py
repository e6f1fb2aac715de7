"""Stage 2: learn to predict video from text and frames, without any action, from one view.

examples:
  ./gr2 pretrain --data data/video --tokenizer runs/tokenizer --out runs/pretrained
  ./gr2 pretrain --data data/video:4 --data data/demos:1 --tokenizer runs/tokenizer --out runs/pretrained
  accelerate launch -m gr2_bringup.cli pretrain …        several GPUs or machines
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.console import Console

from gr2_policy.model.checkpoint import load_tokenizer
from gr2_policy.model.gr2 import GR2
from gr2_policy.model.text import load_text_encoder
from gr2_policy.model.transforms import Transforms
from gr2_policy.training import common
from gr2_policy.training.mixture import Mixture
from gr2_policy.training.policy_stage import PolicyStage
from gr2_policy.training.settings import Settings
from gr2_policy.training.stage import Stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 pretrain``."""
    common.add_common_arguments(parser)
    common.add_hold_out(parser)
    parser.add_argument("--tokenizer", type=Path, required=True, help="checkpoint folder of the tokenizer")


def run(args: argparse.Namespace) -> int:
    """See :func:`gr2_policy.training.common.run_stage`."""

    def make(console: Console) -> tuple[Stage, Settings]:
        recipe = common.parse_recipe(args)
        sources = common.parse_sources(args)
        settings = common.with_sources(recipe.pretrain.settings, sources)
        tokenizer, _ = load_tokenizer(args.tokenizer)
        config = recipe.model_config().for_pretraining()
        text = load_text_encoder(config.text)
        transforms = Transforms.of(config)
        stores = common.open_stores(sources, tokenizer, transforms, console, args.cpu)
        mixture = Mixture(sources, stores, config.timesteps, config.frame_dt, settings.seed)
        torch.manual_seed(settings.seed)
        about = {"datasets": [source.folder for source in sources], "windows": mixture.windows}
        about |= {"hold_out": args.hold_out} if args.hold_out else {}
        return PolicyStage("pretrain", GR2(config, tokenizer), text, transforms, mixture, about), settings

    return common.run_stage(args, make)
