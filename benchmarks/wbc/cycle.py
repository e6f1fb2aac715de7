"""How long a control cycle takes: hot, stage by stage, and paced at 200 Hz."""

from __future__ import annotations

import gc
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from benchmarks.wbc.scene import PERIOD, Loop

from gr2_wbc.robot import Robot

WARM_UP = 200  # cycles
REALTIME_PRIORITY = 50


def hot(robot: Robot, solver: str, manipulability: bool, cycles: int) -> dict[str, Any]:
    """Cycles one after the other."""
    loop = Loop(robot, solver, manipulability)
    with settled_memory():
        loop.run(WARM_UP)
        loop.forget()
        loop.run(cycles)
    figures: dict[str, Any] = loop.times.figures()
    figures["rows_median"], figures["rows_max"] = float(np.median(loop.rows)), max(loop.rows)
    figures["accept_p50_us"] = float(np.percentile(loop.accepting, 50)) / 1e3
    figures["backups"] = getattr(loop.controller._program._solver, "backups", 0)
    return figures


def stages(robot: Robot, solver: str, manipulability: bool, cycles: int) -> dict[str, float]:
    """Median time [us] of each stage, in a run of its own: the clock around each adds about a third of a microsecond.

    ``other`` is what the cycle spends outside them.
    """
    loop = Loop(robot, solver, manipulability)
    spent: dict[str, int] = defaultdict(int)
    controller = loop.controller
    program = controller._program
    for stage, owner, methods in (
        ("kinematics", controller._kinematics, ("update", "manipulability")),
        ("distances", controller._collision, ("update",)),
        ("bounds", controller._bounds, ("bounds",)),
        ("rows", program, ("_add_rows",)),
        ("solve", program._solver, ("solve",)),
        ("gate", controller._gate, ("check",)),
        ("command", controller, ("_trajectory",)),
        ("reference", controller._reference, ("advance", "sample", "gripper")),
    ):
        for method in methods:
            setattr(owner, method, _timed(getattr(owner, method), stage, spent))
    for contributor in controller.contributors:
        setattr(contributor, "add", _timed(contributor.add, "costs", spent))  # noqa: B010
    loop.run(WARM_UP)
    loop.forget()
    samples: dict[str, list[float]] = defaultdict(list)
    with settled_memory():
        for _ in range(cycles):
            spent.clear()
            loop.step()
            for stage, nanoseconds in spent.items():
                samples[stage].append(nanoseconds / 1e3)
            samples["other"].append((loop.times.wall[-1] - sum(spent.values())) / 1e3)
    return {stage: float(np.median(values)) for stage, values in samples.items()}


def paced(robot: Robot, ticks: int) -> dict[str, Any]:
    """Cycles at absolute deadlines 5 ms apart, under SCHED_FIFO where that is permitted."""
    loop = Loop(robot)
    loop.run(WARM_UP)
    loop.forget()
    lateness = np.empty(ticks)
    with settled_memory(), realtime() as scheduling:
        deadline = time.monotonic()
        for tick in range(ticks):
            deadline += PERIOD
            left = deadline - time.monotonic()
            if left > 0.0:
                time.sleep(left)
            lateness[tick] = time.monotonic() - deadline
            loop.step()
            if lateness[tick] > PERIOD:
                deadline = time.monotonic()  # what was missed is missed
    return loop.times.figures() | {
        "ticks": ticks,
        "missed": int((lateness > PERIOD).sum()),
        "lateness_p99_us": 1e6 * float(np.percentile(lateness, 99)),
        "lateness_max_us": 1e6 * float(lateness.max()),
        "scheduling": scheduling,
    }


@contextmanager
def settled_memory() -> Iterator[None]:
    """As the node runs: no garbage collection while cycles run."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


@contextmanager
def realtime() -> Iterator[str]:
    """SCHED_FIFO for this thread; yields what was got, in words."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    except PermissionError:
        yield "default: SCHED_FIFO is not permitted here"
        return
    try:
        yield f"SCHED_FIFO {REALTIME_PRIORITY}"
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _timed(call: Callable[..., Any], stage: str, spent: dict[str, int]) -> Callable[..., Any]:
    clock = time.perf_counter_ns

    def timed(*args: Any) -> Any:
        begun = clock()
        result = call(*args)
        spent[stage] += clock() - begun
        return result

    return timed
