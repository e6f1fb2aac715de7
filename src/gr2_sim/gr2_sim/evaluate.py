"""Measure a policy's success rate over tasks and arrangements: in one process, faster than real time, through the
same controller as on the robot.

examples:
  ./gr2 eval --policy teacher --episodes 20 --workers 2
  ./gr2 eval --tasks red_block_in_bin,open_drawer --episodes 50 --json rates.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gr2_policy.policy import PolicyError, UnknownInstruction, UnknownPolicy, load_policy
from gr2_sim.cameras import RenderingUnavailable
from gr2_sim.parts import DataError
from gr2_sim.rollout import Rollout, RolloutConfig
from gr2_sim.tasks import UnknownTask, find_task, load_tasks
from gr2_sim.world import World
from gr2_wbc.intake import HandshakeRefused

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS")
KNOWN_ERRORS = (
    UnknownPolicy,
    UnknownTask,
    UnknownInstruction,
    HandshakeRefused,
    PolicyError,
    DataError,
    RenderingUnavailable,
)


@dataclass(frozen=True)
class Suite:
    """What is evaluated.

    Attributes:
        policy: its name in the entry-point group gr2.policies.
        options: for its factory.
        tasks: names of tasks.
        episodes: arrangements a task.
        seed: of the first arrangement; the others count up.
        paraphrase: go through all the ways of asking; else the plain one.
        scene: name of the scene.
        rollout: how an episode is run.
    """

    policy: str
    tasks: tuple[str, ...]
    episodes: int = 20
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    paraphrase: bool = False
    scene: str = "table"
    rollout: RolloutConfig = field(default_factory=RolloutConfig)


@dataclass(frozen=True)
class Result:
    """One episode; see rollout.Episode."""

    task: str
    seed: int
    instruction: str
    success: bool
    duration: float
    detail: str
    chunks: int
    refused: int
    stopped: str


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson interval of a success rate, 95 % for z = 1.96 (Wilson, 1927)."""
    if trials == 0:
        return 0.0, 1.0
    rate, share = successes / trials, z * z / trials
    centre = (rate + share / 2.0) / (1.0 + share)
    half = z / (1.0 + share) * ((rate * (1.0 - rate) + share / 4.0) / trials) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def evaluate(suite: Suite, workers: int = 1, progress: Callable[[Result], None] | None = None) -> list[Result]:
    """Run a suite; results in the order of tasks and seeds, the same for any number of workers.

    Args:
        suite: what to run.
        workers: processes.
        progress: called with each result as it comes.

    Raises:
        one of KNOWN_ERRORS: the suite cannot be run.
    """
    jobs = [(task, suite.seed + i) for task in suite.tasks for i in range(suite.episodes)]
    for task in suite.tasks:
        find_task(task)
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    results: dict[tuple[str, int], Result] = {}
    if workers <= 1:
        _prepare(suite)
        for job in jobs:
            results[job] = _run(*job)
            if progress:
                progress(results[job])
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare, initargs=(suite,)) as pool:
            futures: dict[Future[Result], tuple[str, int]] = {pool.submit(_run, *job): job for job in jobs}
            try:
                for future in as_completed(futures):
                    results[futures[future]] = future.result()
                    if progress:
                        progress(results[futures[future]])
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [results[job] for job in jobs]


_suite: Suite
_rollout: Rollout | KnownFailure


class KnownFailure(Exception):
    """A known error, in a form that travels between processes."""


def _prepare(suite: Suite) -> None:
    """Make this process's world and policy once."""
    global _suite, _rollout
    _suite = suite
    try:
        policy = load_policy(suite.policy, **suite.options)
        config = suite.rollout
        if not policy.privileged and not config.images:
            config = RolloutConfig(**{**asdict(config), "images": ("head", "wrist")})
        _rollout = Rollout(World(suite.scene), policy, config)
    except (*KNOWN_ERRORS, TypeError, ValueError) as error:
        _rollout = KnownFailure(str(error))


def _run(task: str, seed: int) -> Result:
    if isinstance(_rollout, KnownFailure):
        raise _rollout
    phrases = find_task(task).instructions
    try:
        episode = _rollout.run(task, seed, phrases[seed % len(phrases)] if _suite.paraphrase else "")
    except KNOWN_ERRORS as error:
        raise KnownFailure(f"task '{task}', seed {seed}: {error}") from None
    fields = asdict(episode)
    del fields["tool_path"]
    return Result(**fields)


