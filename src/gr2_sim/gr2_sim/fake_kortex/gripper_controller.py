"""The parallel gripper's action controller: one goal at a time, reached, stalled, preempted or cancelled."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class GoalRejected(ValueError):
    """A goal is not taken; the message is the controller's."""


@dataclass(frozen=True)
class GripperControllerConfig:
    """Parameters of the controller; the defaults are those of Jazzy.

    Attributes:
        goal_tolerance: [rad] within which a goal is reached.
        allow_stalling: a gripper that stalls has succeeded (it holds something).
        stall_velocity_threshold: [rad/s] below which it stands.
        stall_timeout: [s] of standing after which it has stalled.
    """

    goal_tolerance: float = 0.01
    allow_stalling: bool = False
    stall_velocity_threshold: float = 0.001
    stall_timeout: float = 1.0


class Ending(Enum):
    """How a goal ended."""

    REACHED = "reached"
    STALLED = "stalled"
    STALLED_ABORTED = "stalled, aborted"
    PREEMPTED = "preempted"


class GripperController:
    """Commands one position; tells when the goal at hand has ended.

    Attributes:
        command: position that is commanded [rad].
    """

    def __init__(self, config: GripperControllerConfig) -> None:
        self._config = config
        self.command = float("nan")
        self._goal: int | None = None
        self._moved = 0.0
        self._count = 0

    def accept(self, now: float, positions: list[float]) -> tuple[int, int | None]:
        """Take a goal; it preempts the one before.

        Args:
            now: [s].
            positions: of the goal's command [rad].

        Returns:
            the number of the goal, and that of the goal it preempts.

        Raises:
            GoalRejected: not exactly one position.
        """
        if len(positions) != 1:
            raise GoalRejected(
                f"Received action goal with wrong number of position values, expects 1, got {len(positions)}"
            )
        before, self._count = self._goal, self._count + 1
        self._goal, self.command, self._moved = self._count, float(positions[0]), now
        return self._count, before

    def cancel(self, number: int, measured: float) -> None:
        """Hold where the gripper is, if this goal is at hand."""
        if number == self._goal:
            self._goal, self.command = None, measured

    def update(self, now: float, measured: float, velocity: float) -> tuple[int, Ending] | None:
        """Look whether the goal at hand has ended at this position [rad] and velocity [rad/s]."""
        number, config = self._goal, self._config
        if number is None:
            return None
        if abs(self.command - measured) < config.goal_tolerance:
            self._goal = None
            return number, Ending.REACHED
        if abs(velocity) > config.stall_velocity_threshold:
            self._moved = now
        elif now - self._moved > config.stall_timeout:
            self._goal = None
            return number, Ending.STALLED if config.allow_stalling else Ending.STALLED_ABORTED
        return None
