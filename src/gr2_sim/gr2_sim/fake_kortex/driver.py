"""The hardware interface of ros2_kortex: between ros2_control's radians and the arm's degrees, and nothing more.

States are told in -pi ... pi, commands go out in 0 ... 360 degrees as 32-bit floats; velocities are not sent; nothing
is checked for being finite. While the arm is in fault nothing is written; what the trajectory controller wants
meanwhile is written as soon as the fault is gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gr2_sim.fake_kortex.gen3 import Gen3, SessionLost

GRIPPER_RANGE = 0.81
"""Knuckle angle [rad] that the driver takes for a gripper that is closed to 100 %."""


def to_degrees(command: np.ndarray) -> np.ndarray:
    """Commands [rad] -> what goes to the actuators, 0 ... 360 [deg], float32."""
    degrees = np.degrees(command)
    with np.errstate(invalid="ignore"):
        wrapped = np.where((degrees > 360.0) | (degrees < 0.0), np.remainder(degrees, 360.0), degrees)
    return wrapped.astype(np.float32)


def to_radians(degrees: np.ndarray) -> np.ndarray:
    """What the actuators tell [deg] -> -pi ... pi [rad]."""
    return np.remainder(np.radians(np.asarray(degrees, dtype=float)) + np.pi, 2.0 * np.pi) - np.pi


@dataclass(frozen=True, eq=False)
class JointState:
    """What the driver tells ros2_control.

    Attributes:
        positions, velocities, efforts: (7,) [rad], [rad/s], [Nm].
        gripper, gripper_velocity: knuckle [rad], [rad/s].
        in_fault: as the fault controller tells it.
    """

    positions: np.ndarray
    velocities: np.ndarray
    efforts: np.ndarray
    gripper: float
    gripper_velocity: float
    in_fault: bool


class KortexDriver:
    """Reads from and writes to the arm, as the hardware interface does."""

    def __init__(self, arm: Gen3) -> None:
        self._arm = arm
        self._in_fault = False

    def read(self) -> JointState:
        """The state of the last exchange with the arm.

        Raises:
            SessionLost: the arm does not answer any more.
        """
        feedback = self._arm.feedback()
        self._in_fault = feedback.in_fault
        return JointState(
            positions=to_radians(feedback.positions),
            velocities=np.radians(feedback.velocities),
            efforts=feedback.torques,
            gripper=feedback.gripper / 100.0 * GRIPPER_RANGE,
            gripper_velocity=feedback.gripper_velocity / 100.0 * GRIPPER_RANGE,
            in_fault=feedback.in_fault,
        )

    def write(self, command: np.ndarray, gripper: float) -> None:
        """Send positions (7,) [rad] and the knuckle's [rad].

        Raises:
            SessionLost: the arm does not answer any more.
        """
        if self._in_fault:
            self._arm.refresh(None, None)
            return
        percent = None if np.isnan(gripper) else gripper / GRIPPER_RANGE * 100.0
        self._arm.refresh(to_degrees(command), percent)

    def reset_fault(self) -> bool:
        """What the fault controller's service does: emergency stop, clear, back to low-level servoing."""
        try:
            return self._arm.clear_faults()
        except SessionLost:
            return False
