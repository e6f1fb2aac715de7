"""A goal of the action follow_joint_trajectory: the control loop fills it, the node tells it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from gr2_sim.fake_kortex.interpolation import Sample
from gr2_sim.fake_kortex.tolerances import Tolerances


class Code(Enum):
    """The action's result codes that the controller gives. Two more, for wrong joints and old stamps, it never uses:
    such goals are rejected, and have no result."""

    SUCCESSFUL = 0
    INVALID_GOAL = -1
    PATH_TOLERANCE_VIOLATED = -4
    GOAL_TOLERANCE_VIOLATED = -5


class Status(Enum):
    """How a goal ends, as actions have it."""

    SUCCEEDED = "succeeded"
    ABORTED = "aborted"
    CANCELED = "canceled"


@dataclass(frozen=True)
class Outcome:
    """Of a goal; the text is the controller's."""

    status: Status
    code: Code
    text: str


REACHED = Outcome(Status.SUCCEEDED, Code.SUCCESSFUL, "Goal successfully reached!")
CANCELED = Outcome(Status.CANCELED, Code.SUCCESSFUL, "")  # the controller leaves the result as it is made
PREEMPTED = Outcome(Status.ABORTED, Code.INVALID_GOAL, "Current goal preempted by new incoming action.")
DEACTIVATED = Outcome(Status.ABORTED, Code.INVALID_GOAL, "Current goal cancelled during deactivate transition.")
OFF_PATH = Outcome(Status.ABORTED, Code.PATH_TOLERANCE_VIOLATED, "Aborted due to path tolerance violation")


def late(seconds: float) -> Outcome:
    """Not within the goal's tolerance, this long [s] after the trajectory's end."""
    text = f"Aborted due to goal_time_tolerance exceeding by {seconds:f} seconds"
    return Outcome(Status.ABORTED, Code.GOAL_TOLERANCE_VIOLATED, text)


@dataclass(frozen=True, eq=False)
class Feedback:
    """One cycle of a goal.

    Attributes:
        stamp: [s].
        elapsed: [s] since the trajectory's start.
        desired: what is wanted.
        positions, velocities: measured (n,) [rad], [rad/s].
        error: desired less measured (n,) [rad], of continuous joints the shorter way.
    """

    stamp: float
    elapsed: float
    desired: Sample
    positions: np.ndarray
    velocities: np.ndarray
    error: np.ndarray


class Goal:
    """A goal that was accepted.

    Attributes:
        tolerances: its own.
        feedback: of the newest cycle; None before the first.
        outcome: None while it is carried out.
    """

    def __init__(self, tolerances: Tolerances) -> None:
        self.tolerances = tolerances
        self.feedback: Feedback | None = None
        self.outcome: Outcome | None = None

    def end(self, outcome: Outcome) -> None:
        """Give it its outcome; the first one stays."""
        self.outcome = self.outcome or outcome
