"""A node finishes on a signal, whatever else arrives."""

from __future__ import annotations

import signal
import subprocess
import sys

from gr2_wbc.stop_flag import StopFlag

_PROGRAM = """
import sys
from gr2_wbc.stop_flag import StopFlag
flag = StopFlag.on_signals()
print("ready", flush=True)
while not flag.is_set():
    flag.wait(0.001)
sys.stdin.read()  # the rest of the signals strike here
print("finished", flush=True)
"""


def test_a_storm_of_signals_ends_it_once() -> None:
    """With threading.Event, whose set() takes a lock, the handler of the second signal could wait for the first's."""
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for _ in range(300):
            child.send_signal(signal.SIGTERM)
            child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=20.0)
        assert said == "finished\n"
        assert child.returncode == 0


def test_waiting_ends_in_time_or_when_asked() -> None:
    flag = StopFlag()
    assert not flag.wait(0.01)
    assert not flag.is_set()
    flag.set()
    assert flag.wait(60.0)
