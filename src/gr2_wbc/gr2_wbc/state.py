"""What the controller is told about the arm, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gr2_wbc.safety import State


@dataclass(frozen=True, eq=False)
class Measurement:
    """The measured state of the arm.

    Attributes:
        stamp: time of the measurement [s].
        positions, velocities: (n,) [rad], [rad/s], in the controller's joint order.
        gripper_opening: 0 open ... 1 closed.
        received: steady time of its arrival [s]; None where there is no steady clock (in-process simulation).
    """

    stamp: float
    positions: np.ndarray
    velocities: np.ndarray
    gripper_opening: float
    received: float | None = None

    def age(self, now: float, steady: float | None) -> float:
        """Age [s] at control time ``now`` and steady time ``steady``: by stamp or by arrival, whichever is larger."""
        age = now - self.stamp
        if steady is None or self.received is None:
            return age
        return max(age, steady - self.received)


@dataclass(frozen=True)
class Status:
    """What the controller reports; the fields mean what they mean in gr2_msgs/WbcStatus."""

    stamp: float
    state: State
    reason: str
    e_stop: bool
    session: str
    policy: str
    active_sequence: int
    chunk_remaining: float
    path_speed_scale: float
    position_error: float
    orientation_error: float
    joint_tracking_error: float
    minimum_distance: float
    minimum_distance_pair: str
    active_constraints: int
    manipulability: float
    cycles: int
    chunks_accepted: int
    refusals: dict[str, int]
    last_refusal: str
    qp_failures: int
    rejected_commands: int
    resyncs: int
    scene_version: int = 0
    motion: str = ""
