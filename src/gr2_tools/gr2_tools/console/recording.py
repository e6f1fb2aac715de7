"""Record on and off: the recorder as a child process, so that writing never costs the console (or anybody) a beat."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

STOP_PATIENCE = 20.0  # [s] for the recorder to complete its bag


class RecordingError(RuntimeError):
    """Recording could not be begun or ended well; the message says why."""


class Recording:
    """At most one recording at a time.

    Args:
        folder: where bags go, one folder each.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._bag = Path()
        self._begun = 0.0

    @property
    def state(self) -> dict[str, object]:
        """For the page: whether it records (a recorder needs a moment to begin), where to, for how long [s]."""
        process = self._process
        running = process is not None and process.poll() is None
        return {
            "running": running,
            "begun": running and self._bag.with_name(self._bag.name + ".partial").exists(),
            "bag": str(self._bag) if self._bag.name else "",
            "duration": round(time.monotonic() - self._begun, 1) if running else None,
        }

    def begin(self, use_sim_time: bool) -> Path:
        """Start a recording of the stack's topics.

        Args:
            use_sim_time: log times are those of /clock.

        Returns:
            the bag that it will be.

        Raises:
            RecordingError: one runs already, or the folder cannot be made.
        """
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                raise RecordingError(f"already recording to {self._bag}")
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RecordingError(f"cannot make {self._folder}: {error.strerror}") from error
            bag = self._folder / time.strftime("console_%Y-%m-%d_%H-%M-%S")
            command = [sys.executable, "-c", "from gr2_tools.recorder_node import main; main()"]
            command += ["--ros-args", "-r", "__node:=console_recorder"]
            command += ["-p", f"output:='{bag}'", "-p", f"use_sim_time:={str(use_sim_time).lower()}"]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"RCUTILS_LOGGING_USE_STDOUT": "0"},
            )
            self._bag, self._begun = bag, time.monotonic()
            return bag

    def end(self) -> Path:
        """Complete the recording; blocks until the bag is whole.

        Returns:
            the bag.

        Raises:
            RecordingError: none runs, or the recorder failed; the text is the recorder's last.
        """
        with self._lock:
            process = self._process
            if process is None:
                raise RecordingError("nothing is being recorded")
            self._process = None
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                _, errors = process.communicate(timeout=STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise RecordingError(
                    f"the recorder did not end within {STOP_PATIENCE:.0f} s and was killed; "
                    f"what it wrote is in {self._bag}.partial"
                ) from None
            if process.returncode != 0:
                last = (errors.strip().splitlines() or ["no reason given"])[-1]
                raise RecordingError(f"the recorder failed (exit code {process.returncode}): {last}")
            if not self._bag.exists():
                raise RecordingError("nothing was recorded: it ended before the recorder had begun")
            return self._bag

    def close(self) -> None:
        """End what runs, when the console ends; a failure has nobody left to be told."""
        if self._process is not None:
            try:
                self.end()
            except RecordingError as error:
                print(f"console: {error}", file=sys.stderr)
