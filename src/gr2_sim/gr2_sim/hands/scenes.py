"""Scenes of rendered video: variants ``scene~video~number~task`` of the training scenes, with more variety.

A variant has a background and a light of the training split, other training objects in the place of those that do not
matter (and, where any thing will do, of the one that is moved), a camera a little aside, and somebody who acts.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from gr2_sim.bins import BIN_TASK, bin_cell, bin_scene
from gr2_sim.cell import Cell, ObjectData, base_cell, catalogue, named, read_yaml
from gr2_sim.hands.embodiment import DATA, Embodiment, draw
from gr2_sim.parts import DataError
from gr2_sim.tasks import Task, find_task

VIDEO = "video"
ANY_OBJECT = ("lift", "place", "lay")
"""Families in which any thing that can be grasped may take the object's place."""
LARGEST = 0.046
"""Footprint [m] of things that take others' places."""
WIDEST = 0.072
"""Grasp [m] that the hand still opens for."""


def video_scene(task: Task, number: int) -> str:
    """Name of a variant."""
    return f"{task.scene}~{VIDEO}~{number}~{task.name}"


@lru_cache(maxsize=64)
def embodiment_of(name: str) -> Embodiment:
    """Who acts in a variant."""
    return draw(_random(name, 2))


def video_cell(name: str) -> Cell:
    """The variant of this name.

    Raises:
        DataError: it is not of the form ``scene~video~number~task``, or names something unknown.
    """
    base, setting, *rest = name.split("~")
    if setting != VIDEO or len(rest) != 2 or not rest[0].isdigit():
        raise DataError(f"unknown variant '{name}'; expected SCENE~{VIDEO}~NUMBER~TASK")
    task, random = find_task(rest[1]), _random(name, 1)
    if task.name == BIN_TASK:  # what lies in the basket is drawn anew each time
        cell = bin_cell(bin_scene("seen", int(rest[0])))
        objects = dict(cell.objects)
    else:
        cell = base_cell(base)
        objects = _objects(cell, task, random)
    looks = read_yaml("looks.yaml")
    background = _pick(looks["backgrounds"], random)
    lighting = _pick(looks["lightings"], random)
    embodiment = embodiment_of(name)
    return replace(
        cell,
        name=name,
        objects=objects,
        background=background,
        lighting=_dimmed(lighting, float(random.uniform(0.85, 1.15))),
        cameras={"head": _aside(cell.cameras["head"], random)},
        materials={**cell.materials, **embodiment.materials},
        arm_style={},
    )


def _random(name: str, stream: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(name.encode()), stream])


def _pick(entries: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    names = sorted(name for name, entry in entries.items() if entry["split"] == "train")
    return named(entries, names[int(random.integers(len(names)))])


def _dimmed(lighting: dict[str, Any], factor: float) -> dict[str, Any]:
    lights = [{**lamp, "diffuse": min(1.0, factor * lamp["diffuse"])} for lamp in lighting["lights"]]
    return {**lighting, "lights": lights}


def _aside(camera: Any, random: np.random.Generator) -> dict[str, Any]:
    most = read_yaml(DATA)["camera"]
    moved = {
        key: (np.asarray(camera[key]) + random.uniform(-1.0, 1.0, 3) * np.asarray(most[key])).tolist()
        for key in ("position", "target")
    }
    return {**camera, **moved, "fovy": float(camera["fovy"] + random.uniform(-1.0, 1.0) * most["fovy"])}


def _objects(cell: Cell, task: Task, random: np.random.Generator) -> dict[str, ObjectData]:
    """The cell's objects, some of them exchanged for others of the training split."""
    fixed = {*cell.seats, *cell.seats.values(), *cell.granules.names, *cell.granules.vessels}
    needed = {task.object, task.target}
    objects, labels = dict(cell.objects), {thing.label for thing in cell.objects.values()}
    choices = [
        thing
        for thing in catalogue().values()
        if thing.split == "train" and thing.footprint <= LARGEST and thing.grasp.width <= WIDEST
        and thing.maker not in ("granule", "cap", "bottle") and thing.group in ("", "bin")
    ]  # fmt: skip
    for role in cell.objects:
        may = role not in fixed and (role not in needed or (role == task.object and task.family in ANY_OBJECT))
        if not may or random.random() < 0.4:
            continue
        thing = choices[int(random.integers(len(choices)))]
        if thing.label not in labels:
            labels.add(thing.label)
            objects[role] = replace(thing, name=role)
    return objects
