"""How long control cycles take and how late they start."""

from __future__ import annotations

from collections import deque

import numpy as np

LATENESS_EDGES = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)  # [s], the last bin is open


class CycleStats:
    """Statistics of the control cycles.

    Attributes:
        period: [s] between cycles.
        missed: cycles that started more than one period late, since start.
        histogram: cycles by how late they started, since start; one bin more than LATENESS_EDGES.
    """

    def __init__(self, period: float, window: float = 1.0) -> None:
        """Set up for cycles ``period`` [s] apart; percentiles are told over the last ``window`` [s]."""
        self.period = period
        self._times: deque[float] = deque(maxlen=max(1, round(window / period)))
        self.missed = 0
        self.histogram = [0] * (len(LATENESS_EDGES) + 1)

    def note(self, lateness: float, duration: float) -> None:
        """Count a cycle that started ``lateness`` [s] after its deadline and took ``duration`` [s] to compute."""
        self._times.append(duration)
        self.histogram[int(np.searchsorted(LATENESS_EDGES, lateness))] += 1
        self.missed += lateness > self.period

    def percentiles(self) -> tuple[float, float]:
        """Median and 99th percentile of the compute time [s] over the window; zeros before the first cycle."""
        if not self._times:
            return 0.0, 0.0
        median, slow = np.percentile(self._times, (50.0, 99.0))
        return float(median), float(slow)
