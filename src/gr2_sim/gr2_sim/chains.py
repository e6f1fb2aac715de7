"""Chains: five instructions in a row in one scene without a reset, in the manner of CALVIN (Mees et al., 2022).

Environments A to D have the same objects and fixtures in other places, sizes and looks. A policy for ABC-D has seen
A to C only, one for ABCD-D all four; both are measured in D. A chain ends at the first instruction that is not
carried out; the score is how many chains come to 1, 2, ... 5, and the average length.
Chains are drawn as CALVIN draws them: five different tasks at random, until each is possible after those before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gr2_sim.rollout import Rollout
from gr2_sim.tally import Result, wilson
from gr2_sim.tasks import Task, load_tasks

LENGTH = 5
ENVIRONMENTS = ("A", "B", "C", "D")
CHAIN_SUITES: Mapping[str, tuple[str, ...]] = {"chains-ABC-D": ("A", "B", "C"), "chains-ABCD-D": ENVIRONMENTS}
"""Suite -> environments that its policy may be trained in; it is measured in D."""
CHAIN_TASK = "chain"
DRAWER_OPEN = 0.11
BIN_ROOM = 2
"""As many blocks as the bin holds side by side; the mug needs it for itself."""
FAMILIES = ("lift", "place", "stack", "open", "close", "press")


@dataclass(frozen=True)
class Chain:
    """One chain: whether the drawer is open at first, and the names of the tasks."""

    drawer_open: bool
    tasks: tuple[str, ...]


def chain_scene(environment: str) -> str:
    """Scene of an environment."""
    return f"chain_{environment.lower()}"


def chain_tasks() -> list[Task]:
    """Tasks that chains are made of."""
    return [task for task in load_tasks().values() if task.scene == "table" and task.family in FAMILIES]


def draw_chain(seed: int) -> Chain:
    """The chain with this number; always the same."""
    random = np.random.default_rng([seed, 34])
    drawer_open, tasks = bool(random.integers(2)), chain_tasks()
    while True:
        chosen = [tasks[i] for i in random.permutation(len(tasks))[:LENGTH]]
        if possible(drawer_open, chosen):
            return Chain(drawer_open, tuple(task.name for task in chosen))


def possible(drawer_open: bool, tasks: Sequence[Task]) -> bool:
    """Whether each task makes sense after those before it: symbolically, whatever the places."""
    place: dict[str, str] = {}
    held = ""
    for task in tasks:
        family, thing, target = task.family, task.object, task.target
        if family in ("lift", "place", "stack"):
            if place.get(thing, "table") != "table" or thing in place.values():
                return False
            if family == "lift" and held == thing:
                return False
        if family == "lift":
            held = thing
        elif family == "place":
            inside = [name for name, where in place.items() if where == "bin"]
            if len(inside) >= BIN_ROOM or (inside and "mug" in (thing, *inside)):
                return False
            place[thing], held = "bin", ""
        elif family == "stack":
            if place.get(target, "table") != "table" or target in place.values() or held == target:
                return False
            place[thing], held = target, ""
        elif family in ("open", "close"):
            if drawer_open == (family == "open"):
                return False
            drawer_open, held = not drawer_open, ""
        else:
            held = ""
    return True


def run_chain(rollout: Rollout, seed: int, label: str) -> Result:
    """One chain in environment D."""
    chain, world = draw_chain(seed), rollout.world
    world.reset("", seed, chain_scene("D"), time=0.0)
    world.set_joint("drawer", DRAWER_OPEN if chain.drawer_open else 0.0)
    done, chunks, refused, duration = 0, 0, 0, 0.0
    said: list[str] = []
    detail = stopped = failure = ""
    for name in chain.tasks:
        said.append(load_tasks()[name].instructions[0])
        episode = rollout.follow(name, said[-1])
        chunks, refused, duration = chunks + episode.chunks, refused + episode.refused, duration + episode.duration
        if not episode.success:
            detail, stopped, failure = f"{name}: {episode.detail}", episode.stopped, episode.failure
            break
        done += 1
    return Result(
        task=label, seed=seed, instruction="; ".join(said), success=done == LENGTH, duration=duration, detail=detail,
        chunks=chunks, refused=refused, stopped=stopped, scene=world.cell.name, failure=failure, steps=done,
    )  # fmt: skip


def chain_counts(results: Sequence[Result]) -> dict[str, Any]:
    """Share of chains of at least 1 ... 5 instructions carried out, with intervals, and the average length."""
    n = len(results)
    reached = [sum(r.steps >= k for r in results) for k in range(1, LENGTH + 1)]
    return {
        "rates": {str(k + 1): count / n if n else 0.0 for k, count in enumerate(reached)},
        "wilson_95": {str(k + 1): wilson(count, n) for k, count in enumerate(reached)},
        "average_length": sum(r.steps for r in results) / n if n else 0.0,
        "chains": n,
    }


def chain_table(results: Sequence[Result]) -> str:
    """The same as text."""
    found = chain_counts(results)
    heads = " ".join(f"{f'>= {k}':>7s}" for k in range(1, LENGTH + 1))
    rates = " ".join(f"{100 * rate:6.1f}%" for rate in found["rates"].values())
    lows = " ".join(f"{100 * low:6.1f}%" for low, _ in found["wilson_95"].values())
    highs = " ".join(f"{100 * high:6.1f}%" for _, high in found["wilson_95"].values())
    lines = [f"{'instructions done':24s} {heads}", f"{f'{len(results)} chains':24s} {rates}"]
    lines += [f"{'95 % interval from':24s} {lows}", f"{'to':24s} {highs}"]
    return "\n".join([*lines, f"average length {found['average_length']:.2f} of {LENGTH}"])
