"""Makers of fixtures that hold things: trays, plates, bowls; see fixture_makers.py."""

from __future__ import annotations

from gr2_sim.fixture_parts import Fields, bar, box


def tray(
    length: float, width: float, wall_height: float, wall: str, floor: str, rim: float = 0.0, thickness: float = 0.006
) -> Fields:
    """An open box. What has its centre within the walls and below `rim` (default: their height) counts as in it."""
    hx, hy = length / 2.0, width / 2.0
    parts = [
        box([length, width, 0.006], [0, 0, 0.003], floor),
        *[
            box([thickness, width + 2 * thickness, wall_height], [s * (hx + thickness / 2), 0, wall_height / 2], wall)
            for s in (-1, 1)
        ],
        *[box([length, thickness, wall_height], [0, s * (hy + thickness / 2), wall_height / 2], wall) for s in (-1, 1)],
    ]
    measures = {
        "inner_half": min(hx, hy),
        "inner_x": hx,
        "inner_y": hy,
        "floor": 0.006,
        "rim": rim or wall_height,
    }
    return {"extent": [[-hx - 0.008, -hy - 0.008], [hx + 0.008, hy + 0.008]], "measures": measures, "parts": parts}


def plate(radius: float, material: str, ring: str, height: float = 0.016) -> Fields:
    """A round plate with a raised rim."""
    profile = [
        (0.6 * radius, 0.001),
        (radius, height),
        (radius - 0.004, height + 0.001),
        (0.62 * radius, 0.007),
        (0.0, 0.006),
    ]
    parts = [
        {
            "kind": "cylinder",
            "radius": 0.66 * radius,
            "height": 0.006,
            "at": [0, 0, 0.003],
            "material": material,
            "role": "collision",
        },
        {
            "kind": "tube",
            "radius": radius,
            "wall": 0.008,
            "height": height,
            "at": [0, 0, height / 2],
            "sides": 12,
            "material": material,
            "looks": False,
        },
        {"kind": "lathe", "profile": profile, "sides": 28, "material": material},
        {"kind": "torus", "radius": 0.86 * radius, "thickness": 0.0025, "at": [0, 0, height - 0.001], "material": ring},
    ]
    measures = {"inner_half": 0.8 * radius, "radius": 0.9 * radius, "floor": 0.006, "rim": 0.07}
    return {"extent": [[-radius, -radius], [radius, radius]], "measures": measures, "parts": parts}


def vessel(radius: float, height: float, material: str, inside: str, wall: float = 0.005, handle: str = "") -> Fields:
    """A bowl, pot or jar that things are poured into."""
    parts = [
        {"kind": "cylinder", "radius": radius - 0.001, "height": 0.008, "at": [0, 0, 0.004], "material": material},
        {
            "kind": "cylinder",
            "radius": radius - wall,
            "height": 0.001,
            "at": [0, 0, 0.0085],
            "material": inside,
            "role": "visual",
        },
        {
            "kind": "tube",
            "radius": radius,
            "wall": wall,
            "height": height,
            "at": [0, 0, height / 2],
            "sides": 14,
            "material": material,
        },
    ]
    reach = radius
    if handle:
        parts += [
            bar([0, s * (radius - 0.002), 0.8 * height], [0, s * (radius + 0.03), 0.85 * height], 0.006, handle)
            for s in (-1, 1)
        ]
        reach = radius + 0.036
    measures = {"inner_half": radius - wall, "radius": radius - wall, "floor": 0.008, "rim": height}
    return {"extent": [[-radius, -reach], [radius, reach]], "measures": measures, "parts": parts}
