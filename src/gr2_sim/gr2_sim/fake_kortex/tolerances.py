"""How far joints may be off their trajectory: the controller's own tolerances, and those that a goal brings along.

With a position command interface alone, as the arm has, the controller computes no error of velocities and none of
accelerations: tolerances of those are read, and refused where they make no sense, but nothing is ever beyond them.
``stopped_velocity_tolerance`` therefore does nothing on this arm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

_EPSILON = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Constraints:
    """Of the controllers' file.

    Attributes:
        goal_time: [s] after a trajectory's end by which the joints must be within the goal's tolerance; 0: never.
        path, goal: per joint [rad]; a joint that is not named has none.
    """

    goal_time: float = 0.0
    path: Mapping[str, float] = field(default_factory=dict)
    goal: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class JointTolerance:
    """One entry of a goal's tolerances: 0 leaves the controller's own, -1 takes it away, no other may be negative."""

    name: str
    position: float = 0.0
    velocity: float = 0.0
    acceleration: float = 0.0


@dataclass(frozen=True, eq=False)
class Tolerances:
    """In force for n joints.

    Attributes:
        path, goal: (n,) [rad], on the way and past the last point; 0: not checked.
        goal_time: as in :class:`Constraints`.
    """

    path: np.ndarray
    goal: np.ndarray
    goal_time: float

    @classmethod
    def of(cls, constraints: Constraints, joints: Sequence[str]) -> Tolerances:
        """Those of the controllers' file."""
        path, goal = ([given.get(name, 0.0) for name in joints] for given in (constraints.path, constraints.goal))
        return cls(np.array(path, dtype=float), np.array(goal, dtype=float), constraints.goal_time)

    @cached_property
    def any(self) -> bool:
        """Whether anything is checked at all."""
        return bool((self.path > 0.0).any() or (self.goal > 0.0).any())


class IllegalTolerance(ValueError):
    """A goal's tolerances make no sense; the message is the controller's."""


def of_goal(
    default: Tolerances,
    joints: Sequence[str],
    goal_time: float,
    path: Iterable[JointTolerance],
    goal: Iterable[JointTolerance],
) -> Tolerances:
    """The tolerances of a goal, where it brings none the default's.

    Args:
        default: the controller's.
        joints: names, in the order of the arrays.
        goal_time: [s], with the special values of a tolerance.
        path, goal: as the goal tells them.

    Raises:
        IllegalTolerance: the real controller logs it, and takes the default for everything.
    """
    try:
        seconds = _resolved(default.goal_time, goal_time)
    except ValueError:
        raise IllegalTolerance(
            f"Specified illegal goal_time_tolerance: {goal_time:f}. Using default tolerances"
        ) from None
    return Tolerances(
        _with("path_tolerance", default.path, joints, path),
        _with("goal_tolerance", default.goal, joints, goal),
        seconds,
    )


def exceeded(error: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Which joints (n,) are off by more than their tolerance; an error that is not a number is not."""
    with np.errstate(invalid="ignore"):
        beyond: np.ndarray = (tolerance > 0.0) & (np.abs(error) > tolerance)
    return beyond


def _with(what: str, default: np.ndarray, joints: Sequence[str], entries: Iterable[JointTolerance]) -> np.ndarray:
    made = default.copy()
    for entry in entries:
        if entry.name not in joints:
            raise IllegalTolerance(
                f"joint '{entry.name}' specified in goal.{what} does not exist. Using default tolerances."
            )
        index = joints.index(entry.name)
        for kind in ("position", "velocity", "acceleration"):
            try:
                value = _resolved(float(default[index]) if kind == "position" else 0.0, getattr(entry, kind))
            except ValueError:
                raise IllegalTolerance(
                    f"joint '{entry.name}' specified in goal.{what} has a invalid {kind} tolerance. "
                    "Using default tolerances."
                ) from None
            if kind == "position":
                made[index] = value
    return made


def _resolved(default: float, given: float) -> float:
    if given > 0.0:
        return given
    if abs(given + 1.0) < _EPSILON:
        return 0.0
    if given < 0.0:
        raise ValueError
    return default  # 0, and what is not a number
