"""Between two points of a trajectory, as the trajectory controller does it: linear, cubic or quintic."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Sample:
    """Of n joints: positions [rad], velocities [rad/s], accelerations [rad/s^2], each (n,)."""

    positions: np.ndarray
    velocities: np.ndarray
    accelerations: np.ndarray


@dataclass(frozen=True, eq=False)
class Knot:
    """A point of a trajectory; velocities and accelerations (n,) only where it has them."""

    positions: np.ndarray
    velocities: np.ndarray | None = None
    accelerations: np.ndarray | None = None

    @cached_property
    def still(self) -> Sample:
        """The point as what is wanted for good: what it does not have is zero."""
        zero = np.zeros(len(self.positions))
        return Sample(
            self.positions,
            zero if self.velocities is None else self.velocities,
            zero if self.accelerations is None else self.accelerations,
        )


def between(elapsed: float, span: float, first: Knot, second: Knot) -> Sample:
    """The state ``elapsed`` [s] after the first of two points that are ``span`` [s] apart.

    Quintic where both have velocities and accelerations, cubic where both have velocities alone, linear where they have
    neither. Accelerations without velocities are no case of the real one: it then wants every joint at zero.
    """
    p0, p1, v0, v1 = first.positions, second.positions, first.velocities, second.velocities
    t = min(max(elapsed, 0.0), max(span, 0.0))
    a0, a1 = first.accelerations, second.accelerations
    if v0 is None or v1 is None or span <= 0.0:
        zero = np.zeros(len(p0))
        if a0 is not None and a1 is not None and span > 0.0:
            return Sample(zero, zero, zero)
        slope = (p1 - p0) / span if span > 0.0 else zero
        return Sample(p0 + t * slope, slope, zero)
    way, span2 = p1 - p0, span * span
    if a0 is None or a1 is None:
        mean = way / span
        c2 = (3.0 * mean - 2.0 * v0 - v1) / span
        c3 = (v0 + v1 - 2.0 * mean) / span2
        twice, thrice = 2.0 * c2, (3.0 * t) * c3
        return Sample(p0 + t * (v0 + t * (c2 + t * c3)), v0 + t * (twice + thrice), twice + 2.0 * thrice)
    c2 = 0.5 * a0
    c3 = (20.0 * way - (12.0 * v0 + 8.0 * v1) * span - (3.0 * a0 - a1) * span2) / (2.0 * span2 * span)
    c4 = (-30.0 * way + (16.0 * v0 + 14.0 * v1) * span + (3.0 * a0 - 2.0 * a1) * span2) / (2.0 * span2 * span2)
    c5 = (12.0 * way - 6.0 * (v0 + v1) * span - (a0 - a1) * span2) / (2.0 * span2 * span2 * span)
    return Sample(
        p0 + t * (v0 + t * (c2 + t * (c3 + t * (c4 + t * c5)))),
        v0 + t * (2.0 * c2 + t * (3.0 * c3 + t * (4.0 * c4 + t * 5.0 * c5))),
        2.0 * c2 + t * (6.0 * c3 + t * (12.0 * c4 + t * 20.0 * c5)),
    )
