"""What the controller wants: each contributor adds a quadratic cost in the joint velocities to the program.

A cost ``w |A qd - b|^2 / 2`` adds ``w A^T A`` to the Hessian and ``-w A^T b`` to the gradient. To want something
more, write a class with :meth:`Contributor.add` and put it into the controller's list.

Tracking has weight 1. The others only decide what tracking leaves open, the motions of the joints that do not move
the tool (its nullspace): their weights are so small (2e-4 and less, away from singular configurations) that the
tool stays within a fraction of a millimetre of its path, and its feedback removes that too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gr2_wbc import kernels
from gr2_wbc.config import QpConfig
from gr2_wbc.kinematics import Kinematics
from gr2_wbc.robot import JointLimits, Robot, ToolLimits


@dataclass(eq=False)
class CycleState:
    """What contributors may look at. Everything is about the COMMANDED state, in the base frame.

    Attributes:
        positions, velocities: (n,) commanded joint state [rad], [rad/s].
        kinematics: updated for ``positions``.
        manipulability: sqrt(det(J J^T)).
        twist: (6,) reference twist at the end of the cycle [m/s, rad/s].
        error: (6,) reference minus commanded tool pose [m, rad].
    """

    positions: np.ndarray
    velocities: np.ndarray
    kinematics: Kinematics
    manipulability: float = 0.0
    twist: np.ndarray = field(default_factory=lambda: np.zeros(6))
    error: np.ndarray = field(default_factory=lambda: np.zeros(6))


@dataclass(eq=False)
class Cost:
    """The cost of a cycle: qd^T (hessian + damping I) qd / 2 + gradient^T qd. Contributors add to it in place.

    Attributes:
        hessian: (n, n), symmetric.
        gradient: (n,).
        damping: weight of |qd|^2 / 2, kept apart because adding to a diagonal costs more than adding numbers.
    """

    hessian: np.ndarray
    gradient: np.ndarray
    damping: float = 0.0


class Contributor(Protocol):
    """Adds a cost."""

    def add(self, state: CycleState, cost: Cost) -> None:
        """Add to the cost in place."""


class Tracking:
    """Follow the reference twist, corrected by feedback on the commanded pose, no faster than the tool may move.

    Feedback is on the commanded and not on the measured state: a soft position loop in the robot then causes no
    droop and no drift (the robot's own loop closes the rest).
    """

    def __init__(self, gain: float, rotation_length: float, limits: ToolLimits) -> None:
        """Set up with gain [1/s] and the length [m] at which 1 rad weighs as much."""
        self._gain = gain
        self._limits = limits
        self._roots = np.array([1.0] * 3 + [rotation_length] * 3)  # of the weights

    def add(self, state: CycleState, cost: Cost) -> None:
        """See :class:`Contributor`."""
        kernels.add_tracking(
            state.kinematics.jacobian,
            self._roots,
            state.twist,
            state.error,
            self._gain,
            self._limits.linear,
            self._limits.angular,
            cost.hessian,
            cost.gradient,
        )


class Damping:
    """Prefer slow joints, more so where the arm is close to singular (Nakamura's varying damping)."""

    def __init__(self, weight: float, singular_weight: float, threshold: float) -> None:
        self._weight = weight
        self._singular_weight = singular_weight
        self._threshold = threshold

    def add(self, state: CycleState, cost: Cost) -> None:
        """See :class:`Contributor`."""
        closeness = max(0.0, 1.0 - state.manipulability / self._threshold)
        cost.damping += self._weight + self._singular_weight * closeness**2


class Smoothness:
    """Prefer the velocities of the cycle before."""

    def __init__(self, weight: float) -> None:
        self._weight = weight

    def add(self, state: CycleState, cost: Cost) -> None:
        """See :class:`Contributor`."""
        cost.damping += self._weight
        kernels.add_scaled(-self._weight, state.velocities, cost.gradient)


class Posture:
    """Drift towards a rest configuration, at a bounded speed, and towards the middle of a joint's range at its ends."""

    def __init__(
        self,
        rest: np.ndarray,
        limits: JointLimits,
        weight: float,
        gain: float,
        speed: float,
        centering_speed: float,
        centering_share: float,
    ) -> None:
        """Set up.

        Args:
            rest: (n,) configuration [rad].
            limits: of the joints; those without position limits have no middle.
            weight: of this cost.
            gain: of the drift towards rest [1/s].
            speed: largest speed of that drift [rad/s].
            centering_speed: speed wanted away from a position limit, at the limit [rad/s].
            centering_share: it begins in this outermost share of either half of the range.
        """
        self._rest = rest
        self._weight = weight
        self._gain = gain
        self._speed = speed
        width = centering_share * 0.5 * (limits.upper - limits.lower)
        limited = np.isfinite(width)
        self._inner_lower, self._inner_upper = np.full(len(rest), -np.inf), np.full(len(rest), np.inf)
        np.add(limits.lower, width, out=self._inner_lower, where=limited)
        np.subtract(limits.upper, width, out=self._inner_upper, where=limited)
        self._centering = np.where(limited, centering_speed / width, 0.0)

    def add(self, state: CycleState, cost: Cost) -> None:
        """See :class:`Contributor`."""
        cost.damping += self._weight
        kernels.add_posture(
            state.positions,
            self._rest,
            self._inner_lower,
            self._inner_upper,
            self._centering,
            self._gain,
            self._speed,
            self._weight,
            cost.gradient,
        )


class Manipulability:
    """Climb the gradient of the manipulability where it has become small."""

    def __init__(self, weight: float, threshold: float) -> None:
        self._weight = weight
        self._threshold = threshold

    def add(self, state: CycleState, cost: Cost) -> None:
        """See :class:`Contributor`."""
        closeness = 1.0 - state.manipulability / self._threshold
        if closeness > 0.0:
            climb = state.kinematics.manipulability_gradient(state.manipulability)
            kernels.add_scaled(-self._weight * closeness, climb, cost.gradient)


def default_contributors(config: QpConfig, robot: Robot) -> list[Contributor]:
    """What the controller wants, by its configuration."""
    threshold = config.manipulability_threshold
    return [
        Tracking(config.tracking_gain, config.rotation_length, robot.tool_limits),
        Damping(config.damping, config.singular_damping, threshold),
        Smoothness(config.smoothness),
        Posture(
            robot.configurations[config.rest],
            robot.limits,
            config.posture,
            config.posture_gain,
            config.posture_speed,
            config.centering_speed,
            config.centering_share,
        ),
        Manipulability(config.manipulability, threshold),
    ]
