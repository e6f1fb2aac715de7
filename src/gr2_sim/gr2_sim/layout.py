"""Lays a scene out at random: where fixtures and objects stand, the same for the same scene, task and seed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gr2_sim.cell import Cell, FixtureData
from gr2_sim.tasks import DIRECTIONS, Task

ATTEMPTS = 2000
PUSHER_HALF_WIDTH = 0.055
"""Half the width [m] of the gripper as it stands behind what it pushes."""
FIXTURE_GAP = 0.03
"""Room [m] between an object's footprint and a fixture's extent, for a finger to pass."""


class LayoutError(RuntimeError):
    """No arrangement was found; the message names the scene, the task and the seed."""


@dataclass(frozen=True)
class Layout:
    """An arrangement in base_link: name -> (x, y [m], yaw [rad]), and positions of moving parts [m or rad].

    `heights` are those of the centres [m] of objects that do not stand on the table.
    """

    fixtures: Mapping[str, tuple[float, float, float]]
    objects: Mapping[str, tuple[float, float, float]]
    joints: Mapping[str, float]
    heights: Mapping[str, float] = field(default_factory=dict)


def lay_out(cell: Cell, task: Task | None, seed: int) -> Layout:
    """Arrange a cell so that nothing overlaps, all is within reach and the task makes sense.

    Args:
        task: the task to be done, None for none.
        seed: any non-negative integer.

    Raises:
        LayoutError: the region is too crowded.
    """
    label = f"{cell.base or cell.name}/{task.name if task else ''}"
    random = np.random.default_rng([seed, zlib.crc32(label.encode())])
    fixtures = {}
    for name, fixture in cell.fixtures.items():
        x, y = np.asarray(fixture.position) + random.uniform(-1.0, 1.0, 2) * np.asarray(fixture.spread)
        fixtures[name] = (float(x), float(y), float(fixture.yaw + random.uniform(-1.0, 1.0) * fixture.turn))
    joints = {f.slider.joint: 0.0 for f in cell.fixtures.values() if f.slider} | dict(task.start if task else {})
    if cell.region.inside:
        return _pour_out(cell, fixtures, joints, random)
    off = task.off if task else ""
    standing = [
        name for name in cell.objects if name not in cell.granules.names and (name not in cell.seats or name == off)
    ]
    for _ in range(ATTEMPTS):
        places = _draw(cell, standing, random)
        if _separate(cell, places, fixtures) and (task is None or _room_to_push(cell, task, places, fixtures)):
            turns = random.uniform(-1.0, 1.0, len(places)) * cell.region.turn
            objects = {name: (*place, float(turn)) for (name, place), turn in zip(places.items(), turns, strict=True)}
            heights = _add_what_is_carried(cell, task, objects)
            return Layout(fixtures, objects, joints, heights)
    raise LayoutError(f"scene/task '{label}', seed {seed}: no arrangement found in {ATTEMPTS} attempts")


def _pour_out(
    cell: Cell,
    fixtures: Mapping[str, tuple[float, float, float]],
    joints: Mapping[str, float],
    random: np.random.Generator,
) -> Layout:
    """Objects above a fixture that holds them, apart from one another, lower ones where there is room."""
    fixture = cell.fixtures[cell.region.inside]
    x, y, yaw = fixtures[fixture.name]
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    objects: dict[str, tuple[float, float, float]] = {}
    heights: dict[str, float] = {}
    for name, thing in cell.objects.items():
        room = np.array([fixture.measures["inner_x"], fixture.measures["inner_y"]]) - thing.footprint - 0.004
        layer, best = 0, np.zeros(2)
        for attempt in range(400):
            layer = attempt // 100
            best = (x, y) + turn @ random.uniform(-room, room)
            others = [o for o in objects if heights[o] < 0.01 + cell.objects[o].rest_height + 0.075 * layer + 0.04]
            others = [o for o in others if heights[o] > 0.075 * layer]
            if all(
                np.hypot(*(best - objects[o][:2])) >= 0.95 * _distance(cell, name, o) - cell.region.gap for o in others
            ):
                break
        objects[name] = (float(best[0]), float(best[1]), float(random.uniform(-np.pi, np.pi)))
        heights[name] = fixture.measures["floor"] + thing.rest_height + 0.004 + 0.075 * layer
    return Layout(fixtures, objects, joints, heights)


def _add_what_is_carried(
    cell: Cell, task: Task | None, objects: dict[str, tuple[float, float, float]]
) -> dict[str, float]:
    """Put caps on their containers and granules into their vessel; heights [m] of their centres."""
    heights: dict[str, float] = {}
    for cap, container in cell.seats.items():
        if cap not in objects:
            objects[cap] = objects[container]
            heights[cap] = cell.objects[container].rest_height + cell.seat_height(cap)
    grains = cell.granules
    if not grains.names:
        return heights
    vessel = task.object if task and task.object in grains.vessels else grains.vessels[0]
    own, size = cell.objects[vessel], cell.objects[grains.names[0]].rest_height
    x, y, _ = objects[vessel]
    for number, name in enumerate(grains.names):
        layer, index = divmod(number, 7)
        turn, aside = index * np.pi / 3.0 + layer, 0.0 if index == 6 else 2.25 * size
        objects[name] = (float(x + aside * np.cos(turn)), float(y + aside * np.sin(turn)), 0.0)
        heights[name] = float(own.rest_height + own.measures["floor"] + size * (1.02 + 2.1 * layer))
    return heights


def _draw(cell: Cell, names: list[str], random: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Object centres, drawn one after another with a few tries each to keep clear of those before."""
    places: dict[str, tuple[float, float]] = {}
    for name in random.permutation(names):
        for _ in range(20):
            x, y = random.uniform(*cell.region.x), random.uniform(*cell.region.y)
            if all(np.hypot(x - u, y - v) >= _distance(cell, name, other) for other, (u, v) in places.items()):
                break
        places[str(name)] = (float(x), float(y))
    return {name: places[name] for name in names}


