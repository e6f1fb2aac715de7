"""what the whole simulated stack costs, and how well it keeps time

Runs the stack as ``./gr2 sim`` does, carries out instructions one after the other, and reports the real-time factor,
the processor time of each process, the rates and ages of messages, and how punctual the controller was.

examples:
  ./gr2 bench stack                                       the scripted teacher, recording a bag
  ./gr2 bench stack --set policy=gr2 --set replan_rate=8  the weights that ship
  ./gr2 bench stack --set policy=gr2 --set untrained=B --set policy_options=clip_folder=FOLDER --set replan_rate=2
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.report import machine, write_json
from benchmarks.running_stack import running_stack
from diagnostic_msgs.msg import DiagnosticArray
from gr2_msgs.msg import TrajectoryChunk, WbcStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image, JointState

from gr2_bringup import stack
from gr2_bringup.director import Director
from gr2_bringup.supervisor import Supervisor
from gr2_wbc.polling import Polled, take

INSTRUCTIONS = ("put the red block in the bin", "open the drawer", "press the red button", "lift the mug")
TICKS = os.sysconf("SC_CLK_TCK")


def processor_time(pid: int) -> float:
    """User and system time of a process [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Probe:
    """Counts messages and their ages in simulated time, at as little cost as can be: it is on the same machine."""

    FREQUENT = {"/joint_states": JointState} | {f"/{camera}_camera/image_raw": Image for camera in ("head", "wrist")}

    def __init__(self, director: Director) -> None:
        self.counts: dict[str, int] = defaultdict(int)
        self.chunk_ages: list[float] = []
        self.status: WbcStatus | None = None
        self.diagnostics: dict[str, dict[str, str]] = {}
        self._newest = 0.0
        node, polled = director.node, Polled()
        profile = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._polled = {
            topic: polled.subscribe(node, kind, topic, print, profile, raw=True)
            for topic, kind in self.FREQUENT.items()
        }
        node.create_subscription(TrajectoryChunk, "/trajectory_chunk", self._on_chunk, 10)
        node.create_subscription(WbcStatus, "/wbc_status", self._on_status, 10)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def poll(self) -> None:
        """Take what has come on the frequent topics; no later than half a second after the last time."""
        for topic, subscription in self._polled.items():
            for data, _ in take(subscription, 100):
                self.counts[topic] += 1
                if topic == "/joint_states":
                    sec, nanosec = struct.unpack_from("<iI", data, 4)  # the header's stamp, after CDR's own four bytes
                    self._newest = sec + 1e-9 * nanosec

    def _on_chunk(self, message: TrajectoryChunk) -> None:
        self.poll()
        self.counts["/trajectory_chunk"] += 1
        if message.horizon:
            self.chunk_ages.append(self._newest - message.header.stamp.sec - message.header.stamp.nanosec * 1e-9)

    def _on_status(self, message: WbcStatus) -> None:
        self.poll()
        self.status = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.diagnostics[status.name] = {v.key: v.value for v in status.values}

    @property
    def simulated(self) -> float:
        """Newest simulation time [s]."""
        self.poll()
        return self._newest


def measure(seconds: float, domain: int, values: dict[str, object]) -> dict[str, Any]:
    """Run the stack and measure for this long [s of wall clock]."""
    with running_stack(domain, values, bag=True) as (supervisor, director):
        probe = Probe(director)
        director.spin(1.0)
        return carry_out(supervisor, director, probe, seconds)


def carry_out(supervisor: Supervisor, director: Director, probe: Probe, seconds: float) -> dict[str, Any]:
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
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an argument of sim.launch.py, such as policy"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file too")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    values: dict[str, object] = {"image_width": args.size, "image_height": args.size}
    given = dict(item.partition("=")[::2] for item in args.set)
    try:
        parsed = stack.parse(stack.SIMULATION, given)
    except stack.BadArgument as bad:
        print(f"gr2 bench stack: {bad}", file=sys.stderr)
        return 2
    values |= {name: parsed[name] for name in given}
    result = measure(args.seconds, args.domain, values) | {"set": values}
    Console(width=120).print(table(result))
    if args.json:
        write_json(args.json, result)
    return 0


def table(result: dict[str, Any]) -> Table:
    """For people."""
    host, wbc, rates = result["machine"], result["wbc"], result["rates_hz"]
    made = Table(
        title=f"{host['processor']}, {host['cores']} cores, load {host['load']:.1f}; {result['seconds']:.0f} s",
        show_header=False,
    )
    processor = [f"{name} {share:.0f} %" for name, share in result["cpu_percent"].items()]
    made.add_row("simulated seconds per second", f"{result['real_time_factor']:.3f}")
    made.add_row("instructions carried out", str(result["instructions_done"]))
    made.add_row("processor, of one core", ", ".join(processor))
    made.add_row("messages a simulated second", "\n".join(f"{topic} {rate:.1f}" for topic, rate in rates.items()))
    age, inference = result["chunk_age_s"], result["inference_s"]
    made.add_row("inference p50, p99", f"{inference['p50']} s, {inference['p99']} s")
    made.add_row("image to chunk p50, p99", f"{1e3 * age['p50']:.0f} ms, {1e3 * age['p99']:.0f} ms of simulated time")
    made.add_row("controller's cycle p50, p99", f"{wbc['cycle_p50_us']:.0f} us, {wbc['cycle_p99_us']:.0f} us")
    made.add_row("cycles missed", f"{wbc['missed']} of {wbc['cycles']}")
    return made
