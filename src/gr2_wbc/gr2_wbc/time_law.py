"""How fast a path is followed: the path speed scale s as a function of time.

A path x(tau) is followed as x(tau(t)) with d tau / dt = s(t). The scale begins at 1, the speed of the motion that the
path was joined to, stays below a cap given along the path wherever its rates allow, and comes to 0 at the path's end.

The squared scale is linear in path time for a constant rate: d(s^2)/d tau = 2 ds/dt. So the fastest scale with
-brake <= ds/dt <= resume is two running minima over the squared caps, one from each side. Its rate jumps; a moving
average over ``smoothing`` seconds makes the rate continuous as well, with |d2s/dt2| <= (brake + resume) / smoothing.
An average over the past follows late. So before, each cap is put ``smoothing`` ahead of its place, and the end half as
much: the averaged scale is then below the caps where they are, and ends where the path ends.
"""

from __future__ import annotations

import math

import numpy as np

_STEP = 0.01  # [s] of the table
_LOWEST = 0.01  # a path that stood still between its ends would never end


class TimeLaw:
    """The path time and the speed scale over time, from a table.

    Attributes:
        duration: time [s] after which the scale is 0, or at which the table ends.
    """

    def __init__(
        self,
        caps_squared: np.ndarray,
        path_duration: float,
        brake: float,
        resume: float,
        smoothing: float,
        longest: float,
    ) -> None:
        """Make the law.

        Args:
            caps_squared: (k,) squares of the largest scale at equal distances along the path, ends included.
            path_duration: path time of the end [s], at least :func:`shortest`.
            brake, resume: how fast the scale may fall and rise [1/s].
            smoothing: see the module's docstring [s].
            longest: no more time than this [s] is tabulated.
        """
        spacing = path_duration / (len(caps_squared) - 1)
        reach = math.ceil(smoothing / spacing) + 1
        here = np.minimum(np.maximum(caps_squared, _LOWEST**2), 1.0)
        caps = here.copy()
        for shift in range(1, min(reach, len(caps) - 1) + 1):
            np.minimum(caps[:-shift], here[shift:], out=caps[:-shift])

        end = path_duration - 0.5 * smoothing
        grid = np.linspace(0.0, end, max(math.ceil(end / _STEP), len(caps)) + 1)
        squared = np.interp(grid, spacing * np.arange(len(caps)), caps)
        squared[-1] = 0.0
        rise, fall = 2.0 * resume * grid, 2.0 * brake * grid
        squared = np.minimum.accumulate((squared + fall)[::-1])[::-1] - fall
        squared = np.minimum.accumulate(squared - rise) + rise
        scale = np.sqrt(np.maximum(np.maximum(squared, 1.0 - fall), 0.0))
        times = np.concatenate([[0.0], np.cumsum(2.0 * (grid[1] - grid[0]) / (scale[1:] + scale[:-1]))])

        window = max(1, round(smoothing / _STEP))
        last = min(times[-1], longest)
        even = np.interp(_STEP * np.arange(math.ceil(last / _STEP) + 1), times, scale, right=0.0)
        middles = np.concatenate([np.ones(window), 0.5 * (even[1:] + even[:-1])])
        self._end = path_duration if last == times[-1] else math.inf
        if self._end < math.inf:
            middles = np.concatenate([middles, np.zeros(window)])
        sums = np.concatenate([[0.0], np.cumsum(middles)])
        smooth = (sums[window:] - sums[:-window]) / window
        self._scales = smooth.tolist()
        self._path_times = np.concatenate([[0.0], np.cumsum(0.5 * _STEP * (smooth[1:] + smooth[:-1]))]).tolist()
        self._last = len(self._scales) - 2
        self.duration = _STEP * (self._last + 1)

    def at(self, time: float) -> tuple[float, float, float]:
        """Path time [s], scale and rate of the scale [1/s] at a time [s] from 0 on; past the table as at its end."""
        if time >= self.duration:
            if self._end < math.inf:
                return self._end, 0.0, 0.0
            scale = max(self._scales[-1], 0.0)
            return self._path_times[-1] + scale * (time - self.duration), scale, 0.0
        index = min(int(time / _STEP), self._last)
        past = time - index * _STEP
        scale = self._scales[index]
        rate = (self._scales[index + 1] - scale) / _STEP
        now = scale + rate * past
        return self._path_times[index] + 0.5 * past * (scale + now), max(now, 0.0), rate


def shortest(brake: float, smoothing: float) -> float:
    """Path time [s] in which a motion at scale 1 can come to rest."""
    return 0.5 / brake + 0.5 * smoothing
