"""The five settings of the evaluation, as variants of the scenes; and the line between training and held-out assets.

A variant is named ``scene~setting~number[~task]`` and is the same whenever it is named: a policy, the referee and a
worker in another process all rebuild it from the name that the scene truth carries.

* simple: backgrounds and lights of the training split. Training data are of this setting, and of no other.
* distractor: things that look like the task's object stand about.
* backgrounds: held-out table tops, floors and walls.
* environments: held-out rooms: table, walls, light, clutter.
* manipulation: held-out instances and categories in the place of what is known, and held-out instructions.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from gr2_sim.cell import (
    Cell,
    FixtureData,
    ObjectData,
    base_cell,
    catalogue,
    named,
    place_fixture,
    read_merged,
    read_yaml,
)
from gr2_sim.parts import DataError
from gr2_sim.tasks import Task, find_task, phrases

SETTINGS = ("simple", "distractor", "backgrounds", "environments", "manipulation")
TRAINING = "simple"
LOOKS = 6
"""Looks per scene and setting: with more, every episode would need a model of its own."""
DISTRACTORS = 2


class HeldOut(ValueError):
    """Something held out would get into training data. The message names it."""


def scene_name(setting: str, task: Task, seed: int) -> str:
    """Name of the variant in which a task is done in a setting.

    Raises:
        DataError: unknown setting.
    """
    if setting not in SETTINGS:
        raise DataError(f"unknown setting '{setting}'; known: {', '.join(SETTINGS)}")
    if setting in ("distractor", "manipulation"):
        return f"{task.scene}~{setting}~{seed}~{task.name}"
    return f"{task.scene}~{setting}~{seed % LOOKS}"


def instruction_for(setting: str, task: Task, seed: int, cell: Cell) -> str:
    """How a task is asked for in one episode of a setting: in its words for training, or in held-out ones."""
    labels = {role: thing.label for role, thing in cell.objects.items()}
    words = phrases(task, labels, held_out=setting == "manipulation" and seed % 3 == 2)
    return words[np.random.default_rng([seed, 3]).integers(len(words))]


def training_scene(task: Task, seed: int) -> str:
    """Name of the variant for one demonstration."""
    return scene_name(TRAINING, task, seed)


def training_instruction(task: Task, seed: int) -> str:
    """Instruction for one demonstration: one that training may use."""
    return task.instructions[int(np.random.default_rng([seed, 3]).integers(len(task.instructions)))]


def check_training(cell: Cell, instruction: str) -> None:
    """Make sure that an episode may become training data.

    Raises:
        HeldOut: a texture, light, room, object, fixture or instruction in it is held out.
    """
    found = assets(cell) & held_out_assets()
    if found:
        raise HeldOut(f"scene '{cell.name}' shows what is held out from training: {', '.join(sorted(found))}")
    if instruction in held_out_instructions():
        raise HeldOut(f"instruction '{instruction}' is held out from training")


def assets(cell: Cell) -> frozenset[str]:
    """What a cell is made of, as ``kind:name``."""
    parts = {f"background:{cell.background['name']}", f"lighting:{cell.lighting['name']}"}
    parts |= {f"object:{thing.asset}" for thing in cell.objects.values()}
    parts |= {f"fixture:{fixture.asset}" for fixture in cell.fixtures.values()}
    parts |= {f"material:{cell.background['table']}", f"material:{cell.background['floor']}"}
    parts |= {f"material:{part['material'].partition('/')[0]}" for part in cell.scenery}
    return frozenset(parts | ({f"environment:{cell.environment}"} if cell.environment else set()))


@lru_cache
def held_out_assets() -> frozenset[str]:
    """Everything held out, as ``kind:name``; materials are held out that only held-out backgrounds and rooms use."""
    looks = read_yaml("looks.yaml")
    kinds = {"background": looks["backgrounds"], "lighting": looks["lightings"], "environment": looks["environments"]}
    names = {f"{kind}:{name}" for kind, entries in kinds.items() for name, e in entries.items() if e["split"] == "test"}
    names |= {f"object:{name}" for name, thing in catalogue().items() if thing.split == "test"}
    names |= {f"fixture:{name}" for name, entry in read_merged("fixtures").items() if entry.get("split") == "test"}
    used: dict[str, set[str]] = {"train": set(), "test": set()}
    for background in looks["backgrounds"].values():
        used[background["split"]] |= {background["table"], background["floor"]}
    return frozenset(names | {f"material:{name}" for name in used["test"] - used["train"]})


@lru_cache
def held_out_instructions() -> frozenset[str]:
    """All instructions that training never uses: held-out words, and words for held-out things."""
    texts: set[str] = set()
    things = [thing for thing in catalogue().values() if thing.split == "test"]
    from gr2_sim.tasks import load_tasks

    for task in load_tasks().values():
        texts |= set(task.held_out)
        for thing in things:
            for role in thing.stands_for:
                if role in (task.object, task.target):
                    labels = {role: thing.label}
                    texts |= {*phrases(task, labels), *phrases(task, labels, held_out=True)} - set(task.instructions)
    return frozenset(texts)


# ---------------------------------------------------------------------------------------------------- variants


def variant(name: str) -> Cell:
    """The variant of this name.

    Raises:
        DataError: the name is not of the form ``scene~setting~number[~task]``, or names something unknown.
    """
    base, setting, *rest = name.split("~")
    if setting in ("seen", "unseen", "cluttered_seen", "cluttered_unseen"):
        from gr2_sim.bins import bin_cell  # it builds on what is here

        return bin_cell(name)
    if setting == "video":
        from gr2_sim.hands.scenes import video_cell  # likewise

        return video_cell(name)
    if setting not in _VARY or not rest or not rest[0].isdigit():
        raise DataError(f"unknown variant '{name}'; expected SCENE~SETTING~NUMBER[~TASK], settings: {', '.join(_VARY)}")
    number, task = int(rest[0]), find_task(rest[1]) if len(rest) > 1 else None
    random = np.random.default_rng([number, zlib.crc32(name.encode())])
    cell = replace(base_cell(base), name=name)
    return _VARY[setting](cell, number, task, random)


def _pick(entries: Mapping[str, Any], split: str, random: np.random.Generator) -> dict[str, Any]:
    names = sorted(name for name, entry in entries.items() if entry["split"] == split)
    return named(entries, names[int(random.integers(len(names)))])


def _simple(cell: Cell, number: int, task: Task | None, random: np.random.Generator) -> Cell:
    looks = read_yaml("looks.yaml")
    background = _pick(looks["backgrounds"], "train", random)
    return replace(cell, background=background, lighting=_pick(looks["lightings"], "train", random))


def _backgrounds(cell: Cell, number: int, task: Task | None, random: np.random.Generator) -> Cell:
    looks = read_yaml("looks.yaml")
    background = _pick(looks["backgrounds"], "test", random)
    return replace(cell, background=background, lighting=_pick(looks["lightings"], "train", random))


def _environments(cell: Cell, number: int, task: Task | None, random: np.random.Generator) -> Cell:
    looks = read_yaml("looks.yaml")
    room = _pick(looks["environments"], "test", random)
    return replace(
        cell,
        environment=room["name"],
        table=room["table"],
        background=named(looks["backgrounds"], room["background"]),
        lighting=named(looks["lightings"], room["lighting"]),
        scenery=tuple(room["scenery"]),
    )


def _distractor(cell: Cell, number: int, task: Task | None, random: np.random.Generator) -> Cell:
    """Things alike the task's object take the place of things that the task does not need, or are added."""
    cell = _simple(cell, number, task, random)
    needed = {task.object, task.target} if task else set()
    needed |= {cell.seats.get(name, "") for name in needed}
    free = [
        name
        for name in cell.objects
        if name not in needed and name not in cell.seats and name not in cell.seats.values()
    ]
    free = [name for name in free if name not in cell.granules.names]
    model = cell.objects.get(task.object) if task else None
    objects = dict(cell.objects)
    for thing in _alike(cell, model, random)[:DISTRACTORS]:
        if len(free) > 1:
            del objects[free.pop(int(random.integers(len(free))))]
        objects[thing.name] = thing
    return replace(cell, objects=objects, region=replace(cell.region, gap=min(cell.region.gap, 0.034)))


