"""Facts about the models.

gr2 model info B          parameters of GR-2 B, part by part, frozen and trainable
gr2 model info B --json   the same for programs
gr2 model info FILE.yaml  of a configuration of your own
gr2 model export runs/tokenizer runs/policy --out weights/mine    what is needed to run, at half the size
gr2 model measure weights/mine --data data/others     its error on demonstrations that it did not learn from
gr2 model measure runs/tokenizer --data data/others   how well a tokenizer shows them, and how steady its tokens are
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gr2_policy.model.checkpoint import (
    CheckpointError,
    Origin,
    load_policy,
    load_tokenizer,
    save_policy,
    save_tokenizer,
)
from gr2_policy.model.config import SIZES, ConfigError, load_config
from gr2_policy.model.info import ModelInfo, info


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's arguments."""
    verbs = parser.add_subparsers(dest="what", required=True)
    show = verbs.add_parser("info", help="parameters of a size, part by part")
    show.add_argument("size", help=f"one of {', '.join(SIZES)}, or a YAML file")
    show.add_argument("--json", action="store_true", help="for programs")
    export = verbs.add_parser("export", help="tokenizer and policy in one folder, for --checkpoint or to be passed on")
    export.add_argument("tokenizer", type=Path, help="folder of the tokenizer's training")
    export.add_argument("policy", type=Path, help="folder of fine-tuning")
    export.add_argument("--out", type=Path, required=True, help="folder to write; one that is there is replaced")
    export.add_argument("--evaluated", type=Path, action="append", default=[], help="JSON of gr2 eval, for the card")
    export.add_argument("--full", action="store_true", help="keep 32 bits a number (default: 16 for the policy)")
    measure = verbs.add_parser("measure", help="how far its actions and frames, or a tokenizer's pictures, are off")
    measure.add_argument("weights", type=Path, help="folder that export wrote, weights/mini, or of a tokenizer alone")
    measure.add_argument("--data", type=Path, required=True, help="demonstrations; not those it learned from")
    measure.add_argument("--tasks", default="", help="names with commas between (default: all)")
    measure.add_argument("--json", type=Path, help="write the figures to this file too")
    measure.add_argument("--threads", type=int, default=1, help="of PyTorch (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Returns:
        0, or 2 if there is no such size or checkpoint.
    """
    if args.what == "export":
        return _export(args)
    if args.what == "measure":
        return _measure(args)
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


def _export(args: argparse.Namespace) -> int:
    """The tokenizer stays as it is: what it says may not change by a bit."""
    try:
        rates = [_rate(path) for path in args.evaluated]
        tokenizer, about = load_tokenizer(args.tokenizer)
        model, transforms, card = load_policy(args.policy, tokenizer)
        save_tokenizer(args.out / "tokenizer", tokenizer, Origin(about.data, about.metrics, about.licence))
        origin = Origin(
            _without_folders(card.data), card.metrics | ({"evaluated": rates} if rates else {}), card.licence
        )
        stored = "float32" if args.full else "float16"
        made = save_policy(args.out / "policy", model, transforms, card.text_encoder, origin, stored)
    except (CheckpointError, OSError, ValueError, KeyError) as error:
        print(f"gr2 model export: {error}", file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out}: {size / 1e6:.1f} MB; policy {made.tensors['sha256'][:12]}, numbers of {stored}")
    return 0


def _measure(args: argparse.Namespace) -> int:
    import torch

    from gr2_policy.training import common, measure

    torch.set_num_threads(args.threads)
    try:
        measure.run(args.weights, args.data, args.tasks, args.json)
    except common.KNOWN_ERRORS as error:
        print(f"gr2 model measure: {error}", file=sys.stderr)
        return 2
    return 0


def _without_folders(data: dict[str, Any]) -> dict[str, Any]:
    """What a policy learned from, by name: where it lay is nobody else's business."""
    named: dict[str, Any] = {key: [Path(folder).name for folder in data[key]] for key in ("datasets",) if key in data}
    named |= {key: Path(data[key]).name for key in ("pretrained",) if data.get(key)}
    return data | named


def _rate(path: Path) -> dict[str, object]:
    found = json.loads(path.read_text(encoding="utf-8"))
    return {name: found[name] for name in ("suite", "policy", "episodes", "successes", "wilson_low", "wilson_high")}


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
