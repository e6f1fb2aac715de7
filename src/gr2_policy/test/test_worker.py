"""The inference thread: newest observation wins, old instructions lose, errors become lines."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from gr2_policy.policy import (
    ActionChunk,
    Observation,
    PolicyError,
    UnknownInstruction,
    UnknownPolicy,
    available_policies,
    load_policy,
)
from gr2_policy.runtime.worker import InferenceWorker, Result


def observation(stamp: float, instruction: str = "go") -> Observation:
    return Observation(stamp, instruction, {}, np.zeros(3), np.array([0, 0, 0, 1.0]), 0.0, np.zeros(7))


def chunk() -> ActionChunk:
    return ActionChunk(0.1, np.zeros((2, 3)), np.tile([0, 0, 0, 1.0], (2, 1)), np.zeros(2))


class Script:
    """A policy that waits for the test before it answers."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.resets: list[str] = []
        self.stamps: list[float] = []
        self.delays: list[float] = []
        self.discarded = 0
        self.error: Exception | None = None

    def reset(self, instruction: str) -> None:
        self.resets.append(instruction)
        if instruction == "fly":
            raise UnknownInstruction("I cannot fly")

    def infer(self, observation: Observation) -> ActionChunk:
        self.stamps.append(observation.stamp)
        self.delays.append(observation.delay)
        self.entered.release()
        assert self.gate.acquire(timeout=5)
        if self.error is not None:
            raise self.error
        return chunk()

    def discard(self) -> None:
        self.discarded += 1


class Harness:
    def __init__(self, prepare: Callable[[], None] | None = None) -> None:
        self.policy = Script()
        self.chunks: list[float] = []
        self.bound: list[bool] = []
        self.publish = True
        self.delay = 0.0
        self.refusals = 0
        self.unknown: list[str] = []
        self.errors: list[str] = []
        self.worker = InferenceWorker(
            self.policy,  # type: ignore[arg-type]
            self.on_chunk,
            self.unknown.append,
            self.errors.append,
            prepare=prepare,
            delay=lambda: self.delay,
            refusals=lambda: self.refusals,
        )

    def on_chunk(self, result: Result) -> bool:
        self.chunks.append(result.observation.stamp)
        self.bound.append(result.bound)
        return self.publish

    def until(self, condition) -> None:  # type: ignore[no-untyped-def]
        deadline = time.monotonic() + 5
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.002)


@pytest.fixture
def harness():
    h = Harness()
    yield h
    h.policy.gate.release(10)
    assert h.worker.stop()


def test_newest_waiting_observation_wins(harness: Harness) -> None:
    harness.worker.set_instruction("go")
    harness.worker.submit(observation(1))
    assert harness.policy.entered.acquire(timeout=5)
    for stamp in (2, 3, 4):
        harness.worker.submit(observation(stamp))
    harness.policy.gate.release(2)
    harness.until(lambda: harness.chunks == [1, 4])
    assert harness.worker.statistics.replaced == 2


def test_chunk_of_an_old_instruction_is_dropped(harness: Harness) -> None:
    harness.worker.set_instruction("go")
    harness.worker.submit(observation(1))
    assert harness.policy.entered.acquire(timeout=5)
    harness.worker.set_instruction("stop that, do this")
    harness.policy.gate.release()
    harness.until(lambda: harness.worker.statistics.outdated == 1)
    assert harness.chunks == []
    harness.until(lambda: harness.policy.resets == ["go", "stop that, do this"])


def test_empty_instruction_infers_nothing(harness: Harness) -> None:
    harness.worker.set_instruction("")
    harness.worker.submit(observation(1))
    time.sleep(0.05)
    assert harness.policy.stamps == []


def test_unknown_instruction_is_reported_and_infers_nothing(harness: Harness) -> None:
    harness.worker.set_instruction("fly")
    harness.until(lambda: harness.unknown == ["I cannot fly"])
    harness.worker.submit(observation(1))
    time.sleep(0.05)
    assert harness.policy.stamps == []


