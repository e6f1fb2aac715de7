"""SIGINT, SIGTERM and SIGHUP as a request to finish, instead of an exception in the middle of something."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gr2_wbc.stop_flag import StopFlag


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
