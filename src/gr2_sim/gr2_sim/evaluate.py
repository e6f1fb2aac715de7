"""Measure a policy's success rate over tasks and arrangements: in one process, faster than real time, through the
same controller as on the robot.

suites: plain (every task, in its scene as it is); the settings simple, distractor, backgrounds, environments and
manipulation (105 tasks each); bin (bin picking); chains-ABC-D and chains-ABCD-D (five instructions in a row).

examples:
  ./gr2 eval --policy teacher --suite simple --episodes 20 --workers 2 --json simple.json
  ./gr2 eval --tasks red_block_in_bin,open_drawer --episodes 50 --json rates.json
A run that was broken off goes on where it was when it is called again with the same --json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gr2_sim.chains import CHAIN_SUITES, chain_counts, chain_table
from gr2_sim.evaluation import KNOWN_ERRORS, ONE_THREAD, Journal, KnownFailure, evaluate
from gr2_sim.imagining import agreement
from gr2_sim.rollout import RolloutConfig
from gr2_sim.suites import SUITES, Suite, jobs_of, suite_of
from gr2_sim.tally import Result, counts, table

__all__ = ["KNOWN_ERRORS", "ONE_THREAD", "KnownFailure", "Suite", "add_arguments", "evaluate", "main", "run", "table"]


class Progress:
    """Says how far a run has come, how fast it goes and how long it will take.

    Args:
        total, known: episodes in all, and those taken over from an earlier run.
    """

    def __init__(self, total: int, known: int) -> None:
        self._total, self._known, self._begun = total, known, time.monotonic()
        self._done = self._succeeded = 0

    def __call__(self, result: Result) -> None:
        self._done += 1
        self._succeeded += result.success
        if not result.success:
            why = result.stopped or f"{result.failure}: {result.detail}" if result.failure else result.detail
            print(f"\rfailed: {result.task}, seed {result.seed}: {why}", file=sys.stderr)
        took = time.monotonic() - self._begun
        left = (self._total - self._known - self._done) * took / self._done
        text = f"\r{self._known + self._done}/{self._total} episodes, {self._succeeded} succeeded"
        text += f" of {self._done} now, {60.0 * self._done / took:.1f} a minute, {_clock(left)} left  "
        print(text, end="", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def run(options: argparse.Namespace) -> int:
    """Evaluate and print; returns the exit code: 0 done, 1 less than asked for, 2 a wrong call."""
    try:
        suite = _suite(options)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
        jobs, journal = jobs_of(suite), Journal(options.json, suite)
        known = sum(job.key in journal.known for job in jobs)
        if known:
            print(f"{known} of {len(jobs)} episodes are known from an earlier run", file=sys.stderr)
        begun = time.monotonic()
        results = evaluate(suite, options.workers, Progress(len(jobs), known), journal)
    except (*KNOWN_ERRORS, KnownFailure, ValueError, OSError) as error:
        print(f"\nevaluate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nevaluate: interrupted; call it again with the same --json to go on", file=sys.stderr)
        return 130
    wall = time.monotonic() - begun
    print(file=sys.stderr)
    print(chain_table(results) if suite.name in CHAIN_SUITES else table(results))
    simulated = sum(r.duration for r in results)
    print(f"{simulated:.0f} s simulated in {wall:.0f} s with {options.workers} worker(s) on {_machine()}")
    if options.json:
        _write(options.json, suite, results, wall)
        journal.finish()
    least = min(sum(r.success for r in results if r.task == label) for label in {job.label for job in jobs})
    return 1 if least < options.at_least else 0


def _suite(options: argparse.Namespace) -> Suite:
    rollout = RolloutConfig(
        replan_period=options.replan,
        policy_delay=options.delay,
        time_limit=options.time_limit,
        width=options.size,
        height=options.size,
    )
    return suite_of(
        options.suite,
        options.policy,
        rollout,
        options=_policy_options(options.option),
        tasks=() if options.tasks == "all" else tuple(options.tasks.split(",")),
        episodes=options.episodes,
        seed=options.seed,
        paraphrase=options.paraphrase,
        scene=options.scene,
        videos=str(options.videos or ""),
        imagine=options.imagine,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--policy", default="teacher", help="name of an installed policy (default: %(default)s)")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="for the policy")
    parser.add_argument("--suite", default="plain", help=f"one of {', '.join(SUITES)} (default: %(default)s)")
    parser.add_argument(
        "--tasks", default="all", help="names with commas between (bin: its settings), or all (default)"
    )
    parser.add_argument(
        "--episodes", type=int, default=20, help="arrangements a task, or chains (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first arrangement (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--paraphrase", action="store_true", help="suite plain: go through all the ways of asking")
    parser.add_argument("--scene", default="", help="suite plain: name of the scene (default: each task's own)")
    parser.add_argument("--replan", type=float, default=0.2, help="time between observations [s]")
    parser.add_argument("--delay", type=float, default=0.1, help="from an observation to its chunk's use [s]")
    parser.add_argument("--time-limit", type=float, default=30.0, help="of an episode, or of an instruction [s]")
    parser.add_argument("--size", type=int, default=128, help="edge of the images [px] (default: %(default)s)")
    parser.add_argument("--videos", type=Path, help="folder for videos: of each task one success and one failure")
    parser.add_argument(
        "--imagine",
        type=float,
        default=0.0,
        help="instants a second that the policy imagines, to be compared (0: none)",
    )
    parser.add_argument("--at-least", type=int, default=0, help="exit 1 if a task has fewer successes")
    parser.add_argument("--json", type=Path, help="write all results to this file; results so far go beside it")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m gr2_sim.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def _policy_options(pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE pairs; values are read as JSON where they are JSON, else as text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--option {pair}: expected KEY=VALUE")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return options


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores"


def _write(path: Path, suite: Suite, results: Sequence[Result], wall: float) -> None:
    labels = list(dict.fromkeys(r.task for r in results))
    content: dict[str, Any] = {
        "suite": suite.name,
        "policy": suite.policy,
        **counts(results),
        "tasks": {label: counts([r for r in results if r.task == label]) for label in labels},
        "machine": _machine(),
        "wall_time": wall,
        "fingerprint": suite.fingerprint,
        "settings": asdict(suite),
        "keys": [job.key for job in jobs_of(suite)],
        "results": [asdict(r) for r in results],
    }
    if suite.name in CHAIN_SUITES:
        content |= chain_counts(results)
    if suite.imagine:
        content["imagination"] = agreement(results)
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    aside.replace(path)


if __name__ == "__main__":
    sys.exit(main())
