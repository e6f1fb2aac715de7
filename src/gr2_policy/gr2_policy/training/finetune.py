"""Stage 3: learn from few demonstrations to predict video and actions in tandem, from all views.

examples:
  ./gr2 finetune --data data/demos --tokenizer runs/tokenizer --pretrained runs/pretrained --out runs/policy
  ./gr2 finetune --data data/demos --tokenizer runs/tokenizer --out runs/scratch         without pre-training
  ./gr2 sim --policy gr2 --checkpoint runs/policy                                        and see it work
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.console import Console

from gr2_policy.model.checkpoint import load_pretrained, load_tokenizer
from gr2_policy.model.gr2 import GR2
from gr2_policy.model.text import load_text_encoder
from gr2_policy.model.transforms import Transforms
from gr2_policy.training import common
from gr2_policy.training.mixture import Mixture
from gr2_policy.training.policy_stage import PolicyStage, fit_normalization
from gr2_policy.training.settings import Settings
from gr2_policy.training.stage import Stage

ACTION_SPACE = "tool_pose_base_link+gripper"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 finetune``."""
    common.add_common_arguments(parser)
    common.add_hold_out(parser)
    parser.add_argument("--tokenizer", type=Path, required=True, help="checkpoint folder of the tokenizer")
    parser.add_argument("--pretrained", type=Path, help="checkpoint folder of pre-training (default: from scratch)")
    parser.add_argument("--episodes-per-task", type=int, default=0, help="use so many of each task (default: all)")
    parser.add_argument("--tasks", default="", help="names with commas between (default: all)")


def run(args: argparse.Namespace) -> int:
    """See :func:`gr2_policy.training.common.run_stage`."""

    def make(console: Console) -> tuple[Stage, Settings]:
        recipe = common.parse_recipe(args)
        sources = common.parse_sources(args)
        common.require_actions(sources)
        settings = common.with_sources(recipe.finetune.settings, sources)
        tokenizer, _ = load_tokenizer(args.tokenizer)
        config = recipe.model_config()
        assert config.action is not None
        text = load_text_encoder(config.text)
        stores = common.open_stores(sources, tokenizer, Transforms.of(config), console, args.cpu)
        mixture = Mixture(sources, stores, config.timesteps, config.frame_dt, settings.seed)
        robots = {store.robot_id for store in stores}
        if len(robots) != 1:
            raise ValueError(f"the demonstrations are of several robots: {', '.join(sorted(robots))}")
        normalization = fit_normalization(mixture, config.action.horizon)
        transforms = Transforms.of(config, normalization, robots.pop(), ACTION_SPACE)
        torch.manual_seed(settings.seed)
        model = GR2(config, tokenizer)
        about = {
            "datasets": [source.folder for source in sources],
            "episodes_per_task": args.episodes_per_task,
            "tasks": args.tasks,
            **({"hold_out": args.hold_out} if args.hold_out else {}),
            "windows": mixture.windows,
            "pretrained": "",
        }
        if args.pretrained:
            fresh = load_pretrained(args.pretrained, model, text.identity)
            about["pretrained"] = str(args.pretrained)
            console.print(f"{args.pretrained} taken over; {len(fresh)} tensors begin afresh", highlight=False)
        return PolicyStage("finetune", model, text, transforms, mixture, about), settings

    return common.run_stage(args, make)
