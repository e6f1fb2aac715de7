"""The whole learning path in one command, small: demonstrations of one task, the three stages of training, evaluation.

Every step is one of the commands that a researcher uses, and is shown before it runs. The success rate of the trained
policy is then set beside that of the same model untrained. An interrupted call goes on where it was.

examples:
  ./gr2 demo-train                                     a drawer to close; minutes on a laptop
  ./gr2 demo-train --task press_button --episodes 80
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 demo-train``."""
    parser.add_argument("--task", default="close_drawer", help="what is learned (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=40, help="demonstrations (default: %(default)s)")
    parser.add_argument("--tests", type=int, default=20, help="episodes of each evaluation (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/demo-train"), help="folder (default: %(default)s)")
    parser.add_argument("--recipe", default="nano", help="of the training (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that simulate")


def commands(args: argparse.Namespace) -> list[list[str]]:
    """The commands, in order, each as the words after ``./gr2``."""
    out, demos, tokenizer = str(args.out), str(args.out / "demos"), str(args.out / "tokenizer")
    pretrained, policy = str(args.out / "pretrained"), str(args.out / "policy")
    workers = ["--workers", str(args.workers)]
    learn = ["--data", demos, "--recipe", args.recipe, "--cpu", "--threads", "1"]
    measure = [
        "eval",
        "--policy",
        "gr2",
        "--suite",
        "simple",
        "--tasks",
        args.task,
        "--episodes",
        str(args.tests),
        "--time-limit",
        "15",
        "--size",
        "64",
        *workers,
    ]
    return [
        ["demos", "--out", demos, "--tasks", args.task, "--episodes", str(args.episodes), "--size", "64", *workers],
        ["train-tokenizer", *learn, "--out", tokenizer],
        ["pretrain", *learn, "--tokenizer", tokenizer, "--out", pretrained],
        ["finetune", *learn, "--tokenizer", tokenizer, "--pretrained", pretrained, "--out", policy],
        [*measure, "--option", f"untrained={args.recipe}", "--json", str(args.out / "untrained.json")],
        [*measure, "--option", f"checkpoint={out}", "--json", str(args.out / "trained.json")],
    ]


def run(args: argparse.Namespace) -> int:
    """The exit code: 0 done, else that of the step that failed."""
    args.out.mkdir(parents=True, exist_ok=True)
    steps = commands(args)
    for number, words in enumerate(steps, start=1):
        print(f"\n[{number}/{len(steps)}] ./gr2 {' '.join(words)}", flush=True)
        code = subprocess.run([sys.executable, "-m", "gr2_bringup.cli", *words]).returncode
        if code:
            print(
                f"gr2 demo-train: this step ended with exit code {code}; the same command goes on there",
                file=sys.stderr,
            )
            return code
    untrained, trained = (summary(args.out / f"{name}.json") for name in ("untrained", "trained"))
    print(f"\n{args.task}: untrained {untrained}, trained on {args.episodes} demonstrations {trained}")
    return 0


def summary(path: Path) -> str:
    """Rate and interval of an evaluation, in words."""
    found = json.loads(path.read_text(encoding="utf-8"))
    low, high = 100.0 * found["wilson_low"], 100.0 * found["wilson_high"]
    return f"{found['successes']} of {found['episodes']} (95 %: {low:.0f} … {high:.0f} %)"
