"""Limits of the joints, hinges and slides alike, and the joint of the gripper."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

RADIANS_PER_METRE = 5.0  # what a sliding joint's error counts where tolerances are in radians


@dataclass(frozen=True)
class JointLimits:
    """Limits of the n arm joints, in the controller's order; metres for sliding joints instead of radians.

    Attributes:
        names: joint names.
        lower, upper: (n,) position limits [rad], infinite for continuous joints.
        velocity: (n,) [rad/s].
        acceleration: (n,) [rad/s^2].
        sliding: names of the joints that slide (prismatic).
    """

    names: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    sliding: frozenset[str] = frozenset()

    @cached_property
    def continuous(self) -> np.ndarray:
        """(n,) bool: joints without position limits; their positions are equivalent modulo 2 pi."""
        return ~np.isfinite(self.lower) & ~np.isfinite(self.upper)

    def unit(self, name: str) -> str:
        """Unit of a joint's position: ``m`` or ``rad``."""
        return "m" if name in self.sliding else "rad"

    @cached_property
    def turning(self) -> np.ndarray:
        """(n,) 1 for continuous joints, else 0."""
        return self.continuous.astype(float)

    @cached_property
    def weights(self) -> np.ndarray:
        """(n,) radians that an error of 1 counts as, 1 but for sliding joints."""
        return np.array([RADIANS_PER_METRE if name in self.sliding else 1.0 for name in self.names])

    def comparable(self, errors: np.ndarray) -> np.ndarray:
        """Errors (n,) of positions or velocities, those of sliding joints in the radians that they count as."""
        return errors * self.weights if self.sliding else errors

    def told(self, index: int, error: float) -> str:
        """A comparable error of a joint in the joint's own unit, for messages."""
        return f"{error / self.weights[index]:.3f} {self.unit(self.names[index])}"

    def difference(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """first - second (n,) [rad], modulo whole turns for continuous joints."""
        difference = first - second
        if difference.dot(difference) < 9.0:  # the rule: no joint is half a turn away
            return difference
        turns = np.round(difference / (2.0 * np.pi)) * self.continuous
        return difference - 2.0 * np.pi * turns


@dataclass(frozen=True)
class GripperJoint:
    """The joint that ``/joint_states`` carries for the gripper, with its positions open and closed [rad or m].

    A robot without one has the empty name.
    """

    joint: str
    open: float
    closed: float

    def opening(self, position: float) -> float:
        """Joint position -> 0 open ... 1 closed, clipped."""
        return min(max((position - self.open) / (self.closed - self.open), 0.0), 1.0)

    def position(self, opening: float) -> float:
        """0 open ... 1 closed -> joint position."""
        return self.open + opening * (self.closed - self.open)
