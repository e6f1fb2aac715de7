"""The controller's part for taking the arm over: at the start, after a jump of the arm or of time, and at a reset."""

from __future__ import annotations

import copy

import numpy as np

from gr2_wbc.command import CommandTrajectory
from gr2_wbc.config import ControllerConfig
from gr2_wbc.intake import Intake
from gr2_wbc.joint_motion import JointFollower
from gr2_wbc.kinematics import Kinematics
from gr2_wbc.reference import Reference
from gr2_wbc.robot import Robot
from gr2_wbc.safety import ResetRefused, Safety, State
from gr2_wbc.state import Measurement


class TakeOverPart:
    """Base of :class:`gr2_wbc.controller.Controller`, which owns the attributes."""

    robot: Robot
    config: ControllerConfig
    safety: Safety
    intake: Intake
    _seeded: bool
    _lost: bool
    _kinematics: Kinematics
    _reference: Reference
    _mover: JointFollower
    _plan: CommandTrajectory
    _error: np.ndarray
    _gripper: float
    _now: float
    _measured: Measurement | None
    _resyncs: int
    _settling_since: float | None

    def _observe(self, positions: np.ndarray, velocities: np.ndarray) -> None:
        raise NotImplementedError

    def _standing(self, now: float, positions: np.ndarray) -> CommandTrajectory:
        raise NotImplementedError

    def _take_over(self, measurement: Measurement) -> None:
        """Seed from the first measurement of a standing arm."""
        try:
            self._require_rest(measurement)
        except ResetRefused as moving:
            self.safety.reason = str(moving)
            return
        if self._lost:
            self._lost = False
            self._reseed(measurement.stamp, measurement, "the arm was taken over anew where it came to rest")
            return
        self._seed(measurement.stamp, measurement.positions.copy(), measurement.gripper_opening)
        self.safety.enter(State.HOLDING, "the arm was taken over where it stands")

    def _jumped(self, now: float, measurement: Measurement, joint: int) -> None:
        """The arm is elsewhere than the command has it: take it over where it stands, or once it does.

        A moving arm is not to be told to be where it was just measured: an executor would throw it back there, which
        is the next jump. Without commands it comes to rest on the tail of the last one.
        """
        name = self.robot.limits.names[joint]
        try:
            self._require_rest(measurement)
        except ResetRefused:
            self._lost, self._seeded = True, False
            self._mover.drop()
            self._reference.hold(now, self._kinematics.position, self._kinematics.rotation)
            self._error = np.zeros(6)
            self.safety.hold(f"the measured {name} jumped while the arm moves; taken over once it rests")
            return
        self._reseed(now, measurement, f"the measured {name} jumped; taken over where it stands")

    def _require_rest(self, measurement: Measurement) -> None:
        limits, allowed = self.robot.limits, self.config.safety.seed_speed
        speeds = limits.comparable(np.abs(measurement.velocities))
        worst = int(np.argmax(speeds))
        if not speeds[worst] <= allowed:
            raise ResetRefused(
                f"the arm still moves: {limits.names[worst]} at {limits.told(worst, speeds[worst])}/s, "
                f"allowed are {limits.told(worst, allowed)}/s"
            )

    def _seed(self, now: float, positions: np.ndarray, gripper: float) -> None:
        self._plan = self._standing(now, positions)
        self._gripper = gripper
        self._now = now
        self._seeded = True
        self._settling_since = None
        self._observe(positions, np.zeros(self.robot.dof))
        self._reference.hold(now, self._kinematics.position, self._kinematics.rotation)
        self._mover.drop()
        self._error = np.zeros(6)

    def _reseed(self, now: float, measurement: Measurement, reason: str) -> None:
        """Drop what was followed and hold where the arm stands."""
        self._seed(now, measurement.positions.copy(), measurement.gripper_opening)
        self._measured = measurement
        self._resyncs += 1
        self.intake.forget_before(measurement.stamp)
        self.safety.hold(reason)

    def _come_to_rest(self, now: float) -> None:
        """Drop what was followed. The last command stays: its executor may still be under way to where it ends."""
        self._now = now
        self._settling_since = None
        self._observe(self._plan.positions[2], np.zeros(self.robot.dof))
        self._reference.hold(now, self._kinematics.position, self._kinematics.rotation)
        self._mover.drop()
        self._error = np.zeros(6)

    def _clock_jumped(self, now: float) -> None:
        """Control time jumped: hold where the last command comes to rest."""
        step = now - self._now
        if self.safety.stopped:
            # Nothing is sent: the executor stands at the end of the last command.
            self._seed(now, self._plan.positions[2].copy(), self._gripper)
        else:
            if step < 0.0:
                # The executor goes by the same clock: it is where it was when it got the last command.
                self._plan = copy.copy(self._plan)
                self._plan.stamp += step
            self._come_to_rest(now)
        self._resyncs += 1
        self.intake.forget_before(now)
        self.safety.hold(f"control time jumped by {step:.3f} s")
