"""The LeRobotDataset v3.0 layout: where files lie, what columns they have, what ``info.json`` says.

Source: lerobot's ``datasets/utils.py`` and ``lerobot_dataset.py``, version 0.4 (codebase version v3.0).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gr2_policy.data.episode import POSE, Episode

CODEBASE_VERSION = "v3.0"
FILES_PER_CHUNK = 1000
INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
GR2 = "meta/gr2.json"
"""Ours, beside lerobot's: what the robot was, and what the dataset was made from."""
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
MASK_PATH = "masks/{view}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
"""Ours: what pixels show, frame by frame as the video of the view; grey level MASK_STEP times the label."""
MASK_STEP = 60
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"

STATE = "observation.state"
JOINTS = "observation.joints"
ACTION = "action"
CHUNK = "action_chunk"
STAMP = "observation.stamp"


def image_key(view: str) -> str:
    """Feature of a camera."""
    return f"observation.images.{view}"


def place(shard: int) -> dict[str, int]:
    """Chunk and file index of the n-th file."""
    return {"chunk_index": shard // FILES_PER_CHUNK, "file_index": shard % FILES_PER_CHUNK}


@dataclass(frozen=True)
class Shape:
    """What all episodes of a dataset have in common.

    Attributes:
        views: camera -> (height, width) [px].
        joints: names of the joints, possibly none.
        horizon: poses of the stored chunks; 0: none are stored.
        robot: there are states and actions; else it is video without a robot.
        masks: cameras of which it is known what their pixels show.
    """

    views: Mapping[str, tuple[int, int]]
    joints: tuple[str, ...] = ()
    horizon: int = 0
    robot: bool = True
    masks: tuple[str, ...] = ()

    @staticmethod
    def of(episode: Episode, joint_names: Sequence[str] = ()) -> Shape:
        """That of an episode."""
        return Shape(
            views={view: (frames.shape[1], frames.shape[2]) for view, frames in episode.images.items()},
            joints=tuple(joint_names) or tuple(f"joint_{i + 1}" for i in range(episode.joints.shape[1])),
            horizon=0 if episode.chunks is None else episode.chunks.shape[1],
            robot=episode.has_robot,
            masks=tuple(sorted(episode.masks)),
        )

    def features(self, fps: int, codec: str, pixel_format: str) -> dict[str, dict[str, Any]]:
        """lerobot's ``features``."""
        features: dict[str, dict[str, Any]] = {}
        for view, (height, width) in self.views.items():
            features[image_key(view)] = {
                "dtype": "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
                "info": {
                    "video.height": height,
                    "video.width": width,
                    "video.codec": codec,
                    "video.pix_fmt": pixel_format,
                    "video.is_depth_map": False,
                    "video.fps": fps,
                    "video.channels": 3,
                    "has_audio": False,
                },
            }
        if self.robot:
            features[STATE] = {"dtype": "float32", "shape": [len(POSE)], "names": list(POSE)}
        if self.joints:
            features[JOINTS] = {"dtype": "float32", "shape": [len(self.joints)], "names": list(self.joints)}
        features[STAMP] = {"dtype": "float64", "shape": [1], "names": None}
        if self.robot:
            features[ACTION] = {"dtype": "float32", "shape": [len(POSE)], "names": list(POSE)}
        if self.horizon:
            features[CHUNK] = {"dtype": "float32", "shape": [self.horizon * len(POSE)], "names": None}
        for name, kind in (
            ("timestamp", "float32"),
            ("frame_index", "int64"),
            ("episode_index", "int64"),
            ("index", "int64"),
            ("task_index", "int64"),
        ):
            features[name] = {"dtype": kind, "shape": [1], "names": None}
        return features


def columns(episode: Episode, shape: Shape, fps: int) -> dict[str, np.ndarray]:
    """The numbers of an episode by feature, without the indices that depend on the dataset."""
    length = len(episode)
    numbers: dict[str, np.ndarray] = {}
    if shape.robot:
        numbers[STATE] = episode.states.astype(np.float32)
    numbers[STAMP] = episode.stamps.astype(np.float64)
    if shape.robot:
        numbers[ACTION] = episode.actions.astype(np.float32)
    numbers["timestamp"] = (np.arange(length) / fps).astype(np.float32)
    numbers["frame_index"] = np.arange(length)
    if shape.joints:
        numbers[JOINTS] = episode.joints.astype(np.float32)
    if shape.horizon:
        assert episode.chunks is not None
        numbers[CHUNK] = episode.chunks.astype(np.float32).reshape(length, -1)
    return numbers


def to_arrow(array: np.ndarray) -> pa.Array:
    """A column of numbers, or of lists of one length."""
    flat = pa.array(np.ascontiguousarray(array).reshape(-1))
    return flat if array.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, array.shape[1])


def from_arrow(column: pa.ChunkedArray) -> np.ndarray:
    """The inverse of :func:`to_arrow`; other writers' variable lists too, if they have one length."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    if pa.types.is_fixed_size_list(array.type) or pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        values = array.flatten().to_numpy(zero_copy_only=False)
        return np.array(values.reshape(len(array), -1))
    return np.array(array.to_numpy(zero_copy_only=False))


def tasks_table(instructions: Sequence[str]) -> pa.Table:
    """``tasks.parquet``: the number of each instruction, with the instruction as pandas' index."""
    index = "__index_level_0__"
    meta = {
        "index_columns": [index],
        "column_indexes": [
            {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
        ],
        "columns": [
            {
                "name": "task_index",
                "field_name": "task_index",
                "pandas_type": "int64",
                "numpy_type": "int64",
                "metadata": None,
            },
            {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object", "metadata": None},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": np.arange(len(instructions)), index: pa.array(list(instructions), pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(meta)})


def relative(template: str, shard: int, **more: str) -> Path:
    """Path of the n-th file of a template, below the dataset's folder."""
    return Path(template.format(**place(shard), **more))
