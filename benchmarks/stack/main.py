"""what the whole simulated stack costs, and how well it keeps time

Runs the stack as ``./gr2 sim`` does, carries out instructions one after the other, and reports the real-time factor,
the processor time of each process, the rates and ages of messages, and how punctual the controller was.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from benchmarks.report import machine, write_json
from benchmarks.running_stack import running_stack
from diagnostic_msgs.msg import DiagnosticArray
from gr2_msgs.msg import TrajectoryChunk, WbcStatus
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState

from gr2_bringup.director import Director
from gr2_bringup.supervisor import Supervisor

INSTRUCTIONS = ("put the red block in the bin", "open the drawer", "press the red button", "lift the mug")
TICKS = os.sysconf("SC_CLK_TCK")


def processor_time(pid: int) -> float:
    """User and system time of a process [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Probe:
    """Counts messages and their ages in simulated time."""

    def __init__(self, director: Director) -> None:
        self.counts: dict[str, int] = defaultdict(int)
        self.chunk_ages: list[float] = []
        self.status: WbcStatus | None = None
        self.diagnostics: dict[str, dict[str, str]] = {}
        self._newest = 0.0
        node = director.node
        for camera in ("head", "wrist"):
            topic = f"/{camera}_camera/image_raw"
            node.create_subscription(Image, topic, lambda m, t=topic: self._count(t, m), qos_profile_sensor_data)
        node.create_subscription(JointState, "/joint_states", self._on_joints, qos_profile_sensor_data)
        node.create_subscription(TrajectoryChunk, "/trajectory_chunk", self._on_chunk, 10)
        node.create_subscription(WbcStatus, "/wbc_status", self._on_status, 10)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _count(self, topic: str, _message: object) -> None:
        self.counts[topic] += 1

    def _on_joints(self, message: JointState) -> None:
        self.counts["/joint_states"] += 1
        self._newest = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9

    def _on_chunk(self, message: TrajectoryChunk) -> None:
        self.counts["/trajectory_chunk"] += 1
        if message.horizon:
            self.chunk_ages.append(self._newest - message.header.stamp.sec - message.header.stamp.nanosec * 1e-9)

    def _on_status(self, message: WbcStatus) -> None:
        self.status = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.diagnostics[status.name] = {v.key: v.value for v in status.values}

    @property
    def simulated(self) -> float:
        """Newest simulation time [s]."""
        return self._newest


def measure(seconds: float, domain: int, values: dict[str, object]) -> dict[str, object]:
    """Run the stack and measure for this long [s of wall clock]."""
    with running_stack(domain, values, bag=True) as (supervisor, director):
        probe = Probe(director)
        director.spin(1.0)
        return carry_out(supervisor, director, probe, seconds)


def carry_out(supervisor: Supervisor, director: Director, probe: Probe, seconds: float) -> dict[str, object]:
    """Carry out instructions for this long and report."""
    before = {child.node.name: processor_time(child.process.pid) for child in supervisor.children}
    assert probe.status is not None
    first = probe.status
    wall, simulated = time.monotonic(), probe.simulated
    probe.counts.clear()
    turn, done = 0, 0
    while time.monotonic() - wall < seconds:
        director.say(INSTRUCTIONS[turn % len(INSTRUCTIONS)])
        turn += 1
        director.wait_until(
            lambda: (director.outcome is not None and director.outcome.success) or time.monotonic() - wall > seconds,
            20.0,
        )
        done += bool(director.outcome and director.outcome.success)
        director.spin(0.5)
    elapsed, advanced = time.monotonic() - wall, probe.simulated - simulated
    last = probe.status
    late = np.array(last.lateness_histogram, dtype=float) - np.array(first.lateness_histogram, dtype=float)
    ages = np.array(probe.chunk_ages) if probe.chunk_ages else np.array([np.nan])
    policy = probe.diagnostics.get("policy: runtime", {})
    return {
        "seconds": elapsed,
        "real_time_factor": advanced / elapsed,
        "instructions_done": done,
        "cpu_percent": {
            child.node.name: 100.0 * (processor_time(child.process.pid) - before[child.node.name]) / elapsed
            for child in supervisor.children
        },
        "rates_hz": {topic: count / advanced for topic, count in sorted(probe.counts.items())},
        "chunk_age_s": {"p50": float(np.percentile(ages, 50)), "p99": float(np.percentile(ages, 99))},
        "inference_s": {"p50": policy.get("inference_p50_s"), "p99": policy.get("inference_p99_s")},
        "wbc": {
            "cycle_p50_us": 1e6 * last.cycle_time_p50,
            "cycle_p99_us": 1e6 * last.cycle_time_p99,
            "cycles": int(last.cycles - first.cycles),
            "missed": int(last.missed_cycles - first.missed_cycles),
            "lateness_edges_ms": [1e3 * edge for edge in last.lateness_edges],
            "lateness_share_percent": [round(100.0 * share, 2) for share in late / max(late.sum(), 1.0)],
        },
        "machine": machine(),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 bench stack``."""
    parser.add_argument("--seconds", type=float, default=40.0, help="how long to measure (default: %(default)s)")
    parser.add_argument("--domain", type=int, default=90, help="ROS domain (default: %(default)s)")
    parser.add_argument("--size", type=int, default=256, help="edge of the images [pixel] (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    values: dict[str, object] = {"image_width": args.size, "image_height": args.size}
    result = measure(args.seconds, args.domain, values)
    print(json.dumps(result, indent=1))
    if args.json:
        write_json(args.json, result)
    return 0
