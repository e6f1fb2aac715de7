"""The five settings, and the line between what training may see and what is held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gr2_sim.cell import base_cell, catalogue, load_cell, read_yaml
from gr2_sim.layout import lay_out
from gr2_sim.parts import DataError
from gr2_sim.settings import (
    SETTINGS,
    HeldOut,
    assets,
    check_training,
    held_out_assets,
    held_out_instructions,
    instruction_for,
    scene_name,
    training_instruction,
    training_scene,
)
from gr2_sim.tasks import find_task, normalise, task_for, the_tasks
from gr2_sim.world import World

NAMES = list(the_tasks())


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 2**31))
def test_training_never_sees_what_is_held_out(name: str, seed: int) -> None:
    task = find_task(name)
    cell, instruction = load_cell(training_scene(task, seed)), training_instruction(task, seed)
    assert not assets(cell) & held_out_assets()
    assert normalise(instruction) not in {normalise(text) for text in held_out_instructions()}
    check_training(cell, instruction)


@pytest.mark.parametrize("setting", ["backgrounds", "environments"])
@pytest.mark.parametrize("seed", range(4))
def test_held_out_scenes_are_refused(setting: str, seed: int) -> None:
    task = find_task(NAMES[17 * seed])
    with pytest.raises(HeldOut, match="held out from training"):
        check_training(load_cell(scene_name(setting, task, seed)), task.instructions[0])


def test_held_out_words_and_things_are_refused() -> None:
    task = find_task("lift_apple")
    plain = load_cell(training_scene(task, 0))
    with pytest.raises(HeldOut, match="instruction"):
        check_training(plain, task.held_out[0])
    with pytest.raises(HeldOut, match="instruction"):
        check_training(plain, "lift the pear")
    pear = replace(catalogue()["pear"], name="apple")
    with pytest.raises(HeldOut, match="object:pear"):
        check_training(replace(plain, objects={**plain.objects, "apple": pear}), task.instructions[0])


def test_splits_do_not_share_looks() -> None:
    looks = read_yaml("looks.yaml")
    tables = {
        split: {b["table"] for b in looks["backgrounds"].values() if b["split"] == split} for split in ("train", "test")
    }
    assert not tables["train"] & tables["test"]
    for background in looks["backgrounds"].values():
        if background["split"] == "test":
            assert f"material:{background['table']}" in held_out_assets()
    for room in looks["environments"].values():
        assert room["split"] == "test"
        assert f"background:{room['background']}" in held_out_assets()


@pytest.mark.parametrize("setting", SETTINGS)
def test_variants_are_the_same_whenever_they_are_named(setting: str) -> None:
    task = find_task("carrot_in_basket")
    name = scene_name(setting, task, 4)
    load_cell.cache_clear()
    first = load_cell(name)
    load_cell.cache_clear()
    assert first == load_cell(name)
    assert first.name == name
    assert first.base == "kitchen"


@pytest.mark.parametrize("setting", SETTINGS)
def test_instructions_are_understood_and_scenes_can_be_laid_out(setting: str) -> None:
    for number, name in enumerate(NAMES):
        task = find_task(name)
        cell = load_cell(scene_name(setting, task, number))
        assert task_for(instruction_for(setting, task, number, cell)) is task
        for role in filter(None, (task.object, task.target)):
            assert cell.has(role)
        lay_out(cell, task, number)


def test_every_setting_differs_in_what_it_says() -> None:
    task = find_task("lift_apple")
    simple = base_cell("kitchen")
    distractor = load_cell(scene_name("distractor", task, 3))
    assert set(distractor.objects) - set(simple.objects), "no distractors"
    assert "apple" in distractor.objects
    instance = load_cell(scene_name("manipulation", task, 3)).objects["apple"]
    category = load_cell(scene_name("manipulation", task, 4)).objects["apple"]
    assert (instance.asset, instance.label) == ("big_apple", "apple")
    assert category.label == "pear"
    cell = load_cell(scene_name("manipulation", task, 5))
    assert instruction_for("manipulation", task, 5, cell) in task.held_out
    room = load_cell(scene_name("environments", task, 0))
    assert room.environment
    assert room.table != simple.table
    assert room.scenery


@pytest.mark.parametrize("setting", ["distractor", "environments", "manipulation"])
def test_variants_run(quick_world: World, setting: str) -> None:
    task = find_task("apple_on_plate")
    quick_world.reset(task.name, 1, scene_name(setting, task, 1), time=0.0)
    quick_world.step(200)
    assert np.all(np.isfinite(quick_world.data.qpos))
    assert quick_world.truth().scene == scene_name(setting, task, 1)


@pytest.mark.parametrize(
    "name", ["kitchen~moon~1", "kitchen~simple", "kitchen~simple~x", "bins~seen~x", "moon~simple~1"]
)
def test_unknown_variants_are_named(name: str) -> None:
    with pytest.raises(DataError, match="unknown"):
        load_cell(name)
