"""Curated clips as a dataset that `gr2 pretrain` and `train-tokenizer` read."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from gr2_policy.curation.pipeline import MANIFEST
from gr2_policy.curation.shards import Sample, read_json, read_shard
from gr2_policy.data.episode import Episode, without_robot
from gr2_policy.data.video import VideoFormat
from gr2_policy.data.writer import DatasetError, DatasetWriter

ROBOT_ID = "none"


def export(curated: Path, folder: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Write the clips of a finished curation as a LeRobotDataset without states and actions; shard by shard, so that a
    broken run goes on.

    Args:
        curated: folder of the curation.
        folder: of the dataset.
        progress: called with the shards done and all.

    Returns:
        clips in the dataset.

    Raises:
        DatasetError: the curation is not finished, or the folder holds something else. ShardError: a shard is damaged.
    """
    manifest = read_json(curated / MANIFEST)
    if manifest is None:
        raise DatasetError(f"{curated} has no {MANIFEST}: the curation is not finished")
    cutting, output = manifest["settings"]["cutting"], manifest["settings"]["output"]
    writer = DatasetWriter(folder, int(cutting["fps"]), ROBOT_ID, VideoFormat(int(output["quality"])))
    made_of = [entry["sha256"] for entry in manifest["shards"]]
    before = writer.about.setdefault("curated", made_of)
    if before != made_of:
        raise DatasetError(f"{folder} holds clips of another curation; choose another folder")
    done = writer.episodes
    for number, entry in enumerate(manifest["shards"], start=1):
        if done >= entry["clips"]:
            done -= entry["clips"]  # a shard is appended whole or not at all
        elif entry["clips"]:
            with tempfile.TemporaryDirectory() as aside:
                samples = read_shard(curated / entry["file"])
                writer.append([_episode(sample, int(cutting["fps"]), Path(aside)) for sample in samples])
        if progress:
            progress(number, len(manifest["shards"]))
    return writer.episodes


def _episode(sample: Sample, fps: int, aside: Path) -> Episode:
    notes = {"source": str(sample.about["source"]), "key": sample.key}
    return without_robot(str(sample.about["caption"]), {"head": sample.frames(aside)}, fps, notes=notes)
