"""What the controller wants: each contributor adds a quadratic cost in the joint velocities to the program.

A cost ``w |A qd - b|^2 / 2`` adds ``w A^T A`` to the Hessian and ``-w A^T b`` to the gradient. To want something
more, write a class with :meth:`Contributor.add` and put it into the controller's list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gr2_wbc.config import QpConfig
from gr2_wbc.kinematics import Kinematics
from gr2_wbc.robot import Robot, ToolLimits


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


class Contributor(Protocol):
    """Adds a cost."""

    def add(self, state: CycleState, hessian: np.ndarray, gradient: np.ndarray) -> None:
        """Add to the Hessian (n, n) and the gradient (n,) in place."""


class Tracking:
    """Follow the reference twist, corrected by feedback on the commanded pose, no faster than the tool may move.

    Feedback is on the commanded and not on the measured state: a soft position loop in the robot then causes no
    droop and no drift (the robot's own loop closes the rest).
    """

    def __init__(self, gain: float, rotation_length: float, limits: ToolLimits) -> None:
        """Set up with gain [1/s] and the length [m] at which 1 rad weighs as much."""
        self._gain = gain
        self._limits = limits
        self._weights = np.array([1.0] * 3 + [rotation_length**2] * 3)

    def add(self, state: CycleState, hessian: np.ndarray, gradient: np.ndarray) -> None:
        """See :class:`Contributor`."""
        wanted = state.twist + self._gain * state.error
        wanted[:3] *= _within(wanted[:3], self._limits.linear)
        wanted[3:] *= _within(wanted[3:], self._limits.angular)
        jacobian = state.kinematics.jacobian
        weighted = jacobian.T * self._weights
        hessian += weighted @ jacobian
        gradient -= weighted @ wanted


class Damping:
    """Prefer slow joints, more so where the arm is close to singular (Nakamura's varying damping)."""

    def __init__(self, weight: float, singular_weight: float, threshold: float) -> None:
        self._weight = weight
        self._singular_weight = singular_weight
        self._threshold = threshold

    def add(self, state: CycleState, hessian: np.ndarray, gradient: np.ndarray) -> None:
        """See :class:`Contributor`."""
        closeness = max(0.0, 1.0 - state.manipulability / self._threshold)
        hessian.flat[:: len(gradient) + 1] += self._weight + self._singular_weight * closeness**2


class Smoothness:
    """Prefer the velocities of the cycle before."""

    def __init__(self, weight: float) -> None:
        self._weight = weight

    def add(self, state: CycleState, hessian: np.ndarray, gradient: np.ndarray) -> None:
        """See :class:`Contributor`."""
        hessian.flat[:: len(gradient) + 1] += self._weight
        gradient -= self._weight * state.velocities


class Posture:
    """Drift towards a rest configuration, at a bounded speed."""

    def __init__(self, rest: np.ndarray, weight: float, gain: float, speed: float) -> None:
        """Set up with rest (n,) [rad], gain [1/s] and the largest speed [rad/s]."""
        self._rest = rest
        self._weight = weight
        self._gain = gain
        self._speed = speed

    def add(self, state: CycleState, hessian: np.ndarray, gradient: np.ndarray) -> None:
        """See :class:`Contributor`."""
        wanted = np.clip(self._gain * (self._rest - state.positions), -self._speed, self._speed)
        hessian.flat[:: len(gradient) + 1] += self._weight
        gradient -= self._weight * wanted


class Manipulability:
    """Climb the gradient of the manipulability where it has become small."""

    def __init__(self, weight: float, threshold: float) -> None:
        self._weight = weight
        self._threshold = threshold

    def add(self, state: CycleState, hessian: np.ndarray, gradient: np.ndarray) -> None:
        """See :class:`Contributor`."""
        closeness = 1.0 - state.manipulability / self._threshold
        if closeness > 0.0:
            climb = state.kinematics.manipulability_gradient(state.manipulability)
            gradient -= self._weight * closeness * climb


def default_contributors(config: QpConfig, robot: Robot) -> list[Contributor]:
    """What the controller wants, by its configuration."""
    threshold = config.manipulability_threshold
    return [
        Tracking(config.tracking_gain, config.rotation_length, robot.tool_limits),
        Damping(config.damping, config.singular_damping, threshold),
        Smoothness(config.smoothness),
        Posture(robot.configurations[config.rest], config.posture, config.posture_gain, config.posture_speed),
        Manipulability(config.manipulability, threshold),
    ]


def _within(vector: np.ndarray, limit: float) -> float:
    """Factor that brings a vector to at most this norm."""
    norm = float(np.sqrt(vector @ vector))
    return 1.0 if norm <= limit else limit / norm
