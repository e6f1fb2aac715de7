"""Boxes and bars as makers of fixtures write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Fields = dict[str, Any]


def box(size: Sequence[float], at: Sequence[float], material: str, **more: Any) -> dict[str, Any]:
    """A box by its size and middle [m]."""
    return {"kind": "box", "size": list(size), "at": list(at), "material": material, **more}


def bar(start: Sequence[float], end: Sequence[float], radius: float, material: str) -> dict[str, Any]:
    """A capsule between two points [m]."""
    return {"kind": "bar", "from": list(start), "to": list(end), "radius": radius, "material": material}
