"""F17: a controller that does not get its turns slows the arm down, and stops it when that is not enough."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BURNER = "while True: pass"


@contextmanager
def pulses(pid: int, stopped: float, running: float) -> Iterator[None]:
    """A process that gets no processor for ``stopped`` seconds again and again."""
    ending = threading.Event()

    def pulse() -> None:
        while not ending.is_set():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(stopped)
            os.kill(pid, signal.SIGCONT)
            time.sleep(running)

    thread = threading.Thread(target=pulse)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def test_missed_cycles_slow_the_arm_before_they_stop_it(bench, report, measures):  # type: ignore[no-untyped-def]
    motion, begun = bench.move()
    pid, missed = bench.running.process("wbc").pid, bench.director.status.missed_cycles
    with pulses(pid, 0.012, 0.03):
        scales = []
        for _ in range(5):
            bench.stream(0.5, motion, begun)
            scales.append(bench.director.status.path_speed_scale)
        assert bench.director.status.missed_cycles > missed + 20
        assert bench.state in ("TRACKING", "DECELERATING", "HOLDING"), bench.reason
        assert min(scales) < 0.6, "the path is followed more slowly"
    assert "missed or late: slower" in bench.running.logs()
    measures.assert_within_limits(bench.running)
    bench.stream(3.5, bench.circle())
    assert "cycles are in time again" in bench.running.logs()
    assert bench.director.status.path_speed_scale > 0.9
    report.add("F17 a quarter of the cycles missed", "half the path speed, told on /diagnostics, until it is better")


def test_too_many_missed_cycles_stop_it(bench, report, measures):  # type: ignore[no-untyped-def]
    motion, begun = bench.move()
    fault = time.monotonic()
    with pulses(bench.running.process("wbc").pid, 0.012, 0.004):
        bench.stream(6.0, motion, begun)
        assert bench.state == "STOPPED", bench.director.status.lateness_histogram
    assert "missed or late, allowed are" in bench.reason
    stopped = measures.halt(bench.running, fault)
    report.add("F17 two thirds of the cycles missed", "STOPPED, says how many", stopped)


@pytest.mark.parametrize("seconds", [1.0])
def test_a_controller_that_is_frozen_stops_the_arm_by_its_last_command(bench, seconds, report, measures):  # type: ignore[no-untyped-def]
    motion, begun = bench.move()
    process = bench.running.process("wbc")
    fault = time.monotonic()
    process.send_signal(signal.SIGSTOP)
    try:
        bench.stream(seconds, motion, begun)
        stopped = measures.halt(bench.running, fault)
        assert stopped.time < 0.35
        assert bench.running.at_rest(0.3)
    finally:
        process.send_signal(signal.SIGCONT)
    bench.stream(0.6, motion, begun)
    measures.assert_within_limits(bench.running)
    report.add("F8 controller frozen (SIGSTOP) for 1 s", f"the arm brakes by itself; then {bench.state}", stopped)


def test_busy_processors_do_not_disturb_a_real_time_controller(bench, report):  # type: ignore[no-untyped-def]
    if "SCHED_FIFO, priority" not in bench.running.logs().split("not permitted")[0]:
        pytest.skip("SCHED_FIFO is not permitted here")
    burners = [subprocess.Popen([sys.executable, "-c", BURNER]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        motion, begun = bench.move()
        before = bench.director.status
        bench.stream(4.0, motion, begun)
        after = bench.director.status
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    cycles, missed = after.cycles - before.cycles, after.missed_cycles - before.missed_cycles
    assert cycles > 700
    assert missed <= 0.01 * cycles
    report.add(
        f"F17 {len(burners)} busy processes on {os.cpu_count()} cores",
        f"{missed} of {cycles} cycles missed (SCHED_FIFO)",
    )


def test_memory_does_not_grow(bench):  # type: ignore[no-untyped-def]
    """The garbage collector is off in the loop; what it leaves must not add up."""

    def resident() -> int:
        with open(f"/proc/{bench.running.process('wbc').pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    motion = bench.circle()
    begun = bench.stream(3.0, motion)
    before = resident()
    bench.stream(6.0, motion, begun)
    assert resident() - before < 1500  # [kB]
