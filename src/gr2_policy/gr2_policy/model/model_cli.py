"""Facts about the models.

gr2 model info B          parameters of GR-2 B, part by part, frozen and trainable
gr2 model info B --json   the same for programs
gr2 model info FILE.yaml  of a configuration of your own
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gr2_policy.model.config import SIZES, ConfigError, load_config
from gr2_policy.model.info import ModelInfo, info


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's arguments."""
    verbs = parser.add_subparsers(dest="what", required=True)
    show = verbs.add_parser("info", help="parameters of a size, part by part")
    show.add_argument("size", help=f"one of {', '.join(SIZES)}, or a YAML file")
    show.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    """Print what was asked for.

    Returns:
        0, or 2 if there is no such size.
    """
    try:
        path = Path(args.size)
        found = info(load_config(path)) if path.suffix in (".yaml", ".yml") else info(args.size)
    except ConfigError as error:
        print(f"gr2 model: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(as_dict(found), indent=1))
    else:
        Console().print(_table(found))
    return 0


def as_dict(found: ModelInfo) -> dict[str, object]:
    """What ``--json`` prints."""
    tokenizer = found.config.tokenizer
    return {
        "size": found.config.name,
        "trainable": found.trainable,
        "frozen": found.frozen,
        "total": found.total,
        "parts": [{"name": part.name, "trainable": part.trainable, "frozen": part.frozen} for part in found.parts],
        "layers": found.config.trunk.layers,
        "width": found.config.trunk.width,
        "heads": found.config.trunk.heads,
        "resolution": tokenizer.resolution,
        "tokens_per_view": tokenizer.tokens,
        "codebook": tokenizer.codebook_size,
        "receptive_field": tokenizer.receptive_field,
    }


def _table(found: ModelInfo) -> Table:
    config = found.config
    trunk, tokenizer = config.trunk, config.tokenizer
    table = Table(
        title=f"GR-2 {config.name}: trunk {trunk.layers} x {trunk.width}, {trunk.heads} heads; "
        f"{tokenizer.resolution} px, f{tokenizer.downsampling}, {tokenizer.tokens} tokens a view, "
        f"{tokenizer.codebook_size} codes",
        caption="trainable: by training the policy; the tokenizer is trained before it, the text encoder never",
    )
    table.add_column("part")
    for column in ("trainable", "frozen"):
        table.add_column(column, justify="right")
    for part in found.parts:
        table.add_row(
            part.name, f"{part.trainable:,}" if part.trainable else "", f"{part.frozen:,}" if part.frozen else ""
        )
    table.add_section()
    table.add_row("sum", f"{found.trainable:,}", f"{found.frozen:,}")
    table.add_row("total", "", f"{found.total:,}")
    return table