def _distance(cell: Cell, first: str, second: str) -> float:
    return cell.objects[first].footprint + cell.objects[second].footprint + cell.region.gap


def _separate(
    cell: Cell, places: Mapping[str, tuple[float, float]], fixtures: Mapping[str, tuple[float, float, float]]
) -> bool:
    names = list(places)
    for index, name in enumerate(names):
        point = np.array(places[name])
        if not cell.reach[0] <= float(np.hypot(*point)) <= cell.reach[1]:
            return False
        for other in names[:index]:
            if np.linalg.norm(point - places[other]) < _distance(cell, name, other):
                return False
        room = cell.objects[name].footprint + FIXTURE_GAP
        if any(_outside(cell.fixtures[f], pose, point) < room for f, pose in fixtures.items()):
            return False
    return True


def _outside(fixture: FixtureData, pose: tuple[float, float, float], point: np.ndarray) -> float:
    """Distance [m] of a point from a fixture's extent, 0 inside."""
    x, y, yaw = pose
    turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    local = turn @ (point - (x, y))
    low, high = np.asarray(fixture.extent)
    return float(np.linalg.norm(np.maximum(0.0, np.maximum(low - local, local - high))))


def _room_to_push(
    cell: Cell,
    task: Task,
    places: Mapping[str, tuple[float, float]],
    fixtures: Mapping[str, tuple[float, float, float]],
) -> bool:
    """Whether nothing stands in the way of a push, nor where the gripper stands behind the object."""
    if not task.room:
        return True
    start, direction = np.array(places[task.object]), np.array(DIRECTIONS[task.direction])
    own = cell.objects[task.object].footprint
    if not cell.reach[0] <= float(np.hypot(*(start + task.room * direction))) <= cell.reach[1]:
        return False
    for along in np.linspace(0.0, task.room, 8):
        if any(_outside(cell.fixtures[f], pose, start + along * direction) < own for f, pose in fixtures.items()):
            return False
    for other, place in places.items():
        if other == task.object:
            continue
        offset, size = np.array(place) - start, cell.objects[other].footprint
        along = float(np.clip(offset @ direction, 0.0, task.room))
        behind = offset + (own + 0.01) * direction
        if np.linalg.norm(offset - along * direction) < own + size + 0.01:
            return False
        if np.linalg.norm(behind) < size + PUSHER_HALF_WIDTH:
            return False
    return True
