"""Materials as scenes use them: names of looks.yaml, with finishes; and textures that are drawn by numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gr2_sim.cell import Cell
from gr2_sim.parts import DataError, Part

FINISHES: Mapping[str, Mapping[str, float]] = {
    "matte": {"specular": 0.02, "shininess": 0.05},
    "glossy": {"specular": 0.9, "shininess": 0.9},
    "metal": {"specular": 1.0, "shininess": 0.55},
    "clear": {"specular": 0.9, "shininess": 0.9, "opacity": 0.42},
}
PATTERNS = ("stripes", "wood", "tiles", "cloth", "marble")


def finished(cell: Cell) -> dict[str, dict[str, Any]]:
    """All materials that a cell uses, by the names its parts use.

    Raises:
        DataError: a part names a material or finish that there is not.
    """
    looks = {name: dict(look) for name, look in cell.materials.items()}
    for name in sorted(_used(cell)):
        base, slash, finish = name.partition("/")
        if base not in cell.materials or (slash and finish not in FINISHES):
            raise DataError(f"scene '{cell.name}': unknown material '{name}' (finishes: {', '.join(FINISHES)})")
        if slash:
            look = {**cell.materials[base], **FINISHES[finish]}
            opacity = look.pop("opacity", 1.0)
            if "colour" in look:
                look["colour"] = [*look["colour"][:3], opacity]
            looks[name] = look
    return looks


def _used(cell: Cell) -> set[str]:
    parts: list[Part] = [*cell.scenery]
    groups: list[Iterable[Part]] = [thing.parts for thing in cell.objects.values()]
    for fixture in cell.fixtures.values():
        groups.append(fixture.parts)
        if fixture.slider:
            groups.append(fixture.slider.parts)
    for group in groups:
        parts.extend(group)
    return {part["material"] for part in parts}


def pattern(kind: str, size: int, low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """A square texture between two colours, (size, size, 3) uint8; the same at each call.

    Raises:
        DataError: unknown kind.
    """
    v, u = np.meshgrid(np.arange(size) / size, np.arange(size) / size, indexing="ij")
    random = np.random.default_rng(size)
    noise = random.normal(size=(size, size))
    if kind == "stripes":
        share = (np.floor(8.0 * u) % 2.0).astype(float)
    elif kind == "wood":
        wave = np.sin(2.0 * np.pi * (6.0 * v + 0.25 * np.sin(2.0 * np.pi * u) + 0.15 * np.sin(6.0 * np.pi * (u + v))))
        share = 0.5 + 0.35 * wave + 0.06 * noise
    elif kind == "tiles":
        share = ((np.mod(4.0 * u, 1.0) > 0.06) & (np.mod(4.0 * v, 1.0) > 0.06)).astype(float)
    elif kind == "cloth":
        share = 0.5 * (np.floor(6.0 * u) % 2.0) + 0.5 * (np.floor(6.0 * v) % 2.0)
    elif kind == "marble":
        share = 0.5 + 0.5 * np.sin(
            2.0 * np.pi * (2.0 * u + np.sin(2.0 * np.pi * v) + 0.4 * np.sin(4.0 * np.pi * (u - v)))
        )
        share = share**4
    else:
        raise DataError(f"unknown pattern '{kind}'; known: {', '.join(PATTERNS)}")
    share = np.clip(share, 0.0, 1.0)[..., None]
    return np.round(255.0 * ((1.0 - share) * np.asarray(low) + share * np.asarray(high))).astype(np.uint8)
