"""Imagination beside control: it stands still while control infers, and meets what it has imagined."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from gr2_policy.policy import Frame, Observation, PolicyError
from gr2_policy.runtime.imagination import Appointment, ImaginationWorker
from gr2_policy.runtime.surprise import Surprise

DT = 0.2


def observation(stamp: float) -> Observation:
    return Observation(stamp, "go", {}, np.zeros(3), np.array([0, 0, 0, 1.0]), 0.0, np.zeros(7))


def frame(stamp: float) -> Frame:
    return Frame(stamp, {"head": np.array([round(stamp * 10)])}, {"head": np.zeros((2, 2, 3), np.uint8)})


class Dreamer:
    """Imagines in steps, each of which the test lets happen."""

    frame_dt = DT

    def __init__(self) -> None:
        self.stamp = 0.0
        self.steps = threading.Semaphore(0)
        self.done = 0
        self.looked: list[float] = []
        self.blind = False

    def fork(self) -> object:
        if self.blind:
            raise PolicyError("nothing was seen yet")
        return self.stamp

    def imagine(self, fork: object, between: Callable[[], None]) -> Frame:
        assert isinstance(fork, float)
        for _ in range(3):
            between()
            assert self.steps.acquire(timeout=5)
            self.done += 1
        return frame(fork + DT)

    def look(self, observation: Observation) -> Frame:
        self.looked.append(observation.stamp)
        return frame(observation.stamp)


class Harness:
    def __init__(self, rate: float = 1000.0) -> None:
        self.policy = Dreamer()
        self.imagined: list[float] = []
        self.surprises: list[Surprise] = []
        self.errors: list[str] = []
        self.worker = ImaginationWorker(
            self.policy, rate, lambda f: self.imagined.append(f.stamp), self.surprises.extend, self.errors.append
        )

    def offer(self, stamp: float) -> None:
        self.policy.stamp = stamp
        self.worker.offer(stamp)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 5
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.002)


@pytest.fixture
def harness() -> Iterator[Harness]:
    one = Harness()
    yield one
    one.policy.steps.release(100)
    assert one.worker.stop()


def test_what_was_imagined_is_compared_when_its_time_comes(harness: Harness) -> None:
    harness.policy.steps.release(3)
    harness.worker.saw(observation(1.0))
    harness.offer(1.0)
    harness.until(lambda: harness.imagined == [1.2])
    harness.worker.saw(observation(1.1))
    time.sleep(0.02)
    assert harness.surprises == []
    harness.worker.saw(observation(1.2))
    harness.until(lambda: len(harness.surprises) == 1)
    assert harness.policy.looked == [1.2]
    (surprise,) = harness.surprises
    assert (surprise.stamp, surprise.horizon, surprise.token_distance) == (1.2, DT, 0.0)


def test_what_is_imagined_too_late_is_compared_at_once(harness: Harness) -> None:
    harness.worker.saw(observation(1.0))
    harness.offer(1.0)
    for stamp in (1.1, 1.2, 1.3, 1.4):
        harness.worker.saw(observation(stamp))
    harness.policy.steps.release(3)
    harness.until(lambda: len(harness.surprises) == 1)
    assert harness.policy.looked == [1.2]


def test_what_was_seen_before_imagination_began_counts_too(harness: Harness) -> None:
    """A slow control: the time to imagine has come before its inference is over."""
    harness.policy.steps.release(3)
    for stamp in (1.0, 1.1, 1.2, 1.3):
        harness.worker.saw(observation(stamp))
    harness.offer(1.0)
    harness.until(lambda: len(harness.surprises) == 1)
    assert harness.policy.looked == [1.2]


def test_time_without_an_image_is_counted(harness: Harness) -> None:
    harness.policy.steps.release(3)
    harness.offer(1.0)
    harness.until(lambda: harness.imagined == [1.2])
    harness.worker.saw(observation(1.5))
    harness.until(lambda: harness.worker.statistics.never_seen == 1)
    assert harness.surprises == []


def test_it_stands_still_while_control_infers(harness: Harness) -> None:
    harness.offer(1.0)
    harness.policy.steps.release(1)
    harness.until(lambda: harness.policy.done == 1)
    with harness.worker.paused():
        harness.policy.steps.release(2)
        time.sleep(0.05)
        assert harness.policy.done <= 2  # the step that was under way
        done = harness.policy.done
        time.sleep(0.05)
        assert harness.policy.done == done
    harness.until(lambda: harness.imagined == [1.2])


def test_new_instruction_gives_up_what_is_being_imagined(harness: Harness) -> None:
    harness.offer(1.0)
    harness.policy.steps.release(1)
    harness.until(lambda: harness.policy.done == 1)
    harness.worker.clear()
    harness.policy.steps.release(2)
    harness.until(lambda: harness.worker.statistics.given_up == 1)
    harness.worker.saw(observation(1.2))
    time.sleep(0.02)
    assert harness.imagined == []
    assert harness.surprises == []
    harness.policy.steps = threading.Semaphore(3)
    harness.offer(2.0)
    harness.until(lambda: harness.imagined == [2.2])


def test_rate_is_kept() -> None:
    harness = Harness(rate=5.0)
    harness.policy.steps.release(100)
    begun = time.monotonic()
    while time.monotonic() < begun + 0.5:
        harness.offer(1.0)
        time.sleep(0.005)
    assert 1 <= len(harness.imagined) <= 3
    assert harness.worker.stop()


def test_only_one_at_a_time(harness: Harness) -> None:
    harness.offer(1.0)
    harness.offer(2.0)
    harness.policy.steps.release(6)
    harness.until(lambda: harness.imagined == [1.2])
    time.sleep(0.02)
    assert harness.imagined == [1.2]


def test_errors_become_one_line(harness: Harness) -> None:
    harness.policy.blind = True
    harness.offer(1.0)
    assert harness.errors == ["nothing was seen yet"]
    harness.policy.blind = False

    def fail(fork: object, between: Callable[[], None]) -> Frame:
        raise RuntimeError("out of memory")

    harness.policy.imagine = fail  # type: ignore[method-assign]
    harness.offer(1.0)
    harness.until(lambda: harness.worker.statistics.failures == 2)
    assert harness.errors[-1] == "imagination failed: RuntimeError: out of memory"


@pytest.mark.parametrize(("stamps", "nearest"), [([1.09, 1.22], 1.22), ([1.18, 1.25], 1.18), ([1.05, 1.35], None)])
def test_nearest_within_half_an_interval(stamps: list[float], nearest: float | None) -> None:
    appointment = Appointment(1.2, 0.5 * DT)
    for stamp in stamps:
        appointment.offer(observation(stamp))
    assert appointment.over
    assert (appointment.nearest.stamp if appointment.nearest else None) == nearest
