"""Observations are the same whatever order their messages arrive in."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gr2_policy.policy import SceneTruth
from gr2_policy.runtime.observation_buffer import BufferConfig, ObservationBuffer, StateSample


def picture(value: int) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


def state(stamp: float) -> StateSample:
    return StateSample(stamp, np.array([stamp, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), 0.0, np.zeros(7))


def truth(stamp: float) -> SceneTruth:
    return SceneTruth(stamp, "table", 0, 0, {}, {})


def test_waits_until_no_later_state_could_be_nearer() -> None:
    buffer = ObservationBuffer(BufferConfig())
    buffer.add_image("head", 1.0, picture(1))
    buffer.add_image("wrist", 1.0, picture(2))
    buffer.add_state(state(0.99))
    assert list(buffer.take("go")) == []
    buffer.add_state(state(1.005))
    (observation,) = buffer.take("go")
    assert observation.stamp == 1.0
    assert observation.tool_position[0] == 1.005
    assert observation.images["wrist"][0, 0, 0] == 2
    assert list(buffer.take("go")) == []


def test_cameras_too_far_apart_are_not_one_instant() -> None:
    buffer = ObservationBuffer(BufferConfig(camera_tolerance=0.02))
    buffer.add_image("head", 1.0, picture(1))
    buffer.add_image("wrist", 1.05, picture(2))
    buffer.add_state(state(1.1))
    assert list(buffer.take("go")) == []


def test_privileged_policies_wait_for_the_truth() -> None:
    buffer = ObservationBuffer(BufferConfig(needs_truth=True))
    for camera in ("head", "wrist"):
        buffer.add_image(camera, 1.0, picture(1))
    buffer.add_state(state(1.0))
    assert list(buffer.take("go")) == []
    buffer.add_truth(truth(1.0))
    (observation,) = buffer.take("go")
    assert observation.truth is not None


def test_history_is_oldest_first_and_bounded() -> None:
    buffer = ObservationBuffer(BufferConfig(history=2))
    seen = []
    for i in range(5):
        for camera in ("head", "wrist"):
            buffer.add_image(camera, 0.1 * i, picture(i))
        buffer.add_state(state(0.1 * i))
        seen += list(buffer.take("go"))
    assert [round(o.stamp, 3) for o in seen[-1].history] == [0.2, 0.3]
    assert all(o.history == () for o in seen[-1].history)


def test_time_set_back_forgets_everything() -> None:
    buffer = ObservationBuffer(BufferConfig())
    for stamp in (100.0, 0.1):
        for camera in ("head", "wrist"):
            buffer.add_image(camera, stamp, picture(1))
        buffer.add_state(state(stamp))
        assert [o.stamp for o in buffer.take("go")] == [stamp]
    assert buffer.time_jumps == 1


def messages() -> list[tuple[str, float]]:
    frames = [(kind, 0.1 * i) for i in range(4) for kind in ("head", "wrist", "truth")]
    return frames + [("state", 0.02 * i + 0.003) for i in range(18)]


def observe(order: list[tuple[str, float]]) -> list[tuple[float, float]]:
    buffer = ObservationBuffer(BufferConfig(needs_truth=True))
    seen = []
    for kind, stamp in order:
        if kind == "state":
            buffer.add_state(state(stamp))
        elif kind == "truth":
            buffer.add_truth(truth(stamp))
        else:
            buffer.add_image(kind, stamp, picture(1))
        seen += [(o.stamp, float(o.tool_position[0])) for o in buffer.take("go")]
    return seen


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(4)))
def test_the_order_between_topics_does_not_matter(order: list[int]) -> None:
    """Each topic keeps its own order, as DDS gives it; topics may be delayed against each other."""
    kinds = ["head", "wrist", "truth", "state"]
    streams = [[m for m in messages() if m[0] == kinds[i]] for i in order]
    in_time = observe(sorted(messages(), key=lambda m: m[1]))
    delayed = observe(list(itertools.chain.from_iterable(streams)))
    assert delayed == in_time
    assert len(in_time) == 4


@pytest.mark.parametrize("swap", [(0, 1), (5, 6)])
def test_messages_that_overtook_each_other_are_put_in_order(swap: tuple[int, int]) -> None:
    order = sorted(messages(), key=lambda m: m[1])
    a, b = swap
    order[a], order[b] = order[b], order[a]
    assert [s for s, _ in observe(order)] == [s for s, _ in observe(sorted(messages(), key=lambda m: m[1]))]
