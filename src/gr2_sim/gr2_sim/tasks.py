"""Tasks as data, and which task an instruction means."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from gr2_policy.policy import UnknownInstruction
from gr2_sim.cell import Cell, catalogue, read_merged, read_yaml
from gr2_sim.parts import DataError

DIRECTIONS: Mapping[str, tuple[float, float]] = {
    "left": (0.0, 1.0),
    "right": (0.0, -1.0),
    "forward": (1.0, 0.0),
    "back": (-1.0, 0.0),
}


class UnknownTask(ValueError):
    """No task of this name. The message lists those that are."""


SKILLS = ("pick", "place", "uncap", "cap", "open", "close", "press", "pour")
"""The eight skills; tasks of other families (pushing) belong to none of them."""


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: its name.
        family: family in data/tasks.yaml.
        condition: parameters of the success condition, with its `kind`.
        hold: time [s] that the condition must hold.
        instructions: the ways of asking for it that training may use; the first is the plain one.
        object: what is moved; empty where nothing is.
        target: the object, fixture or moving part it is about; empty where there is none.
        direction: of a push, key of DIRECTIONS; empty otherwise.
        room: free way [m] that the layout leaves for a push.
        start: initial positions of moving parts [m or rad].
        skill: which of SKILLS; empty for none.
        scene: where it can be done.
        held_out: ways of asking that training never uses.
        off: the cap that does not begin on its container; empty for none.
        also: those of `instructions` that are this task's own, not its family's.
    """

    name: str
    family: str
    condition: Mapping[str, Any]
    hold: float
    instructions: tuple[str, ...]
    object: str = ""
    target: str = ""
    direction: str = ""
    room: float = 0.0
    start: Mapping[str, float] = field(default_factory=dict)
    skill: str = ""
    scene: str = "table"
    held_out: tuple[str, ...] = ()
    off: str = ""
    also: tuple[str, ...] = ()


@lru_cache
def load_tasks() -> Mapping[str, Task]:
    """All tasks by name, scene by scene.

    Raises:
        DataError: the data name an unknown family, skill or direction, or let one instruction mean two tasks.
    """
    data = read_yaml("tasks.yaml")
    families = data["families"]
    tasks: dict[str, Task] = {}
    for scene, entries in data["tasks"].items():
        for name, entry in entries.items():
            family = families.get(entry["family"])
            direction = entry.get("direction", "")
            if family is None or (direction and direction not in DIRECTIONS) or name in tasks:
                raise DataError(
                    f"tasks.yaml: task '{name}' is described twice or names an unknown family or direction: {entry}"
                )
            if family.get("skill", "") not in ("", *SKILLS):
                raise DataError(
                    f"tasks.yaml: family '{entry['family']}' has an unknown skill; known: {', '.join(SKILLS)}"
                )
            condition = {**family["condition"], **entry.get("condition", {})}
            hold = float(condition.pop("hold"))
            tasks[name] = Task(
                name=name,
                family=entry["family"],
                condition=condition,
                hold=hold,
                instructions=_phrases(family["instructions"], entry, {}),
                object=entry.get("object", ""),
                target=entry.get("target", ""),
                direction=direction,
                room=float(family.get("room", 0.0)),
                start=dict(entry.get("start", {})),
                skill=family.get("skill", ""),
                scene=scene,
                held_out=_phrases(family["held_out"], {**entry, "also": ()}, {}),
                off=entry["object"] if family.get("apart") else "",
                also=tuple(entry.get("also", ())),
            )
    _meanings(tasks)
    return tasks


def the_tasks() -> Mapping[str, Task]:
    """The tasks of the eight skills, by name: those of the suites."""
    return {name: task for name, task in load_tasks().items() if task.skill}


def _phrases(templates: Sequence[str], entry: Mapping[str, Any], labels: Mapping[str, str]) -> tuple[str, ...]:
    """Instructions in words; `labels` say what things are called that others stand for."""
    names = {key: entry.get(key, "") for key in ("object", "target")}
    words = {key: labels.get(name, "") or label_of(name) for key, name in names.items()}
    texts = [*templates, *entry.get("also", ())]
    return tuple(text.format(direction=entry.get("direction", ""), **words) for text in texts)


