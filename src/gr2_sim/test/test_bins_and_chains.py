"""Bin picking and chains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gr2_sim.bins import BIN_SETTINGS, bin_objects, bin_scene
from gr2_sim.cell import load_cell
from gr2_sim.chains import CHAIN_SUITES, LENGTH, chain_counts, chain_scene, chain_tasks, draw_chain, possible, run_chain
from gr2_sim.evaluation import Journal
from gr2_sim.rollout import Rollout, RolloutConfig
from gr2_sim.settings import held_out_assets
from gr2_sim.success import inside_bin
from gr2_sim.suites import jobs_of, suite_of
from gr2_sim.tally import Result
from gr2_sim.tasks import find_task
from gr2_sim.teacher import Teacher
from gr2_sim.world import World


def test_55_seen_and_67_unseen_objects() -> None:
    seen, unseen = bin_objects("train"), bin_objects("test")
    assert (len(seen), len(unseen)) == (55, 67)
    assert len({thing.maker for thing in (*seen, *unseen)}) >= 12
    assert {thing.name for thing in unseen} <= {name.removeprefix("object:") for name in held_out_assets()}


@pytest.mark.parametrize("setting", BIN_SETTINGS)
def test_what_lies_in_the_basket(setting: str) -> None:
    for number in range(20):
        cell = load_cell(bin_scene(setting, number))
        assert len(cell.objects) in (range(12, 18) if setting.startswith("cluttered") else range(5, 9))
        assert {thing.split for thing in cell.objects.values()} == {"test" if setting.endswith("unseen") else "train"}


@pytest.mark.parametrize("setting", ["seen", "cluttered_unseen"])
def test_objects_come_to_rest_in_the_basket(quick_world: World, setting: str) -> None:
    quick_world.reset("bin_pick", 2, bin_scene(setting, 2), time=0.0)
    truth = quick_world.truth()
    assert truth.stamp == 0.0
    inside = [inside_bin(quick_world.cell, "right_basket", truth, name) for name in quick_world.cell.objects]
    assert np.mean(inside) > 0.9, f"{len(inside) - sum(inside)} fell out"


def test_the_teacher_picks_from_the_bin(quick_world: World) -> None:
    rollout = Rollout(quick_world, Teacher(), RolloutConfig(time_limit=25.0))
    assert rollout.run("bin_pick", 0, "", bin_scene("cluttered_seen", 0)).success


def test_chains_are_the_same_each_time_and_possible() -> None:
    assert draw_chain(5) == draw_chain(5)
    assert len({draw_chain(seed).tasks for seed in range(100)}) > 90
    for seed in range(100):
        chain = draw_chain(seed)
        assert len(set(chain.tasks)) == LENGTH
        assert possible(chain.drawer_open, [find_task(name) for name in chain.tasks])


@pytest.mark.parametrize(
    ("drawer_open", "tasks", "expected"),
    [
        (False, ["open_drawer", "close_drawer"], True),
        (True, ["open_drawer"], False),
        (False, ["red_block_in_bin", "lift_red_block"], False),
        (False, ["stack_red_on_blue", "lift_blue_block"], False),
        (False, ["lift_red_block", "red_block_in_bin"], True),
        (False, ["mug_in_bin", "red_block_in_bin"], False),
    ],
)
def test_what_is_possible(drawer_open: bool, tasks: list[str], expected: bool) -> None:
    assert possible(drawer_open, [find_task(name) for name in tasks]) is expected


def test_the_environments_have_what_chains_take() -> None:
    cells = [load_cell(chain_scene(environment)) for environment in "ABCD"]
    for cell in cells:
        assert all(cell.has(name) for task in chain_tasks() for name in (task.object, task.target) if name)
    looks = {(cell.background["name"], cell.lighting["name"]) for cell in cells}
    places = {tuple(f.position for f in cell.fixtures.values()) for cell in cells}
    assert len(looks) == len(places) == 4
    assert CHAIN_SUITES["chains-ABC-D"] == ("A", "B", "C")


@pytest.mark.slow
def test_the_teacher_does_a_chain_without_a_reset(quick_world: World) -> None:
    result = run_chain(Rollout(quick_world, Teacher(), RolloutConfig(time_limit=25.0)), 1, "chains-ABC-D")
    assert result.steps == LENGTH, result.detail
    assert quick_world.episode == 1 or quick_world.time > 15.0
    assert result.scene == "chain_d"


def test_chain_counts() -> None:
    results = [Result("c", i, "", i == 5, 1.0, "", 1, 0, "", steps=i) for i in (0, 2, 5, 5)]
    found = chain_counts(results)
    assert found["average_length"] == 3.0
    assert list(found["rates"].values()) == [0.75, 0.75, 0.5, 0.5, 0.5]


def test_suites_say_what_is_done(tmp_path: Path) -> None:
    config = RolloutConfig()
    assert len(jobs_of(suite_of("simple", "teacher", config, episodes=2))) == 210
    assert len(jobs_of(suite_of("bin", "teacher", config, episodes=3))) == 12
    chains = jobs_of(suite_of("chains-ABCD-D", "teacher", config, episodes=4))
    assert [job.seed for job in chains] == [0, 1, 2, 3]
    jobs = jobs_of(suite_of("manipulation", "teacher", config, episodes=3, tasks=("lift_apple",)))
    assert [job.scene for job in jobs] == [f"kitchen~manipulation~{i}~lift_apple" for i in range(3)]
    assert len({job.key for job in jobs}) == 3
    assert Journal(None, suite_of("simple", "teacher", config)).known == {}
