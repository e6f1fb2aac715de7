"""What stands between gr2 and the arm's controllers beside the stream of trajectories: no ROS here.

:class:`GripperGoals` turns an opening that is told again and again into goals of an action. :func:`settling` is the
trajectory that takes the trajectory controller to where a faulted arm stands, before its fault is reset: otherwise the
arm would jump to what the controller still wants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gr2_wbc.joints import GripperJoint, JointLimits


class BadOpening(ValueError):
    """A gripper command is not usable; the message says what it was."""


@dataclass(frozen=True)
class GoalConfig:
    """When goals are sent.

    Attributes:
        step: change of the opening (0 ... 1) that is worth a new goal.
        interval: [s] at least between two goals.
        retry: [s] after which a goal is sent again that was rejected, has failed, or was never answered.
    """

    step: float = 0.01
    interval: float = 0.1
    retry: float = 0.5


class GripperGoals:
    """Which goal to send when. All times are passed in [s].

    Attributes:
        failures: goals that were rejected or have failed, and were not replaced by a newer one.
    """

    def __init__(self, gripper: GripperJoint, config: GoalConfig | None = None) -> None:
        self._gripper = gripper
        self._config = config or GoalConfig()
        self._wish: float | None = None
        self._sent: float | None = None
        self._at = -math.inf
        self._number = 0
        self._open = False  # the last goal has not been answered
        self._failed = False
        self.failures = 0

    def wish(self, opening: float) -> None:
        """What is wanted: 0 open ... 1 closed.

        Raises:
            BadOpening: it is not a number from 0 to 1; what was wanted before stays.
        """
        if not 0.0 <= opening <= 1.0:
            raise BadOpening(f"gripper command {opening} is not within 0 (open) ... 1 (closed)")
        self._wish = opening

    def due(self, now: float) -> tuple[int, float] | None:
        """Number and joint position [rad] of a goal to send now, if one is; it counts as sent."""
        if self._wish is None or now - self._at < self._config.interval:
            return None
        changed = self._sent is None or abs(self._wish - self._sent) > self._config.step
        again = (self._failed or self._open) and now - self._at >= self._config.retry
        if not changed and not again:
            return None
        self._sent, self._at, self._failed, self._open = self._wish, now, False, True
        self._number += 1
        return self._number, self._gripper.position(self._wish)

    def answered(self, number: int, accepted: bool) -> None:
        """The controller took a goal, or did not."""
        if number == self._number:
            self._open = False
            self._fail(not accepted)

    def ended(self, number: int, succeeded: bool) -> None:
        """A goal has ended: reached or stalled at something (success), or not. One that was replaced does not count."""
        if number == self._number:
            self._fail(not succeeded)

    def _fail(self, failed: bool) -> None:
        self._failed = self._failed or failed
        self.failures += failed


def settling(limits: JointLimits, reference: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, float]:
    """Where, and how slowly, to take the trajectory controller of a faulted arm.

    Args:
        limits: of the n joints.
        reference: what the controller wants (n,) [rad].
        measured: where the arm stands (n,) [rad].

    Returns:
        positions (n,) [rad] of the arm in the reference's own turn, and the time to get there [s]: at half speed.
    """
    way = limits.difference(measured, reference)
    return reference + way, max(0.3, float(np.max(np.abs(way) / (0.5 * limits.velocity))))
