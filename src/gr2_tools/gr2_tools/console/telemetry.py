"""Rates, ages, latencies and curves, from nothing but the times at which messages came. No ROS in here.

All times of arrival are on one clock [s]; stamps are the messages' own [ns].
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

RATE_WINDOW = 3.0  # [s]
LATENCIES_KEPT = 200
IMAGES_KEPT = 64


class Rate:
    """How often and how lately something came."""

    def __init__(self) -> None:
        self._arrivals: deque[float] = deque(maxlen=2048)
        self.newest: float | None = None
        self.count = 0

    def note(self, arrival: float) -> None:
        """One message came."""
        self._arrivals.append(arrival)
        self.newest = arrival
        self.count += 1

    def hertz(self, now: float) -> float:
        """Messages a second over the last seconds; 0 if there were fewer than two."""
        while self._arrivals and self._arrivals[0] < now - RATE_WINDOW:
            self._arrivals.popleft()
        if len(self._arrivals) < 2:
            return 0.0
        span = self._arrivals[-1] - self._arrivals[0]
        return (len(self._arrivals) - 1) / span if span > 0.0 else 0.0

    def age(self, now: float) -> float | None:
        """Time since the newest message [s]; None if there has been none."""
        return None if self.newest is None else max(0.0, now - self.newest)


@dataclass(frozen=True)
class Percentiles:
    """Middle and tail of a latency [s], and of how many measurements."""

    p50: float
    p99: float
    count: int


def percentiles(values: Sequence[float]) -> Percentiles | None:
    """Of the values given (nearest rank); None of none."""
    if not values:
        return None
    ordered = sorted(values)
    last = len(ordered) - 1
    return Percentiles(ordered[round(0.5 * last)], ordered[round(0.99 * last)], len(ordered))


class Latencies:
    """Follows each image to the chunk that was computed from it, and that chunk to the next command.

    * image → chunk: arrival of the chunk minus arrival of the image that carries its stamp;
    * chunk → command: first command that was sent after the chunk had arrived, minus that arrival. The controller runs
      every 5 ms, so this is the time until a command *can* follow the chunk; whether it does, its status tells.
    """

    def __init__(self) -> None:
        self._images: OrderedDict[int, float] = OrderedDict()
        self._waiting: float | None = None
        self._image_to_chunk: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._chunk_to_command: deque[float] = deque(maxlen=LATENCIES_KEPT)

    def image(self, stamp: int, arrival: float) -> None:
        """An image came."""
        self._images.setdefault(stamp, arrival)
        if len(self._images) > IMAGES_KEPT:
            self._images.popitem(last=False)

    def chunk(self, stamp: int, arrival: float) -> None:
        """A chunk came; ``stamp`` is that of its observation."""
        seen = self._images.get(stamp)
        if seen is not None and arrival >= seen:
            self._image_to_chunk.append(arrival - seen)
        self._waiting = arrival

    def command(self, sent: float) -> None:
        """A command was sent."""
        if self._waiting is not None and sent >= self._waiting:
            self._chunk_to_command.append(sent - self._waiting)
            self._waiting = None

    def summary(self) -> dict[str, Percentiles | None]:
        """Percentiles by name."""
        return {
            "image → chunk": percentiles(self._image_to_chunk),
            "chunk → command": percentiles(self._chunk_to_command),
        }


class Curve:
    """A value over the last time, thinned to a bounded number of points.

    Args:
        span: [s] that is kept.
        points: at most; of several samples within one interval the largest is kept, so that peaks are seen.
    """

    def __init__(self, span: float = 30.0, points: int = 150) -> None:
        self.span = span
        self._interval = span / points
        self._samples: deque[tuple[float, float]] = deque(maxlen=points + 1)

    def add(self, time: float, value: float) -> None:
        """A sample. When time runs backwards (a new run, a bag in a loop) the curve starts anew."""
        if self._samples and time < self._samples[-1][0]:
            self._samples.clear()
        if self._samples and time - self._samples[-1][0] < self._interval:
            begun, highest = self._samples[-1]
            self._samples[-1] = (begun, max(highest, value))
            return
        self._samples.append((time, value))

    def recent(self, now: float) -> list[tuple[float, float]]:
        """(seconds before now, value), oldest first."""
        return [(round(now - t, 2), round(v, 5)) for t, v in self._samples if now - t <= self.span]
