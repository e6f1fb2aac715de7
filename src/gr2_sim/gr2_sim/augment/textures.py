"""Surfaces drawn by numbers, for backgrounds. None of the kinds is one of those held out for evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SIZE = 256
"""Texels across."""


@dataclass(frozen=True)
class Surface:
    """A texture on a level plane, repeated.

    Attributes:
        kind: how it was drawn.
        texels: (SIZE, SIZE, 3) 0 ... 255.
        extent: what it covers [m] before it repeats.
        turn: about the vertical [rad].
    """

    kind: str
    texels: np.ndarray
    extent: float
    turn: float

    def at(self, places: np.ndarray) -> np.ndarray:
        """Colours (..., 3) at places (..., 2) [m], interpolated."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        turned = places @ np.array([[cos, sin], [-sin, cos]])
        at = np.mod(turned / self.extent, 1.0) * SIZE
        low = np.floor(at).astype(int)
        share = (at - low)[..., None]
        low %= SIZE
        high = (low + 1) % SIZE
        row0, row1, col0, col1 = low[..., 0], high[..., 0], low[..., 1], high[..., 1]
        du, dv = share[..., 0, :], share[..., 1, :]
        top = (1.0 - dv) * self.texels[row0, col0] + dv * self.texels[row0, col1]
        bottom = (1.0 - dv) * self.texels[row1, col0] + dv * self.texels[row1, col1]
        return (1.0 - du) * top + du * bottom


def draw_surface(random: np.random.Generator, extent: tuple[float, float] = (0.5, 1.6)) -> Surface:
    """A surface at random: kind, two colours, size [m] and turn."""
    kind = KINDS[int(random.integers(len(KINDS)))]
    first = draw_colour(random)
    second = np.clip(first + random.normal(0.0, 28.0) + random.normal(0.0, 14.0, 3), 10.0, 245.0)
    share = np.clip(_KINDS[kind](random), 0.0, 1.0)[..., None]
    texels = (1.0 - share) * first + share * second + random.normal(0.0, 2.0, (SIZE, SIZE, 1))
    return Surface(
        kind, np.clip(texels, 0.0, 255.0), float(random.uniform(*extent)), float(random.uniform(-np.pi, np.pi))
    )


def draw_colour(random: np.random.Generator) -> np.ndarray:
    """A colour (3,) 0 ... 255 as surfaces have them: mostly grey, seldom strong."""
    strength = float(random.choice([12.0, 30.0, 60.0], p=[0.5, 0.35, 0.15]))
    return np.clip(random.uniform(45.0, 225.0) + random.normal(0.0, strength, 3), 15.0, 240.0)


def _noise(random: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth noise (SIZE, SIZE) about 0 ... 1 that fits at its edges."""
    grid = random.random((cells, cells))
    at = np.arange(SIZE) * cells / SIZE
    low = np.floor(at).astype(int)
    share = at - low
    share = share * share * (3.0 - 2.0 * share)
    high = (low + 1) % cells
    rows = grid[low] * (1.0 - share)[:, None] + grid[high] * share[:, None]
    return rows[:, low] * (1.0 - share) + rows[:, high] * share


def _clouds(random: np.random.Generator) -> np.ndarray:
    layers = [0.5 ** (i + 1) * _noise(random, 4 * 2**i) for i in range(5)]
    return np.sum(layers, axis=0) * 1.6 - 0.3


def _plain(random: np.random.Generator) -> np.ndarray:
    return 0.3 * _noise(random, 32)


def _planks(random: np.random.Generator) -> np.ndarray:
    count = int(random.choice([4, 8]))
    plank = np.arange(SIZE) * count // SIZE
    tone = random.random(count)[plank][:, None]
    grain = np.repeat(_noise(random, 64)[:, :8].mean(axis=1, keepdims=True), SIZE, axis=1)
    gap = (np.arange(SIZE) * count % SIZE < 2 * count)[:, None]
    return np.where(gap, 1.0, 0.45 * tone + 0.35 * grain + 0.15 * _noise(random, 16))


def _dots(random: np.random.Generator) -> np.ndarray:
    count = int(random.choice([4, 8]))
    at = np.mod(np.arange(SIZE) * count / SIZE, 1.0) - 0.5
    return (np.hypot(at[:, None], at) < random.uniform(0.15, 0.32)).astype(float)


def _terrazzo(random: np.random.Generator) -> np.ndarray:
    share = np.zeros((SIZE, SIZE))
    rows, columns = np.indices((SIZE, SIZE))
    for _ in range(90):
        r, c, radius = random.integers(SIZE), random.integers(SIZE), random.uniform(2.0, 8.0)
        dr = (rows - r + SIZE // 2) % SIZE - SIZE // 2
        dc = (columns - c + SIZE // 2) % SIZE - SIZE // 2
        share[dr * dr + dc * dc * random.uniform(0.4, 2.5) < radius * radius] = random.uniform(0.4, 1.0)
    return share


def _weave(random: np.random.Generator) -> np.ndarray:
    at = np.arange(SIZE) * 2.0 * np.pi * int(random.choice([12, 20])) / SIZE
    return 0.5 + 0.25 * np.sin(at)[:, None] + 0.25 * np.sin(at + np.pi * (at[:, None] // np.pi % 2))


_KINDS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "clouds": _clouds, "plain": _plain, "planks": _planks, "dots": _dots, "terrazzo": _terrazzo, "weave": _weave,
}  # fmt: skip
KINDS = tuple(_KINDS)
