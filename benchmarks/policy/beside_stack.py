"""Time to chunk while the simulator renders and the controller works, and what that does to the controller."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from benchmarks.policy.ours import Subject
from benchmarks.running_stack import running_stack
from gr2_msgs.msg import WbcStatus

from gr2_bringup.director import Director

TARGET_HZ = {"nano": 8.0, "mini": 8.0, "S": 4.0}
OTHERS_HZ = 2.0
INSTRUCTIONS = ("lift the mug", "open the drawer")


def beside_stack(subject: Subject, domain: int, seconds: float) -> dict[str, Any]:
    """Run the simulated stack, with the scripted teacher moving the arm; first alone, then with the model beside it.

    The model is asked for a chunk at its target rate, or as soon as it is done with the one before.

    Args:
        subject: the model, in this process.
        domain: ROS domain.
        seconds: length of each of the two parts.
    """
    statuses: list[WbcStatus] = []
    with running_stack(domain) as (_, director):
        director.node.create_subscription(WbcStatus, "/wbc_status", statuses.append, 10)
        director.spin(1.0)
        director.say(INSTRUCTIONS[0])
        alone = _missed(director, statuses, lambda: director.spin(seconds))
        director.say(INSTRUCTIONS[1])
        rate = TARGET_HZ.get(subject.config.name, OTHERS_HZ)
        subject.forget()
        took: list[float] = []
        beside = _missed(director, statuses, lambda: took.append(_paced(subject, rate, seconds)))
    wall = 1e3 * np.array(subject.chunks)
    return {
        "asked_hz": rate,
        "reached_hz": len(wall) / took[0],
        "chunks": len(wall),
        "chunk_p50_ms": float(np.percentile(wall, 50)),
        "chunk_p99_ms": float(np.percentile(wall, 99)),
        "chunk_cpu_p50_ms": 1e3 * float(np.median(subject.chunk_cpu)),
        "within_period_percent": 100.0 * float(np.mean(wall <= 1e3 / rate)),
        "wbc_alone": alone,
        "wbc_beside": beside,
        "load": os.getloadavg()[0],
    }


def _paced(subject: Subject, rate: float, seconds: float) -> float:
    """Chunks at this rate [Hz] for this long, one that is late beginning at once; returns how long it took [s]."""
    begun = due = time.monotonic()
    while (now := time.monotonic()) - begun < seconds:
        time.sleep(max(due - now, 0.0))
        due = max(due + 1.0 / rate, time.monotonic())
        subject.step(time.monotonic())  # as images are: so far apart as chunks are
    return max(now, due) - begun


def _missed(director: Director, statuses: list[WbcStatus], work) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """The controller's cycles, and those it missed, while work is done."""
    director.wait_until(lambda: bool(statuses), 10.0)
    first = statuses[-1]
    work()
    statuses.clear()
    director.wait_until(lambda: bool(statuses), 10.0)
    director.spin(0.3)
    last = statuses[-1]
    cycles = int(last.cycles - first.cycles)
    missed = int(last.missed_cycles - first.missed_cycles)
    return {"cycles": cycles, "missed": missed, "missed_percent": 100.0 * missed / max(cycles, 1)}
