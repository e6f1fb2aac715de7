"""Rendered video: what acts does what the caption says, only with things of training, the same each time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gr2_policy.data import inspect
from gr2_policy.data.reader import Dataset
from gr2_policy.data.writer import DatasetError
from gr2_sim.cell import catalogue, load_cell, read_yaml
from gr2_sim.hands.acting import FPS, LONGEST, SHORTEST, Take, act
from gr2_sim.hands.body import arm_poses
from gr2_sim.hands.captions import caption_for
from gr2_sim.hands.embodiment import mirrored, names
from gr2_sim.hands.hand_world import HandWorld
from gr2_sim.hands.scenes import embodiment_of, video_scene
from gr2_sim.hands.video import VideoOrder, render
from gr2_sim.parts import DataError
from gr2_sim.settings import check_training
from gr2_sim.success import rotation
from gr2_sim.tasks import find_task, load_tasks
from gr2_sim.teacher import Teacher

ORDER = VideoOrder(("press_button", "close_drawer"), size=32)


@pytest.fixture(scope="module")
def stage() -> Iterator[HandWorld]:
    world = HandWorld(video_scene(find_task("press_button"), 0))
    yield world
    world.close()


def take(stage: HandWorld, task: str, seed: int) -> Take:
    return act(stage, Teacher(), task, seed, 48)


@pytest.mark.parametrize(
    "task",
    [
        "lift_red_block",
        "red_block_in_bin",
        "open_drawer",
        "press_button",
        "push_red_block_left",
        "take_red_cap_off_glue_bottle",
        "bin_pick",
    ],
)
def test_hands_do_what_the_caption_says(stage: HandWorld, task: str) -> None:
    takes = [take(stage, task, seed) for seed in range(60, 63)]
    clips = [item.clip for item in takes if item.clip is not None]
    assert len(clips) >= 2, [item.why for item in takes]  # now and then a thing slips, and the clip is not kept
    for clip in clips:
        clip.check()
        assert not clip.has_robot
        assert SHORTEST * FPS <= len(clip) <= LONGEST * FPS
        assert clip.images["head"].shape[1:] == (48, 48, 3)
        changed = (np.abs(np.diff(clip.images["head"].astype(int), axis=0)).max(axis=3) > 25).mean(axis=(1, 2))
        assert changed.mean() > 0.005  # somebody moves


def test_a_clip_is_the_same_each_time(stage: HandWorld) -> None:
    first, between, again = (
        take(stage, *which) for which in (("press_button", 5), ("lift_mug", 6), ("press_button", 5))
    )
    assert first.clip is not None
    assert again.clip is not None
    del between
    assert first.clip.instruction == again.clip.instruction
    np.testing.assert_array_equal(first.clip.images["head"], again.clip.images["head"])


def test_nothing_held_out_is_shown_and_there_is_variety() -> None:
    random = np.random.default_rng(0)
    seen: dict[str, set[str]] = {
        "who": set(),
        "background": set(),
        "lighting": set(),
        "object": set(),
        "caption": set(),
    }
    tasks = list(load_tasks().values())
    for number in range(300):
        task = tasks[number % len(tasks)]
        cell = load_cell(video_scene(task, number))
        caption = caption_for(task, cell, embodiment_of(cell.name).subject, random)
        check_training(cell, caption)
        if task.object in cell.objects:
            label = cell.objects[task.object].label
            assert label in caption or task.family in ("uncap", "cap"), caption  # "uncap the bottle" names no cap
            assert [thing.label for thing in cell.objects.values()].count(label) == 1, "the caption does not say which"
        seen["who"].add(embodiment_of(cell.name).name)
        seen["background"].add(cell.background["name"])
        seen["lighting"].add(cell.lighting["name"])
        seen["object"] |= {thing.asset for thing in cell.objects.values()}
        seen["caption"].add(caption)
    assert seen["who"] == set(names())
    assert len(seen["background"]) == 4
    assert len(seen["lighting"]) == 3
    assert len(seen["object"]) > 80
    assert len(seen["caption"]) > 150
    assert not {name for name in seen["object"] if catalogue()[name].split == "test"}


def test_every_family_has_captions() -> None:
    assert {task.family for task in load_tasks().values()} <= set(read_yaml("hands.yaml")["captions"])


@pytest.mark.parametrize("name", ["table~video~3", "table~video~x~press_button", "nowhere~video~3~press_button"])
def test_strange_scenes_are_refused(name: str) -> None:
    with pytest.raises(DataError):
        load_cell(name)


@pytest.mark.parametrize("shoulder", [(-0.1, 0.1, 0.46), (0.2, -0.8, 0.4), (0.3, 0.05, 0.25), (2.0, 1.0, 1.0)])
def test_arms_hang_together(shoulder: tuple[float, float, float]) -> None:
    wrist, lengths = np.array([0.4, 0.0, 0.2]), (0.25, 0.29)
    (start, fore), (elbow, upper) = arm_poses(wrist, np.array(shoulder), lengths)
    np.testing.assert_allclose(start, wrist)
    np.testing.assert_allclose(np.linalg.norm(elbow - wrist), lengths[0], atol=1e-9)
    np.testing.assert_allclose(wrist + lengths[0] * rotation(np.roll(fore, -1))[:, 2], elbow, atol=1e-9)
    end = elbow + lengths[1] * rotation(np.roll(upper, -1))[:, 2]
    along = (np.array(shoulder) - wrist) / np.linalg.norm(np.array(shoulder) - wrist)
    np.testing.assert_allclose(np.cross(end - wrist, along), 0.0, atol=1e-9)  # towards the shoulder, as far as it goes


def test_the_other_hand_is_the_mirror_image() -> None:
    part = {"kind": "limb", "from": [0.1, 0.02, 0.3], "to": [0, -0.01, 0], "material": "hand"}
    assert mirrored(part) == {"kind": "limb", "from": [0.1, -0.02, 0.3], "to": [0, 0.01, 0], "material": "hand"}


# --- many of them ---


def assert_equal(first: Path, second: Path) -> None:
    for one, other in zip(Dataset(first), Dataset(second), strict=True):
        assert (one.task, one.seed, one.instruction) == (other.task, other.seed, other.instruction)
        np.testing.assert_array_equal(one.images["head"], other.images["head"])


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video") / "one"
    report = render(ORDER, 4, folder)
    assert (report.kept, report.given_up) == (4, [])
    return folder


def test_what_is_written(rendered: Path) -> None:
    dataset = Dataset(rendered)
    assert dataset.fps == FPS
    assert not dataset.shape.robot
    assert sorted(info.task for info in dataset.episodes) == ["close_drawer"] * 2 + ["press_button"] * 2
    assert all(0 < info.success_frame < info.length for info in dataset.episodes)
    assert not rendered.with_name("one.staging").exists()


def test_the_sample_in_the_repository_is_whole() -> None:
    folder = Path(__file__).parents[3] / "docs/video_sample"
    dataset = Dataset(folder)
    assert len(dataset) == 24
    assert inspect.check(dataset) == []
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1e6


def test_a_dead_worker_costs_nothing_and_workers_do_not_matter(rendered: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one(done: int) -> None:
        if done == 1 and not killed:
            victim = multiprocessing.active_children()[0]
            killed.append(victim.pid or 0)
            victim.kill()

    report = render(ORDER, 4, tmp_path / "two", workers=2, progress=kill_one)
    assert killed
    assert (report.kept, report.given_up) == (4, [])
    assert_equal(rendered, tmp_path / "two")


def test_an_interrupted_run_goes_on(rendered: Path, tmp_path: Path) -> None:
    def interrupt(done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(ORDER, 4, tmp_path / "three", progress=interrupt, shard=2)
    assert len(Dataset(tmp_path / "three")) >= 2
    assert render(ORDER, 4, tmp_path / "three").kept == 4
    assert_equal(rendered, tmp_path / "three")
    with pytest.raises(DatasetError, match="another size"):
        render(VideoOrder(ORDER.tasks, size=64), 4, tmp_path / "three")
