"""Tasks and their words."""

from __future__ import annotations

import pytest

from gr2_policy.policy import UnknownInstruction
from gr2_sim.tasks import UnknownTask, find_task, load_tasks, normalise, task_for


def test_enough_tasks_in_many_words() -> None:
    tasks = load_tasks()
    assert len(tasks) >= 14
    assert {task.family for task in tasks.values()} == {
        "lift", "place", "push", "push_forward", "stack", "open", "close", "press",
    }  # fmt: skip
    for task in tasks.values():
        assert len({normalise(phrase) for phrase in task.instructions}) >= 4
        for phrase in task.instructions:
            assert task_for(phrase) is task
            assert "{" not in phrase


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
