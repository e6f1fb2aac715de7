"""Where one shot ends and the next begins: hard cuts, found by how much hue, saturation and value jump.

After the content detectors of PySceneDetect: a picture that differs from the one before several times more than the
pictures before it did begins a new shot. Slow dissolves are not found; the motion bound rejects what changes all over.
"""

from __future__ import annotations

from collections import deque

import numpy as np

_MEMORY = 8  # differences before
_QUIET = 2.0  # what counts as the least usual difference, of 255


class ShotDetector:
    """Give it thumbnails in order.

    Args:
        ratio, least: see gr2_policy.curation.settings.Cutting.
    """

    def __init__(self, ratio: float = 3.0, least: float = 18.0) -> None:
        self._ratio, self._least = ratio, least
        self._before: np.ndarray | None = None
        self._usual: deque[float] = deque(maxlen=_MEMORY)

    def begins(self, thumb: np.ndarray) -> bool:
        """Whether a picture (h, w, 3) uint8 RGB is the first of another shot; False for the very first."""
        now = to_hsv(thumb)
        if self._before is None:
            self._before = now
            return False
        difference = difference_of(self._before, now)
        self._before = now
        usual = max(float(np.mean(self._usual)) if self._usual else 0.0, _QUIET)
        if difference >= self._least and difference >= self._ratio * usual:
            self._usual.clear()
            return True
        self._usual.append(difference)
        return False


def difference_of(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference of two HSV pictures, 0 ... 255; hue is a circle, and counts as much as there is colour."""
    hue = np.abs(first[..., 0] - second[..., 0])
    hue = np.minimum(hue, 255.0 - hue) * np.minimum(first[..., 1], second[..., 1]) / 255.0
    return float((hue + np.abs(first[..., 1] - second[..., 1]) + np.abs(first[..., 2] - second[..., 2])).mean() / 3.0)


def to_hsv(picture: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 RGB to hue, saturation, value, each 0 ... 255."""
    rgb = picture.astype(np.float32)
    high, low = rgb.max(axis=-1), rgb.min(axis=-1)
    spread = np.maximum(high - low, 1e-6)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    sixth = np.where(
        high == red,
        np.mod((green - blue) / spread, 6.0),
        np.where(high == green, (blue - red) / spread + 2.0, (red - green) / spread + 4.0),
    )
    saturation = np.where(high > 0.0, 255.0 * (high - low) / np.maximum(high, 1e-6), 0.0)
    return np.stack([sixth * (255.0 / 6.0), saturation, high], axis=-1)
