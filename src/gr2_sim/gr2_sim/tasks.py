"""Tasks as data, and which task an instruction means."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from gr2_policy.policy import UnknownInstruction
from gr2_sim.cell import read_yaml
from gr2_sim.parts import DataError

DIRECTIONS: Mapping[str, tuple[float, float]] = {
    "left": (0.0, 1.0),
    "right": (0.0, -1.0),
    "forward": (1.0, 0.0),
    "back": (-1.0, 0.0),
}


class UnknownTask(ValueError):
    """No task of this name. The message lists those that are."""


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: its name.
        family: family in data/tasks.yaml.
        condition: parameters of the success condition, with its `kind`.
        hold: time [s] that the condition must hold.
        instructions: all the ways of asking for it; the first is the plain one.
        object: what is moved; empty where nothing is.
        target: the object, fixture or moving part it is about; empty where there is none.
        direction: of a push, key of DIRECTIONS; empty otherwise.
        room: free way [m] that the layout leaves for a push.
        start: initial positions of moving parts [m].
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


@lru_cache
def load_tasks() -> Mapping[str, Task]:
    """All tasks by name.

    Raises:
        DataError: tasks.yaml names an unknown family or direction, or lets one instruction mean two tasks.
    """
    data, objects = read_yaml("tasks.yaml"), read_yaml("objects.yaml")
    tasks: dict[str, Task] = {}
    meaning: dict[str, str] = {}
    for name, entry in data["tasks"].items():
        family = data["families"].get(entry["family"])
        direction = entry.get("direction", "")
        if family is None or (direction and direction not in DIRECTIONS):
            raise DataError(f"tasks.yaml: task '{name}' names an unknown family or direction: {entry}")
        words = {key: _label(entry.get(key, ""), objects) for key in ("object", "target")}
        phrases = tuple(text.format(direction=direction, **words) for text in family["instructions"])
        condition = dict(family["condition"])
        hold = float(condition.pop("hold"))
        tasks[name] = Task(
            name=name,
            family=entry["family"],
            condition=condition,
            hold=hold,
            instructions=phrases,
            object=entry.get("object", ""),
            target=entry.get("target", ""),
            direction=direction,
            room=float(family.get("room", 0.0)),
            start=dict(entry.get("start", {})),
        )
        for phrase in phrases:
            other = meaning.setdefault(normalise(phrase), name)
            if other != name:
                raise DataError(f"tasks.yaml: '{phrase}' means both '{other}' and '{name}'")
    return tasks


def find_task(name: str) -> Task:
    """The task of this name.

    Raises:
        UnknownTask: there is none.
    """
    tasks = load_tasks()
    if name not in tasks:
        raise UnknownTask(f"unknown task '{name}'; known: {', '.join(tasks)}")
    return tasks[name]


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
    known = {normalise(phrase): (task, phrase) for task in load_tasks().values() for phrase in task.instructions}
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


def _label(name: str, objects: Mapping[str, Any]) -> str:
    return objects[name]["label"] if name in objects else name