@pytest.mark.parametrize("error", [PolicyError("blind"), ZeroDivisionError("oops")])
def test_errors_become_one_line_and_the_worker_goes_on(harness: Harness, error: Exception) -> None:
    harness.policy.error = error
    harness.worker.set_instruction("go")
    harness.worker.submit(observation(1))
    harness.policy.gate.release()
    harness.until(lambda: len(harness.errors) == 1)
    assert str(error) in harness.errors[0]
    harness.policy.error = None
    harness.worker.submit(observation(2))
    harness.policy.gate.release()
    harness.until(lambda: harness.chunks == [2])


def test_the_policy_is_told_the_measured_delay(harness: Harness) -> None:
    harness.worker.set_instruction("go")
    harness.delay = 0.25
    harness.policy.gate.release()
    harness.worker.submit(observation(1))
    harness.until(lambda: harness.policy.delays == [0.25])


def test_chunk_that_was_not_put_into_effect_binds_nothing(harness: Harness) -> None:
    harness.worker.set_instruction("go")
    harness.publish = False
    harness.policy.gate.release(2)
    harness.worker.submit(observation(1))
    harness.until(lambda: harness.policy.discarded == 1)
    harness.publish = True
    harness.worker.submit(observation(2))
    harness.until(lambda: harness.chunks == [1, 2])
    assert harness.policy.discarded == 1


def test_refusal_by_the_controller_unbinds_the_next_chunk(harness: Harness) -> None:
    """Refused while the next inference runs: that one went on from a chunk that nobody follows."""
    harness.worker.set_instruction("go")
    harness.worker.submit(observation(1))
    assert harness.policy.entered.acquire(timeout=5)
    harness.refusals = 1
    harness.policy.gate.release()
    harness.until(lambda: harness.bound == [True])
    harness.policy.gate.release()
    harness.worker.submit(observation(2))
    harness.until(lambda: harness.bound == [True, False])
    assert harness.policy.discarded == 1


def test_nothing_is_inferred_before_the_warm_up_is_over() -> None:
    gate = threading.Event()
    harness = Harness(prepare=lambda: assert_true(gate.wait(5)))
    harness.worker.set_instruction("go")
    harness.worker.submit(observation(1))
    time.sleep(0.05)
    assert not harness.worker.ready.is_set()
    assert harness.policy.stamps == []
    harness.policy.gate.release()
    gate.set()
    harness.until(lambda: harness.chunks == [1])
    assert harness.worker.ready.is_set()
    assert harness.worker.stop()


def assert_true(value: bool) -> None:
    assert value


def test_failed_warm_up_is_kept_in_words() -> None:
    def fail() -> None:
        raise MemoryError("the model does not fit")

    harness = Harness(prepare=fail)
    harness.until(lambda: harness.worker.unfit != "")
    assert harness.worker.unfit == "the policy failed to warm up: MemoryError: the model does not fit"
    assert not harness.worker.ready.is_set()
    assert harness.worker.stop()


def test_chunks_are_checked_when_made() -> None:
    with pytest.raises(PolicyError, match="not finite"):
        ActionChunk(0.1, np.full((2, 3), np.nan), np.zeros((2, 4)), np.zeros(2))
    with pytest.raises(PolicyError, match=r"shape \(3, 4\)"):
        ActionChunk(0.1, np.zeros((2, 3)), np.zeros((3, 4)), np.zeros(2))
    with pytest.raises(PolicyError, match="at least one pose"):
        ActionChunk(0.0, np.zeros((2, 3)), np.zeros((2, 4)), np.zeros(2))


def test_unknown_policy_lists_the_installed_ones() -> None:
    with pytest.raises(UnknownPolicy, match="no policy named 'nobody'"):
        load_policy("nobody")
    assert "nobody" not in available_policies()


def test_a_policy_tidies_up_after_its_chunk_was_handed_out() -> None:
    order: list[str] = []
    tidied = threading.Event()

    class Tidy(Script):
        def tidy(self) -> None:
            order.append("tidied")
            tidied.set()

    def hand_out(_result: Result) -> bool:
        order.append("handed out")
        return True

    policy = Tidy()
    policy.gate.release()
    worker = InferenceWorker(policy, hand_out, order.append, order.append)  # type: ignore[arg-type]
    worker.set_instruction("go")
    worker.submit(observation(1.0))
    assert tidied.wait(5.0)
    assert worker.stop()
    assert order == ["handed out", "tidied"]
