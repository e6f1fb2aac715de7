"""The verb ``gr2 doctor``: is this machine fit to run the stack, and if not, what to do."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gr2_tools import doctor_checks as checks
from gr2_tools.doctor_checks import FAIL, OK, WARN, Probe, Row

DESCRIPTION = """Check this machine: ROS, messages, DDS between processes, rendering, timing, space.

Nothing is assumed, everything is tried: messages really travel between two processes, an image is really rendered, a
200 Hz loop really runs. Takes about ten seconds. Exits with 0 unless something keeps `./gr2 sim` from running.
"""

EXAMPLES = """examples:
  gr2 doctor                   the report
  gr2 doctor --json            the same, for scripts
  gr2 doctor --bags /data      look at the space there
"""
_COLOURS = {OK: "green", WARN: "yellow", FAIL: "bold red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb, its description and examples."""
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--bags", type=Path, default=Path(), metavar="DIR", help="where recordings go (default: here)")


def run(args: argparse.Namespace) -> int:
    """Runs all checks and prints the report.

    Returns:
        0 when `./gr2 sim` can run, 1 when something prevents it, 130 after Ctrl-C.
    """
    begin = time.monotonic()
    rows: list[Row] = []
    console = Console(stderr=args.json)
    try:
        with console.status("looking at this machine …") if sys.stderr.isatty() else nullcontext():
            rows.extend(examine(args.bags))
    except KeyboardInterrupt:
        return 130
    failed = any(row.status == FAIL for row in rows)
    if args.json:
        report = {"ok": not failed, "seconds": time.monotonic() - begin, "checks": [r.as_dict() for r in rows]}
        print(json.dumps(report, indent=2))
    else:
        _print(rows, failed)
    return 1 if failed else 0


def examine(bags: Path) -> Iterator[Row]:
    """All checks, one after another; those that measure time run alone."""
    yield checks.system()
    ros = checks.ros()
    yield ros
    messages = checks.messages()
    yield messages
    yield checks.build_tools(needed=messages.status == FAIL)
    yield checks.profile()
    if ros.status != FAIL:
        yield from checks.dds()
    render = Probe("render", {"MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl"), "PYOPENGL_PLATFORM": "egl"})
    if ros.status != FAIL:
        yield checks.domain()
    yield checks.rendering(render)
    yield from checks.timing(Probe("timer"))
    yield checks.processor()
    yield checks.memory()
    yield checks.disk(bags)
    yield checks.shared_memory()
    yield checks.gpu()


def _print(rows: list[Row], failed: bool) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column("status", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("finding")
    for row in rows:
        colour = _COLOURS[row.status]
        finding = _plain(row.found) + (f"\n[{colour}]→ {_plain(row.advice)}[/]" if row.advice else "")
        table.add_row(f"[{colour}]{row.status}[/]", row.name, finding)
    console = Console(highlight=False)
    console.print(table)
    warnings = sum(row.status == WARN for row in rows)
    if failed:
        console.print("[bold red]./gr2 sim cannot run here yet: see FAIL above[/]")
    else:
        console.print(f"[green]./gr2 sim can run here[/]{f', {warnings} warnings' if warnings else ''}")


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
