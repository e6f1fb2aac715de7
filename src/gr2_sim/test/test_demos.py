"""Demonstrations: the same for any number of workers, continued where they were, and nothing lost with a worker."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from gr2_policy.data.episode import LABELS
from gr2_policy.data.reader import Dataset
from gr2_policy.data.staging import load_episode, save_episode
from gr2_sim.demonstrator import FRAME_PERIOD, Disturbance
from gr2_sim.demos import DemosError, Order, Store, record

ORDER = Order(("press_button", "close_drawer"), episodes=2, size=32)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demos") / "one"
    report = record(ORDER, folder, workers=1)
    assert (report.kept, report.given_up) == (4, [])
    return folder


def assert_equal(first: Path, second: Path) -> None:
    for one, other in zip(Dataset(first), Dataset(second), strict=True):
        assert (one.task, one.seed, one.instruction) == (other.task, other.seed, other.instruction)
        np.testing.assert_array_equal(one.states, other.states)
        np.testing.assert_array_equal(one.chunks, other.chunks)
        np.testing.assert_array_equal(one.images["wrist"], other.images["wrist"])


def test_what_a_demonstration_holds(recorded: Path) -> None:
    dataset = Dataset(recorded)
    assert [info.task for info in dataset.episodes] == ["press_button", "close_drawer"] * 2
    for episode in dataset:
        episode.check()
        assert set(episode.images) == {"head", "wrist"}
        np.testing.assert_allclose(np.diff(episode.stamps), FRAME_PERIOD, atol=1e-6)
        assert 5 <= episode.success_frame < len(episode)
        assert episode.chunks is not None
        np.testing.assert_array_equal(episode.actions, episode.chunks[:, 0])
        moved = np.linalg.norm(episode.states[1:, :3] - episode.states[:-1, :3], axis=1)
        assert 0.0 < moved.max() < 0.06  # [m] in a frame: 0.5 m/s is the arm's limit
        told = np.linalg.norm(episode.actions[:-1, :3] - episode.states[1:, :3], axis=1)
        assert np.median(told) < 0.02  # it goes where it is told to
    assert not recorded.with_name("one.staging").exists()


def test_a_dead_worker_costs_nothing_and_workers_do_not_matter(recorded: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one(made: int, _total: int) -> None:
        if made == 1 and not killed:
            victim = multiprocessing.active_children()[0]
            killed.append(victim.pid or 0)
            victim.kill()

    report = record(ORDER, tmp_path / "two", workers=2, progress=kill_one)
    assert killed
    assert (report.kept, report.given_up) == (4, [])
    assert_equal(recorded, tmp_path / "two")


def test_an_interrupted_run_goes_on(recorded: Path, tmp_path: Path) -> None:
    def interrupt(made: int, _total: int) -> None:
        if made == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(ORDER, tmp_path / "three", progress=interrupt, shard=2)
    assert len(Dataset(tmp_path / "three")) >= 2
    assert record(ORDER, tmp_path / "three").kept == 4
    assert_equal(recorded, tmp_path / "three")
    with pytest.raises(DemosError, match="another size"):
        record(Order(ORDER.tasks, 2, size=64), tmp_path / "three")


def test_gaps_are_waited_for(recorded: Path, tmp_path: Path) -> None:
    """Stored in the order's order, even if the first comes last."""
    episode = Dataset(recorded).read(0)
    store = Store(tmp_path / "four", ORDER, None, shard=2)
    for job in store.queue[1:3]:
        save_episode(store.aside(job), episode)
    from gr2_sim.demos import Report

    report = Report()
    store.take(report, set(store.queue[1:3]))
    store.flush(report)
    assert report.kept == 0
    first = store.queue[0]
    save_episode(store.aside(first), load_episode(store.aside(store.queue[1])))
    store.take(report, {first})
    assert report.kept == 2
    store.flush(report)
    assert report.kept == 3


def test_disturbances_are_followed_by_corrections(tmp_path: Path) -> None:
    """Where the tool was led aside, the recorded answer leads it back."""
    order = Order(("press_button",), episodes=1, size=32, disturbance=Disturbance(share=1.0, distance=0.03))
    record(order, tmp_path / "five")
    episode = Dataset(tmp_path / "five").read(0)
    assert episode.notes["disturbed"] is True
    assert episode.chunks is not None
    off = episode.states[1:, :3] - episode.chunks[:-1, 0, :3]
    assert np.linalg.norm(off, axis=1).max() > 0.012


def test_masks_say_what_pixels_show(tmp_path: Path) -> None:
    order = Order(("lift_red_block",), 1, size=64, masks=True)
    assert record(order, tmp_path / "masks").kept == 1
    episode = Dataset(tmp_path / "masks").read(0, masks=True)
    episode.check()
    assert set(episode.masks) == {"head", "wrist"}
    pixels = episode.images["head"].astype(int)
    red = (pixels[..., 0] > 120) & (pixels[..., 1:].max(axis=3) < 60)  # the block and the button
    labels = episode.masks["head"]
    assert (labels[red] == LABELS.index("task")).mean() > 0.8
    assert {"surroundings", "table", "robot", "task", "other"} == {LABELS[i] for i in np.unique(labels)}
    with pytest.raises(DemosError, match="another masks"):
        record(Order(("lift_red_block",), 2, size=64), tmp_path / "masks")
