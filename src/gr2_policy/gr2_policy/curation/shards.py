"""Clips in tar files, as WebDataset reads them: KEY.mp4, KEY.json and, if wished, KEY.tokens.npy in a row.

The same clips give the same file, byte by byte. A file is written aside and renamed when it is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gr2_policy.data.video import VideoFormat, read_video, write_video


class ShardError(ValueError):
    """A shard cannot be read. The message names it."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A clip as it is stored: its video's bytes, what is known of it, and tokens (T, n) uint16 if there are any."""

    key: str
    video: bytes
    about: Mapping[str, Any]
    tokens: np.ndarray | None = field(default=None)

    def frames(self, folder: Path) -> np.ndarray:
        """Its pictures (T, h, w, 3) uint8; a folder for a file in between.

        Raises:
            VideoError: the video is damaged.
        """
        path = folder / f"{self.key}.{uuid.uuid4().hex}.mp4"
        try:
            path.write_bytes(self.video)
            return read_video(path)
        finally:
            path.unlink(missing_ok=True)


def encode(frames: np.ndarray, fps: int, quality: int, folder: Path) -> bytes:
    """A video's bytes of pictures (T, h, w, 3) uint8; a folder for a file in between."""
    path = folder / f"encode-{uuid.uuid4().hex}.mp4"
    try:
        write_video(path, list(frames), fps, VideoFormat(quality))
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def write_shard(path: Path, samples: Iterable[Sample]) -> tuple[int, str]:
    """Write a shard.

    Returns:
        number of its clips, and its SHA-256.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    count = 0
    try:
        with tarfile.open(aside, "w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in samples:
                _add(tar, f"{sample.key}.mp4", sample.video)
                _add(tar, f"{sample.key}.json", json.dumps(dict(sample.about), sort_keys=True).encode())
                if sample.tokens is not None:
                    buffer = io.BytesIO()
                    np.save(buffer, sample.tokens, allow_pickle=False)
                    _add(tar, f"{sample.key}.tokens.npy", buffer.getvalue())
                count += 1
        digest = _digest(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return count, digest


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_shard(path: Path, keys: frozenset[str] | None = None) -> Iterator[Sample]:
    """The clips of a shard in order, all or some.

    Raises:
        ShardError: it is missing, damaged or not one of ours.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            parts: dict[str, bytes] = {}
            current = ""
            for member in tar:
                key, _, ending = member.name.partition(".")
                if key != current and parts:
                    yield _sample(current, parts)
                    parts = {}
                current = key
                if keys is None or key in keys:
                    file = tar.extractfile(member)
                    parts[ending] = file.read() if file else b""
            if parts:
                yield _sample(current, parts)
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise ShardError(f"{path} cannot be read: {error!r}") from error


def _sample(key: str, parts: Mapping[str, bytes]) -> Sample:
    tokens = None
    if "tokens.npy" in parts:
        tokens = np.load(io.BytesIO(parts["tokens.npy"]), allow_pickle=False)
    return Sample(key, parts["mp4"], json.loads(parts["json"]), tokens)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file aside and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        aside.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file's content; None where there is none or it is not whole."""
    with contextlib.suppress(OSError, ValueError):
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict):
            return data
    return None
