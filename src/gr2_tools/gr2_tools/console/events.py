"""The log of what happened: changes, not states. No ROS in here."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass

KEPT = 200
QUIET = 5.0  # [s] between two lines about the same counter or condition
LEVELS = ("info", "good", "warning", "error", "operator")
_BAD = {"warning": 1, "error": 2}


@dataclass(frozen=True)
class Event:
    """One line of the log: when (system clock [s]), how bad (one of :data:`LEVELS`), who, what."""

    time: float
    level: str
    source: str
    text: str


class EventLog:
    """The last events. One that repeats the one before from the same source is not added again."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._last: dict[str, str] = {}
        self.count = 0

    def add(self, time: float, level: str, source: str, text: str) -> None:
        """Something happened."""
        if not text or self._last.get(source) == text:
            return
        self._last[source] = text
        self._events.append(Event(time, level, source, text))
        self.count += 1

    def repeatable(self, time: float, level: str, source: str, text: str) -> None:
        """Something happened that is worth a line each time."""
        self._last.pop(source, None)
        self.add(time, level, source, text)

    def newest(self, count: int) -> list[dict[str, object]]:
        """The last events, newest first."""
        return [asdict(event) for event in list(self._events)[: -count - 1 : -1]]


class Changes:
    """Turns counters and conditions that are reported over and over into events when they change."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._counts: dict[str, int] = {}
        self._logged: dict[str, float] = {}
        self._conditions: dict[str, str] = {}
        self._levels: dict[str, str] = {}

    def counters(self, time: float, source: str, counts: Mapping[str, int], detail: str = "") -> None:
        """Log each counter that has grown, now and then; one seen for the first time is where it starts from."""
        for name, count in counts.items():
            key = f"{source}/{name}"
            before = self._counts.setdefault(key, count)
            if count < before:
                self._counts[key] = count  # whoever counts has begun anew
            elif count > before and time - self._logged.get(key, -math.inf) >= QUIET:
                self._counts[key], self._logged[key] = count, time
                grown = f"{name} +{count - before} ({count} in all)"
                self._log.repeatable(time, "warning", source, f"{grown}: {detail}" if detail else grown)

    def condition(self, time: float, source: str, level: str, text: str) -> None:
        """Log a health report when its level or wording changes; digits alone do not count as a change.

        What gets no worse is logged only if it lasts, so that one that comes and goes does not crowd out the rest.
        """
        wording = level + "".join(c for c in text if not c.isdigit())
        before = self._conditions.get(source)
        if before == wording:
            return
        worse = before is None or _BAD.get(level, 0) > _BAD.get(self._levels[source], 0)
        if not worse and time - self._logged.get(source, -math.inf) < QUIET:
            return
        self._conditions[source], self._levels[source] = wording, level
        if before is None and level == "info":
            return
        self._logged[source] = time
        self._log.repeatable(time, level, source, text)
