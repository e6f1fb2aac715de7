"""What a recording tells about itself: status lines, /diagnostics once a second, warnings of a filling disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

LOW_SPACE = 1e9  # [B]
LOW_TIME = 300.0  # [s] of recording at the present rate
DIAGNOSTICS_PERIOD = 1.0  # [s]


@dataclass(frozen=True)
class Snapshot:
    """A recording at one instant; sizes in bytes (free: None if unknown), dropped and lost messages by topic."""

    folder: Path
    topics: int
    messages: int
    size: int
    backlog: int
    dropped: dict[str, int]
    lost: dict[str, int]
    free: int | None
    error: str


class Reporter:
    """Prints and publishes snapshots when it is time to.

    Args:
        node: publishes /diagnostics.
        period: seconds between status lines; 0: none but the last.
    """

    def __init__(self, node: Node, period: float, say: Callable[[str], None], warn: Callable[[str], None]) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._period = period
        self._say = say
        self._warn = warn
        self._begin = time.monotonic()
        self._next_line = self._begin + period
        self._next_diagnostics = self._begin
        self._low = False

    def tick(self, now: float, snapshot: Callable[[], Snapshot]) -> None:
        """Call often; ``now`` is steady time [s]."""
        if now < self._next_diagnostics:
            return
        self._next_diagnostics = now + DIAGNOSTICS_PERIOD
        current = snapshot()
        low = self._space_text(current)
        if low and not self._low:
            self._warn(low)
        self._low = bool(low)
        self._publish(current, low)
        if self._period and now >= self._next_line:
            self._next_line = now + self._period
            self._say(self._line(current))

    def last(self, snapshot: Snapshot) -> None:
        """The final account."""
        self._say(self._line(snapshot))
        for what, counts in (
            ("dropped, the disk was too slow", snapshot.dropped),
            ("lost on the way", snapshot.lost),
        ):
            if counts:
                topics = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
                self._warn(f"messages {what}: {topics}")
        self._publish(snapshot, "")

    def _space_text(self, s: Snapshot) -> str:
        if s.free is None:
            return f"the folder of {s.folder} does not answer any more"
        elapsed = max(1.0, time.monotonic() - self._begin)
        left = s.free / (s.size / elapsed) if s.size > 1e6 else float("inf")
        if s.free >= LOW_SPACE and left >= LOW_TIME:
            return ""
        lasts = f", enough for about {left:.0f} s at the present rate" if left < 1e5 else ""
        return f"only {s.free / 1e6:.0f} MB are free at {s.folder}{lasts}"

    def _line(self, s: Snapshot) -> str:
        dropped, lost = sum(s.dropped.values()), sum(s.lost.values())
        return (
            f"{time.monotonic() - self._begin:.0f} s, {s.topics} topics, {s.messages} messages, "
            f"{s.size / 1e6:.1f} MB, {dropped} dropped, {lost} lost"
        )

    def _publish(self, s: Snapshot, low: str) -> None:
        level, message = DiagnosticStatus.OK, "recording"
        if s.error:
            level, message = DiagnosticStatus.ERROR, s.error
        elif s.dropped or s.lost:
            level, message = DiagnosticStatus.WARN, "recording, but messages were dropped or lost"
        elif low:
            level, message = DiagnosticStatus.WARN, low
        values = {
            "folder": s.folder,
            "topics": s.topics,
            "messages": s.messages,
            "megabytes": f"{s.size / 1e6:.1f}",
            "backlog_megabytes": f"{s.backlog / 1e6:.1f}",
            "dropped": sum(s.dropped.values()),
            "lost": sum(s.lost.values()),
            "free_megabytes": "unknown" if s.free is None else f"{s.free / 1e6:.0f}",
        }
        status = DiagnosticStatus(
            level=level,
            name=f"{self._node.get_name()}: recording",
            message=message,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)
