"""Latency, the delay that the policy has to allow for, and chunks that come too late."""

from __future__ import annotations

import numpy as np
import pytest

from gr2_policy.policy import ActionChunk
from gr2_policy.runtime.camera_watch import CameraWatch
from gr2_policy.runtime.delivery import Delivery, DeliveryConfig, Verdict
from gr2_policy.runtime.latency import DelayEstimate, LatencyLog, Timing


def chunk(poses: int = 10) -> ActionChunk:
    return ActionChunk(0.1, np.zeros((poses, 3)), np.tile([0, 0, 0, 1.0], (poses, 1)), np.zeros(poses))


def test_chunk_older_than_half_its_length_is_dropped_and_counted() -> None:
    delivery = Delivery(DeliveryConfig())
    assert delivery.judge(chunk(10), 0.49, bound=False) is Verdict.PUBLISH
    assert delivery.judge(chunk(10), 0.51, bound=False) is Verdict.TOO_OLD
    assert delivery.judge(chunk(20), 0.51, bound=False) is Verdict.PUBLISH
    assert delivery.too_old == 1


def test_deadline_can_be_set() -> None:
    delivery = Delivery(DeliveryConfig(deadline=0.2))
    assert delivery.judge(chunk(), 0.21, bound=False) is Verdict.TOO_OLD


def test_chunk_that_goes_on_from_a_refused_one_is_dropped_and_counted() -> None:
    delivery = Delivery(DeliveryConfig())
    assert delivery.judge(chunk(), 0.1, bound=True) is Verdict.BROKEN_PREFIX
    assert (delivery.broken_prefix, delivery.too_old) == (1, 0)


def test_delay_is_a_running_quantile_of_the_ages() -> None:
    delivery = Delivery(DeliveryConfig())
    assert delivery.delay == 0.0
    for age in np.linspace(0.1, 0.2, 11):
        delivery.judge(chunk(), float(age), bound=False)
    assert delivery.delay == pytest.approx(0.19)
    for _ in range(32):
        delivery.judge(chunk(), 0.3, bound=False)
    assert delivery.delay == pytest.approx(0.3)


def test_dropped_chunks_count_for_the_delay() -> None:
    """Else a policy that has become slow would never learn of it."""
    delivery = Delivery(DeliveryConfig())
    delivery.judge(chunk(), 0.8, bound=False)
    assert delivery.delay == pytest.approx(0.8)


def test_fixed_delay_is_told_as_it_is() -> None:
    delivery = Delivery(DeliveryConfig(delay=0.2))
    delivery.judge(chunk(), 0.4, bound=False)
    assert delivery.delay == 0.2


def test_one_slow_chunk_does_not_set_the_delay() -> None:
    estimate = DelayEstimate()
    for _ in range(31):
        estimate.add(0.1)
    estimate.add(2.0)
    assert estimate.value == pytest.approx(0.1)


def test_latency_by_stage() -> None:
    log = LatencyLog()
    assert log.percentiles() == {}
    for milliseconds in range(101):
        log.add(Timing(0.01, milliseconds * 1e-3, 0.001, 0.011 + milliseconds * 1e-3))
    found = log.percentiles()
    assert list(found) == ["waiting", "inference", "publishing", "age"]
    assert found["inference"] == pytest.approx((0.05, 0.099))
    assert found["age"] == pytest.approx((0.061, 0.11))


def test_silent_cameras_are_noticed_once_and_so_is_their_return() -> None:
    clock = [0.0]
    watch = CameraWatch(("head", "wrist"), now=lambda: clock[0])
    clock[0] = 1.5
    watch.heard("head", 1.0)
    assert watch.changes(1.0) == ({"wrist"}, set())
    assert watch.changes(1.0) == (set(), set())
    watch.heard("wrist", 1.0)
    assert watch.changes(1.0) == (set(), {"wrist"})
    clock[0] = 5.0
    watch.restart()
    assert watch.changes(1.0) == (set(), set())


def test_the_same_image_again_and_again_is_silence() -> None:
    clock = [0.0]
    watch = CameraWatch(("head",), now=lambda: clock[0])
    for step in range(20):
        clock[0] = 0.1 * step
        watch.heard("head", 7.0)
    assert watch.changes(1.0) == ({"head"}, set())
    watch.heard("head", 7.1)
    assert watch.changes(1.0) == (set(), {"head"})
