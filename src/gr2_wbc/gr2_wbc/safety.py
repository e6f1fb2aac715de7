"""The state machine and the watchdogs. All times are passed in; nothing here reads a clock."""

from __future__ import annotations

from collections import deque
from enum import IntEnum

from gr2_wbc.config import SafetyConfig
from gr2_wbc.robot import JointLimits


class State(IntEnum):
    """States of the controller; the numbers are those of gr2_msgs/WbcStatus."""

    IDLE = 0
    HOLDING = 1
    TRACKING = 2
    DECELERATING = 3
    STOPPED = 4


class ResetRefused(RuntimeError):
    """The controller stays stopped: the cause is still there. The message says which."""


class Safety:
    """State, reason, e-stop latch and the counters that lead to a stop.

    STOPPED is latched: only :meth:`reset` leaves it.

    Attributes:
        state: present state.
        reason: why it was entered, in words.
        e_stop: whether the e-stop is latched.
        qp_failures: cycles since start whose program or command was rejected.
        overload: why the path is to be followed more slowly, in words; empty: cycles are in time.
    """

    def __init__(self, config: SafetyConfig, period: float) -> None:
        self._config = config
        self._period = period
        self._failures_in_row = 0
        self._window = max(1, round(config.overrun_window / period))
        self._late: deque[bool] = deque(maxlen=self._window)
        self._late_count = 0
        self.state = State.IDLE
        self.reason = "no joint state received yet"
        self.e_stop = False
        self.qp_failures = 0
        self.overload = ""

    @property
    def stopped(self) -> bool:
        """Whether the state is STOPPED."""
        return self.state is State.STOPPED

    def enter(self, state: State, reason: str) -> None:
        """Go to a state other than STOPPED; ignored while STOPPED is latched."""
        if self.stopped or state is self.state:
            return
        self.state, self.reason = state, reason

    def follow(self, reason: str) -> None:
        """Go to TRACKING, or go on in it for a new reason; ignored while STOPPED is latched."""
        if not self.stopped:
            self.state, self.reason = State.TRACKING, reason

    def hold(self, reason: str) -> None:
        """Go to HOLDING for a new reason, even from HOLDING; ignored while STOPPED is latched."""
        if not self.stopped:
            self.state, self.reason = State.HOLDING, reason

    def stop(self, reason: str) -> None:
        """Latch STOPPED. The first reason is kept."""
        if not self.stopped:
            self.state, self.reason = State.STOPPED, reason

    def latch_e_stop(self, reason: str) -> None:
        """Latch the e-stop, and STOPPED with it."""
        self.e_stop = True
        self.stop(reason)

    def reset(self, reason: str) -> None:
        """Leave STOPPED for HOLDING. Whether that is allowed is the caller's to check."""
        self.e_stop = False
        self._failures_in_row = 0
        self._late.clear()
        self._late_count = 0
        self.overload = ""
        self.state, self.reason = State.HOLDING, reason

    def check_age(self, age: float) -> bool:
        """Whether the newest joint state, of this age [s], is fresh; stops if it is not.

        In IDLE nothing is stopped, but an age far below 0 counts as not fresh either: clocks that do not agree.
        """
        allowed = self._config.joint_state_timeout
        idle = self.state is State.IDLE
        if age <= allowed and not (idle and age < -allowed):
            return True
        reason = f"joint states are stale: the newest is {age:.3f} s old, allowed are {allowed:.3f} s"
        if not idle:
            self.stop(reason)
        else:
            self.reason = f"{reason} (do its stamps and use_sim_time agree?)"
        return False

    def check_tracking(self, worst: int, error: float, limits: JointLimits) -> None:
        """Stop if the joint that is furthest from its command is further than allowed; its error comparable [rad]."""
        if not error <= self._config.tracking_error:  # a NaN stops as well
            self.stop(
                f"{limits.names[worst]} is {limits.told(worst, error)} from its command, "
                f"allowed are {limits.told(worst, self._config.tracking_error)}"
            )

    def note_cycle(self, failure: str | None) -> None:
        """Count a cycle (``failure``: what went wrong, None if nothing); stop after too many failures in a row."""
        if failure is None:
            self._failures_in_row = 0
            return
        self.qp_failures += 1
        self._failures_in_row += 1
        if self._failures_in_row >= self._config.max_qp_failures:
            self.stop(f"{self._failures_in_row} control cycles in a row failed: {failure}")

    def note_lateness(self, lateness: float) -> None:
        """Count how late [s] a cycle started: one that is n periods late stands for n that were missed.

        Many missed in the last window are an overload, which ends when they are half as many; too many stop.
        """
        missed = min(int(lateness / self._period), self._window)
        for _ in range(max(missed, 1)):
            if len(self._late) == self._window:
                self._late_count -= self._late[0]
            self._late.append(missed > 0)
            self._late_count += missed > 0
        config = self._config
        bearable = config.degrade_share * self._window * (0.5 if self.overload else 1.0)
        if self._late_count <= bearable:
            self.overload = ""
            return
        self.overload = f"{self._late_count} of the last {len(self._late)} cycles were missed or late"
        allowed = config.overrun_share * self._window
        if self._late_count > allowed and self.state is not State.IDLE:
            self.stop(f"{self.overload}, allowed are {allowed:.0f}")
