"""What is wrong with a dataset is found, and what is right is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from gr2_policy.data import layout
from gr2_policy.data.episode import Episode
from gr2_policy.data.inspect import Bounds, action_histograms, check, check_episode, contact_sheet, summarise
from gr2_policy.data.reader import Dataset
from gr2_policy.data.writer import DatasetWriter

Make = Callable[..., Episode]


def sound(make_episode: Make, seed: int, length: int = 12) -> Episode:
    """An episode in which the tool moves evenly and every picture differs."""
    episode = make_episode(seed, length)
    states = np.zeros((length, 8))
    states[:, 0], states[:, 4] = 0.02 * np.arange(length), 1.0
    actions = states.copy()
    actions[:, 0] += 0.02
    return replace(episode, states=states, actions=actions)


def kinds(episode: Episode) -> set[str]:
    return {kind for kind, _ in check_episode(episode, 10, Bounds())}


def test_each_fault_is_found(make_episode: Make) -> None:
    good = sound(make_episode, 0)
    assert not kinds(good)
    late = good.stamps + 0.1 * (np.arange(12) > 5)
    assert kinds(replace(good, stamps=late)) == {"gap"}
    jumped, turned = good.states.copy(), good.states.copy()
    jumped[6:, 1] += 0.12
    turned[6:, 3:7] = (np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0)
    assert "jump" in kinds(replace(good, states=jumped))
    assert "jump" in kinds(replace(good, states=turned))
    far, wide = good.actions.copy(), good.actions.copy()
    far[3, 2], wide[3, 7] = 0.3, 1.4
    assert kinds(replace(good, actions=far)) == {"far action"}
    assert kinds(replace(good, actions=wide)) == {"gripper"}
    head = good.images["head"].copy()
    head[4:8] = head[4]
    assert kinds(replace(good, images=good.images | {"head": head})) == {"dead"}
    head = good.images["head"].copy()
    head[5] = 7
    assert kinds(replace(good, images=good.images | {"head": head})) == {"blank"}


def test_a_dataset_is_read_through(make_episode: Make, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    writer = DatasetWriter(folder, 10, "gen3_2f85")
    writer.append([sound(make_episode, 0), sound(make_episode, 1)])
    writer.append([sound(make_episode, 0)])
    dataset = Dataset(folder)
    assert [(found.kind, found.episode) for found in check(dataset)] == [("duplicate", 2)]
    assert (summarise(dataset).episodes, summarise(dataset).tasks) == (3, {"lift_mug": 3})
    assert contact_sheet(dataset, rows=2, columns=3, tile=16).shape == (32, 3 * 2 * 16, 3)
    assert all(histogram.counts.sum() == 36 for histogram in action_histograms(dataset))
    video = folder / layout.relative(layout.VIDEO_PATH, 1, video_key="observation.images.head")
    video.write_bytes(b"no video")
    assert [(found.kind, found.episode) for found in check(dataset)] == [("damaged", 2)]
