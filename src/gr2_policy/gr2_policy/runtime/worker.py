"""Runs a policy on a thread of its own, so that neither messages nor watchdogs ever wait for a model."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np

from gr2_policy.policy import ActionChunk, Commits, Observation, Policy, PolicyError, Tidies, UnknownInstruction
from gr2_policy.runtime.imagination import ImaginationWorker


@dataclass(frozen=True)
class Result:
    """A finished inference.

    Attributes:
        observation: what it began from, with the delay that the policy was told.
        chunk: what came of it.
        waited: from the observation's stamp to the beginning, in ROS time [s].
        begun, ended: on the steady clock [s].
        bound: whether the chunk before was refused meanwhile, from which this one goes on.
    """

    observation: Observation
    chunk: ActionChunk
    waited: float
    begun: float
    ended: float
    bound: bool = False


@dataclass
class WorkerStatistics:
    """Counters since the start; ``durations`` holds the last inference times [s]."""

    inferences: int = 0
    replaced: int = 0  # observations that a newer one overtook while they waited
    outdated: int = 0  # chunks dropped because the instruction had changed meanwhile
    failures: int = 0
    last_error: str = ""
    cpu: float = 0.0  # [s] of processor time, warm-up included
    durations: deque[float] = field(default_factory=lambda: deque(maxlen=500))

    def values(self) -> dict[str, object]:
        """For the diagnostics."""
        return {
            "inferences": self.inferences,
            "observations_replaced": self.replaced,
            "inference_cpu_s": f"{self.cpu:.2f}",
            "chunks_outdated": self.outdated,
            "failures": self.failures,
            "last_error": self.last_error,
        }

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
        on_chunk: called on the worker's thread; returns whether the chunk was put into effect.
        on_unknown_instruction: called on the worker's thread with the policy's words.
        on_error: called on the worker's thread with one line.
        prepare: called first, on the worker's thread; what it raises is kept in :attr:`unfit`.
        now: ROS time [s].
        delay: time from an image to its chunk that the policy has to allow for [s].
        refusals: how many chunks the controller has refused so far.
        imagination: stands still while this thread infers, and goes on from what it has seen.
    """

    def __init__(
        self,
        policy: Policy,
        on_chunk: Callable[[Result], bool],
        on_unknown_instruction: Callable[[str], None],
        on_error: Callable[[str], None],
        *,
        prepare: Callable[[], None] | None = None,
        now: Callable[[], float] = time.time,
        delay: Callable[[], float] = lambda: 0.0,
        refusals: Callable[[], int] = lambda: 0,
        imagination: ImaginationWorker | None = None,
    ) -> None:
        self.statistics = WorkerStatistics()
        self.ready = threading.Event()
        self.unfit = ""  # why it will never be ready
        self._prepare = prepare
        self._now = now
        self._delay = delay
        self._refusals = refusals
        self._imagination = imagination
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
        if self._imagination is not None:
            self._imagination.clear()

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
        if not self._get_ready():
            return
        begun = -1  # generation that the policy was reset for
        able = False
        refusals = 0
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
            if self._refusals() != refusals:
                refusals = self._refusals()
                self._discard()
            with self._undisturbed():
                result = self._infer(replace(observation, delay=self._delay()))
                if result is None:
                    continue
                with self._condition:
                    current = self._generation == generation and self._running
                if not current:
                    self.statistics.outdated += 1
                    continue
                refused = isinstance(self._policy, Commits) and self._refusals() != refusals
                if not self._on_chunk(replace(result, bound=refused)):
                    self._discard()
            if self._imagination is not None:
                self._imagination.offer(observation.stamp)
            if isinstance(self._policy, Tidies):
                with self._undisturbed():
                    self._policy.tidy()

    def _get_ready(self) -> bool:
        try:
            if self._prepare is not None:
                self._prepare()
        except Exception as error:  # noqa: BLE001 - a user's policy may raise anything; the node refuses to activate
            self.unfit = f"the policy failed to warm up: {type(error).__name__}: {error}"
            return False
        self.ready.set()
        return True

    def _undisturbed(self) -> AbstractContextManager[None]:
        return self._imagination.paused() if self._imagination is not None else nullcontext()

    def _discard(self) -> None:
        if isinstance(self._policy, Commits):
            self._policy.discard()

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

    def _infer(self, observation: Observation) -> Result | None:
        self.statistics.inferences += 1
        begun, waited = time.monotonic(), self._now() - observation.stamp
        try:
            chunk = self._policy.infer(observation)
        except PolicyError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - as above: reported with its type, counted, and no chunk comes of it
            self._fail(f"the policy failed: {type(error).__name__}: {error}")
        else:
            ended = time.monotonic()
            self.statistics.cpu = time.thread_time()
            self.statistics.durations.append(ended - begun)
            return Result(observation, chunk, waited, begun, ended)
        return None

    def _fail(self, text: str) -> None:
        self.statistics.failures += 1
        self.statistics.last_error = text
        self._on_error(text)
