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


class CommandGate:
    """Holds simulation time back while a controller that sends commands has not come as far.

    On a busy machine the physics would run ahead of its controller, and the arm brake again and again on the tails of
    late commands. A controller that falls silent is waited for once, for ``patience``: then time goes on without it.

    Args:
        tick: simulation time between two questions [s].
        lag: how far the newest command may lie behind after the next tick [s]; the set points of a command reach 20 ms.
        patience: how long a silent controller is waited for [s of steady time].

    Attributes:
        waits: how often time was held back.
    """

    def __init__(self, tick: float, lag: float = 0.02, patience: float = 0.25) -> None:
        self._lag = lag - tick
        self._patience = patience
        self._stamp = 0.0
        self._heard = -float("inf")
        self._waiting_at = -1.0
        self.waits = 0

    def commanded(self, stamp: float, now: float, steady: float) -> None:
        """A command of this stamp came [s of simulation time] at this simulation time and steady time [s]."""
        if stamp > 0.0 and abs(stamp - now) < 1.0:  # a stamp of 0 means `now`, a strange one nothing
            self._stamp, self._heard = stamp, steady

    def closed(self, now: float, steady: float) -> bool:
        """Whether the next tick has to wait, at this simulation time and steady time [s]."""
        if now - self._stamp <= self._lag + 1e-9 or steady - self._heard > self._patience:
            return False
        if now != self._waiting_at:
            self._waiting_at = now
            self.waits += 1
        return True
