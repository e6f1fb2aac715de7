"""One demonstration in memory, as it is written to and read from a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

POSE = ("x", "y", "z", "qx", "qy", "qz", "qw", "gripper")
"""Numbers of a state and of an action: tool_frame in base_link [m], unit quaternion, 0 open ... 1 closed."""


LABELS = ("surroundings", "table", "robot", "task", "other")
"""What a pixel of a mask shows: room and sky; the table; the robot; what the task is about; other things."""


class BadEpisode(ValueError):
    """An episode cannot be stored or used. The message names the array and what is wrong with it."""


@dataclass(frozen=True, eq=False)
class Episode:
    """T frames at a fixed rate, recorded while one instruction was carried out.

    Attributes:
        instruction: what was asked for, in words.
        task: name of the task; empty if it has none.
        seed: of the arrangement; -1 if there is none.
        stamps: (T,) times of the frames [s], increasing.
        images: view -> (T, height, width, 3) uint8 RGB.
        states: (T, 8) measured tool pose and gripper opening, see POSE; (T, 0) in video without a robot.
        actions: (T, 8) where the tool is to be one period later, and the gripper command, see POSE; (T, 0) likewise.
        joints: (T, n) measured joint positions [rad]; n may be 0.
        chunks: (T, k, 8) the chunk that the demonstrator gave at each frame, one period apart; None: the actions that
            follow are the chunk.
        success_frame: first frame at which the referee was content; -1: never, or no referee.
        notes: anything else worth keeping, as text, number or truth value.
        masks: view -> (T, height, width) uint8, what each pixel of its images shows, index of LABELS; may be empty.
    """

    instruction: str
    task: str
    seed: int
    stamps: np.ndarray
    images: Mapping[str, np.ndarray]
    states: np.ndarray
    actions: np.ndarray
    joints: np.ndarray
    chunks: np.ndarray | None = None
    success_frame: int = -1
    notes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.stamps)

    @property
    def has_robot(self) -> bool:
        """Whether there are states and actions; else it is video alone."""
        return self.states.shape[1] > 0

    def check(self) -> None:
        """Raise BadEpisode if lengths, shapes or numbers do not make an episode."""
        length = len(self.stamps)
        if length < 2:
            raise BadEpisode(f"an episode needs at least 2 frames, this one has {length}")
        if not self.instruction.strip():
            raise BadEpisode("the instruction is empty")
        shapes: list[tuple[str, np.ndarray, tuple[int | None, ...]]] = [
            ("stamps", self.stamps, (length,)),
            ("states", self.states, (length, len(POSE) if self.has_robot else 0)),
            ("actions", self.actions, (length, len(POSE) if self.has_robot else 0)),
            ("joints", self.joints, (length, None)),
        ]
        if self.chunks is not None:
            shapes.append(("chunks", self.chunks, (length, None, len(POSE))))
        for name, array, shape in shapes:
            wrong = array.ndim != len(shape) or any(
                want is not None and have != want for have, want in zip(array.shape, shape, strict=True)
            )
            if wrong:
                raise BadEpisode(f"{name} have shape {array.shape}, expected {shape}")
            finite = np.isfinite(array).reshape(length, -1).all(axis=1)
            if not finite.all():
                raise BadEpisode(f"{name} of frame {int(np.argmin(finite))} are not finite")
        steps = np.diff(self.stamps)
        if not (steps > 0.0).all():
            raise BadEpisode(f"the stamp of frame {int(np.argmin(steps > 0.0)) + 1} is not later than the one before")
        poses_of = {"states": self.states, "actions": self.actions} if self.has_robot else {}
        for name, poses in poses_of.items():
            lengths = np.linalg.norm(poses[:, 3:7], axis=1)
            off = np.abs(lengths - 1.0) > 1e-3
            if off.any():
                frame = int(np.argmax(off))
                raise BadEpisode(f"{name} of frame {frame} have a quaternion of length {lengths[frame]:.4f}")
        if not self.images:
            raise BadEpisode("there are no images")
        for view, frames in self.images.items():
            if frames.ndim != 4 or len(frames) != length or frames.shape[3] != 3 or frames.dtype != np.uint8:
                raise BadEpisode(
                    f"images of '{view}' have shape {frames.shape} and type {frames.dtype},"
                    f" expected ({length}, height, width, 3) uint8"
                )
        for view, labels in self.masks.items():
            expected = self.images[view].shape[:3] if view in self.images else None
            if labels.shape != expected or labels.dtype != np.uint8 or labels.max() >= len(LABELS):
                raise BadEpisode(
                    f"masks of '{view}' have shape {labels.shape}, type {labels.dtype} and labels up to {labels.max()},"
                    f" expected {expected} uint8, up to {len(LABELS) - 1}"
                )


def without_robot(
    caption: str,
    images: Mapping[str, np.ndarray],
    fps: float,
    task: str = "",
    seed: int = -1,
    notes: Mapping[str, str | int | float | bool] | None = None,
) -> Episode:
    """Video alone, with words: no states, no actions.

    Args:
        caption: what is to be seen.
        images: view -> (T, height, width, 3) uint8 RGB.
        fps: frames a second.
        task, seed, notes: see Episode.
    """
    length = len(next(iter(images.values())))
    nothing = np.zeros((length, 0), np.float32)
    return Episode(caption, task, seed, np.arange(length) / fps, images, nothing, nothing, nothing, notes=notes or {})
