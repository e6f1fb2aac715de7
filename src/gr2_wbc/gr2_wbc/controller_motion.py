"""The controller's part for motions in joint space and for surroundings that change."""

from __future__ import annotations

import numpy as np

from gr2_wbc.collision import CollisionMonitor
from gr2_wbc.collision_model import CollisionModel
from gr2_wbc.contributors import CycleState
from gr2_wbc.joint_motion import JointFollower, JointMotion
from gr2_wbc.kinematics import Kinematics
from gr2_wbc.recovery import Recovery
from gr2_wbc.reference import Reference
from gr2_wbc.robot import Robot
from gr2_wbc.safety import Safety, State

START_TOLERANCE = 0.02  # [rad or m] a motion begins where the arm stands


class MotionRefused(RuntimeError):
    """A motion in joint space cannot begin now. The message says why."""


class MotionPart:
    """Base of :class:`gr2_wbc.controller.Controller`, which owns the attributes.

    Attributes:
        reserved: what the arm is about to do or does for an operator, e.g. ``moving to 'home'``; chunks are refused
            meanwhile. Empty: policies may move it.
        scene_version: of the environment whose distances are kept.
    """

    robot: Robot
    safety: Safety
    reserved: str
    scene_version: int
    _seeded: bool
    _collision: CollisionMonitor
    _kinematics: Kinematics
    _mover: JointFollower
    _recovery: Recovery
    _reference: Reference
    _state: CycleState

    def use_collision(self, model: CollisionModel) -> None:
        """Keep the distances of another model of this robot's surroundings from the next cycle on.

        Where the arm is then too close to something, it moves out no faster than the recovery speed.
        """
        self._collision.use(model)
        self._collision.update(self._state.positions)
        self.scene_version = model.version

    def come_to_rest(self) -> None:
        """Give up what is followed, a chunk or a motion; the arm comes to rest along its path and holds."""
        self._reference.abandon()
        self._mover.abandon()

    @property
    def at_rest(self) -> bool:
        """Whether the arm stands, ready for a motion: it holds, and is not moving out of anything."""
        return self.safety.state is State.HOLDING and not self._recovery.reason and not self._mover.active

    @property
    def moving(self) -> bool:
        """Whether a motion in joint space is under way."""
        return self._mover.active

    @property
    def commanded_positions(self) -> np.ndarray:
        """(n,) the commanded positions of this cycle [rad, m]."""
        return self._state.positions.copy()

    def move(self, motion: JointMotion) -> None:
        """Follow a motion in joint space that begins where the arm stands.

        Raises:
            MotionRefused: the arm does not stand, or stands elsewhere.
        """
        if not self._seeded or not self.at_rest:
            raise MotionRefused(f"the arm does not stand ready: {self.safety.state.name}, {self.safety.reason}")
        limits = self.robot.limits
        away = np.abs(motion.positions[0] - self._state.positions)
        worst = int(np.argmax(away))
        if not away[worst] <= START_TOLERANCE:
            name = limits.names[worst]
            raise MotionRefused(f"{name} is {away[worst]:.3f} {limits.unit(name)} from where the motion begins")
        self._mover.start(motion)
        self.safety.enter(State.TRACKING, f"moving to {motion.name}")

    def _follow_motion(self, now: float, speed_limit: float) -> None:
        """Advance the motion under way; the tool's reference stays where the tool is."""
        ended = self._mover.advance(self._state, speed_limit)
        self._reference.hold(now, self._kinematics.position, self._kinematics.rotation)
        if ended:
            self.safety.enter(State.HOLDING, ended)
        elif self._mover.abandoned:
            self.safety.enter(State.DECELERATING, "the motion was given up")
