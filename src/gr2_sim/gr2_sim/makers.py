"""Makers of objects: from a few measures to the parts, the mass and the grasp that data/objects*.yaml would spell out.

An entry of those files with `make: NAME` names a maker here; its other fields are the maker's arguments. Lengths in m,
densities in kg/m^3. Each maker returns fields of cell.ObjectData. A flat or thin thing is grasped with the tool at
least TOOL_LOW above the table, where the fingers keep clear of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gr2_sim.parts import DataError

TOOL_LOW = 0.022
"""Least height [m] of the tool above what an object lies on."""
ROUND = {"condim": 6, "friction": (0.8, 0.01, 0.003)}
"""Contact of things that would else roll away."""
Fields = dict[str, Any]


def fields_of(
    half: Sequence[float],
    mass: float,
    width: float,
    turns: int,
    yaw: float,
    parts: Sequence[Mapping[str, Any]],
    **more: Any,
) -> Fields:
    """Fields of an object that fills a box of these half sizes."""
    x, y, z = half
    grasp = {"width": width, "height": max(more.pop("grasp_height", 0.0), TOOL_LOW - z), "turns": turns, "yaw": yaw}
    return {
        "rest_height": z,
        "footprint": more.pop("footprint", float(np.hypot(x, y))),
        "mass": mass,
        "grasp": grasp,
        "half": (x, y, z),
        "parts": tuple(parts),
        **more,
    }


def block(size: Sequence[float], material: str, radius: float = 0.0025, density: float = 500.0, **marks: Any) -> Fields:
    """A box with rounded edges; `marks` are looks on it. Grasped across its narrower side."""
    x, y, z = (0.5 * side for side in size)
    parts = [
        {"kind": "rounded_box", "size": list(size), "radius": radius, "material": material},
        *marks.get("extra", ()),
    ]
    narrow, square = min(x, y), abs(x - y) < 0.002
    yaw = 0.0 if x <= y else np.pi / 2.0
    mass = density * 8.0 * x * y * z
    return fields_of((x, y, z), mass, 2.0 * narrow, 4 if square else 2, yaw, parts, grasp_height=min(0.006, z - 0.012))


def ball(radius: float, material: str, stem: str = "", squash: float = 1.0, density: float = 700.0) -> Fields:
    """A ball, or one pressed flat a little; a stem on top makes it a fruit."""
    height = radius * squash
    if squash == 1.0:
        parts: list[Mapping[str, Any]] = [{"kind": "ball", "radius": radius, "material": material, "contact": ROUND}]
    else:
        radii = [radius, radius, height]
        parts = [{"kind": "ellipsoid", "radii": radii, "material": material, "contact": ROUND}]
    if stem:
        top = [0.004, 0.0, height + 0.008]
        parts.append(
            {
                "kind": "bar",
                "from": [0.0, 0.0, height - 0.003],
                "to": top,
                "radius": 0.0022,
                "material": stem,
                "role": "visual",
            }
        )
    mass = density * 4.2 * radius**2 * height
    return fields_of((radius, radius, height), mass, 2.0 * radius, 16, 0.0, parts, footprint=radius)


def egg(radii: Sequence[float], material: str, tip: str = "", density: float = 700.0) -> Fields:
    """An ellipsoid that lies along x; a tip of another colour makes it a fruit."""
    x, y, z = radii
    parts: list[Mapping[str, Any]] = [
        {"kind": "ellipsoid", "radii": list(radii), "material": material, "contact": ROUND}
    ]
    if tip:
        parts.append({"kind": "ball", "radius": 0.2 * y, "at": [0.98 * x, 0, 0], "material": tip, "role": "visual"})
    return fields_of((x, y, z), density * 4.2 * x * y * z, 2.0 * y, 2, np.pi / 2.0, parts, footprint=x)


def can(radius: float, height: float, material: str, top: str = "steel", density: float = 500.0) -> Fields:
    """An upright cylinder with a rim of another colour and a band."""
    half = height / 2.0
    parts: list[Mapping[str, Any]] = [
        {"kind": "cylinder", "radius": radius, "height": height, "material": material},
        {
            "kind": "cylinder",
            "radius": 1.012 * radius,
            "height": 0.08 * height,
            "at": [0, 0, 0.46 * height + 0.0004],
            "material": top,
            "role": "visual",
        },
        {
            "kind": "cylinder",
            "radius": 1.008 * radius,
            "height": 0.08 * height,
            "at": [0, 0, -0.455 * height],
            "material": top,
            "role": "visual",
        },
    ]
    mass = density * 3.1416 * radius**2 * height
    return fields_of(
        (radius, radius, half), mass, 2.0 * radius, 16, 0.0, parts, footprint=radius, grasp_height=0.25 * half
    )


def cup(
    radius: float,
    height: float,
    material: str,
    inside: str = "porcelain",
    wall: float = 0.004,
    handle: bool = False,
    mass: float = 0.12,
    sides: int = 12,
    grasp_height: float = 0.012,
) -> Fields:
    """An open vessel. Its wall does not touch the table, its foot does: fewer contacts."""
    half = height / 2.0
    parts: list[Mapping[str, Any]] = [
        {
            "kind": "tube",
            "radius": radius,
            "wall": wall,
            "height": height - 0.006,
            "at": [0, 0, 0.003],
            "sides": sides,
            "material": material,
        },
        {
            "kind": "cylinder",
            "radius": radius - 0.0005,
            "height": 0.006,
            "at": [0, 0, 0.003 - half],
            "material": material,
        },
        {
            "kind": "cylinder",
            "radius": radius - wall - 0.0002,
            "height": 0.001,
            "at": [0, 0, 0.0065 - half],
            "material": inside,
            "role": "visual",
        },
    ]
    footprint = radius
    if handle:
        out, low, high = radius + 0.017, -0.24 * height, 0.26 * height
        path = [(radius - 0.002, high), (out, high - 0.006), (out, low + 0.006), (radius - 0.002, low)]
        for (x0, z0), (x1, z1) in itertools.pairwise(path):
            parts.append(
                {"kind": "bar", "from": [x0, 0, z0], "to": [x1, 0, z1], "radius": 0.0045, "material": material}
            )
        footprint = out + 0.002
    turns, yaw = (2, np.pi / 2.0) if handle else (sides, 0.0)
    more = {"inner": radius - wall, "floor": 0.007 - half, "rim": half}
    return fields_of(
        (radius, radius, half), mass, 2.0 * radius, turns, yaw, parts,
        footprint=footprint, grasp_height=grasp_height, measures=more,
    )  # fmt: skip


def stick(
    length: float,
    radius: float,
    material: str,
    tip: str = "",
    tip_length: float = 0.0,
    flat: bool = True,
    density: float = 900.0,
) -> Fields:
    """A rod that lies along x: a handle (square, so that it does not roll, or round) and a tip of another colour."""
    handle = length - tip_length
    side = 1.75 * radius
    at = [-0.5 * tip_length, 0.0, 0.0]
    if flat:
        size = [handle, side, 2.0 * radius]
        parts: list[Mapping[str, Any]] = [
            {"kind": "rounded_box", "size": size, "radius": 0.45 * radius, "at": at, "material": material}
        ]
        width = side
    else:
        ends = {"from": [at[0] - 0.5 * handle + radius, 0, 0], "to": [at[0] + 0.5 * handle - radius, 0, 0]}
        parts = [{"kind": "bar", **ends, "radius": radius, "material": material, "contact": ROUND}]
        width = 2.0 * radius
    if tip_length > 0.0:
        ends = {"from": [0.5 * length - 1.15 * tip_length, 0, 0], "to": [0.5 * length, 0, 0]}
        parts.append({"kind": "limb", **ends, "radius": [0.9 * radius, 0.35 * radius], "material": tip})
    mass = density * length * 3.0 * radius**2
    half = (0.5 * length, 0.5 * width, radius)
    return fields_of(half, mass, width, 2, np.pi / 2.0, parts, footprint=0.5 * length, grasp_height=0.004)


def nut(
    radius: float, height: float, corners: int, material: str, hole: str = "ring", density: float = 1500.0
) -> Fields:
    """A prism with a regular outline and a dark hole on top; grasped across two of its faces."""
    turn = np.arange(corners) * 2.0 * np.pi / corners
    outline = radius * np.column_stack([np.cos(turn), np.sin(turn)])
    half = 0.5 * height
    points = [[float(x), float(y), z] for x, y in outline for z in (-half, half)]
    face = radius * float(np.cos(np.pi / corners))
    parts: list[Mapping[str, Any]] = [
        {"kind": "hull", "points": points, "material": material},
        {
            "kind": "cylinder",
            "radius": 0.5 * radius,
            "height": 0.001,
            "at": [0, 0, half],
            "material": hole,
            "role": "visual",
        },
    ]
    mass = density * 2.6 * radius**2 * height
    return fields_of(
        (radius, radius, half),
        mass,
        2.0 * face,
        corners,
        np.pi / corners,
        parts,
        footprint=radius,
        grasp_height=0.3 * half,
    )


def spool(radius: float, height: float, material: str, thread: str, density: float = 500.0) -> Fields:
    """Two flanges and a wound core, upright; grasped across the flanges."""
    half, flange = 0.5 * height, 0.16 * height
    parts: list[Mapping[str, Any]] = [
        {
            "kind": "cylinder",
            "radius": radius,
            "height": flange,
            "at": [0, 0, s * (half - flange / 2)],
            "material": material,
        }
        for s in (-1, 1)
    ]
    parts.append({"kind": "cylinder", "radius": 0.78 * radius, "height": height - 2 * flange, "material": thread})
    mass = density * 2.5 * radius**2 * height
    return fields_of(
        (radius, radius, half), mass, 2.0 * radius, 16, 0.0, parts, footprint=radius, grasp_height=0.25 * half
    )


def bottle(
    radius: float,
    height: float,
    neck: float,
    material: str,
    neck_height: float = 0.016,
    square: bool = False,
    mass: float = 0.45,
    band: str = "",
) -> Fields:
    """A full container: a body, a shoulder and a neck on which a cap sits. `height` is to the neck's top.

    `measures.neck_top` is the height of the neck's top above the centre.
    """
    half, body = height / 2.0, height - neck_height
    middle = 0.5 * body - half
    side = 2.0 * radius
    shape = (
        {"kind": "rounded_box", "size": [side, side, body], "radius": 0.006}
        if square
        else {"kind": "cylinder", "radius": radius, "height": body}
    )
    parts: list[Mapping[str, Any]] = [
        {**shape, "at": [0, 0, middle], "material": material},
        {
            "kind": "cylinder",
            "radius": neck,
            "height": neck_height + 0.004,
            "at": [0, 0, half - 0.5 * (neck_height + 0.004)],
            "material": material,
        },
    ]
    if band:
        ring = (
            {"kind": "rounded_box", "size": [side + 0.001, side + 0.001, 0.4 * body], "radius": 0.006}
            if square
            else {"kind": "cylinder", "radius": radius + 0.0006, "height": 0.4 * body}
        )
        parts.append({**ring, "at": [0, 0, middle], "material": band, "role": "visual"})
    return fields_of(
        (radius, radius, half), mass, side, 4 if square else 16, 0.0, parts,
        footprint=radius * (1.3 if square else 1.0), grasp_height=middle, measures={"neck_top": half, "neck": neck},
    )  # fmt: skip


def cap(
    radius: float, height: float, neck: float, material: str, top: str = "", knob: float = 0.0, sides: int = 10
) -> Fields:
    """A cap or lid: a top and a skirt that goes loosely over a neck of this radius. A knob (radius) on it is grasped.

    `measures.under` is the height of the top's underside, where the neck ends, below the centre.
    """
    plate = 0.006
    inner = neck + 0.0028
    whole = height + (2.0 * knob + 0.008 if knob else 0.0)
    half = whole / 2.0
    top_at = -half + height - plate / 2.0
    parts: list[Mapping[str, Any]] = [
        {"kind": "cylinder", "radius": radius, "height": plate, "at": [0, 0, top_at], "material": top or material},
        {
            "kind": "tube",
            "radius": radius,
            "wall": radius - inner,
            "height": height - plate,
            "at": [0, 0, -half + (height - plate) / 2],
            "sides": sides,
            "material": material,
        },
    ]
    width, grasp_height = 2.0 * radius, 0.004
    if knob:
        centre = half - knob
        parts += [
            {"kind": "ball", "radius": knob, "at": [0, 0, centre], "material": top or material},
            {
                "kind": "cylinder",
                "radius": 0.6 * knob,
                "height": knob + 0.010,
                "at": [0, 0, centre - 0.5 * knob - 0.005],
                "material": material,
                "role": "visual",
            },
        ]
        width, grasp_height = 2.0 * knob, centre + 0.006
    fields = fields_of(
        (radius, radius, half), 0.02 + (0.03 if knob else 0.0), width, 16, 0.0, parts,
        footprint=radius, grasp_height=grasp_height, measures={"under": half - height + plate},
    )  # fmt: skip
    if knob:
        fields["grasp"]["height"] = grasp_height
    return fields


def granule(radius: float, material: str, mass: float = 0.002) -> Fields:
    """One of the little balls that are poured."""
    contact = {"condim": 3, "friction": (0.12, 0.005, 0.0001), "solref": (0.006, 1.0), "priority": 1}
    parts: list[Mapping[str, Any]] = [{"kind": "ball", "radius": radius, "material": material, "contact": contact}]
    return fields_of((radius,) * 3, mass, 2.0 * radius, 16, 0.0, parts, footprint=radius)


MAKERS: Mapping[str, Callable[..., Fields]] = {
    "block": block, "ball": ball, "egg": egg, "can": can, "cup": cup, "stick": stick, "nut": nut, "spool": spool,
    "bottle": bottle, "cap": cap, "granule": granule,
}  # fmt: skip


def make(name: str, entry: Mapping[str, Any]) -> Fields:
    """Fields of the object that a data entry with `make` describes.

    Raises:
        DataError: no such maker, or wrong arguments.
    """
    from gr2_sim.shape_makers import SHAPES  # it builds on what is here

    arguments, known = dict(entry), {**MAKERS, **SHAPES}
    maker = known.get(arguments.pop("make"))
    if maker is None:
        raise DataError(f"object '{name}': unknown maker '{entry['make']}'; known: {', '.join(known)}")
    try:
        return maker(**arguments)
    except TypeError as error:
        raise DataError(f"object '{name}': {error}") from None
