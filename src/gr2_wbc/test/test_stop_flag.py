"""A node finishes on a signal, wherever a second one strikes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gr2_wbc.stop_flag import StopFlag

_PROGRAM = """
import signal, sys, threading
from gr2_wbc.stop_flag import StopFlag

MAKE
left = 20

def strike_again(frame, event, argument):  # at every line of the handler and of what it calls
    global left
    if event == "line" and left:
        left -= 1
        signal.raise_signal(signal.SIGINT)
    return strike_again

sys.settrace(strike_again)
signal.raise_signal(signal.SIGTERM)
sys.settrace(None)
assert flag.is_set() and left < 20
print("finished")
"""
_OURS = "flag = StopFlag.on_signals()"
_EVENT = """
flag = threading.Event()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: flag.set())
"""


def finish(make: str, seconds: float) -> str:
    """What the program says; it is killed after some time."""
    program = _PROGRAM.replace("MAKE", make)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=seconds
    ).stdout


def test_a_signal_within_the_handler_of_another_changes_nothing() -> None:
    assert finish(_OURS, 60.0) == "finished\n"


def test_a_lock_in_the_handler_would_hang() -> None:
    """Why it is no threading.Event: a controller was found that had hung there for forty minutes."""
    with pytest.raises(subprocess.TimeoutExpired):
        finish(_EVENT, 5.0)


def test_waiting_ends_in_time_or_when_asked() -> None:
    flag = StopFlag()
    assert not flag.wait(0.01)
    assert not flag.is_set()
    flag.set()
    assert flag.wait(60.0)
