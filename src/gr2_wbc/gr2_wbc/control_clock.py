"""The time base of control: ROS time, made smooth.

In simulation ROS time comes as ticks on /clock, a few milliseconds apart, late by varying amounts, at a rate that may
differ from real time and change. Commands must be spaced evenly, so control time follows ROS time through a
phase-locked loop of bounded rate: it slows down and speeds up with the simulator, stands still when the simulator
stands still, and jumps (once, and reported) only when ROS time itself jumped. With a system clock the same rules hold.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class ClockConfig:
    """Behaviour of the control clock.

    Attributes:
        time_constant: phase errors are worked off in about this time [s].
        rate_window: the rate is measured over this long [s].
        max_rate: fastest rate against steady time.
        max_ahead: control time runs at most this far ahead of the newest tick [s of steady time]; several ticks.
        jump: a phase error beyond this is a jump of ROS time [s].
        freeze_after: without a tick for this long the clock stands still [s].
        settle: after a jump it stands still until ROS time has run steadily for this long [s]: what is sent in a time
            that is not the robot's own would be carried out at another.
    """

    time_constant: float = 0.1
    rate_window: float = 0.25
    max_rate: float = 4.0
    max_ahead: float = 0.015
    jump: float = 0.5
    freeze_after: float = 0.1
    settle: float = 0.1


class ControlClock:
    """Control time and the steady time during which it ran.

    Attributes:
        jumps: how often ROS time jumped.
        last_jump: by how much [s].
        frozen: whether ROS time stands still, has not begun, or has just jumped.
        paused_time: steady time [s] for which the clock was frozen. Watchdogs take it off steady time, so that nothing
            grows stale while a simulator is paused.
    """

    def __init__(self, config: ClockConfig | None = None) -> None:
        self._config = config or ClockConfig()
        self._ticks: deque[tuple[float, float]] = deque()
        self._time: float | None = None
        self._steady: float | None = None
        self._settled = float("-inf")
        self.jumps = 0
        self.last_jump = 0.0
        self.frozen = True
        self.paused_time = 0.0

    def observe(self, ros_time: float, steady: float) -> bool:
        """A reading of ROS time [s] at a steady time [s]; whether it has changed."""
        ticks = self._ticks
        if ticks and ros_time == ticks[-1][0]:
            return False
        if ticks and not 0.0 < ros_time - ticks[-1][0] <= self._config.jump + self._config.max_rate * (
            steady - ticks[-1][1]
        ):
            ticks.clear()
        ticks.append((ros_time, steady))
        while ticks[0][1] < steady - self._config.rate_window and len(ticks) > 2:
            ticks.popleft()
        return True

    def advance(self, steady: float) -> float | None:
        """Control time [s] at a steady time [s] not before that of the last call; None before the first tick."""
        config = self._config
        if not self._ticks:
            return None
        newest, arrived = self._ticks[-1]
        elapsed = max(steady - self._steady, 0.0) if self._steady is not None else 0.0
        self._steady = steady
        self.frozen = steady - arrived > config.freeze_after or steady < self._settled
        if self.frozen:
            self.paused_time += elapsed
        rate = self._rate()
        source = newest + rate * min(max(steady - arrived, 0.0), config.max_ahead)
        if self._time is None:
            self._time = source
            return self._time
        error = source - (self._time + rate * elapsed)
        if abs(error) > config.jump + (config.max_rate * elapsed if error > 0.0 else 0.0):
            self.jumps += 1
            self.last_jump = source - self._time
            self._settled = steady + config.settle
            self.frozen = True
            self._time = source
            return self._time
        wanted = rate * elapsed + error * min(1.0, elapsed / config.time_constant)
        # This bound makes control time stand still with its source.
        room = max(newest + rate * config.max_ahead - self._time, 0.0)
        self._time += min(max(wanted, 0.0), config.max_rate * elapsed, room)
        return self._time

    def _rate(self) -> float:
        """ROS time per steady time over the window; 1 while too little is known."""
        (first, start), (last, end) = self._ticks[0], self._ticks[-1]
        if len(self._ticks) < 3 or end - start < 0.25 * self._config.rate_window:
            return 1.0
        return min(max((last - first) / (end - start), 0.0), self._config.max_rate)
