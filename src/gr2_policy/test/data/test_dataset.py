"""What is written is read again, exactly; what is broken is refused, and nothing that was there is lost."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gr2_policy.data import inspect, layout, writer
from gr2_policy.data.episode import LABELS, BadEpisode, Episode, without_robot
from gr2_policy.data.reader import Dataset
from gr2_policy.data.staging import load_episode, save_episode
from gr2_policy.data.video import VideoError, VideoFormat, read_video, write_video
from gr2_policy.data.writer import DatasetError, DatasetWriter

Make = Callable[..., Episode]


def assert_same(read: Episode, written: Episode) -> None:
    for view, frames in written.images.items():
        np.testing.assert_array_equal(read.images[view], frames)
    for name in ("states", "actions", "joints", "chunks"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name).astype(np.float32), err_msg=name)
    np.testing.assert_array_equal(read.stamps, written.stamps)
    for name in ("instruction", "task", "seed", "success_frame", "notes"):
        assert getattr(read, name) == getattr(written, name), name


def test_episodes_come_back_exactly(tmp_path: Path, make_episode: Make) -> None:
    written = [make_episode(0), make_episode(1, 9, "open the drawer"), make_episode(2, 15)]
    out = DatasetWriter(tmp_path / "set", 10, "gen3_2f85", about={"seed": 3})
    out.append(written[:2])
    DatasetWriter(tmp_path / "set", 10, "gen3_2f85").append(written[2:])  # goes on where it was
    dataset = Dataset(tmp_path / "set")
    assert len(dataset) == 3
    assert dataset.total_frames == 36
    assert dataset.instructions == ["lift the mug", "open the drawer"]
    for read, episode in zip(dataset, written, strict=True):
        assert_same(read, episode)
    assert_same(dataset.read(1), written[1])  # in the middle of a file
    assert not dataset.read(1, images=False).images


def test_statistics_are_those_of_all_frames(tmp_path: Path, make_episode: Make) -> None:
    episodes = [make_episode(seed, 8 + seed) for seed in range(4)]
    out = DatasetWriter(tmp_path / "set", 10, "gen3_2f85")
    out.append(episodes[:1])
    out.append(episodes[1:])
    stats = json.loads((tmp_path / "set" / layout.STATS).read_text())
    states = np.concatenate([episode.states for episode in episodes]).astype(np.float32)
    np.testing.assert_allclose(stats[layout.STATE]["mean"], states.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stats[layout.STATE]["std"], states.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(stats[layout.STATE]["max"], states.max(axis=0), rtol=1e-6)
    assert stats[layout.STATE]["count"] == [len(states)]
    assert np.shape(stats["observation.images.head"]["mean"]) == (3, 1, 1)


def test_an_interrupted_shard_leaves_the_dataset_as_it_was(
    tmp_path: Path, make_episode: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    out = DatasetWriter(folder, 10, "gen3_2f85")
    out.append([make_episode(0)])

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer.os, "replace", full)
    with pytest.raises(VideoError, match="No space left"):
        out.append([make_episode(1)])
    monkeypatch.undo()
    monkeypatch.setattr(DatasetWriter, "_write_json", full)
    with pytest.raises(OSError, match="No space left"):
        out.append([make_episode(1)])
    monkeypatch.undo()
    assert (folder / layout.relative(layout.DATA_PATH, 1)).exists()
    again = DatasetWriter(folder, 10, "gen3_2f85")
    assert not (folder / layout.relative(layout.DATA_PATH, 1)).exists()
    again.append([make_episode(2)])
    dataset = Dataset(folder)
    assert [info.seed for info in dataset.episodes] == [0, 2]
    assert_same(dataset.read(1), make_episode(2))
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: {"states": np.where(np.arange(12)[:, None] == 5, np.nan, e.states)}, "states of frame 5"),
        (lambda e: {"actions": e.actions[:-1]}, "actions have shape"),
        (lambda e: {"stamps": np.where(np.arange(12) == 4, 0.0, e.stamps)}, "frame 4 is not later"),
        (lambda e: {"states": e.states * 2.0}, "quaternion of length 2"),
        (lambda e: {"instruction": "  "}, "instruction is empty"),
        (lambda e: {"images": {"head": e.images["head"].astype(float)}}, "float64"),
        (lambda e: {"images": {"head": e.images["head"]}}, "where the dataset has"),
        (lambda e: {"chunks": None}, "where the dataset has"),
    ],
)
def test_what_is_no_episode_is_refused(tmp_path: Path, make_episode: Make, change, message: str) -> None:  # type: ignore[no-untyped-def]
    out = DatasetWriter(tmp_path / "set", 10, "gen3_2f85")
    good = make_episode(0)
    out.append([good])
    with pytest.raises(BadEpisode, match=message):
        out.append([make_episode(1), dataclasses.replace(good, **change(good))])
    assert len(Dataset(tmp_path / "set")) == 1


def test_another_robot_or_rate_is_refused(tmp_path: Path, make_episode: Make) -> None:
    DatasetWriter(tmp_path / "set", 10, "gen3_2f85").append([make_episode(0)])
    with pytest.raises(DatasetError, match="at 5 Hz"):
        DatasetWriter(tmp_path / "set", 5, "gen3_2f85")
    with pytest.raises(DatasetError, match="'ur5'"):
        DatasetWriter(tmp_path / "set", 10, "ur5")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(DatasetError, match="not empty"):
        DatasetWriter(tmp_path / "other", 10, "gen3_2f85")


def test_damage_is_named(tmp_path: Path, make_episode: Make) -> None:
    folder = tmp_path / "set"
    DatasetWriter(folder, 10, "gen3_2f85").append([make_episode(0), make_episode(1)])
    video = folder / layout.relative(layout.VIDEO_PATH, 0, video_key="observation.images.wrist")
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match=r"wrist.*file-000\.mp4"):
        Dataset(folder).read(1)
    info = folder / layout.INFO
    info.write_text(info.read_text().replace('"total_episodes": 2', '"total_episodes": 3'))
    with pytest.raises(DatasetError, match=r"counts 3 episodes, meta/episodes 2"):
        Dataset(folder)
    info.write_text("{")
    with pytest.raises(DatasetError, match=r"info\.json cannot be read"):
        Dataset(folder)


def test_the_columns_are_those_that_lerobot_expects(tmp_path: Path, make_episode: Make) -> None:
    """Checked against lerobot itself by ``tests/test_lerobot.py``, where it can be installed."""
    folder = tmp_path / "set"
    DatasetWriter(folder, 10, "gen3_2f85").append([make_episode(0)])
    info = json.loads((folder / layout.INFO).read_text())
    assert info["codebase_version"] == "v3.0"
    stored = {name for name, item in info["features"].items() if item["dtype"] != "video"}
    assert set(pq.read_schema(folder / layout.relative(layout.DATA_PATH, 0)).names) == stored
    assert b"pandas" in pq.read_schema(folder / layout.TASKS).metadata


def test_lossy_video_is_near_and_smaller(tmp_path: Path, make_episode: Make) -> None:
    frames = list(make_episode(0, 20).images["head"])
    write_video(tmp_path / "exact.mp4", frames, 10)
    write_video(tmp_path / "near.mp4", frames, 10, VideoFormat(quality=18))
    near = read_video(tmp_path / "near.mp4", 3, 5)
    assert near.shape == (5, 32, 48, 3)
    assert (tmp_path / "near.mp4").stat().st_size < (tmp_path / "exact.mp4").stat().st_size
    with pytest.raises(VideoError, match="must be even"):
        write_video(tmp_path / "odd.mp4", [frame[:31] for frame in frames], 10, VideoFormat(quality=18))
    assert not (tmp_path / "odd.mp4").exists()


def test_video_without_a_robot(tmp_path: Path, make_episode: Make) -> None:
    """Captions and pictures alone are a dataset too; it does not mix with demonstrations."""
    images = {"head": make_episode(0).images["head"]}
    written = [without_robot(f"clip {number}", images, 10, notes={"source": "x"}) for number in range(3)]
    out = DatasetWriter(tmp_path / "set", 10, "none")
    out.append(written)
    with pytest.raises(BadEpisode, match="robot"):
        out.append([make_episode(1)])
    dataset = Dataset(tmp_path / "set")
    assert not dataset.shape.robot
    for read, clip in zip(dataset, written, strict=True):
        read.check()
        assert not read.has_robot
        assert (read.states.shape, read.actions.shape) == ((12, 0), (12, 0))
        np.testing.assert_array_equal(read.images["head"], clip.images["head"])
    features = json.loads((tmp_path / "set" / layout.INFO).read_text())["features"]
    assert layout.STATE not in features
    assert layout.ACTION not in features
    assert inspect.check(dataset) == [
        inspect.Finding("duplicate", number, "shows the same pictures as episode 0") for number in (1, 2)
    ]
    assert inspect.action_histograms(dataset) == []
    half = dataclasses.replace(make_episode(1), actions=np.zeros((12, 0)))
    with pytest.raises(BadEpisode, match="actions"):
        half.check()


def test_masks_come_back_exactly(tmp_path: Path, make_episode: Make) -> None:
    """What pixels show lies beside the videos, out of lerobot's sight, and survives staging."""
    rng = np.random.default_rng(0)
    written = []
    for seed in range(3):
        episode = make_episode(seed, 9 + seed)
        labels = rng.integers(0, len(LABELS), episode.images["head"].shape[:3]).astype(np.uint8)
        written.append(dataclasses.replace(episode, masks={"head": labels}))
        save_episode(tmp_path / f"{seed}.npz", written[-1])
    out = DatasetWriter(tmp_path / "set", 10, "gen3_2f85")
    out.append([load_episode(tmp_path / f"{seed}.npz") for seed in range(2)])
    DatasetWriter(tmp_path / "set", 10, "gen3_2f85").append(written[2:])
    with pytest.raises(BadEpisode, match="masks"):
        DatasetWriter(tmp_path / "set", 10, "gen3_2f85").append([make_episode(4)])
    dataset = Dataset(tmp_path / "set")
    assert dataset.shape.masks == ("head",)
    for number, episode in enumerate(written):
        read = dataset.read(number, masks=True)
        read.check()
        np.testing.assert_array_equal(read.masks["head"], episode.masks["head"])
        assert not dataset.read(number).masks
    assert "mask" not in (tmp_path / "set" / layout.INFO).read_text()
    for labels in (np.full_like(written[0].masks["head"], len(LABELS)), written[0].masks["head"][1:]):
        with pytest.raises(BadEpisode, match="masks of 'head'"):
            dataclasses.replace(written[0], masks={"head": labels}).check()
