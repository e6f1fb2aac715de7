"""Counts of successes: intervals, tables, summaries."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """One episode; see rollout.Episode.

    `steps`: instructions carried out, of a chain (chains.py). `imagined`: an imagining.Agreement as plain data.
    """

    task: str
    seed: int
    instruction: str
    success: bool
    duration: float
    detail: str
    chunks: int
    refused: int
    stopped: str
    scene: str = ""
    failure: str = ""
    steps: int = 0
    imagined: dict[str, float] | None = None


def wilson(successes: int, episodes: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a success rate (Wilson 1927), 95 % by default."""
    if episodes == 0:
        return 0.0, 1.0
    rate, n = successes / episodes, episodes
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def counts(results: Sequence[Result]) -> dict[str, Any]:
    """Episodes, successes, rate and interval, and what the failures were."""
    episodes, successes = len(results), sum(r.success for r in results)
    low, high = wilson(successes, episodes)
    return {
        "episodes": episodes,
        "successes": successes,
        "rate": successes / episodes if episodes else 0.0,
        "wilson_low": low,
        "wilson_high": high,
        "failures": dict(Counter(r.failure for r in results if not r.success)),
    }


def table(results: Sequence[Result]) -> str:
    """Results a task as text: successes, 95 % interval, mean time of the successes."""
    lines = [f"{'task':36s} {'success':>9s}  {'95 % interval':>15s}  {'mean time':>9s}  {'longest':>8s}"]
    names = list(dict.fromkeys(result.task for result in results))
    for name in [*names, ""]:
        chosen = [r for r in results if r.task == name or not name]
        times = [r.duration for r in chosen if r.success]
        low, high = wilson(len(times), len(chosen))
        took = f"{sum(times) / len(times):7.1f} s  {max(times):6.1f} s" if times else f"{'-':>9s}  {'-':>8s}"
        count = f"{len(times)}/{len(chosen)}"
        lines.append(f"{name or 'all':36s} {count:>9s}  {100 * low:5.1f} ... {100 * high:5.1f}  {took}")
    failures = Counter(r.failure for r in results if not r.success)
    if failures:
        lines.append("failures: " + ", ".join(f"{name or 'unknown'} {count}" for name, count in failures.most_common()))
    return "\n".join(lines)
