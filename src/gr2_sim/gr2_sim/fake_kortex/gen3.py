"""The arm's own side: actuators with set points in degrees, faults, and the session that commands need.

It moves a :class:`gr2_sim.world.World`: whatever the set points are, the world's servos follow. An arm in fault, or
one whose session is gone, brakes and holds where it comes to rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gr2_sim import gripper
from gr2_sim.world import World

BRAKING = 5.0  # [rad/s^2] of a stop of the arm's own
FASTEST = np.array([1.3963] * 4 + [1.2218] * 3)  # [rad/s] of the drives, whatever their set points do
SMOOTHING = 0.02  # [s] over which a drive finds out how fast its set points move


class SessionLost(RuntimeError):
    """The arm does not answer: the session has ended, or the cable is out."""


@dataclass(frozen=True, eq=False)
class Feedback:
    """One answer of the arm.

    Attributes:
        positions: (7,) 0 ... 360 [deg].
        velocities: (7,) [deg/s].
        torques: (7,) [Nm].
        gripper, gripper_velocity: closed to [%], [%/s].
        in_fault: fault banks or arm state say so.
    """

    positions: np.ndarray
    velocities: np.ndarray
    torques: np.ndarray
    gripper: float
    gripper_velocity: float
    in_fault: bool


class Gen3:
    """An arm with a gripper in a world.

    Attributes:
        fault: why it is in fault; empty: it is not.
        stubborn: faults cannot be cleared (what caused them is still there).
        session: whether it answers.
        not_finite: set points that were no numbers.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.fault = ""
        self.stubborn = False
        self.session = True
        self.not_finite = 0
        self.accepted = self.rejected = 0  # of world.executor, whose place this takes
        self.hold(world.joint_positions)
        world.executor = self  # type: ignore[assignment]

    # -- towards the driver ----------------------------------------------------------------------------------------

    def feedback(self) -> Feedback:
        """The newest answer.

        Raises:
            SessionLost: there is none.
        """
        self._require_session()
        world, (angle, rate) = self._world, self._world.knuckle
        scale = 100.0 / gripper.CLOSED_ANGLE
        return Feedback(
            positions=np.remainder(np.degrees(world.joint_positions), 360.0),
            velocities=np.degrees(world.joint_velocities),
            torques=world.joint_efforts.copy(),
            gripper=scale * angle,
            gripper_velocity=scale * rate,
            in_fault=bool(self.fault),
        )

    def refresh(self, degrees: np.ndarray | None, percent: float | None) -> None:
        """Take set points (7,) 0 ... 360 [deg] and the gripper's [%]; None leaves them.

        Raises:
            SessionLost: nobody takes them.
        """
        self._require_session()
        if self.fault or degrees is None:
            return
        if not np.isfinite(degrees).all():
            self.not_finite += 1
            self.enter_fault("a set point is not a number")
            return
        self._set_points = degrees.astype(float)
        if percent is not None:
            self._world.command_gripper(min(max(percent / 100.0, 0.0), 1.0))

    def clear_faults(self) -> bool:
        """Whether the faults are gone.

        Raises:
            SessionLost: nobody listens.
        """
        self._require_session()
        if not self.stubborn:
            self.fault = ""
            self._set_points = np.degrees(self._target)
        return not self.fault

    def enter_fault(self, reason: str) -> None:
        """Stop by itself and take no commands until the fault is cleared."""
        self.fault = self.fault or reason

    def _require_session(self) -> None:
        if not self.session:
            raise SessionLost("the arm does not answer: timeout of the real-time session")

    # -- towards the world, in the place of its executor -------------------------------------------------------------

    def hold(self, positions: np.ndarray) -> None:
        """Stand at these positions (7,) [rad]."""
        self._target = np.array(positions, dtype=float)
        self._velocity = np.zeros(len(self._target))
        self._set_points = np.degrees(self._target)

    def sample(self, now: float) -> tuple[np.ndarray, np.ndarray]:
        """Targets of the drives (7,) [rad], [rad/s]: called once for each time step of the world."""
        step = self._world.timestep
        if self.fault or not self.session:
            slower = np.maximum(np.abs(self._velocity) - BRAKING * step, 0.0)
            self._velocity = np.copysign(slower, self._velocity)
            self._target = self._target + self._velocity * step
            return self._target, self._velocity
        away = np.remainder(np.radians(self._set_points) - self._target + np.pi, 2.0 * np.pi) - np.pi
        reach = FASTEST * step
        moved = np.clip(away, -reach, reach)
        self._target = self._target + moved
        self._velocity = self._velocity + (moved / step - self._velocity) * (step / SMOOTHING)
        return self._target, self._velocity
