"""Run the tests: style and types, each package's own, and the whole system over DDS between real processes.

examples:
  ./gr2 test                    what continuous integration runs; under 15 minutes
  ./gr2 test --all              the slow ones too
  ./gr2 test -k splice -x       anything after the options goes to pytest
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

PASS_ON = True  # what the parser does not know goes to pytest
FOLDERS = ("src/gr2_policy", "src/gr2_wbc", "src/gr2_sim", "src/gr2_tools", "src/gr2_bringup", "tests")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 test``."""
    parser.add_argument("--all", action="store_true", help="run the slow tests too")


def run(args: argparse.Namespace) -> int:
    """Pytest's exit code."""
    root = Path(os.environ.get("GR2_ROOT", "."))
    rest = args.rest
    chosen = [item for item in rest if not item.startswith("-") and (root / item.split("::")[0]).exists()]
    env = dict(os.environ)
    env |= {"ROS_PYTHON_CHECK_FIELDS": "1"}
    command = [sys.executable, "-m", "pytest"]
    command += [] if args.all else ["-m", "not slow"]
    command += rest if chosen else [*rest, *FOLDERS]
    return subprocess.run(command, cwd=root, env=env).returncode
