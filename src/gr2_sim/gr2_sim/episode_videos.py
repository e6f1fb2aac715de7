"""Videos of an evaluation: for each task the first episode that succeeded and the first that failed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gr2_policy.data.video import VideoFormat, write_video
from gr2_policy.policy import ActionChunk, Observation

_FORMAT = VideoFormat(quality=20)


class EpisodeVideos:
    """Keeps what a policy sees, both cameras side by side, until it is known how the episode ended.

    Args:
        folder: where videos go, as ``TASK-success-SEED.mp4`` and ``TASK-failure-SEED.mp4``.
        fps: frames a second, those of the observations.
    """

    def __init__(self, folder: Path, fps: int) -> None:
        self._folder, self._fps = folder, fps
        self._frames: list[np.ndarray] = []

    def watch(self, observation: Observation, _chunk: ActionChunk) -> None:
        """Called with every observation; see gr2_sim.rollout.Rollout."""
        if observation.images:
            self._frames.append(np.concatenate(list(observation.images.values()), axis=1))

    def finish(self, label: str, seed: int, success: bool) -> None:
        """The episode is over: write it, unless there is one of its kind.

        Raises:
            VideoError: it cannot be written.
        """
        frames, self._frames = self._frames, []
        start = f"{label}-{'success' if success else 'failure'}-"
        if frames and not any(self._folder.glob(f"{start}*.mp4")):
            write_video(self._folder / f"{start}{seed}.mp4", frames, self._fps, _FORMAT)
