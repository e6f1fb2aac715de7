"""When a standing arm has to move: out of a joint limit or of a safe distance that it violates.

An arm may be started, or pushed, where it must not be, and an obstacle may be added beside it. It then moves outward,
slowly, until it is out; how is the program's business, whose bounds and rows demand that motion.
"""

from __future__ import annotations

import numpy as np

from gr2_wbc.robot import JointLimits

# A recovery begins beyond the first and ends at the second: the demanded speed fades towards the bound.
_JOINT = (2e-3, 4e-4)  # [rad]
_DISTANCE = (1e-3, 2e-4)  # [m]


class Recovery:
    """Decides whether to move out.

    Attributes:
        reason: why the arm is moving out, in words; empty: it is not.
    """

    def __init__(self, limits: JointLimits) -> None:
        self._limits = limits
        self.reason = ""

    def update(self, positions: np.ndarray, clearance: float, pair: str) -> bool:
        """Decide for the commanded state; whether the reason has changed.

        Args:
            positions: (n,) [rad].
            clearance: smallest distance of a pair minus its safe distance [m].
            pair: its name.
        """
        limits, stage = self._limits, 1 if self.reason else 0
        beyond = np.maximum(positions - limits.upper, limits.lower - positions)
        worst = int(np.argmax(beyond))
        if self.reason:
            if beyond[worst] > _JOINT[stage] or clearance < -_DISTANCE[stage]:
                return False
            self.reason = ""
            return True
        if beyond[worst] > _JOINT[stage]:
            self.reason = f"moving out: {limits.names[worst]} is {beyond[worst]:.3f} rad beyond its position limit"
        elif clearance < -_DISTANCE[stage]:
            self.reason = f"moving out: {pair} is {-1e3 * clearance:.1f} mm inside its safe distance"
        return bool(self.reason)
