"""what the operator's console costs: its processor time, and what the controller notices of it

One simulated stack runs all the time, carrying out instructions; beside it, in turns: no console, a console nobody
looks at, a console with one viewer (page at 10 Hz, pictures and 3-D view). All three see the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from benchmarks.report import machine, write_json

from gr2_bringup import stack
from gr2_bringup.director import Director
from gr2_bringup.supervisor import Supervisor

TASKS = ("put the red block in the bin", "lift the mug", "put the green block in the bin", "lift the blue block")
CASES = ("no console", "console, no viewer", "console, one viewer")
TICKS = os.sysconf("SC_CLK_TCK")


def processor_time(pid: int) -> float:
    """User and system time of a process [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Viewer:
    """What a browser fetches, without drawing it: frame after frame, and the 3-D view's messages."""

    def __init__(self, address: str) -> None:
        import viser

        self.frames = 0
        self._address = address
        self._ended = threading.Event()
        page = urllib.request.urlopen(address, timeout=10.0).read().decode()
        ticket = re.search(r'name="scene-ticket" content="([^"]+)"', page).group(1)  # type: ignore[union-attr]
        host = address.removeprefix("http://").strip("/")
        self._scene = socket.create_connection(host.split(":"), timeout=5.0)  # type: ignore[arg-type]
        self._scene.sendall(
            f"GET /scene/{ticket} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: viser-v{viser.__version__}\r\n\r\n".encode()
        )
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._fetch, self._drain)]
        for thread in self._threads:
            thread.start()

    def _fetch(self) -> None:
        after = 0
        while not self._ended.is_set():
            with urllib.request.urlopen(f"{self._address}frame?after={after}", timeout=5.0) as answer:
                data = answer.read()
            if data:
                after = json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])["frame"]
                self.frames += 1

    def _drain(self) -> None:
        while not self._ended.is_set():
            try:
                if not self._scene.recv(65_536):
                    return
            except TimeoutError:
                continue

    def close(self) -> None:
        """Go away."""
        self._ended.set()
        for thread in self._threads:
            thread.join(6.0)
        self._scene.close()


@contextmanager
def console(values: dict[str, object], env: dict[str, str], folder: Path) -> Iterator[tuple[int, str]]:
    """A console of its own: process number and address."""
    (node,) = [n for n in stack.simulation(values | {"console": True, "console_port": 0}) if n.name == "console"]
    supervisor = Supervisor([node], env, stack.share_folder(), folder, lambda *_: None)
    supervisor.start()
    try:
        deadline = time.monotonic() + 60.0
        while (found := _address(folder / "console.log")) is None:
            if time.monotonic() > deadline:
                raise SystemExit(f"the console prints no address; see {folder}")
            time.sleep(0.1)
        time.sleep(4.0)  # it builds its 3-D view
        yield supervisor.children[0].process.pid, found
    finally:
        supervisor.stop()


def _address(log: Path) -> str | None:
    found = re.search(r"open (http://\S+)", log.read_text()) if log.exists() else None
    return found.group(1) if found else None


def watch(director: Director, seconds: float) -> tuple[float, float, float]:
    """Share of cycles missed, median of the cycle's p50 and p99 [ms], while tasks are carried out."""
    p50, p99 = [], []
    director.spin(0.3)
    first, turn = director.status, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if turn % 8 == 0:
            director.say(TASKS[turn // 8 % len(TASKS)])
        turn += 1
        director.spin(0.5)
        p50.append(1e3 * director.status.cycle_time_p50)  # type: ignore[union-attr]
        p99.append(1e3 * director.status.cycle_time_p99)  # type: ignore[union-attr]
    last = director.status
    assert first is not None
    assert last is not None
    share = (last.missed_cycles - first.missed_cycles) / max(1, last.cycles - first.cycles)
    return share, float(np.median(p50)), float(np.median(p99))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 bench console``."""
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each case (default: %(default)s)")
    parser.add_argument("--domain", type=int, default=80, help="ROS domain (default: %(default)s)")
    parser.add_argument("--image", type=int, default=256, help="edge of the camera images [pixel]")
    parser.add_argument("--policy", default="teacher", help="gr2 imagines, too (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=None, help="write the report here too")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    size = {"image_width": args.image, "image_height": args.image}
    values = stack.defaults(stack.SIMULATION) | {"policy": args.policy} | size
    env = dict(os.environ) | {"ROS_DOMAIN_ID": str(args.domain)}
    results: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        supervisor = Supervisor(stack.simulation(values), env, stack.share_folder(), Path(folder), lambda *_: None)
        director = Director("bench", domain_id=args.domain)
        try:
            supervisor.start()
            if not director.wait_until(director.ready, 60.0):
                raise SystemExit(f"the stack is not ready: {director.not_ready_because()}")
            for number in range(args.rounds):
                results[CASES[0]].append((*watch(director, args.seconds), 0.0, 0.0))
                with console(values, env, Path(folder) / str(number)) as (pid, address):
                    for case in CASES[1:]:
                        viewer = Viewer(address) if case == CASES[2] else None
                        used, begun = processor_time(pid), time.monotonic()
                        found = watch(director, args.seconds)
                        span = time.monotonic() - begun
                        share = (processor_time(pid) - used) / span
                        results[case].append((*found, share, viewer.frames / span if viewer else 0.0))
                        if viewer is not None:
                            viewer.close()
        finally:
            director.close()
            supervisor.stop()
    report = {"machine": machine(), "image": args.image, "policy": args.policy, "cases": {}}
    print(f"{'':22}{'missed':>9}{'cycle p50':>12}{'p99':>10}{'console':>12}{'frames':>10}")
    for case in CASES:
        missed, p50, p99, share, frames = (float(np.median(column)) for column in zip(*results[case], strict=True))
        report["cases"][case] = {  # type: ignore[index]
            "missed": missed, "cycle_p50_ms": p50, "cycle_p99_ms": p99, "console_cores": share, "frames_per_s": frames,
            "turns": results[case],
        }  # fmt: skip
        print(f"{case:22}{100 * missed:>7.2f} %{p50:>9.2f} ms{p99:>7.2f} ms{100 * share:>10.1f} %{frames:>8.1f}/s")
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    if args.json is not None:
        write_json(args.json, report)
    return 0
