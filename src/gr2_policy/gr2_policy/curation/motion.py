"""Whether something moves in a clip, and not everything."""

from __future__ import annotations

import numpy as np

from gr2_policy.curation.settings import MotionBounds

_NOISE = 12
"""Change of a pixel [of 255] that coding and grain make, too."""


def moving_share(frames: np.ndarray) -> float:
    """Share of the pixels that change from one frame to the next, on average.

    Args:
        frames: (T, h, w, 3) uint8.
    """
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
    grey = frames[:, :height, :width].mean(axis=3, dtype=np.float32)
    coarse = grey.reshape(len(frames), height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    return float((np.abs(np.diff(coarse, axis=0)) > _NOISE).mean())


def reject_motion(frames: np.ndarray, bounds: MotionBounds) -> str:
    """Why a clip is not wanted for its motion; empty if it is."""
    share = moving_share(frames)
    if share < bounds.least:
        return "still"
    return "all moves" if share > bounds.most else ""
