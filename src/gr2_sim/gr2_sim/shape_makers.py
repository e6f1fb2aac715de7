"""More makers of objects, for bin picking: concave, thin, soft-looking and turned shapes; see makers.py."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gr2_sim.makers import ROUND, Fields, fields_of

Boxes = Sequence[Sequence[float]]
Part = dict[str, Any]

LETTERS: Mapping[str, Boxes] = {
    "L": ([-0.35, 0.0, 0.3, 1.0], [0.15, -0.35, 0.7, 0.3]),
    "U": ([-0.35, 0.0, 0.3, 1.0], [0.35, 0.0, 0.3, 1.0], [0.0, -0.35, 0.4, 0.3]),
    "T": ([0.0, 0.35, 1.0, 0.3], [0.0, -0.15, 0.3, 0.7]),
    "cross": ([0.0, 0.0, 1.0, 0.34], [0.0, 0.33, 0.34, 0.34], [0.0, -0.33, 0.34, 0.34]),
    "H": ([-0.36, 0.0, 0.28, 1.0], [0.36, 0.0, 0.28, 1.0], [0.0, 0.0, 0.44, 0.28]),
    "Z": ([-0.25, 0.35, 0.5, 0.3], [0.0, 0.0, 0.3, 1.0], [0.25, -0.35, 0.5, 0.3]),
    "frame": ([-0.4, 0.0, 0.2, 1.0], [0.4, 0.0, 0.2, 1.0], [0.0, 0.4, 0.6, 0.2], [0.0, -0.4, 0.6, 0.2]),
    "stairs": ([-0.33, 0.0, 0.34, 1.0], [0.0, -0.17, 0.32, 0.66], [0.33, -0.33, 0.34, 0.34]),
}
"""Concave outlines as boxes: middle x, y and size x, y, as shares of the whole."""


def letter(form: str, size: Sequence[float], material: str, density: float = 500.0) -> Fields:
    """A concave thing that lies flat, made of a few boxes."""
    x, y, z = size
    parts: list[Part] = [
        {"kind": "box", "size": [w * x, h * y, z], "at": [cx * x, cy * y, 0.0], "material": material}
        for cx, cy, w, h in LETTERS[form]
    ]
    share = sum(w * h for _, _, w, h in LETTERS[form])
    return fields_of(
        (x / 2, y / 2, z / 2), density * share * x * y * z, min(x, y), 2, 0.0 if x <= y else np.pi / 2, parts
    )


def ring(radius: float, thickness: float, material: str, pieces: int = 8, density: float = 700.0) -> Fields:
    """A ring that lies flat; what is touched is a circle of capsules."""
    turn = np.linspace(0.0, 2.0 * np.pi, pieces, endpoint=False)
    points = [[float(radius * np.cos(t)), float(radius * np.sin(t)), 0.0] for t in turn]
    parts: list[Part] = [{"kind": "torus", "radius": radius, "thickness": thickness, "material": material}]
    for start, end in zip(points, [*points[1:], points[0]], strict=True):
        parts.append(
            {"kind": "bar", "from": start, "to": end, "radius": thickness, "material": material, "role": "collision"}
        )
    out = radius + thickness
    mass = density * 2.0 * np.pi * radius * np.pi * thickness**2
    return fields_of((out, out, thickness), mass, 2.0 * out, 16, 0.0, parts, footprint=out)


def pillow(size: Sequence[float], material: str, fold: float = 0.5, density: float = 150.0) -> Fields:
    """A soft-looking bag or plush: a box with bulging faces (a superellipsoid); `fold` is its exponent."""
    half = np.asarray(size, dtype=float) / 2.0
    latitude, longitude = (
        g.ravel() for g in np.meshgrid(np.linspace(-np.pi / 2, np.pi / 2, 7), np.linspace(0, 2 * np.pi, 14, False))
    )

    def power(value: np.ndarray) -> np.ndarray:
        return np.sign(value) * np.abs(value) ** fold

    points = np.stack(
        [
            half[0] * power(np.cos(latitude)) * power(np.cos(longitude)),
            half[1] * power(np.cos(latitude)) * power(np.sin(longitude)),
            half[2] * power(np.sin(latitude)),
        ],
        axis=1,
    )
    parts = [
        {"kind": "hull", "points": [[float(v) for v in p] for p in points], "material": material, "contact": ROUND}
    ]
    x, y, z = (float(v) for v in half)
    return fields_of((x, y, z), density * 6.0 * x * y * z, 2 * min(x, y), 2, 0.0 if x <= y else np.pi / 2, parts)


def frustum(bottom: float, top: float, height: float, material: str, sides: int = 16, density: float = 500.0) -> Fields:
    """A cone cut off, or a pyramid with few sides."""
    turn = np.arange(sides) * 2.0 * np.pi / sides
    rings = ((bottom, -height / 2), (top, height / 2))
    points = [[float(r * np.cos(t)), float(r * np.sin(t)), z] for r, z in rings for t in turn]
    wide = max(bottom, top)
    parts = [{"kind": "hull", "points": points, "material": material}]
    return fields_of(
        (wide, wide, height / 2), density * 2.5 * wide**2 * height * 0.6, 2 * wide, sides, 0.0, parts, footprint=wide
    )


def dumbbell(length: float, radius: float, bar: float, material: str, ends: str, density: float = 600.0) -> Fields:
    """Two balls on a bar along x."""
    reach = length / 2.0 - radius
    parts: list[Part] = [
        {"kind": "ball", "radius": radius, "at": [s * reach, 0, 0], "material": ends, "contact": ROUND} for s in (-1, 1)
    ]
    parts.append({"kind": "bar", "from": [-reach, 0, 0], "to": [reach, 0, 0], "radius": bar, "material": material})
    return fields_of(
        (length / 2, radius, radius), density * 8.4 * radius**3, 2 * radius, 2, np.pi / 2, parts, footprint=length / 2
    )


def turned(
    radius: float, height: float, profile: Sequence[Sequence[float]], material: str, density: float = 500.0
) -> Fields:
    """A turned thing, its profile as [share of the radius, share of the height]; what is touched are cylinders."""
    shape = np.asarray(profile, dtype=float)
    outline = np.column_stack([radius * shape[:, 0], height * (shape[:, 1] - 0.5)])
    parts: list[Part] = [
        {"kind": "lathe", "profile": [[0.0, -height / 2], *outline.tolist(), [0.0, height / 2]], "material": material}
    ]
    for (r0, z0), (r1, z1) in itertools.pairwise(outline):
        if z1 - z0 > 0.004 and max(r0, r1) > 0.003:
            part = {"kind": "cylinder", "radius": float(0.5 * (r0 + r1)), "height": float(z1 - z0)}
            parts.append({**part, "at": [0, 0, float(0.5 * (z0 + z1))], "material": material, "role": "collision"})
    return fields_of(
        (radius, radius, height / 2), density * 2.2 * radius**2 * height, 2 * radius, 16, 0.0, parts, footprint=radius
    )


def star(
    radius: float, height: float, points: int, material: str, inner: float = 0.5, density: float = 500.0
) -> Fields:
    """A star that lies flat; what is touched are boxes through opposite points, or from the middle to each."""
    turn = np.arange(2 * points) * np.pi / points
    reach = np.where(np.arange(2 * points) % 2 == 0, radius, inner * radius)
    outline = [[float(r * np.cos(t)), float(r * np.sin(t))] for r, t in zip(reach, turn, strict=True)]
    parts: list[Part] = [{"kind": "prism", "outline": outline, "height": height, "material": material}]
    for t in turn[::2]:
        at = [float(0.45 * radius * np.cos(t)), float(0.45 * radius * np.sin(t)), 0.0]
        size = [0.85 * radius, 0.5 * inner * radius, height]
        parts.append(
            {"kind": "box", "size": size, "at": at, "turn": float(t), "material": material, "role": "collision"}
        )
    return fields_of(
        (radius, radius, height / 2),
        density * 2.0 * radius**2 * height,
        2 * radius,
        points,
        0.0,
        parts,
        footprint=radius,
    )


SHAPES: Mapping[str, Callable[..., Fields]] = {
    "letter": letter, "ring": ring, "pillow": pillow, "frustum": frustum, "dumbbell": dumbbell, "turned": turned,
    "star": star,
}  # fmt: skip
