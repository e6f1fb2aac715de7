"""Time to chunk while the simulator renders and the controller works, and what that does to the controller."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.policy.ours import Subject
from benchmarks.running_stack import running_stack
from gr2_msgs.msg import WbcStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from gr2_bringup.director import Director
from gr2_wbc.polling import Polled, take

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
    with running_stack(domain) as (_, director):
        watch = _Watch(director)
        director.say(INSTRUCTIONS[0])
        alone = watch.during(lambda: director.spin(seconds))
        director.say(INSTRUCTIONS[1])
        rate = TARGET_HZ.get(subject.config.name, OTHERS_HZ)
        subject.forget()
        took: list[float] = []
        beside = watch.during(lambda: took.append(_paced(subject, rate, seconds)))
    wall = 1e3 * np.array(subject.chunks)
    return {
        "asked_hz": rate,
        "reached_hz": len(wall) / took[0],
        "chunks": len(wall),
        "chunk_p50_ms": float(np.percentile(wall, 50)),
        "chunk_p99_ms": float(np.percentile(wall, 99)),
        "chunk_cpu_p50_ms": 1e3 * float(np.median(subject.chunk_cpu)),
        "within_period_percent": 100.0 * float(np.mean(wall <= 1e3 / rate)),
        "alone": alone,
        "beside": beside,
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


class _Watch:
    """What the controller says of its cycles, and the simulator of its time."""

    def __init__(self, director: Director) -> None:
        self._director = director
        self._statuses: list[WbcStatus] = []
        director.node.create_subscription(WbcStatus, "/wbc_status", self._statuses.append, 10)
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        # polled: waking up for every tick would burden the stack just while it is alone
        self._clock = Polled().subscribe(director.node, Clock, "/clock", print, newest)
        director.spin(1.0)

    def _newest(self) -> tuple[WbcStatus, tuple[float, float]]:
        """The controller's status, and the simulated time and that on the wall [s]."""
        self._statuses.clear()
        if not self._director.wait_until(lambda: bool(self._statuses), 10.0):
            raise SystemExit("the stack has fallen silent: /wbc_status did not come for 10 s")
        for tick, _ in take(self._clock, 1):
            return self._statuses[-1], (tick.clock.sec + 1e-9 * tick.clock.nanosec, time.monotonic())
        raise SystemExit("the simulator is silent: there is nothing on /clock")

    def during(self, work: Callable[[], object]) -> dict[str, float]:
        """The controller's cycles, those it missed, and simulated seconds per second, while work is done."""
        first, begun = self._newest()
        work()
        self._director.spin(0.3)  # takes what waited meanwhile
        last, ended = self._newest()
        cycles = int(last.cycles - first.cycles)
        missed = int(last.missed_cycles - first.missed_cycles)
        return {
            "cycles": cycles,
            "missed": missed,
            "missed_percent": 100.0 * missed / max(cycles, 1),
            "real_time_factor": (ended[0] - begun[0]) / (ended[1] - begun[1]),
        }
