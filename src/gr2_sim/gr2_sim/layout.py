"""Lays a scene out at random: where fixtures and objects stand, the same for the same scene, task and seed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

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
    """An arrangement in base_link: name -> (x, y [m], yaw [rad]), and positions of moving parts [m]."""

    fixtures: Mapping[str, tuple[float, float, float]]
    objects: Mapping[str, tuple[float, float, float]]
    joints: Mapping[str, float]


def lay_out(cell: Cell, task: Task | None, seed: int) -> Layout:
    """Arrange a cell so that nothing overlaps, all is within reach and the task makes sense.

    Args:
        task: the task to be done, None for none.
        seed: any non-negative integer.

    Raises:
        LayoutError: the region is too crowded.
    """
    label = f"{cell.name}/{task.name if task else ''}"
    random = np.random.default_rng([seed, zlib.crc32(label.encode())])
    fixtures = {}
    for name, fixture in cell.fixtures.items():
        x, y = np.asarray(fixture.position) + random.uniform(-1.0, 1.0, 2) * np.asarray(fixture.spread)
        fixtures[name] = (float(x), float(y), float(fixture.yaw + random.uniform(-1.0, 1.0) * fixture.turn))
    joints = {f.slider.joint: 0.0 for f in cell.fixtures.values() if f.slider} | dict(task.start if task else {})
    for _ in range(ATTEMPTS):
        places = _draw(cell, random)
        if _separate(cell, places, fixtures) and (task is None or _room_to_push(cell, task, places, fixtures)):
            turns = random.uniform(-1.0, 1.0, len(places)) * cell.region.turn
            objects = {name: (*place, float(turn)) for (name, place), turn in zip(places.items(), turns, strict=True)}
            return Layout(fixtures, objects, joints)
    raise LayoutError(f"scene/task '{label}', seed {seed}: no arrangement found in {ATTEMPTS} attempts")


def _draw(cell: Cell, random: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Object centres, drawn one after another with a few tries each to keep clear of those before."""
    places: dict[str, tuple[float, float]] = {}
    for name in random.permutation(list(cell.objects)):
        for _ in range(20):
            x, y = random.uniform(*cell.region.x), random.uniform(*cell.region.y)
            if all(np.hypot(x - u, y - v) >= _distance(cell, name, other) for other, (u, v) in places.items()):
                break
        places[str(name)] = (float(x), float(y))
    return {name: places[name] for name in cell.objects}


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
