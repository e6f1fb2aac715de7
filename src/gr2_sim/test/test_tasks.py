"""Tasks and their words."""

from __future__ import annotations

import pytest

from gr2_policy.policy import UnknownInstruction
from gr2_sim.cell import load_cell
from gr2_sim.tasks import SKILLS, UnknownTask, find_task, load_tasks, normalise, task_for, the_tasks


def test_105_tasks_over_eight_skills() -> None:
    tasks = the_tasks()
    assert len(tasks) == 105
    for skill in SKILLS:
        assert sum(task.skill == skill for task in tasks.values()) >= 8, skill


def test_every_task_has_words_for_training_and_held_out_ones() -> None:
    for task in load_tasks().values():
        trained = {normalise(phrase) for phrase in task.instructions}
        held_out = {normalise(phrase) for phrase in task.held_out}
        assert len(trained) >= 5, task.name
        assert len(held_out) >= 2, task.name
        assert not trained & held_out, task.name
        for phrase in (*task.instructions, *task.held_out):
            assert task_for(phrase) is task
            assert "{" not in phrase


def test_every_task_has_what_it_takes_in_its_scene() -> None:
    for task in load_tasks().values():
        cell = load_cell(task.scene)
        for name in filter(None, (task.object, task.target, *task.start)):
            assert cell.has(name), f"{task.name}: scene '{task.scene}' lacks {name}"


@pytest.mark.parametrize(
    "text",
    ["put the red block in the bin", "  Please put the RED block,  in the bin!", "Put the red block in the bin."],
)
def test_case_and_punctuation_make_no_difference(text: str) -> None:
    assert task_for(text).name == "red_block_in_bin"


def test_unknown_instruction_suggests_near_ones() -> None:
    with pytest.raises(UnknownInstruction, match="'put the red block in the bin'"):
        task_for("put red block in bin")
    with pytest.raises(UnknownInstruction, match="for example 'lift the red block'"):
        task_for("make me a coffee")
    with pytest.raises(UnknownInstruction):
        task_for("")


def test_unknown_task_lists_the_known() -> None:
    with pytest.raises(UnknownTask, match="'dance'; known: lift_red_block"):
        find_task("dance")
