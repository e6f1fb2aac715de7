"""A chunk of future tool poses, and everything that can be wrong with one by itself.

What depends on the arm, the time or the session is checked in :mod:`gr2_wbc.intake`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from gr2_wbc.config import IntakeConfig


class Refusal(Enum):
    """Why a chunk was refused as a whole; the previous one goes on."""

    NOT_READY = "not_ready"
    STOPPED = "stopped"
    MOVING = "moving"
    UNKNOWN_SESSION = "unknown_session"
    WRONG_FRAME = "wrong_frame"
    BAD_TIMING = "bad_timing"
    BAD_HORIZON = "bad_horizon"
    BAD_LENGTH = "bad_length"
    NOT_FINITE = "not_finite"
    BAD_QUATERNION = "bad_quaternion"
    BAD_GRIPPER = "bad_gripper"
    OUT_OF_REACH = "out_of_reach"
    STEP_TOO_LARGE = "step_too_large"
    OLD_SEQUENCE = "old_sequence"
    FUTURE_STAMP = "future_stamp"
    EXPIRED = "expired"
    BEFORE_RESYNC = "before_resync"
    TOO_FAR = "too_far"


class ChunkRefused(ValueError):
    """A chunk was refused.

    Attributes:
        reason: the named reason.
        text: the reason in words, with the figures.
    """

    def __init__(self, reason: Refusal, text: str) -> None:
        super().__init__(f"{reason.value}: {text}")
        self.reason = reason
        self.text = text


@dataclass(frozen=True, eq=False)
class Chunk:
    """Future poses of tool_frame; pose i holds at ``stamp + (i + 1) * dt``.

    Attributes:
        stamp: time of the observation it was computed from [s].
        sequence: counts up within a session.
        session: granted at activation.
        instruction, model_id: what was followed, by whom.
        dt: time between poses [s].
        positions: (k, 3) [m] in ``frame_id``.
        orientations: (k, 4) unit quaternions x y z w.
        gripper: (k,) 0 open ... 1 closed.
        frame_id: frame of the poses.
        horizon: the k its sender declared; None: taken from the positions.
    """

    stamp: float
    sequence: int
    session: str
    instruction: str
    model_id: str
    dt: float
    positions: np.ndarray
    orientations: np.ndarray
    gripper: np.ndarray
    frame_id: str = "base_link"
    horizon: int | None = None

    @property
    def end(self) -> float:
        """Time of the last pose [s]."""
        return self.stamp + len(self.positions) * self.dt


def check_chunk(chunk: Chunk, config: IntakeConfig, frame: str) -> Chunk:
    """Check what can be checked without knowing the arm, the time or the session.

    Args:
        chunk: as received; its arrays may have any shape and content.
        frame: the frame its poses must be in.

    Returns:
        The chunk with float64 arrays of the documented shapes and quaternions of norm 1.

    Raises:
        ChunkRefused: with the first thing found wrong.
    """
    if chunk.frame_id != frame:
        raise ChunkRefused(Refusal.WRONG_FRAME, f"frame_id is '{chunk.frame_id}', expected '{frame}'")
    if not np.isfinite(chunk.stamp) or not config.min_dt <= chunk.dt <= config.max_dt:
        raise ChunkRefused(
            Refusal.BAD_TIMING,
            f"stamp {chunk.stamp} s and dt {chunk.dt} s; dt must lie in {config.min_dt} ... {config.max_dt} s",
        )
    positions = _numbers("positions", chunk.positions)
    orientations = _numbers("orientations", chunk.orientations)
    gripper = _numbers("gripper", chunk.gripper)
    horizon = len(positions) if chunk.horizon is None else chunk.horizon
    if not 1 <= horizon <= config.max_horizon:
        raise ChunkRefused(Refusal.BAD_HORIZON, f"horizon is {horizon}, expected 1 ... {config.max_horizon}")
    for name, values, width in (
        ("positions", positions, 3),
        ("orientations", orientations, 4),
        ("gripper", gripper, 1),
    ):
        if values.size != horizon * width:
            raise ChunkRefused(
                Refusal.BAD_LENGTH,
                f"{name} hold {values.size} numbers, expected {horizon * width} for horizon {horizon}",
            )
        if not np.all(np.isfinite(values)):
            index = int(np.flatnonzero(~np.isfinite(values.ravel()))[0])
            raise ChunkRefused(Refusal.NOT_FINITE, f"{name}[{index}] is {values.ravel()[index]}")
    positions = positions.reshape(horizon, 3)
    orientations = _unit(orientations.reshape(horizon, 4), config.quaternion_tolerance)
    gripper = gripper.reshape(horizon)
    outside = np.flatnonzero((gripper < -config.gripper_tolerance) | (gripper > 1.0 + config.gripper_tolerance))
    if outside.size:
        raise ChunkRefused(Refusal.BAD_GRIPPER, f"gripper[{outside[0]}] is {gripper[outside[0]]}, expected 0 ... 1")
    _check_geometry(positions, orientations, config)
    return Chunk(
        stamp=float(chunk.stamp),
        sequence=int(chunk.sequence),
        session=chunk.session,
        instruction=chunk.instruction,
        model_id=chunk.model_id,
        dt=float(chunk.dt),
        positions=positions,
        orientations=orientations,
        gripper=np.clip(gripper, 0.0, 1.0),
        frame_id=chunk.frame_id,
        horizon=horizon,
    )


def _numbers(name: str, values: object) -> np.ndarray:
    try:
        return np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError) as error:
        raise ChunkRefused(Refusal.BAD_LENGTH, f"{name} are not an array of numbers: {error}") from error


def _unit(orientations: np.ndarray, tolerance: float) -> np.ndarray:
    # A finite quaternion can still overflow when squared: inf is no norm of 1 either.
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(orientations, axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1.0) <= tolerance))
    if wrong.size:
        index = int(wrong[0])
        raise ChunkRefused(Refusal.BAD_QUATERNION, f"orientation {index} has norm {norms[index]:.6g}, expected 1")
    return orientations / norms[:, None]


def _check_geometry(positions: np.ndarray, orientations: np.ndarray, config: IntakeConfig) -> None:
    far = np.flatnonzero(np.max(np.abs(positions), axis=1) > config.max_reach)
    if far.size:
        index = int(far[0])
        raise ChunkRefused(
            Refusal.OUT_OF_REACH,
            f"pose {index} is at {np.array2string(positions[index], precision=3)} m, "
            f"beyond {config.max_reach} m from the base",
        )
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    angles = angle_between(orientations[1:], orientations[:-1])
    large = np.flatnonzero((steps > config.max_position_step) | (angles > config.max_angle_step))
    if large.size:
        index = int(large[0])
        raise ChunkRefused(
            Refusal.STEP_TOO_LARGE,
            f"from pose {index} to the next it is {steps[index]:.3f} m and {angles[index]:.3f} rad, "
            f"allowed are {config.max_position_step} m and {config.max_angle_step} rad",
        )


def angle_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angle [rad] between unit quaternions x y z w, (k, 4) each -> (k,)."""
    cosine = np.abs(np.sum(first * second, axis=-1))
    return 2.0 * np.arccos(np.minimum(cosine, 1.0))
