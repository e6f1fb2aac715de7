"""What is said about a clip: as an instruction, as a statement, or as people title videos."""

from __future__ import annotations

import numpy as np

from gr2_sim.cell import Cell, read_yaml
from gr2_sim.hands.embodiment import DATA
from gr2_sim.tasks import Task, label_of, phrases

INSTRUCTION = 0.5
"""Share of the captions that are instructions."""


def caption_for(task: Task, cell: Cell, subject: str, random: np.random.Generator) -> str:
    """A caption, true of what is shown.

    Args:
        task: what is done.
        cell: what there is.
        subject: who does it.
        random: decides which of the ways to say it.
    """
    labels = {role: thing.label for role, thing in cell.objects.items()}
    if random.random() < INSTRUCTION:
        words = phrases(task, labels)
        return words[int(random.integers(len(words)))]
    ways = read_yaml(DATA)["captions"][task.family]
    does, doing = ways[int(random.integers(len(ways)))]
    names = {
        key: labels.get(name) or label_of(name) for key, name in (("object", task.object), ("target", task.target))
    }
    text = f"{subject} {does}" if random.random() < 0.6 else doing
    return text.format(direction=task.direction, **names)