def _alike(cell: Cell, model: ObjectData | None, random: np.random.Generator) -> list[ObjectData]:
    """Training objects that are not in a cell, most alike to an object first: in shape, then colour, then size."""
    others = [
        thing
        for name, thing in catalogue().items()
        if thing.split == "train" and name not in cell.objects and thing.maker not in ("granule", "cap", "bottle")
        and thing.footprint <= 0.045 and not thing.stands_for and thing.maker and not thing.group
    ]  # fmt: skip

    def distance(thing: ObjectData) -> float:
        if model is None:
            return float(random.uniform())
        same = 2.0 * (thing.maker == model.maker) + 1.0 * (_hue(thing) == _hue(model))
        return -same + 10.0 * abs(thing.footprint - model.footprint) + float(random.uniform(0.0, 0.7))

    return sorted(others, key=distance)


def _hue(thing: ObjectData) -> str:
    return thing.colour.partition("/")[0]


def _manipulation(cell: Cell, number: int, task: Task | None, random: np.random.Generator) -> Cell:
    """Number modulo 3: unseen instances, unseen categories, unseen instructions (with instances of training)."""
    cell = _simple(cell, number, task, random)
    if number % 3 == 2 or task is None:
        return cell
    objects, fixtures = dict(cell.objects), dict(cell.fixtures)
    for role in (task.object, task.target):
        if role in objects:
            objects[role] = _stand_in(objects[role], number % 3 == 1 and role == task.object, random)
    entries = read_merged("fixtures")
    about = {task.target, *(f.name for f in cell.fixtures.values() if f.slider and f.slider.joint == task.target)}
    for name, entry in entries.items():
        role = entry.get("stands_for", "")
        if role in about and role in fixtures:
            fixtures[role] = replace(_at(name, entry, fixtures[role]), name=role)
    return replace(cell, objects=objects, fixtures=fixtures)


def _stand_in(thing: ObjectData, other_label: bool, random: np.random.Generator) -> ObjectData:
    """A held-out object in the place of a known one: of the same label, or if wished and there is one of another."""
    choices: Sequence[ObjectData] = [c for c in catalogue().values() if thing.name in c.stands_for]
    wanted = [c for c in choices if (c.label != thing.label) == other_label] or choices
    if not wanted:
        return thing
    return replace(wanted[int(random.integers(len(wanted)))], name=thing.name)


def _at(name: str, entry: Mapping[str, Any], old: FixtureData) -> FixtureData:
    place = {"position": old.position, "yaw": old.yaw, "spread": old.spread, "turn": old.turn}
    return place_fixture(name, entry, place)


_VARY: Mapping[str, Callable[[Cell, int, Task | None, np.random.Generator], Cell]] = {
    "simple": _simple,
    "distractor": _distractor,
    "backgrounds": _backgrounds,
    "environments": _environments,
    "manipulation": _manipulation,
}
