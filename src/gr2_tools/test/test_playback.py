"""The pace of playback, without ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from gr2_tools.bag_types import BagMessage, BagTopic
from gr2_tools.errors import NotABag
from gr2_tools.playback import Pace, Prefetch, TimingReport, play
from gr2_tools.signals import StopFlag

TOPIC = BagTopic("/x", "std_msgs/msg/String", "", "", "", (), 0)
MS = 1_000_000


def _messages(count: int, period: int = 5 * MS, size: int = 1) -> Iterator[BagMessage]:
    for k in range(count):
        yield BagMessage(TOPIC.name, 1000 * MS + k * period, 0, bytes(size), TOPIC)


@pytest.mark.parametrize("rate", [1.0, 4.0])
def test_absolute_deadlines(rate: float) -> None:
    """A slow publish delays its successors only until it has caught up: the pace does not drift."""
    published: list[float] = []

    def publish(message: BagMessage) -> None:
        if len(published) == 10:
            time.sleep(0.02)
        published.append(time.monotonic())

    report = TimingReport()
    begin = time.monotonic()
    assert play(_messages(80), publish, Pace(1000 * MS, rate, StopFlag()), report)
    assert report.published == 80
    assert published[-1] - begin == pytest.approx(79 * 0.005 / rate, abs=0.03)
    assert report.percentile(50) < 0.01
    assert max(report.lateness) > 0.01, "the hold-up is accounted for"


def test_clock_runs_between_the_messages() -> None:
    events: list[tuple[str, int]] = []
    play(
        _messages(3, 10 * MS),
        lambda m: events.append(("message", m.log_time // MS)),
        Pace(1000 * MS, 10.0, StopFlag()),
        TimingReport(),
        clock_period=4 * MS,
        clock_start=1000 * MS,
        publish_clock=lambda t: events.append(("clock", t // MS)),
    )
    assert events == [
        ("clock", 1000),
        ("message", 1000),
        ("clock", 1004),
        ("clock", 1008),
        ("message", 1010),
        ("clock", 1012),
        ("clock", 1016),
        ("clock", 1020),
        ("message", 1020),
    ]


def test_stops_at_once_in_a_long_gap() -> None:
    stop = StopFlag()
    threading.Timer(0.1, stop.set).start()
    begin = time.monotonic()
    assert not play(_messages(2, 60_000 * MS), lambda m: None, Pace(1000 * MS, 1.0, stop), TimingReport())
    assert time.monotonic() - begin < 1.0


def test_prefetch_is_bounded() -> None:
    read = 0

    def source() -> Iterator[BagMessage]:
        nonlocal read
        for message in _messages(1000, size=1000):
            read += 1
            yield message

    ahead = Prefetch(source(), max_bytes=10_000)
    time.sleep(0.1)
    assert 10 <= read <= 12
    assert sum(1 for _ in ahead) == 1000
    ahead.close()


def test_prefetch_hands_over_errors_and_closes_early() -> None:
    def source() -> Iterator[BagMessage]:
        yield from _messages(3)
        raise NotABag("damaged")

    ahead = Prefetch(source())
    got = []
    with pytest.raises(NotABag, match="damaged"):
        got.extend(ahead)
    ahead.close()
    early = Prefetch(_messages(10_000, size=1000), max_bytes=5000)
    next(iter(early))
    early.close()
