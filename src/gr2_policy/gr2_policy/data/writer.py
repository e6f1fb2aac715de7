"""Writes demonstrations as a LeRobotDataset v3, some episodes at a time, so that it is whole after every step.

A shard of episodes is written first, file by file, each aside and renamed; then ``info.json``, which says how many
episodes there are, is renamed into place. What an interrupted run left behind a shard that is not counted is removed
when writing goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gr2_policy.data import layout, statistics
from gr2_policy.data.episode import BadEpisode, Episode
from gr2_policy.data.layout import Shape
from gr2_policy.data.video import VideoFormat, write_video


class DatasetError(ValueError):
    """A dataset cannot be written or read. The message names the file and what is wrong."""


class DatasetWriter:
    """Appends to the dataset in a folder; begins it if there is none.

    Args:
        folder: of the dataset.
        fps: frames a second, the same for all episodes.
        robot_id: what it was recorded on.
        video: how images are stored.
        about: anything worth keeping about how it was made, for ``meta/gr2.json``.

    Raises:
        DatasetError: the folder holds something else, or a dataset of another rate or robot.
    """

    def __init__(
        self,
        folder: Path,
        fps: int,
        robot_id: str,
        video: VideoFormat | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.fps = fps
        self.robot_id = robot_id
        self.video = video or VideoFormat()
        self.about = dict(about or {})
        self.shape: Shape | None = None
        self.shards = 0
        self.episodes = 0
        self.frames = 0
        self._instructions: list[str] = []
        self._stats: statistics.Stats | None = None
        if (folder / layout.INFO).exists():
            self._take_up()
        elif folder.exists() and any(folder.iterdir()):
            raise DatasetError(f"{folder} is not empty and holds no dataset; choose another folder")
        self._remove_strays()

    def append(self, episodes: Sequence[Episode], joint_names: Sequence[str] = ()) -> None:
        """Store episodes, as one shard.

        Raises:
            BadEpisode: one cannot be stored, or is of another shape than the rest; nothing was stored then.
            VideoError, OSError: the disk does not take them; the dataset is as it was.
        """
        if not episodes:
            return
        shape = self.shape or Shape.of(episodes[0], joint_names)
        for episode in episodes:
            episode.check()
            have = Shape.of(episode, shape.joints if episode.joints.shape[1] == len(shape.joints) else ())
            if have != shape:
                raise BadEpisode(f"task '{episode.task}', seed {episode.seed}: {have} where the dataset has {shape}")
        known = dict.fromkeys([*self._instructions, *(episode.instruction for episode in episodes)])
        instructions = list(known)
        self._write_videos(episodes, shape)
        rows, tables, stats = [], [], self._stats
        frames, at = self.frames, 0.0
        for number, episode in enumerate(episodes, start=self.episodes):
            numbers = layout.columns(episode, shape, self.fps)
            numbers |= {
                "episode_index": np.full(len(episode), number),
                "index": np.arange(frames, frames + len(episode)),
                "task_index": np.full(len(episode), instructions.index(episode.instruction)),
            }
            tables.append(pa.table({name: layout.to_arrow(array) for name, array in numbers.items()}))
            own = {name: statistics.of_numbers(array) for name, array in numbers.items()}
            own |= {layout.image_key(view): statistics.of_images(images) for view, images in episode.images.items()}
            stats = own if stats is None else statistics.merge(stats, own)
            rows.append(self._row(episode, number, frames, at, own))
            frames += len(episode)
            at += len(episode) / self.fps
        self._write_parquet(layout.relative(layout.DATA_PATH, self.shards), pa.concat_tables(tables))
        self._write_parquet(layout.relative(layout.EPISODES_PATH, self.shards), pa.Table.from_pylist(rows))
        self._write_parquet(Path(layout.TASKS), layout.tasks_table(instructions))
        assert stats is not None
        self._write_json(layout.STATS, statistics.to_json(stats))
        self._write_json(layout.GR2, self._gr2(shape))
        info = self._info(shape, self.episodes + len(episodes), frames, len(instructions))
        self._write_json(layout.INFO, info)  # from here on the shard counts
        self.shape, self._stats, self._instructions = shape, stats, instructions
        self.shards, self.episodes, self.frames = self.shards + 1, self.episodes + len(episodes), frames

    def _row(self, episode: Episode, number: int, frames: int, at: float, stats: statistics.Stats) -> dict[str, Any]:
        """What ``meta/episodes`` says about an episode that begins ``at`` [s] in this shard's videos."""
        where = layout.place(self.shards)
        row: dict[str, Any] = {
            "episode_index": number,
            "tasks": [episode.instruction],
            "length": len(episode),
            "data/chunk_index": where["chunk_index"],
            "data/file_index": where["file_index"],
            "dataset_from_index": frames,
            "dataset_to_index": frames + len(episode),
            "meta/episodes/chunk_index": where["chunk_index"],
            "meta/episodes/file_index": where["file_index"],
            "gr2/task": episode.task,
            "gr2/seed": episode.seed,
            "gr2/success_frame": episode.success_frame,
            "gr2/notes": json.dumps(dict(episode.notes), sort_keys=True),
        }
        for view in episode.images:
            key = f"videos/{layout.image_key(view)}"
            row |= {f"{key}/chunk_index": where["chunk_index"], f"{key}/file_index": where["file_index"]}
            row |= {f"{key}/from_timestamp": at, f"{key}/to_timestamp": at + len(episode) / self.fps}
        for feature, found in stats.items():
            row |= {f"stats/{feature}/{name}": value.tolist() for name, value in found.items()}
        return row

    def _write_videos(self, episodes: Sequence[Episode], shape: Shape) -> None:
        for view in shape.views:
            path = layout.relative(layout.VIDEO_PATH, self.shards, video_key=layout.image_key(view))
            frames = [frame for episode in episodes for frame in episode.images[view]]
            write_video(self.folder / path, frames, self.fps, self.video)
        for view in shape.masks:
            path = layout.relative(layout.MASK_PATH, self.shards, view=view)
            grey = [layout.MASK_STEP * labels for episode in episodes for labels in episode.masks[view]]
            write_video(self.folder / path, [np.repeat(g[..., None], 3, axis=2) for g in grey], self.fps)

    def _info(self, shape: Shape, episodes: int, frames: int, tasks: int) -> dict[str, Any]:
        return {
            "codebase_version": layout.CODEBASE_VERSION,
            "robot_type": self.robot_id,
            "total_episodes": episodes,
            "total_frames": frames,
            "total_tasks": tasks,
            "chunks_size": layout.FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{episodes}"},
            "data_path": layout.DATA_PATH,
            "video_path": layout.VIDEO_PATH,
            "features": shape.features(
                self.fps, "h264", "gbrp" if self.video.quality == 0 else self.video.pixel_format
            ),
        }

    def _gr2(self, shape: Shape) -> dict[str, Any]:
        return {
            "robot_id": self.robot_id,
            "horizon": shape.horizon,
            "masks": list(shape.masks),
            "shards": self.shards + 1,
            "video": {"quality": self.video.quality, "keyframe_every": self.video.keyframe_every},
            "about": self.about,
        }

    def _take_up(self) -> None:
        from gr2_policy.data.reader import Dataset

        dataset = Dataset(self.folder)
        if dataset.fps != self.fps or dataset.robot_id != self.robot_id:
            raise DatasetError(
                f"{self.folder} holds a dataset at {dataset.fps} Hz of robot '{dataset.robot_id}',"
                f" what is to be added is at {self.fps} Hz of robot '{self.robot_id}'"
            )
        self.shape = dataset.shape
        self.episodes, self.frames = len(dataset), dataset.total_frames
        self._instructions = list(dataset.instructions)
        self._stats = statistics.from_json(json.loads((self.folder / layout.STATS).read_text(encoding="utf-8")))
        own = json.loads((self.folder / layout.GR2).read_text(encoding="utf-8"))
        self.shards = int(own["shards"])
        self.about = own["about"] | self.about
        self.video = VideoFormat(**own["video"])

    def _remove_strays(self) -> None:
        """Remove what lies behind the last shard that counts."""
        for pattern in ("data/*/*", "meta/episodes/*/*", "videos/*/*/*", "masks/*/*/*"):
            for path in self.folder.glob(pattern):
                chunk, file = path.parent.name.removeprefix("chunk-"), path.name.split(".")[0].removeprefix("file-")
                known = chunk.isdigit() and file.isdigit()
                if known and int(chunk) * layout.FILES_PER_CHUNK + int(file) >= self.shards:
                    path.unlink()

    def _write_parquet(self, relative: Path, table: pa.Table) -> None:
        path = self.folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(path.name + ".tmp")
        try:
            pq.write_table(table, aside, compression="zstd")
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)

    def _write_json(self, relative: str, data: Mapping[str, Any]) -> None:
        path = self.folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(path.name + ".tmp")
        aside.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, path)
