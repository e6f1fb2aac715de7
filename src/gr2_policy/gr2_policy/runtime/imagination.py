"""Imagines beside control: what the cameras will see next, and how far that was from what they then saw.

It has a thread of its own, of low priority, and works on a copy of what the policy has seen. While control infers, it
stands still: control waits for one short step of it at most.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from gr2_policy.policy import Frame, Imagines, Observation, PolicyError
from gr2_policy.runtime.surprise import Surprise, SurpriseMeter

NICE = 5  # of the thread, beside 0 of the others
_RECENT = 16  # observations kept for an imagination that is made after its time has come
_OPEN = 8  # imaginations that may wait for their time


class _GivenUp(Exception):
    """What is being imagined is of no use any more."""


@dataclass
class ImaginationStatistics:
    """Counters since the start; ``durations`` holds the last times to imagine one instant [s], waiting included."""

    imagined: int = 0
    given_up: int = 0
    compared: int = 0
    never_seen: int = 0  # imagined instants of which no image came
    failures: int = 0
    last_error: str = ""
    cpu: float = 0.0  # [s] of processor time
    durations: deque[float] = field(default_factory=lambda: deque(maxlen=200))

    def percentiles(self) -> tuple[float, float]:
        """Median and 99th percentile of the durations [s]; nan before the first."""
        values = list(self.durations)
        if not values:
            return float("nan"), float("nan")
        return float(np.percentile(values, 50)), float(np.percentile(values, 99))


class Appointment:
    """An instant that is being imagined, and the observation that comes nearest to it.

    Args:
        target: the instant [s].
        tolerance: largest distance in time of an observation [s].
    """

    def __init__(self, target: float, tolerance: float) -> None:
        self.target = target
        self.imagined: Frame | None = None
        self.nearest: Observation | None = None
        self.over = False
        self._tolerance = tolerance

    def offer(self, observation: Observation) -> None:
        """An observation; they come in the order of their stamps."""
        distance = abs(observation.stamp - self.target)
        if distance <= self._tolerance and (self.nearest is None or distance < abs(self.nearest.stamp - self.target)):
            self.nearest = observation
        self.over |= observation.stamp >= self.target


class ImaginationWorker:
    """One thread that imagines and compares.

    Args:
        policy: its ``imagine`` and ``look`` are called on this thread only.
        rate: instants to imagine per second of wall clock, at most.
        on_imagined: called on this thread with what was imagined.
        on_surprise: called on this thread when a time that was imagined has come.
        on_error: called on this thread with one line.
        meter: measures surprise.
    """

    def __init__(
        self,
        policy: Imagines,
        rate: float,
        on_imagined: Callable[[Frame], None],
        on_surprise: Callable[[list[Surprise]], None],
        on_error: Callable[[str], None],
        meter: SurpriseMeter | None = None,
    ) -> None:
        self.statistics = ImaginationStatistics()
        self._policy = policy
        self._period = 1.0 / rate
        self._on_imagined = on_imagined
        self._on_surprise = on_surprise
        self._on_error = on_error
        self._meter = meter or SurpriseMeter()
        self._condition = threading.Condition()
        self._control_idle = threading.Event()
        self._control_idle.set()
        self._task: tuple[object, float, Appointment] | None = None
        self._appointments: list[Appointment] = []
        self._recent: deque[Observation] = deque(maxlen=_RECENT)
        self._working = False
        self._resting = False
        self._last_begun = -np.inf
        self._generation = 0
        self._running = True
        self._thread = threading.Thread(target=self._run, name="imagination", daemon=True)
        self._thread.start()

    # --- on other threads ---

    def saw(self, observation: Observation) -> None:
        """Every observation, whether control uses it or not."""
        with self._condition:
            self._recent.append(observation)
            for appointment in self._appointments:
                appointment.offer(observation)
            if any(appointment.over and appointment.imagined for appointment in self._appointments):
                self._condition.notify()

    def clear(self) -> None:
        """A new instruction, or time was set back: what is being imagined will not come."""
        with self._condition:
            self._generation += 1
            self._task = None
            self._appointments.clear()
            self._recent.clear()

    def rest(self) -> None:
        """Imagine nothing more."""
        self._resting = True
        self.clear()

    def stop(self, timeout: float = 5.0) -> bool:
        """Let the thread end; False if it is still at work after ``timeout`` [s]."""
        with self._condition:
            self._running = False
            self._condition.notify()
        self._control_idle.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # --- on the thread of control ---

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """While control infers, imagination stands still."""
        self._control_idle.clear()
        try:
            yield
        finally:
            self._control_idle.set()

    def offer(self, stamp: float) -> None:
        """Control has just used the observation of ``stamp`` [s]: imagine from here, if it is time to."""
        now = time.monotonic()
        if self._resting or self._working or now - self._last_begun < self._period:
            return
        try:
            fork = self._policy.fork()
        except PolicyError as error:
            self._fail(str(error))
            return
        dt = self._policy.frame_dt
        appointment = Appointment(stamp + dt, 0.5 * dt + 1e-6)
        with self._condition:
            self._last_begun, self._working = now, True
            self._task = (fork, stamp, appointment)
            for observation in self._recent:
                appointment.offer(observation)
            self._appointments.append(appointment)
            self._appointments = self._appointments[-_OPEN:]
            self._condition.notify()

    # --- on the thread of imagination ---

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # where threads have no priority of their own, they have this one
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            with self._condition:
                while self._running and self._task is None and not self._due():
                    self._working = False
                    self._condition.wait()
                if not self._running:
                    return
                task, self._task = self._task, None
                due = self._due()
                self._appointments = [item for item in self._appointments if item not in due]
                generation = self._generation
            try:
                for appointment in due:
                    self._compare(appointment)
                if task is not None:
                    self._imagine(task, generation)
            except _GivenUp:
                self.statistics.given_up += 1
            except PolicyError as error:
                self._fail(str(error))
            except Exception as error:  # noqa: BLE001 - a user's policy may raise anything; it is reported and counted
                self._fail(f"imagination failed: {type(error).__name__}: {error}")
            self.statistics.cpu = time.thread_time()

    def _due(self) -> list[Appointment]:
        return [item for item in self._appointments if item.over and item.imagined is not None]

    def _imagine(self, task: tuple[object, float, Appointment], generation: int) -> None:
        fork, _, appointment = task

        def between() -> None:
            self._control_idle.wait()
            if generation != self._generation or not self._running:
                raise _GivenUp

        begun = time.monotonic()
        try:
            imagined = self._policy.imagine(fork, between)
        except BaseException:
            with self._condition:
                self._appointments = [item for item in self._appointments if item is not appointment]
            raise
        between()
        with self._condition:
            appointment.imagined = imagined
        self.statistics.imagined += 1
        self.statistics.durations.append(time.monotonic() - begun)
        self._on_imagined(imagined)

    def _compare(self, appointment: Appointment) -> None:
        imagined, nearest = appointment.imagined, appointment.nearest
        if imagined is None or nearest is None:
            self.statistics.never_seen += 1
            return
        self._control_idle.wait()
        seen = self._policy.look(nearest)
        self.statistics.compared += 1
        self._on_surprise(self._meter.compare(imagined, seen, self._policy.frame_dt))

    def _fail(self, text: str) -> None:
        self.statistics.failures += 1
        self.statistics.last_error = text
        self._on_error(text)
