"""Runs a policy on a thread of its own, so that neither messages nor watchdogs ever wait for a model."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from gr2_policy.policy import ActionChunk, Observation, Policy, PolicyError, UnknownInstruction


@dataclass
class WorkerStatistics:
    """Counters since the start; ``durations`` holds the last inference times [s]."""

    inferences: int = 0
    replaced: int = 0  # observations that a newer one overtook while they waited
    outdated: int = 0  # chunks dropped because the instruction had changed meanwhile
    failures: int = 0
    last_error: str = ""
    durations: deque[float] = field(default_factory=lambda: deque(maxlen=500))

    def percentiles(self) -> tuple[float, float]:
        """Median and 99th percentile of the inference time [s]; nan before the first."""
        values = list(self.durations)
        if not values:
            return float("nan"), float("nan")
        return float(np.percentile(values, 50)), float(np.percentile(values, 99))


class InferenceWorker:
    """One thread, one policy, at most one observation waiting.

    Args:
        policy: only ever touched by this thread once it runs.
        on_chunk: called on the worker's thread with the observation, its chunk and the time it took [s].
        on_unknown_instruction: called on the worker's thread with the policy's words.
        on_error: called on the worker's thread with one line.
    """

    def __init__(
        self,
        policy: Policy,
        on_chunk: Callable[[Observation, ActionChunk, float], None],
        on_unknown_instruction: Callable[[str], None],
        on_error: Callable[[str], None],
    ) -> None:
        self.statistics = WorkerStatistics()
        self._policy = policy
        self._on_chunk = on_chunk
        self._on_unknown = on_unknown_instruction
        self._on_error = on_error
        self._condition = threading.Condition()
        self._waiting: Observation | None = None
        self._instruction = ""
        self._generation = 0
        self._running = True
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def set_instruction(self, instruction: str) -> None:
        """Begin a new instruction; empty for none. What was computed for the old one is dropped."""
        with self._condition:
            self._instruction = instruction
            self._generation += 1
            self._waiting = None
            self._condition.notify()

    def submit(self, observation: Observation) -> None:
        """Hand over the newest observation; one that still waits is replaced."""
        with self._condition:
            if self._waiting is not None:
                self.statistics.replaced += 1
            self._waiting = observation
            self._condition.notify()

    def stop(self, timeout: float = 5.0) -> bool:
        """Let the thread end.

        Returns:
            False if it is still inside an inference after ``timeout`` [s].
        """
        with self._condition:
            self._running = False
            self._condition.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        begun = -1  # generation that the policy was reset for
        able = False
        while True:
            with self._condition:
                while self._running and self._waiting is None and self._generation == begun:
                    self._condition.wait()
                if not self._running:
                    return
                generation, instruction = self._generation, self._instruction
                observation, self._waiting = self._waiting, None
            if generation != begun:
                begun = generation
                able = bool(instruction) and self._reset(instruction)
            if observation is None or not able:
                continue
            start = time.monotonic()
            chunk = self._infer(observation)
            duration = time.monotonic() - start
            if chunk is None:
                continue
            self.statistics.durations.append(duration)
            with self._condition:
                current = self._generation == generation and self._running
            if current:
                self._on_chunk(observation, chunk, duration)
            else:
                self.statistics.outdated += 1

    def _reset(self, instruction: str) -> bool:
        try:
            self._policy.reset(instruction)
        except UnknownInstruction as error:
            self._fail(str(error))
            self._on_unknown(str(error))
            return False
        except Exception as error:  # noqa: BLE001 - a user's policy may raise anything; the runtime reports it and goes on
            self._fail(f"the policy failed to begin '{instruction}': {type(error).__name__}: {error}")
            return False
        return True

    def _infer(self, observation: Observation) -> ActionChunk | None:
        self.statistics.inferences += 1
        try:
            return self._policy.infer(observation)
        except PolicyError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - as above: reported with its type, counted, and no chunk comes of it
            self._fail(f"the policy failed: {type(error).__name__}: {error}")
        return None

    def _fail(self, text: str) -> None:
        self.statistics.failures += 1
        self.statistics.last_error = text
        self._on_error(text)
