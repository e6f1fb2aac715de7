"""Videos to curate: drawn ones with known shots, and the rendered sample of the repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gr2_policy.data.video import VideoFormat, write_video


def drawn(seed: int, frames: int, height: int = 48, width: int = 64, speed: float = 1.5) -> np.ndarray:
    """A shot (frames, height, width, 3): a smooth background, and a square that moves over it."""
    random = np.random.default_rng(seed)
    coarse = random.integers(30, 220, (4, 4, 3)).astype(float)
    rows, columns = np.linspace(0, 3, height), np.linspace(0, 3, width)
    background = coarse[rows.round().astype(int)][:, columns.round().astype(int)]
    shot = np.repeat(background[None], frames, axis=0)
    place, direction = random.uniform(5, 25, 2), random.normal(size=2)
    direction *= speed / np.linalg.norm(direction)
    for number in range(frames):
        row, column = (np.abs(np.mod(place + number * direction, 2 * (height - 14)) - (height - 14))).astype(int)
        shot[number, row : row + 12, column : column + 12] = 0.0 if coarse.mean() > 125.0 else 255.0
    return shot.astype(np.uint8)


@pytest.fixture
def draw() -> Callable[..., np.ndarray]:
    """See drawn."""
    return drawn


@pytest.fixture
def film(tmp_path: Path) -> Callable[..., Path]:
    """Writes shots (T, h, w, 3) one after the other into a video file."""

    def write(name: str, *shots: np.ndarray, fps: int = 25) -> Path:
        path = tmp_path / name
        write_video(path, [frame for shot in shots for frame in shot], fps, VideoFormat(quality=12))
        return path

    return write