@lru_cache
def _labels() -> Mapping[str, str]:
    named = {name: thing.label for name, thing in catalogue().items()}
    return {**{name: entry["label"] for name, entry in read_merged("fixtures").items()}, **named}


def label_of(name: str) -> str:
    """What an object, fixture or moving part is called."""
    return _labels().get(name, name.replace("_", " "))


def phrases(task: Task, labels: Mapping[str, str] | None = None, held_out: bool = False) -> tuple[str, ...]:
    """Ways of asking for a task.

    Args:
        task: the task.
        labels: what its object or target is called where another stands for it.
        held_out: those that training never uses.
    """
    family = read_yaml("tasks.yaml")["families"][task.family]
    entry = {"object": task.object, "target": task.target, "direction": task.direction, "also": task.also}
    if held_out:
        return _phrases(family["held_out"], {**entry, "also": ()}, labels or {})
    return _phrases(family["instructions"], entry, labels or {})


def _meanings(tasks: Mapping[str, Task]) -> dict[str, tuple[Task, str]]:
    """Every instruction that is understood -> its task and its spelling, things that stand for others counted in.

    Raises:
        DataError: one instruction means two tasks.
    """
    families = read_yaml("tasks.yaml")["families"]
    stand_ins: dict[str, list[str]] = {}
    for thing in catalogue().values():
        for role in thing.stands_for:
            stand_ins.setdefault(role, []).append(thing.label)
    meanings: dict[str, tuple[Task, str]] = {}
    for task in tasks.values():
        family = families[task.family]
        entry = {"object": task.object, "target": task.target, "direction": task.direction, "also": task.also}
        for labels in (
            {},
            *({role: label} for role in (task.object, task.target) for label in stand_ins.get(role, ())),
        ):
            for text in _phrases([*family["instructions"], *family["held_out"]], entry, labels):
                other, _ = meanings.setdefault(normalise(text), (task, text))
                if other.name != task.name:
                    raise DataError(f"tasks.yaml: '{text}' means both '{other.name}' and '{task.name}'")
    return meanings


@lru_cache
def known_instructions() -> Mapping[str, tuple[Task, str]]:
    """Every instruction that is understood, normalised -> its task and its spelling."""
    return _meanings(load_tasks())


def find_task(name: str) -> Task:
    """The task of this name.

    Raises:
        UnknownTask: there is none.
    """
    tasks = load_tasks()
    if name not in tasks:
        raise UnknownTask(f"unknown task '{name}'; known: {', '.join(tasks)}")
    return tasks[name]


def lacking(task: Task, cell: Cell) -> str:
    """What a task is about that a cell does not have, in words; empty if it has everything."""
    missing = [label_of(name) for name in (task.object, task.target) if name and not cell.has(name)]
    return f"there is no {' and no '.join(missing)} in scene '{cell.name}'" if missing else ""


def normalise(instruction: str) -> str:
    """Case, punctuation, blanks and politeness make no difference: the form in which instructions are compared."""
    text = unicodedata.normalize("NFKC", instruction).casefold()
    words = re.sub(r"[^\w\s]", " ", text).split()
    return " ".join(word for word in words if word != "please")


def task_for(instruction: str) -> Task:
    """The task that an instruction asks for.

    Raises:
        UnknownInstruction: none; the message suggests instructions that are alike.
    """
    known = known_instructions()
    wanted = normalise(instruction)
    if wanted in known:
        return known[wanted][0]
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)
    plain = [task.instructions[0] for task in load_tasks().values()]
    hint = "did you mean " if near else "for example "
    offers = [known[text][1] for text in near] or plain[:: max(1, len(plain) // 4)]
    raise UnknownInstruction(
        f"cannot follow '{instruction}': {hint}" + " or ".join(f"'{offer}'" for offer in offers) + "?"
    )
