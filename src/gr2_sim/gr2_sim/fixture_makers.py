"""Makers of fixtures: drawers, doors, lids, buttons, trays and bowls from a few measures; see data/fixtures/.

An entry with `make: NAME` names a maker here; its other fields are the maker's arguments. A fixture's frame is on the
table at the centre of its footprint, z up; x points out of its front. Lengths in m, angles in rad.

What moves is described for skills and conditions by `measures`:

* a part that is dragged has a handle, a bar `handle_x` out along x and `handle_z` up while shut, with room behind it
  down to `front`; a hinged door turns about the upright axis at (hinge_x, hinge_y), its handle is at y = handle_y;
* a lid turns about the level axis at (hinge_x, hinge_z) and has a ball, a knob, at (knob_x, knob_z) while shut;
* a button has its `top`, its `travel` and the depth at which it is `pressed`; a rocker also `press_x`, where to press.

`open` and `shut` are the joint's positions that count as such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gr2_sim.fixture_parts import Fields, bar, box
from gr2_sim.fixture_vessels import plate, tray, vessel
from gr2_sim.parts import DataError

HANDLE = 0.006
"""Radius [m] of handles."""


def _handle(x0: float, x1: float, y: float, half: float, z: float, material: str) -> list[dict[str, Any]]:
    """A bar across at x1 on two posts from x0."""
    posts = [bar([x0, y + s * half, z], [x1, y + s * half, z], HANDLE, material) for s in (-1, 1)]
    return [bar([x1, y - half, z], [x1, y + half, z], HANDLE, material), *posts]


def drawer(
    joint: str, width: float, depth: float, height: float, body: str, front: str, handle: str = "steel"
) -> Fields:
    """A cabinet with one drawer."""
    hx, hy, travel = depth / 2.0, width / 2.0, 0.72 * depth
    inside, face = "cabinet_inside", hx + 0.006
    handle_x, handle_z = hx + 0.062, 0.76 * height
    parts = [
        *[box([depth, 0.010, height], [0, s * (hy - 0.005), height / 2], body) for s in (-1, 1)],
        box([depth, width - 0.02, 0.008], [0, 0, height - 0.004], body),
        box([depth, width - 0.02, 0.006], [0, 0, 0.003], body),
        box([0.008, width - 0.02, height - 0.014], [0.004 - hx, 0, height / 2 - 0.001], body),
    ]
    across, wall = width - 0.040, 0.5 * height
    moving = [
        box([0.012, width - 0.008, 0.86 * height], [face, 0, height / 2], front),
        box([depth - 0.02, across, 0.006], [0, 0, 0.015], inside),
        *[box([depth - 0.02, 0.006, wall], [0, s * across / 2, 0.015 + wall / 2], body) for s in (-1, 1)],
        box([0.006, across, wall], [0.014 - hx, 0, 0.015 + wall / 2], body),
        *_handle(hx + 0.010, handle_x, 0.0, min(0.045, 0.3 * width), handle_z, handle),
    ]
    measures = {
        "front": hx + 0.012,
        "handle_x": handle_x,
        "handle_y": 0.0,
        "handle_z": handle_z,
        "handle_radius": HANDLE,
        "travel": travel,
        "open": 0.75 * travel,
        "shut": 0.015,
        "height": height,
    }
    slider = _sliding(joint, [1, 0, 0], travel, 0.35, moving)
    return {
        "extent": [[-hx, -hy - 0.005], [handle_x + travel + 0.025, hy + 0.005]],
        "measures": measures,
        "parts": parts,
        "slider": slider,
    }


def sliding_lid(
    joint: str, width: float, depth: float, height: float, body: str, lid: str, handle: str = "steel"
) -> Fields:
    """A box whose lid slides off towards the front; a bar across the lid is what it is pulled by."""
    hx, hy, travel = depth / 2.0, width / 2.0, 0.6 * depth
    handle_x, handle_z = hx - 0.035, height + 0.034
    parts = [
        *[box([depth, 0.008, height], [0, s * (hy - 0.004), height / 2], body) for s in (-1, 1)],
        *[box([0.008, width - 0.016, height], [s * (hx - 0.004), 0, height / 2], body) for s in (-1, 1)],
        box([depth - 0.016, width - 0.016, 0.006], [0, 0, 0.003], "cabinet_inside"),
    ]
    top = height + 0.005
    moving = [
        box([depth, width, 0.006], [0, 0, top], lid),
        *_handle_upright(handle_x, min(0.04, 0.32 * width), top, handle_z, handle),
    ]
    measures = {
        "front": handle_x - 0.065,
        "handle_x": handle_x,
        "handle_y": 0.0,
        "handle_z": handle_z,
        "handle_radius": HANDLE,
        "travel": travel,
        "open": 0.75 * travel,
        "shut": 0.012,
        "height": height,
    }
    slider = _sliding(joint, [1, 0, 0], travel, 0.15, moving)
    return {"extent": [[-hx, -hy], [hx + travel, hy]], "measures": measures, "parts": parts, "slider": slider}


def _handle_upright(x: float, half: float, low: float, high: float, material: str) -> list[dict[str, Any]]:
    posts = [bar([x, s * half, low], [x, s * half, high], HANDLE, material) for s in (-1, 1)]
    return [bar([x, -half, high], [x, half, high], HANDLE, material), *posts]


def door(
    joint: str,
    width: float,
    depth: float,
    height: float,
    body: str,
    front: str,
    side: int = 1,
    window: str = "",
    handle: str = "steel",
) -> Fields:
    """A cupboard with a door hinged at y = -side * width / 2, which opens about the upright axis."""
    hx, hy = depth / 2.0, width / 2.0
    hinge_x, hinge_y = hx + 0.006, -side * (hy - 0.004)
    handle_x, handle_y, handle_z = hx + 0.060, side * (hy - 0.046), 0.72 * height
    parts = [
        *[box([depth, 0.010, height], [0, s * (hy - 0.005), height / 2], body) for s in (-1, 1)],
        *[box([depth, width - 0.02, 0.008], [0, 0, z], body) for z in (0.004, height - 0.004)],
        box([0.008, width - 0.02, height - 0.016], [0.004 - hx, 0, height / 2], "cabinet_inside"),
    ]
    leaf = [
        box([0.010, width - 0.004, height - 0.006], [hx + 0.006, 0, height / 2], front),
        *_handle(hx + 0.010, handle_x, handle_y, 0.030, handle_z, handle),
    ]
    if window:
        leaf.append(
            box(
                [0.0106, 0.45 * width, 0.5 * height],
                [hx + 0.006, -side * 0.10 * width, height / 2],
                window,
                role="visual",
            )
        )
    measures = {
        "front": hx + 0.011,
        "handle_x": handle_x,
        "handle_y": handle_y,
        "handle_z": handle_z,
        "handle_radius": HANDLE,
        "hinge_x": hinge_x,
        "hinge_y": hinge_y,
        "travel": 1.4,
        "open": 0.80,
        "shut": 0.10,
        "height": height,
        "turn": float(-side),
    }
    slider = {
        "joint": joint,
        "type": "hinge",
        "axis": [0, 0, -side],
        "anchor": [hinge_x, hinge_y, 0],
        "range": [0.0, 1.4],
        "damping": 0.08,
        "friction": 0.02,
        "mass": 0.25,
        "parts": leaf,
    }
    return {
        "extent": [[-hx, -hy - 0.01], [hx + 0.9 * width, hy + 0.01]],
        "measures": measures,
        "parts": parts,
        "slider": slider,
    }


def chest(
    joint: str, width: float, depth: float, height: float, body: str, lid: str, knob: str, trim: str = ""
) -> Fields:
    """A box with a lid hinged at the back; a ball on a stem near the front edge is what it is lifted by."""
    hx, hy, ball, thick = depth / 2.0, width / 2.0, 0.010, 0.010
    hinge_x, hinge_z = -hx + 0.004, height + 0.001
    knob_x, knob_z = hx - 0.018, height + thick + 0.024
    parts = [
        *[box([depth, 0.008, height], [0, s * (hy - 0.004), height / 2], body) for s in (-1, 1)],
        *[box([0.008, width - 0.016, height], [s * (hx - 0.004), 0, height / 2], body) for s in (-1, 1)],
        box([depth - 0.016, width - 0.016, 0.006], [0, 0, 0.003], "cabinet_inside"),
    ]
    if trim:
        parts += [
            box([depth + 0.002, 0.012, height], [0, s * 0.6 * hy, height / 2], trim, role="visual") for s in (-1, 1)
        ]
    moving = [
        box([depth, width, thick], [0, 0, height + 0.001 + thick / 2], lid),
        {"kind": "ball", "radius": ball, "at": [knob_x, 0, knob_z], "material": knob},
        bar([knob_x, 0, height + thick], [knob_x, 0, knob_z], 0.004, knob),
    ]
    measures = {
        "hinge_x": hinge_x,
        "hinge_z": hinge_z,
        "knob_x": knob_x,
        "knob_z": knob_z,
        "knob_radius": ball,
        "travel": 1.35,
        "open": 0.75,
        "shut": 0.10,
        "height": height,
    }
    slider = {
        "joint": joint,
        "type": "hinge",
        "axis": [0, -1, 0],
        "anchor": [hinge_x, 0, hinge_z],
        "range": [0.0, 1.35],
        "damping": 0.08,
        "friction": 0.03,
        "mass": 0.2,
        "parts": moving,
    }
    return {"extent": [[-hx - 0.01, -hy], [hx, hy]], "measures": measures, "parts": parts, "slider": slider}


def button(
    joint: str,
    style: str,
    material: str,
    plate: str,
    body: str = "button_box",
    radius: float = 0.028,
    base: Sequence[float] = (0.09, 0.09, 0.040),
) -> Fields:
    """A button on a box that springs back. `style`: mushroom, flat, key or bell."""
    x, y, z = base
    travel, tall = 0.012, 0.016
    parts = [
        {"kind": "rounded_box", "size": list(base), "radius": 0.006, "at": [0, 0, z / 2], "material": body},
        {
            "kind": "cylinder",
            "radius": min(0.47 * x, radius + 0.010),
            "height": 0.004,
            "at": [0, 0, z],
            "material": plate,
            "role": "visual",
        },
    ]
    middle = z + 0.5 * tall + 0.005
    top = middle + 0.5 * tall
    if style == "key":
        moving = [
            {
                "kind": "rounded_box",
                "size": [2 * radius, 2 * radius, tall],
                "radius": 0.004,
                "at": [0, 0, middle],
                "material": material,
            }
        ]
    elif style == "flat":
        moving = [{"kind": "cylinder", "radius": radius, "height": tall, "at": [0, 0, middle], "material": material}]
    elif style == "bell":
        moving = [
            {
                "kind": "cylinder",
                "radius": 0.4 * radius,
                "height": tall,
                "at": [0, 0, middle + 0.012],
                "material": material,
            },
            {
                "kind": "cylinder",
                "radius": 0.16 * radius,
                "height": 0.02,
                "at": [0, 0, middle],
                "material": "steel",
                "role": "visual",
            },
        ]
        dome = [(1.5 * radius, z - 0.004), (1.45 * radius, z + 0.004), (1.0 * radius, z + 0.012), (0.0, z + 0.015)]
        parts.append({"kind": "lathe", "profile": dome, "material": plate})
        top += 0.012
    elif style == "mushroom":
        moving = [
            {
                "kind": "cylinder",
                "radius": radius,
                "height": tall,
                "at": [0, 0, middle],
                "material": material,
                "role": "collision",
            },
            {
                "kind": "lathe",
                "profile": [(0.8 * radius, z), (radius, middle), (0.8 * radius, top - 0.003), (0.0, top + 0.003)],
                "material": material,
            },
        ]
    else:
        raise DataError(f"button '{joint}': unknown style '{style}'; known: mushroom, flat, key, bell")
    slider = {
        "joint": joint, "axis": [0, 0, -1], "range": [0.0, travel], "damping": 6.0, "friction": 0.0, "stiffness": 220.0,
        "preload": 0.9, "mass": 0.05, "parts": moving,
    }  # fmt: skip
    half = [0.5 * x + 0.005, 0.5 * y + 0.005]
    measures = {"top": top, "travel": travel, "pressed": 0.006}
    return {"extent": [[-half[0], -half[1]], half], "measures": measures, "parts": parts, "slider": slider}


def rocker(joint: str, material: str, plate: str, body: str = "button_box") -> Fields:
    """A switch that tips over to the side that is pressed and stays there."""
    half, tilt, high = 0.026, 0.22, 0.052
    parts = [
        {"kind": "rounded_box", "size": [0.090, 0.070, 0.036], "radius": 0.006, "at": [0, 0, 0.018], "material": body},
        box([0.066, 0.046, 0.003], [0, 0, 0.036], plate, role="visual"),
    ]
    moving = [
        box([2 * half, 0.034, 0.012], [0, 0, high - 0.006], material, euler=[0, -tilt, 0]),
        box(
            [0.002, 0.018, 0.0126],
            [0.6 * half, 0, high - 0.006 + 0.6 * half * tilt],
            "white",
            role="visual",
            euler=[0, -tilt, 0],
        ),
    ]
    slider = {
        "joint": joint, "type": "hinge", "axis": [0, 1, 0], "anchor": [0, 0, high - 0.006], "range": [0.0, 2 * tilt],
        "damping": 0.01, "friction": 0.02, "mass": 0.04, "parts": moving,
    }  # fmt: skip
    press_x = 0.72 * half
    measures = {
        "top": high + press_x * tilt,
        "travel": 2 * tilt,
        "pressed": 1.4 * tilt,
        "press_x": press_x,
        "push": 1.9 * press_x * tilt,
    }
    return {"extent": [[-0.05, -0.04], [0.05, 0.04]], "measures": measures, "parts": parts, "slider": slider}


def _sliding(
    joint: str, axis: Sequence[float], travel: float, mass: float, parts: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "joint": joint,
        "axis": list(axis),
        "range": [0.0, travel],
        "damping": 4.0,
        "friction": 0.8,
        "mass": mass,
        "parts": list(parts),
    }


MAKERS: Mapping[str, Callable[..., Fields]] = {
    "drawer": drawer, "sliding_lid": sliding_lid, "door": door, "chest": chest, "button": button, "rocker": rocker,
    "tray": tray, "plate": plate, "vessel": vessel,
}  # fmt: skip


def make_fixture(name: str, entry: Mapping[str, Any]) -> Fields:
    """Fields of the fixture that a data entry with `make` describes.

    Raises:
        DataError: no such maker, or wrong arguments.
    """
    arguments = dict(entry)
    maker = MAKERS.get(arguments.pop("make"))
    if maker is None:
        raise DataError(f"fixture '{name}': unknown maker '{entry['make']}'; known: {', '.join(MAKERS)}")
    try:
        return maker(**arguments)
    except TypeError as error:
        raise DataError(f"fixture '{name}': {error}") from None
