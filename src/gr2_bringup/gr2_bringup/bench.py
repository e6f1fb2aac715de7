"""Measure this machine: print a table, write JSON.

examples:
  ./gr2 bench                      the benchmarks there are
  ./gr2 bench wbc --help           what one of them measures, and its options
  ./gr2 bench stack --json out.json
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command for each folder of ``benchmarks/`` with a ``main.py``, which teaches its own options."""
    root = Path(os.environ.get("GR2_ROOT", ".")).resolve()
    sys.path.insert(0, str(root))
    choices = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    for path in sorted((root / "benchmarks").glob("*/main.py")):
        module = importlib.import_module(f"benchmarks.{path.parent.name}.main")
        assert module.__doc__ is not None
        one = choices.add_parser(
            path.parent.name,
            help=module.__doc__.split("\n", 1)[0],
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(one)
        one.set_defaults(run_benchmark=module.run)


def run(args: argparse.Namespace) -> int:
    """The benchmark's exit code."""
    return int(args.run_benchmark(args))
