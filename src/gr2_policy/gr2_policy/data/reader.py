"""Reads a LeRobotDataset v3, ours or anyone's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gr2_policy.data import layout
from gr2_policy.data.episode import POSE, Episode
from gr2_policy.data.layout import Shape
from gr2_policy.data.video import VideoFormat, read_video
from gr2_policy.data.writer import DatasetError

_KEPT_FILES = 2  # tables in memory; episodes of a file are mostly read one after the other


@dataclass(frozen=True)
class EpisodeInfo:
    """Where an episode is and what it is about.

    Attributes:
        number: index in the dataset.
        instruction, task, seed, success_frame, notes: see :class:`gr2_policy.data.episode.Episode`.
        length: frames.
        data: its file of numbers.
        first: index of its first frame in the dataset.
        videos: view -> (file, number of its first frame therein).
    """

    number: int
    instruction: str
    task: str
    seed: int
    success_frame: int
    notes: Mapping[str, Any]
    length: int
    data: Path
    first: int
    videos: Mapping[str, tuple[Path, int]]


class Dataset:
    """The dataset in a folder.

    Attributes:
        folder: where it is.
        fps: frames a second.
        robot_id: what it was recorded on.
        shape: what all episodes have in common; ``shape.robot`` is False for video without states and actions.
        video: how images are stored, where we wrote it.
        total_frames: number of frames.
        instructions: by their index.
        episodes: what there is.

    Raises:
        DatasetError: it is not one, or its files contradict each other.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        info = _read_json(folder / layout.INFO)
        version = info.get("codebase_version")
        if version != layout.CODEBASE_VERSION:
            raise DatasetError(f"{folder / layout.INFO}: codebase version {version}, this reads v3.0")
        try:
            self._read_info(info)
            # rows beyond the count are of a shard whose writing was interrupted: it does not exist yet
            counted = (row for row in self._rows() if row["episode_index"] < info["total_episodes"])
            self.episodes = [self._episode_info(row) for row in counted]
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{folder}: the dataset's description is not usable: {error!r}") from error
        if len(self.episodes) != info["total_episodes"]:
            raise DatasetError(
                f"{folder}: info.json counts {info['total_episodes']} episodes, meta/episodes {len(self.episodes)}"
            )

    def _read_info(self, info: Mapping[str, Any]) -> None:
        self.fps = int(info["fps"])
        self.robot_id = str(info.get("robot_type") or "")
        self.total_frames = int(info["total_frames"])
        self._templates = (str(info["data_path"]), str(info["video_path"]))
        features = info["features"]
        self._features = features
        horizon = features[layout.CHUNK]["shape"][0] // len(POSE) if layout.CHUNK in features else 0
        joints = features.get(layout.JOINTS, {}).get("names") or []
        prefix = layout.image_key("")
        views = {key.removeprefix(prefix): item["shape"] for key, item in features.items() if key.startswith(prefix)}
        robot = layout.STATE in features or layout.ACTION in features
        sizes = {view: (shape[0], shape[1]) for view, shape in views.items()}
        own = _read_json(self.folder / layout.GR2) if (self.folder / layout.GR2).exists() else {}
        self.shape = Shape(sizes, tuple(joints), horizon, robot, tuple(own.get("masks", ())))
        self.video = VideoFormat(**own["video"]) if "video" in own else VideoFormat()
        table = _read_parquet(self.folder / layout.TASKS)
        names = next(name for name in table.column_names if name != "task_index")
        by_index = dict(zip(table["task_index"].to_pylist(), table[names].to_pylist(), strict=True))
        self.instructions = [by_index[index] for index in range(len(by_index))]

    def __len__(self) -> int:
        return len(self.episodes)

    def __iter__(self) -> Iterator[Episode]:
        return (self.read(number) for number in range(len(self)))

    def read(self, number: int, images: bool = True, masks: bool = False) -> Episode:
        """An episode.

        Args:
            number: its index.
            images: read its images too; else it has none.
            masks: read its masks too, where there are any; else it has none.

        Raises:
            DatasetError, VideoError: a file is missing, damaged or shorter than its description says.
        """
        info = self.episodes[number]
        numbers = self._numbers(info)
        if self.shape.robot and (layout.STATE not in numbers or layout.ACTION not in numbers):
            raise DatasetError(f"{info.data} has no {layout.STATE} or {layout.ACTION}")
        length = info.length
        nothing = np.zeros((length, 0), np.float32)
        frames = {view: read_video(path, first, length) for view, (path, first) in info.videos.items() if images}
        labels = {view: self._labels(info, view) for view in self.shape.masks if masks}
        chunks = numbers[layout.CHUNK].reshape(length, -1, len(POSE)) if self.shape.horizon else None
        stamps = numbers[layout.STAMP] if layout.STAMP in numbers else numbers["timestamp"]
        return Episode(
            instruction=info.instruction,
            task=info.task,
            seed=info.seed,
            stamps=stamps.reshape(length).astype(np.float64),
            images=frames,
            states=numbers.get(layout.STATE, nothing),
            actions=numbers.get(layout.ACTION, nothing),
            joints=numbers.get(layout.JOINTS, nothing),
            chunks=chunks,
            success_frame=info.success_frame,
            notes=info.notes,
            masks=labels,
        )

    def _labels(self, info: EpisodeInfo, view: str) -> np.ndarray:
        """(T, height, width) what the pixels of a view show."""
        video, first = info.videos[view]
        path = self.folder / "masks" / view / video.parent.name / video.name
        return read_video(path, first, info.length)[..., 0] // layout.MASK_STEP

    def _numbers(self, info: EpisodeInfo) -> dict[str, np.ndarray]:
        table = _table(info.data)
        indices = table["index"].to_numpy()
        begin = int(np.searchsorted(indices, info.first))
        part = table.slice(begin, info.length)
        if len(part) < info.length or part["episode_index"][0].as_py() != info.number:
            raise DatasetError(f"{info.data} lacks frames of episode {info.number}")
        wanted = {layout.STATE, layout.ACTION, layout.JOINTS, layout.CHUNK, layout.STAMP, "timestamp"}
        return {name: layout.from_arrow(part[name]) for name in wanted if name in part.column_names}

    def _rows(self) -> Iterator[dict[str, Any]]:
        files = sorted((self.folder / "meta/episodes").glob("*/*.parquet"))
        if not files:
            raise DatasetError(f"{self.folder} has no meta/episodes")
        for path in files:
            table = _read_parquet(path)
            yield from table.select([name for name in table.column_names if not name.startswith("stats/")]).to_pylist()

    def _episode_info(self, row: Mapping[str, Any]) -> EpisodeInfo:
        data, video = self._templates
        videos = {}
        for view in self.shape.views:
            key = layout.image_key(view)
            where = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
            first = round(row[f"videos/{key}/from_timestamp"] * self.fps)
            videos[view] = (self.folder / video.format(video_key=key, **where), first)
        where = {name: row[f"data/{name}"] for name in ("chunk_index", "file_index")}
        return EpisodeInfo(
            number=int(row["episode_index"]),
            instruction=str(row["tasks"][0]),
            task=str(row.get("gr2/task") or ""),
            seed=int(row.get("gr2/seed", -1)),
            success_frame=int(row.get("gr2/success_frame", -1)),
            notes=json.loads(row.get("gr2/notes") or "{}"),
            length=int(row["length"]),
            data=self.folder / data.format(**where),
            first=int(row["dataset_from_index"]),
            videos=videos,
        )


@lru_cache(maxsize=_KEPT_FILES)
def _table(path: Path) -> pa.Table:
    return _read_parquet(path)


def _read_parquet(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise DatasetError(f"{path} holds no JSON object")
    return data
