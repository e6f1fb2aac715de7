"""How well a policy foretells demonstrations that it did not learn from: actions and video, without a simulator."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from gr2_policy.model.checkpoint import CARD, TextEncoderMismatch, load_policy, load_tokenizer
from gr2_policy.model.text import load_text_encoder
from gr2_policy.training import common
from gr2_policy.training.measure_tokenizer import measure_tokenizer
from gr2_policy.training.mixture import Mixture
from gr2_policy.training.policy_stage import PolicyStage
from gr2_policy.training.settings import Source

WINDOWS = 2048
"""At most so many windows are measured, spread evenly over the data."""


def measure(weights: Path, data: Path, tasks: tuple[str, ...] = ()) -> dict[str, float]:
    """Figures of an exported policy (see :meth:`gr2_policy.training.policy_stage.PolicyStage.measure`).

    Args:
        weights: folder with ``tokenizer`` and ``policy``, as ``gr2 model export`` writes it.
        data: folder of demonstrations.
        tasks: only these; empty: all.

    Returns:
        the figures, and ``windows``: how many there were.

    Raises:
        CheckpointError, DatasetError: what is given cannot be used.
    """
    tokenizer, _ = load_tokenizer(weights / "tokenizer")
    model, transforms, card = load_policy(weights / "policy", tokenizer)
    config, sources = model.config, (Source(str(data), tasks=tasks),)
    common.require_actions(sources)
    text = load_text_encoder(config.text)
    if text.identity != card.text_encoder:
        raise TextEncoderMismatch(
            f"{weights / 'policy'} was trained with the text encoder {card.text_encoder[:12]},"
            f" this one is {text.identity[:12]}"
        )
    stores = common.open_stores(sources, tokenizer, transforms, Console(stderr=True), cpu=True)
    mixture = Mixture(sources, stores, config.timesteps, config.frame_dt, 0)
    stage = PolicyStage("measure", model.eval(), text, transforms, mixture, {})
    windows = mixture.spread(WINDOWS)
    return {"windows": float(len(windows)), **stage.measure(windows, torch.device("cpu"))}


def run(weights: Path, data: Path, tasks: str, target: Path | None) -> None:
    """Print the figures of a policy, or of a tokenizer alone, and write them as JSON where that is asked for."""
    alone = (weights / CARD).is_file()  # a checkpoint itself, not a folder with two
    figures = (measure_tokenizer if alone else measure)(weights, data, tuple(tasks.split(",")) if tasks else ())
    written = json.dumps(_rounded(figures), indent=1)
    print(written)
    if target is not None:
        aside = target.with_name(f".{target.name}")
        aside.write_text(written + "\n", encoding="utf-8")
        os.replace(aside, target)


def _rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _rounded(one) if isinstance(one, Mapping) else round(one, 5) for name, one in figures.items()}