def table(results: Sequence[Result]) -> str:
    """Results a task as text: successes, 95 % interval, mean time of the successes."""
    lines = [f"{'task':28s} {'success':>9s}  {'95 % interval':>15s}  {'mean time':>9s}  {'longest':>8s}"]
    names = list(dict.fromkeys(result.task for result in results))
    for name in [*names, ""]:
        chosen = [r for r in results if r.task == name or not name]
        times = [r.duration for r in chosen if r.success]
        low, high = wilson(len(times), len(chosen))
        took = f"{sum(times) / len(times):7.1f} s  {max(times):6.1f} s" if times else f"{'-':>9s}  {'-':>8s}"
        count = f"{len(times)}/{len(chosen)}"
        lines.append(f"{name or 'all':28s} {count:>9s}  {100 * low:5.1f} ... {100 * high:5.1f}  {took}")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> int:
    """Evaluate and print; returns the exit code: 0 done, 1 less than asked for, 2 a wrong call."""
    try:
        tasks = tuple(load_tasks()) if options.tasks == "all" else tuple(options.tasks.split(","))
        suite = Suite(
            policy=options.policy,
            options=_policy_options(options.option),
            tasks=tasks,
            episodes=options.episodes,
            seed=options.seed,
            paraphrase=options.paraphrase,
            scene=options.scene,
            rollout=RolloutConfig(
                replan_period=options.replan, policy_delay=options.delay, time_limit=options.time_limit
            ),
        )
        total, begun, done = len(tasks) * options.episodes, time.monotonic(), [0, 0]

        def progress(result: Result) -> None:
            done[0] += 1
            done[1] += result.success
            if not result.success:
                why = result.stopped or result.detail
                print(f"\rfailed: {result.task}, seed {result.seed}: {why}", file=sys.stderr)
            text = f"\r{done[0]}/{total} episodes, {done[1]} succeeded, {time.monotonic() - begun:.0f} s  "
            print(text, end="", file=sys.stderr, flush=True)

        results = evaluate(suite, options.workers, progress)
    except (*KNOWN_ERRORS, KnownFailure, ValueError) as error:
        print(f"\nevaluate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nevaluate: interrupted", file=sys.stderr)
        return 130
    wall = time.monotonic() - begun
    simulated = sum(r.duration for r in results)
    print(file=sys.stderr)
    print(table(results))
    print(f"{simulated:.0f} s simulated in {wall:.0f} s with {options.workers} worker(s) on {_machine()}")
    if options.json:
        _write(options.json, suite, results, wall)
    counts = [sum(r.success for r in results if r.task == task) for task in tasks]
    return 1 if min(counts) < options.at_least else 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--policy", default="teacher", help="name of an installed policy (default: %(default)s)")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="for the policy")
    parser.add_argument("--tasks", default="all", help="names with commas between, or all (default)")
    parser.add_argument("--episodes", type=int, default=20, help="arrangements a task (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first arrangement (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--paraphrase", action="store_true", help="go through all the ways of asking")
    parser.add_argument("--scene", default="table", help="name of the scene (default: %(default)s)")
    parser.add_argument("--replan", type=float, default=0.2, help="time between observations [s]")
    parser.add_argument("--delay", type=float, default=0.1, help="from an observation to its chunk's use [s]")
    parser.add_argument("--time-limit", type=float, default=30.0, help="of an episode [s]")
    parser.add_argument("--at-least", type=int, default=0, help="exit 1 if a task has fewer successes")
    parser.add_argument("--json", type=Path, help="write all results to this file")


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
    summary = {}
    for task in suite.tasks:
        chosen = [r for r in results if r.task == task]
        successes = sum(r.success for r in chosen)
        summary[task] = {"successes": successes, "episodes": len(chosen), "wilson_95": wilson(successes, len(chosen))}
    content = {
        "suite": asdict(suite),
        "machine": _machine(),
        "wall_time": wall,
        "tasks": summary,
        "episodes": [asdict(r) for r in results],
    }
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    aside.replace(path)


if __name__ == "__main__":
    sys.exit(main())
