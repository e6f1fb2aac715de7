"""Augmented demonstrations: the room changes, what matters does not, and a point of the table keeps its colour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gr2_policy.data.episode import LABELS, BadEpisode, Episode
from gr2_policy.data.reader import Dataset
from gr2_policy.data.writer import DatasetError, DatasetWriter
from gr2_sim.augment.augmenter import Augmentation, augment
from gr2_sim.augment.backgrounds import behind, draw_room, replaced, shade
from gr2_sim.augment.datasets import augment_dataset
from gr2_sim.augment.distractors import PASSES_AT, ROOM, choose
from gr2_sim.augment.textures import KINDS, draw_surface
from gr2_sim.augment.views import CalibrationError, load_calibration, plane_hits, view_of
from gr2_sim.cell import load_cell, read_yaml
from gr2_sim.demos import Order, record

SURROUNDINGS, TABLE, ROBOT, TASK, OTHER = range(len(LABELS))
CALIBRATION = load_calibration()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("augment") / "demos"
    order = Order(("lift_red_block", "press_button"), 1, size=64, masks=True)
    assert record(order, folder).kept == 2
    return Dataset(folder)


@pytest.fixture(scope="module")
def episode(recorded: Dataset) -> Episode:
    return recorded.read(0, masks=True)


@pytest.mark.parametrize("name", ["head", "wrist"])
def test_rays_meet_the_table_where_the_simulator_says_so(episode: Episode, name: str) -> None:
    view = view_of(name, CALIBRATION, episode.states)
    (x, y), (length, width) = load_cell("table").table["centre"], load_cell("table").table["size"]
    for frame in range(0, len(episode), 5):
        labels = episode.masks[name][frame]
        place, along = plane_hits(view.origins[frame], view.rays(frame, 64, 64), 0.0)
        on = np.isfinite(along) & (np.abs(place[..., 0] - x) < length / 2) & (np.abs(place[..., 1] - y) < width / 2)
        assert (on[labels == TABLE]).mean() > 0.995
        if (labels == SURROUNDINGS).any():
            assert (~on[labels == SURROUNDINGS]).mean() > 0.98  # the table's edge shows a little beyond


def test_what_matters_stays_and_the_rest_changes(episode: Episode) -> None:
    new = augment(episode, 3, CALIBRATION)
    new.check()
    for name in ("states", "actions", "joints", "chunks", "stamps"):
        np.testing.assert_array_equal(getattr(new, name), getattr(episode, name))
    assert (new.instruction, new.task, new.success_frame) == (episode.instruction, episode.task, episode.success_frame)
    for view, frames in episode.images.items():
        labels = episode.masks[view]
        kept = (labels == ROBOT) | (labels == TASK)
        np.testing.assert_array_equal(new.images[view][kept], frames[kept])
        np.testing.assert_array_equal(new.masks[view][kept], labels[kept])
        behind_it = (labels == TABLE) | (labels == SURROUNDINGS)
        moved = np.abs(new.images[view].astype(int) - frames)[behind_it].max(axis=1)
        assert (moved > 3).mean() > 0.6
    again, other = augment(episode, 3, CALIBRATION), augment(episode, 4, CALIBRATION)
    np.testing.assert_array_equal(new.images["wrist"], again.images["wrist"])
    assert (new.images["head"] != other.images["head"]).mean() > 0.3


def test_a_point_of_the_table_keeps_its_colour(episode: Episode) -> None:
    """In every frame and both cameras: what moves is the camera."""
    room = draw_room(np.random.default_rng(5))
    seen: dict[tuple[int, int], list[np.ndarray]] = {}
    for name in ("head", "wrist"):
        view = view_of(name, CALIBRATION, episode.states)
        for frame in range(0, len(episode), 6):
            table, _ = behind(room, view, frame, 64, 64)
            place, along = plane_hits(view.origins[frame], view.rays(frame, 64, 64), 0.0)
            for row, column in np.argwhere(np.isfinite(along))[::37]:
                x, y = place[row, column]
                if 0.2 < x < 0.7 and -0.4 < y < 0.4:
                    cell = (int(x * 100), int(y * 100))
                    seen.setdefault(cell, []).append(table[row, column])
    often = [np.array(colours) for colours in seen.values() if len(colours) >= 3]
    assert len(often) > 20
    spread = np.mean([colours.std(axis=0).mean() for colours in often])
    overall = np.concatenate(often).std(axis=0).mean()
    assert spread < 0.6 * overall  # a centimetre of texture, not another picture each time


def test_needless_things_vanish(episode: Episode) -> None:
    new = augment(episode, 1, CALIBRATION, Augmentation(drop=1.0, add=0))
    assert (episode.masks["head"] == OTHER).any()
    assert not (new.masks["head"] == OTHER).any()
    gone = episode.masks["head"] == OTHER
    assert (np.abs(new.images["head"].astype(int) - episode.images["head"])[gone].max(axis=1) > 3).mean() > 0.9


def test_things_are_added_only_where_the_tool_never_comes(episode: Episode) -> None:
    views = {name: view_of(name, CALIBRATION, episode.states) for name in episode.images}
    low = episode.states[episode.states[:, 2] < PASSES_AT, :2]
    count = 0
    for seed in range(12):
        for spot in choose(episode.states, episode.masks, views, 3, True, np.random.default_rng(seed)):
            assert spot.thing.split == "train"
            assert np.hypot(*(low - (spot.x, spot.y)).T).min() >= ROOM + spot.thing.footprint
            count += 1
    assert count >= 12
    added = next(new for seed in range(20) if (new := augment(episode, seed, CALIBRATION)).notes["added"])
    assert ((added.masks["head"] == OTHER) & (episode.masks["head"] == TABLE)).any()


def test_no_surface_is_one_that_is_held_out() -> None:
    looks = read_yaml("looks.yaml")
    held_out = set()
    for background in looks["backgrounds"].values():
        if background["split"] == "test":
            held_out |= {looks["materials"][background[part]].get("texture", "") for part in ("table", "floor")}
    patterns = {looks["textures"][name]["kind"] for name in held_out if name}
    assert {"stripes", "cloth", "marble"} <= patterns
    assert not set(KINDS) & patterns
    drawn = {draw_surface(np.random.default_rng(seed)).kind for seed in range(60)}
    assert drawn == set(KINDS)


def test_surfaces_repeat_without_a_seam() -> None:
    surface = draw_surface(np.random.default_rng(2))
    places = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    cos, sin = np.cos(surface.turn), np.sin(surface.turn)
    step = surface.extent * np.array([cos, -sin])
    np.testing.assert_allclose(surface.at(places), surface.at(places + step), atol=1e-6)


def test_shadows_stay() -> None:
    image = np.full((64, 64, 3), 180, np.uint8)
    image[:, 40:] = 120
    labels = np.full((64, 64), TABLE, np.uint8)
    light = shade(image, labels == TABLE)
    assert light[32, 8] > 1.2 * light[32, 60]
    flat = np.full((64, 64, 3), 100.0)
    new = replaced(image, labels, (flat, flat), labels == OTHER)
    assert new[32, 8, 0] > 1.2 * new[32, 60, 0]


def test_what_is_lacking_is_named(episode: Episode, recorded: Dataset, tmp_path: Path) -> None:
    with pytest.raises(BadEpisode, match="masks of view wrist"):
        augment(replace(episode, masks={"head": episode.masks["head"]}), 0, CALIBRATION)
    with pytest.raises(CalibrationError, match="'wrist'"):
        augment(episode, 0, {"head": CALIBRATION["head"]})
    with pytest.raises(CalibrationError, match="fovy"):
        view_of("head", {"head": {"position": [1, 0, 1], "target": [0, 0, 0]}}, episode.states)
    DatasetWriter(tmp_path / "bare", 10, "gen3_2f85").append([replace(episode, masks={})])
    with pytest.raises(DatasetError, match="no masks"):
        augment_dataset(Dataset(tmp_path / "bare"), tmp_path / "x", 1, 0, CALIBRATION, Augmentation())


def test_datasets_with_given_masks_and_broken_runs(recorded: Dataset, tmp_path: Path) -> None:
    what = Augmentation()
    assert augment_dataset(recorded, tmp_path / "whole", 2, 7, CALIBRATION, what) == 4
    for number in range(2):
        source = recorded.read(number, masks=True)
        for view, labels in source.masks.items():
            (tmp_path / "masks" / view).mkdir(parents=True, exist_ok=True)
            np.savez(tmp_path / "masks" / view / f"{number:06d}.npz", labels=labels)
    given = tmp_path / "given"
    assert augment_dataset(recorded, given, 1, 7, CALIBRATION, what, tmp_path / "masks") == 2
    assert augment_dataset(recorded, given, 2, 7, CALIBRATION, what, tmp_path / "masks") == 4  # it goes on
    for one, other in zip(Dataset(tmp_path / "whole"), Dataset(given), strict=True):
        np.testing.assert_array_equal(one.images["head"], other.images["head"])
        np.testing.assert_array_equal(one.chunks, other.chunks)
    with pytest.raises(DatasetError, match="another seed"):
        augment_dataset(recorded, given, 3, 8, CALIBRATION, what, tmp_path / "masks")
    np.savez(tmp_path / "masks/head/000001.npz", labels=np.zeros((3, 64, 64), np.uint8))
    with pytest.raises(BadEpisode, match="masks of 'head'"):
        augment_dataset(recorded, tmp_path / "bad", 1, 7, CALIBRATION, what, tmp_path / "masks")
    (tmp_path / "masks/head/000001.npz").write_bytes(b"PK")
    with pytest.raises(BadEpisode, match="episode 1"):
        augment_dataset(recorded, tmp_path / "bad", 1, 7, CALIBRATION, what, tmp_path / "masks")
