"""What is asked of the system, and a loop that leaves no garbage behind."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from gr2_wbc.realtime import Collector, CpuMeter, RealtimeReport

ASK = """
import gc, json, os, sys
from gr2_wbc import realtime
if {forbid}:
    import ctypes, resource
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
report = realtime.become_realtime({priority}, {core})
print(json.dumps([str(report), os.sched_getscheduler(0), sorted(os.sched_getaffinity(0)), gc.isenabled()]))
"""


def ask(priority: int, core: int = -1, forbid: bool = False) -> tuple[str, int, list[int], bool]:
    code = ASK.format(priority=priority, core=core, forbid=forbid)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def may_schedule() -> bool:
    return ask(1, -2)[1] == os.SCHED_FIFO


def test_nothing_is_asked_for_with_priority_0():
    text, scheduler, cores, collecting = ask(0)
    assert text == "default scheduling"
    assert scheduler == os.SCHED_OTHER
    assert cores == sorted(os.sched_getaffinity(0))
    assert not collecting, "garbage is collected by the loop, not in the middle of it"


def test_what_is_permitted_is_taken_and_told():
    if not may_schedule():
        pytest.skip("SCHED_FIFO is not permitted here")
    text, scheduler, cores, _ = ask(42)
    assert scheduler == os.SCHED_FIFO
    assert "SCHED_FIFO, priority 42" in text
    allowed = sorted(os.sched_getaffinity(0))
    assert cores == (allowed[-1:] if len(allowed) > 1 else allowed)
    assert ask(42, -2)[2] == allowed


def test_what_is_not_permitted_is_told_with_what_to_do():
    text, scheduler, cores, _ = ask(42, forbid=True)
    assert scheduler == os.SCHED_OTHER
    assert cores == sorted(os.sched_getaffinity(0)), "without precedence it must not be bound to a core"
    assert "SCHED_FIFO, priority 42" in text
    assert "/etc/security/limits.d" in text
    assert "rtprio" in text


def test_a_core_that_is_not_there_is_told():
    if not may_schedule():
        pytest.skip("SCHED_FIFO is not permitted here")
    text, _, cores, _ = ask(42, 999)
    assert "not permitted: core 999" in text
    assert cores == sorted(os.sched_getaffinity(0))


def test_an_empty_report_is_the_default():
    assert str(RealtimeReport()) == "default scheduling"


def test_cycles_leave_no_garbage(rig):
    """With the collector off, nothing but reference counts frees memory: cycles of references would pile up."""
    rig.stream(rig.circle(), 0.5)
    rig.commands.clear()
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        rig.stream(rig.circle(), 2.0, each=rig.commands.clear)
        after = len(gc.get_objects())
        assert gc.collect() < 20
        assert after - before < 200
    finally:
        gc.enable()


def test_the_collector_waits_for_a_standing_arm(monkeypatch):
    calls = []
    monkeypatch.setattr(gc, "collect", lambda generation=2: calls.append(generation))
    collector = Collector(0.0)
    for second in range(1, 40):
        collector.collect(float(second), standing=20 <= second < 35)
    assert calls.count(2) == 2
    assert calls.index(2) == 19  # the first one while it stands


def test_the_meter_tells_the_share_of_a_core():
    meter = CpuMeter()
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        pass
    assert meter.share() > 0.1
    time.sleep(0.2)
    assert meter.share() < 0.5


@pytest.mark.parametrize("after", [0.15, 0.3, 0.6])
def test_ctrl_c_while_it_starts_is_no_crash(after):
    pytest.importorskip("rclpy", reason="no ROS on this machine")
    command = [sys.executable, "-c", "print('begun', flush=True); from gr2_wbc.program import main; main()"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=20)
    assert "Traceback" not in text
