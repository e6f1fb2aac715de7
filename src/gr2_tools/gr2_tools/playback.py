"""Playing messages at the pace they were recorded: reading ahead, absolute deadlines, and the account of lateness.

Knows no ROS.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from gr2_tools.bag_types import BagMessage
from gr2_tools.signals import StopFlag

LATE = 0.010  # [s] a message published later than this after its deadline is counted as late
_WAKE_EARLY = 0.050  # [s] long waits end this much early, so that a stop request is never slept through


@dataclass
class TimingReport:
    """How punctual a playback was.

    Attributes:
        published: messages.
        late: those more than LATE behind their deadline.
        lateness: publishing minus deadline [s], of the newest messages (a loop may run for weeks).
        wall: seconds it took.
    """

    published: int = 0
    late: int = 0
    lateness: deque[float] = field(default_factory=lambda: deque(maxlen=1_000_000))
    wall: float = 0.0

    def add(self, lateness: float) -> None:
        """Accounts for a message."""
        self.published += 1
        self.late += lateness > LATE
        self.lateness.append(lateness)

    def percentile(self, q: float) -> float:
        """Lateness percentile [s]; 0 when nothing was published."""
        return float(np.percentile(self.lateness, q)) if self.lateness else 0.0

    def line(self) -> str:
        """The account in one line."""
        return (
            f"{self.published} messages in {self.wall:.1f} s; lateness p50 {1e3 * self.percentile(50):.2f} ms, "
            f"p99 {1e3 * self.percentile(99):.2f} ms, {self.late} later than {1e3 * LATE:.0f} ms"
        )


class Prefetch:
    """Reads an iterator ahead in a thread, bounded by bytes, so that the disk does not disturb the pace.

    Iterating raises what the source raised. Close it when leaving early.
    """

    def __init__(self, source: Iterable[BagMessage], max_bytes: int = 64 << 20) -> None:
        self._source = source
        self._max_bytes = max_bytes
        self._queue: deque[BagMessage] = deque()
        self._bytes = 0
        self._done = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="bag prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[BagMessage]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._done)
                if not self._queue:
                    if self._error is not None:
                        raise self._error
                    return
                message = self._queue.popleft()
                self._bytes -= len(message.data)
                self._changed.notify_all()
            yield message

    def wait_filled(self, timeout: float) -> None:
        """Waits until something has been read [s]."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._done, timeout)

    def close(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._done = True
            self._changed.notify_all()
        self._thread.join()

    def _read(self) -> None:
        try:
            for message in self._source:
                with self._changed:
                    self._changed.wait_for(lambda: self._bytes < self._max_bytes or self._done)
                    if self._done:
                        return
                    self._queue.append(message)
                    self._bytes += len(message.data)
                    self._changed.notify_all()
        except Exception as error:  # noqa: BLE001 - handed over to the consuming thread, see __iter__
            self._error = error
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()


class Pace:
    """Maps bag time to a steady clock and waits for deadlines.

    Args:
        start: bag time that is played at once [ns].
        rate: bag seconds per second.
        stop: set it to end all waiting.
    """

    def __init__(self, start: int, rate: float, stop: StopFlag) -> None:
        self._start = start
        self._rate = rate
        self._stop = stop
        self._origin = time.monotonic()

    def deadline(self, bag_time: int) -> float:
        """Steady time at which a bag time is due [s]."""
        return self._origin + (bag_time - self._start) * 1e-9 / self._rate

    def wait(self, bag_time: int) -> bool:
        """Waits until a bag time is due; False when asked to stop."""
        deadline = self.deadline(bag_time)
        while not self._stop.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                return True
            if left > _WAKE_EARLY:
                self._stop.wait(left - _WAKE_EARLY / 2)
            else:
                time.sleep(left)
        return False


def play(
    messages: Iterable[BagMessage],
    publish: Callable[[BagMessage], None],
    pace: Pace,
    report: TimingReport,
    *,
    clock_period: int = 0,
    clock_start: int = 0,
    publish_clock: Callable[[int], None] | None = None,
) -> bool:
    """Publishes messages when they are due, and the clock (bag time) every ``clock_period`` ns between them.

    Returns:
        False when it was stopped before the end.
    """
    tick = clock_start
    for message in messages:
        while publish_clock is not None and clock_period and tick <= message.log_time:
            if not pace.wait(tick):
                return False
            publish_clock(tick)
            tick += clock_period
        if not pace.wait(message.log_time):
            return False
        lateness = time.monotonic() - pace.deadline(message.log_time)
        publish(message)
        report.add(lateness)
    return True
