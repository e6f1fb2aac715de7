"""What ``enforce_command_limits`` of ros2_control does to position commands: JointSaturationLimiter.

A command may differ from the command before by no more than the velocity limit times the period, and must lie within
the position limits. The comparison knows no turns: where a continuous joint has a velocity limit, a command that names
the same angle one turn further is walked to through that whole turn. A joint that is measured beyond its position
limits raises, and takes ros2_control's node with it. NaN passes, and the command after it is held to the last one that
was a number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BEYOND = 0.0087
"""How far [rad] beyond a position limit a joint may be measured."""


class OutOfBounds(RuntimeError):
    """A joint is measured beyond its limits; the real node ends of it."""


@dataclass(frozen=True)
class CommandLimits:
    """Limits of the n joints as ros2_control takes them from the URDF and its own tags.

    Attributes:
        names: of the joints.
        lower, upper: (n,) [rad], infinite where there are none.
        velocity: (n,) [rad/s], infinite where there is none.
    """

    names: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray


class CommandLimiter:
    """Keeps position commands within limits.

    Attributes:
        enforced: periods in which a command was changed.
    """

    def __init__(self, limits: CommandLimits) -> None:
        self._limits = limits
        self._previous: np.ndarray | None = None
        self.enforced = 0

    def enforce(self, command: np.ndarray, measured: np.ndarray, period: float) -> np.ndarray:
        """The command (n,) [rad] within the limits.

        Args:
            command: wanted (n,) [rad].
            measured: where the joints are (n,) [rad].
            period: [s] since the command before.

        Raises:
            OutOfBounds: a joint is measured beyond its limits.
        """
        limits = self._limits
        outside = (measured > limits.upper + BEYOND) | (measured < limits.lower - BEYOND)
        if outside.any():
            joint = int(np.flatnonzero(outside)[0])
            raise OutOfBounds(
                f"Joint position is out of bounds for the joint : '{limits.names[joint]}' actual position: "
                f"{measured[joint]:.4f} limits: [{limits.lower[joint]}, {limits.upper[joint]}]"
            )
        previous = measured if self._previous is None else self._previous
        reach = limits.velocity * period
        lower = np.maximum(np.minimum(previous - reach, limits.upper), limits.lower)
        upper = np.minimum(np.maximum(previous + reach, lower), limits.upper)
        with np.errstate(invalid="ignore"):
            low, high = command < lower, command > upper  # false for NaN
        limited = np.where(low, lower, np.where(high, upper, command))
        self.enforced += bool((low | high).any())
        self._previous = np.where(np.isnan(limited), previous, limited)
        return limited
