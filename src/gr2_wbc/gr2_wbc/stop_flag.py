"""How a signal tells a node to finish."""

from __future__ import annotations

import signal
import time

_POLL = 0.05


class StopFlag:
    """A request to stop. Unlike threading.Event it has no lock that a signal handler could dead-lock on.

    (A handler runs between two steps of the main thread, also between those of a handler before it: the second signal
    would wait for a lock that the first one holds, for ever.)
    """

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

    @classmethod
    def on_signals(cls) -> StopFlag:
        """A flag that SIGINT and SIGTERM set from now on; they do nothing else any more."""
        flag = cls()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: flag.set())
        return flag
