"""Keeps simulation time in step with the clock on the wall."""

from __future__ import annotations

LARGEST_LAG = 0.02
"""How much [s] of being late is made up for by running faster; what is more is given up: time slows."""


class Pacer:
    """Says how long to wait before the next step, and how well time was kept.

    All times are passed in; nothing here reads a clock.

    Args:
        factor: simulated seconds per second on the wall, positive.
    """

    def __init__(self, factor: float) -> None:
        if not 0.0 < factor <= 100.0:
            raise ValueError(f"real_time_factor must be positive and at most 100, got {factor}")
        self.factor = factor
        self._origin: tuple[float, float] | None = None
        self._window: tuple[float, float] | None = None
        self.lost = 0.0

    def wait(self, simulated: float, wall: float) -> float:
        """How long to wait [s] until the wall clock has come to this simulation time.

        Args:
            simulated: simulation time reached [s].
            wall: steady time on the wall [s].
        """
        if self._origin is None:
            self._origin = (simulated, wall)
        due = self._origin[1] + (simulated - self._origin[0]) / self.factor
        late = wall - due
        if late > LARGEST_LAG:
            self.lost += late - LARGEST_LAG
            self._origin = (simulated, wall - LARGEST_LAG)
        return max(0.0, -late)

    def achieved(self, simulated: float, wall: float) -> float:
        """Real-time factor since the last call; the wanted one at the first."""
        before, self._window = self._window, (simulated, wall)
        if before is None or wall <= before[1]:
            return self.factor
        return (simulated - before[0]) / (wall - before[1])
