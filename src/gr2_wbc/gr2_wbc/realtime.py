"""What makes a Python process keep 200 Hz: scheduling, a core of its own, memory that stays, no garbage collector.

Nothing here is required: what the system does not permit is reported, with what would permit it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import threading
import time
from dataclasses import dataclass, field

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_CAP_IPC_LOCK = 14
_HEAP = 16 * 2**20  # [byte] touched before the loop, so that it does not have to ask the kernel for memory
_COLLECT_PERIOD = 10.0  # [s] between full collections of garbage while the arm stands

PERMISSION = (
    "permit it in /etc/security/limits.d/gr2.conf: '@realtime - rtprio 90' and '@realtime - memlock unlimited', "
    "with this user in the group realtime"
)


@dataclass
class RealtimeReport:
    """What was asked of the system and what it gave.

    Attributes:
        granted: in words, e.g. "SCHED_FIFO, priority 50".
        denied: what was not permitted, and why.
    """

    granted: list[str] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = ", ".join(self.granted) or "default scheduling"
        return f"{text}; not permitted: {', '.join(self.denied)} ({PERMISSION})" if self.denied else text


def become_realtime(priority: int, core: int) -> RealtimeReport:
    """Ask for everything on behalf of the calling thread and this process.

    Args:
        priority: of SCHED_FIFO, 1 ... 99, the process's other threads one below; 0: neither scheduling, core nor locked
            memory are asked for.
        core: to run on; -1: the last one of those allowed, where there are two or more; -2: any.
    """
    report = RealtimeReport()
    if priority > 0:
        _schedule(report, priority)
        if report.granted:
            _pin(report, core)
            _lock_memory(report)
    _touch_heap()
    gc.collect()
    gc.freeze()
    gc.disable()
    return report


def _schedule(report: RealtimeReport, priority: int) -> None:
    """The calling thread, and one priority below it those of the middleware, without which nothing is received."""
    own = threading.get_native_id()
    for thread in (own, *(other for other in map(int, os.listdir("/proc/self/task")) if other != own)):
        try:
            wanted = priority if thread == own else max(priority - 1, 1)
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(wanted))
        except ProcessLookupError:
            continue  # a thread that has ended meanwhile
        except (OSError, AttributeError) as error:
            report.denied.append(f"SCHED_FIFO, priority {priority} ({error})")
            return
    report.granted.append(f"SCHED_FIFO, priority {priority}")


def _pin(report: RealtimeReport, core: int) -> None:
    """Only with SCHED_FIFO: a thread that is bound to a core and has no precedence waits for whoever runs there."""
    allowed = sorted(os.sched_getaffinity(0))
    if core == -2 or (core == -1 and len(allowed) < 2):
        return
    chosen = allowed[-1] if core == -1 else core
    try:
        os.sched_setaffinity(0, {chosen})
    except OSError as error:
        report.denied.append(f"core {chosen} of {allowed} ({error})")
    else:
        report.granted.append(f"core {chosen}")


def _lock_memory(report: RealtimeReport) -> None:
    """Keep pages in memory once they were used."""
    if not _may_lock():
        # With a limit, a later allocation would fail where now only the lock does.
        report.denied.append("locked memory (memlock is limited)")
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        report.denied.append(f"locked memory ({os.strerror(ctypes.get_errno())})")
    else:
        report.granted.append("locked memory")


def _may_lock() -> bool:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY:
        return True
    with open("/proc/self/status", encoding="ascii") as status:
        effective = next(line for line in status if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> _CAP_IPC_LOCK & 1)


def _touch_heap() -> None:
    """Have the allocator keep what it once got, and give it some."""
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)
    libc.mallopt(_M_MMAP_MAX, 0)
    block = bytearray(_HEAP)
    block[::4096] = bytes(len(block[::4096]))
    del block


class Collector:
    """Collects garbage when there is time, in place of Python's own, which does so in the middle of a cycle."""

    def __init__(self, steady: float) -> None:
        self._next = steady + _COLLECT_PERIOD

    def collect(self, steady: float, standing: bool) -> None:
        """Call once a second or so; a full collection takes place while the arm is ``standing``."""
        if standing and steady >= self._next:
            self._next = steady + _COLLECT_PERIOD
            gc.collect()
        else:
            gc.collect(1)


class CpuMeter:
    """Processor time of this process."""

    def __init__(self) -> None:
        self._last = time.monotonic(), time.process_time()

    def share(self) -> float:
        """Share of one core used since the last call, all threads together."""
        last, self._last = self._last, (time.monotonic(), time.process_time())
        return (self._last[1] - last[1]) / max(self._last[0] - last[0], 1e-6)
