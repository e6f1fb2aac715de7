"""SIGINT, SIGTERM and SIGHUP as a request to finish, instead of an exception in the middle of something."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_POLL = 0.05


class StopFlag:
    """A request to stop. Unlike threading.Event it has no lock that a signal handler could dead-lock on."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Asks to stop."""
        self._set = True

    def is_set(self) -> bool:
        """Whether someone asked."""
        return self._set

    def wait(self, timeout: float) -> bool:
        """Sleeps for a time [s], or until asked to stop; says whether it was."""
        deadline = time.monotonic() + timeout
        while not self._set:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, _POLL))
        return True


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """A flag that SIGINT, SIGTERM and SIGHUP (unless ignored, see nohup) set.

    Further signals change nothing, so finishing is never torn. Outside of the main thread no handlers can be
    installed: the flag is then only set by the caller.
    """
    stop = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wanted.append(signal.SIGHUP)
    previous = {s: signal.signal(s, lambda *_: stop.set()) for s in wanted}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
