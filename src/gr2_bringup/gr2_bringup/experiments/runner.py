"""Carries out the steps of an experiment, those that can go side by side at once, and none that was done before.

What simulates has workers of its own and goes alone; what learns has one thread, and as many learn at once as there
are workers. A step is done when its command ended well and what it makes is there; ``done.txt`` keeps the commands.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from gr2_bringup.experiments import costs, plan

PHASES = (
    ("demos", "video"),
    ("train-tokenizer",),
    ("pretrain",),
    ("finetune",),
    ("bench",),
    ("model export",),
    ("model measure",),
    ("eval",),
)
"""Commands whose steps do not need each other, in order."""
_ALONE = ("demos", "bench", "eval")  # they have workers or threads themselves


class StepFailed(RuntimeError):
    """A command of an experiment ended badly.

    Attributes:
        code: its exit code.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Runner:
    """See the module's docstring.

    Args:
        out: folder of all that is made.
        workers: processes at once.
        command: what stands before a step's words, ``gr2`` itself.
        say: where lines for people go.
    """

    def __init__(
        self, out: Path, workers: int, command: list[str] | None = None, say: Callable[[str], None] = print
    ) -> None:
        self._out, self._workers, self._say = out, workers, say
        self._command = command or [sys.executable, "-m", "gr2_bringup.cli"]
        out.mkdir(parents=True, exist_ok=True)
        self._done = out / "done.txt"
        self._finished = set(self._done.read_text(encoding="utf-8").splitlines()) if self._done.exists() else set()
        self._costs = costs.Costs(out)
        self._lock = threading.Lock()
        self._begun, self._started, self._ran, self._wanted = time.monotonic(), 0, 0, 0

    def run(self, steps: Iterable[plan.Step]) -> None:
        """Carry out what is not done yet.

        Raises:
            StepFailed: a step failed; those beside it were let come to their end.
        """
        wanted = list(steps)
        self._wanted = sum(not self._is_done(step) for step in wanted)
        for phase in PHASES:
            now = [step for step in wanted if _verb(step) in phase and not self._is_done(step)]
            lanes = 1 if phase[0] in _ALONE else self._workers
            if lanes == 1 or len(now) < 2:
                for step in now:
                    self._carry_out(step, None)
                continue
            self._side_by_side(now, lanes)

    def _side_by_side(self, steps: list[plan.Step], lanes: int) -> None:
        """Begin no more after a failure or Ctrl-C, and wait for what runs."""
        pool = ThreadPoolExecutor(lanes)
        try:
            futures = [pool.submit(self._carry_out, step, self._log_of(step)) for step in steps]
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        for future in futures:
            if not future.cancelled():
                future.result()

    def _is_done(self, step: plan.Step) -> bool:
        return " ".join(step.words) in self._finished and step.makes.exists()

    def _log_of(self, step: plan.Step) -> Path:
        folder = self._out / "logs"
        folder.mkdir(exist_ok=True)
        name = plan.slug(str(step.makes.parent.relative_to(self._out)))
        return folder / f"{plan.slug(_verb(step))}-{name}.log"

    def _carry_out(self, step: plan.Step, log: Path | None) -> None:
        words = " ".join(step.words)
        with self._lock:
            self._started += 1
            number, took = self._started, time.monotonic() - self._begun
            left = took / self._ran * (self._wanted - self._ran) if self._ran else 0.0
        about = f", about {left / 60.0:.0f} min left" if left else ""
        told = f"  (what it says: {log})" if log else ""
        self._say(f"\n[{number}/{self._wanted}{about}] ./gr2 {words}{told}")
        code, seconds = self._call(step, log)
        with self._lock:
            self._costs.add(step.makes, seconds)
            if code:
                where = f"; see {log}" if log else ""
                raise StepFailed(
                    code, f"./gr2 {words}: exit code {code}{where}; the same experiment command goes on there"
                )
            self._ran += 1
            self._finished.add(words)
            with self._done.open("a", encoding="utf-8") as file:
                file.write(words + "\n")

    def _call(self, step: plan.Step, log: Path | None) -> tuple[int, float]:
        """Exit code and processor time [s] of a step's commands."""
        words, spent = list(step.words), 0.0
        if step.asks:
            code, spent, answer = _wait_for([*self._command, *step.asks], None, listen=True)
            if code or not answer.strip():
                return code or 1, spent
            words = [word.replace("{answer}", answer.strip().splitlines()[-1]) for word in words]
        code, seconds, _ = _wait_for([*self._command, *words], log)
        return code, spent + seconds


def _verb(step: plan.Step) -> str:
    return " ".join(step.words[:2]) if step.words[0] == "model" else step.words[0]


def _wait_for(command: list[str], log: Path | None, listen: bool = False) -> tuple[int, float, str]:
    """Run a command: exit code, processor time [s] of it and of what it waited for, and what it printed if asked."""
    file = log.open("a", encoding="utf-8") if log else None
    try:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE if listen else file,
            stderr=subprocess.STDOUT if file and not listen else None,
            text=True,
        )
        answer = process.stdout.read() if process.stdout else ""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.stdout:
            process.stdout.close()
    finally:
        if file:
            file.close()
    return process.returncode, used.ru_utime + used.ru_stime, answer
