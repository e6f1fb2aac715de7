"""Put a claim to the test: train what is compared, with several seeds, evaluate it, and write a page with a plot.

Every step is one of the commands that a researcher uses, and is shown before it runs. What is done is not done again:
an interrupted call goes on where it was.

examples:
  ./gr2 experiment --list
  ./gr2 experiment pretraining                      with and without video pre-training
  ./gr2 experiment my.yaml --out runs/mine          one of your own
  ./gr2 experiment pretraining --only-page          write the page again
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

from gr2_bringup.experiments import page, plan, runner


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 experiment``."""
    parser.add_argument("name", nargs="?", default="", help="of an experiment, or a YAML file")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--out", type=Path, help="folder of everything it makes (default: runs/experiments/NAME)")
    parser.add_argument("--pages", type=Path, default=Path("docs/results"), help="folder of the page and plot")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="that simulate or learn at once")
    parser.add_argument("--only-page", action="store_true", help="run nothing: write the page of what there is")


def run(args: argparse.Namespace) -> int:
    """The exit code: 0 done, 2 a wrong call, else that of the step that failed."""
    if args.list or not args.name:
        for name in plan.known():
            print(f"{name.ljust(16)} {plan.load(name).title}")
        return 0 if args.list else 2
    try:
        experiment = plan.load(args.name)
        out = args.out or Path("runs/experiments") / experiment.name
        if not args.only_page:
            runner.Runner(out, args.workers).run(plan.steps(experiment, out, args.workers))
        written = page.write(experiment, out, args.pages, machine())
    except runner.StepFailed as error:
        print(f"gr2 experiment: {error}", file=sys.stderr)
        return error.code
    except (plan.ExperimentError, OSError) as error:
        print(f"gr2 experiment: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gr2 experiment: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(written.read_text(encoding="utf-8"))
    return 0


def machine() -> str:
    """The machine, in words."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{os.cpu_count()} x {model}"
