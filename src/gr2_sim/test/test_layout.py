"""Arrangements: repeatable, nothing overlaps, everything within reach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gr2_sim.cell import available_scenes, load_cell
from gr2_sim.layout import LayoutError, lay_out
from gr2_sim.parts import DataError
from gr2_sim.success import in_frame_of
from gr2_sim.tasks import DIRECTIONS, find_task, load_tasks
from gr2_sim.world import World


def test_same_seed_same_arrangement() -> None:
    cell, task = load_cell("table"), find_task("lift_mug")
    assert lay_out(cell, task, 7) == lay_out(cell, task, 7)
    assert lay_out(cell, task, 7) != lay_out(cell, task, 8)
    assert lay_out(cell, task, 7) != lay_out(cell, find_task("lift_red_block"), 7)


def test_nothing_overlaps_and_all_is_in_reach(world: World) -> None:
    for seed in range(50):
        tasks = [name for name, task in load_tasks().items() if task.scene == "table"]
        task = tasks[seed % len(tasks)]
        world.reset(task, seed)
        table = world.model.geom("table").id
        touching = [pair for pair in world.data.contact.geom if table not in pair]
        names = [[world.model.body(world.model.geom_bodyid[g]).name for g in pair] for pair in touching]
        assert not names, f"seed {seed}, task {task}: {names}"
        before = {name: world.truth().poses[name][0] for name in world.cell.objects}
        world.step(100)
        for name, place in before.items():
            distance = float(np.hypot(*place[:2]))
            assert world.cell.reach[0] <= distance <= world.cell.reach[1], f"seed {seed}: {name} at {distance:.3f} m"
            assert np.linalg.norm(world.truth().poses[name][0] - place) < 1e-3, f"seed {seed}: {name} moves by itself"


@pytest.mark.parametrize("scene", [name for name in available_scenes() if name != "bins"])
def test_scenes_begin_at_rest(shared_world: World, scene: str) -> None:
    for seed in range(3):
        shared_world.reset("", seed, scene)
        before = {name: shared_world.truth().poses[name][0] for name in shared_world.cell.objects}
        shared_world.step(100)
        for name, place in before.items():
            moved = np.linalg.norm(shared_world.truth().poses[name][0] - place)
            assert moved < 4e-3, f"{scene}, seed {seed}: {name} moves {1e3 * moved:.1f} mm by itself"
    joints = shared_world.truth().joints
    assert all(abs(position) < 0.01 for position in joints.values()), joints


def test_caps_sit_on_their_containers_unless_the_task_says_otherwise() -> None:
    cell, task = load_cell("pantry"), find_task("put_blue_cap_on_water_bottle")
    on, off = lay_out(cell, None, 1), lay_out(cell, task, 1)
    assert on.objects["blue_cap"][:2] == on.objects["water_bottle"][:2]
    assert on.heights["blue_cap"] > 0.06
    assert "blue_cap" not in off.heights
    assert off.objects["white_cap"][:2] == off.objects["milk_bottle"][:2]


def test_granules_begin_in_the_vessel_of_the_task() -> None:
    cell = load_cell("bar")
    for vessel in cell.granules.vessels:
        layout = lay_out(cell, find_task(f"pour_{vessel}_into_pan"), 2)
        for name in cell.granules.names:
            aside = np.subtract(layout.objects[name][:2], layout.objects[vessel][:2])
            assert np.linalg.norm(aside) < cell.objects[vessel].measures["inner"]


def test_fixtures_vary_a_little() -> None:
    cell = load_cell("table")
    places = np.array([lay_out(cell, None, seed).fixtures["cabinet"] for seed in range(30)])
    spread = np.ptp(places, axis=0)
    assert np.all(spread > 0.005), "the cabinet hardly moves"
    assert np.all(np.abs(places[:, :2] - cell.fixtures["cabinet"].position) <= cell.fixtures["cabinet"].spread)


@pytest.mark.parametrize("name", [name for name, task in load_tasks().items() if task.room])
def test_a_push_has_a_free_way(name: str) -> None:
    cell, task = load_cell("table"), find_task(name)
    direction = np.array(DIRECTIONS[task.direction])
    for seed in range(20):
        layout = lay_out(cell, task, seed)
        start = np.array(layout.objects[task.object][:2])
        for other, (x, y, _) in layout.objects.items():
            offset = np.array([x, y]) - start
            along = np.clip(offset @ direction, 0.0, task.room)
            room = np.linalg.norm(offset - along * direction) - cell.objects[other].footprint
            assert other == task.object or room > cell.objects[task.object].footprint, (
                f"seed {seed}: {other} in the way"
            )
        for fixture, (x, y, yaw) in layout.fixtures.items():
            pose = (np.array([x, y, 0.0]), np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)]))
            low, high = np.asarray(cell.fixtures[fixture].extent)
            end = in_frame_of(pose, np.append(start + task.room * direction, 0.0))[:2]
            assert np.any(end < low) or np.any(end > high), f"seed {seed}: pushed into the {fixture}"


def test_the_task_sets_the_drawer(world: World) -> None:
    world.reset("close_drawer", 0)
    assert world.truth().joints["drawer"] == pytest.approx(0.11)
    world.reset("open_drawer", 0)
    assert world.truth().joints["drawer"] == 0.0


def test_a_region_too_small_is_reported() -> None:
    cell = load_cell("table")
    crowded = replace(cell, region=replace(cell.region, x=(0.40, 0.45), y=(0.0, 0.05)))
    with pytest.raises(LayoutError, match=r"table/.*seed 3"):
        lay_out(crowded, None, 3)


def test_unknown_scene() -> None:
    with pytest.raises(DataError, match=r"unknown scene .moon.; known: .*table"):
        load_cell("moon")
