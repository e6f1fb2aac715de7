"""Writing a rosbag2 recording: a folder with ``metadata.yaml`` and one MCAP file.

``ros2 bag info/play`` of ROS 2 Jazzy, rosbags and mcap read it. While recording, everything lies in
``NAME.partial``; :meth:`BagWriter.close` completes it and renames it to ``NAME``. After a write error the folder
keeps the suffix, but is closed properly with all that still fitted.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from rosbags.interfaces import Qos

from gr2_tools import qos
from gr2_tools.errors import BagExists, BagWriteError
from gr2_tools.mcap_file import McapFile
from gr2_tools.msgdefs import Definition

PARTIAL = ".partial"
METADATA_VERSION = 9
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass
class _Topic:
    name: str
    definition: Definition
    offers: list[Qos] = field(default_factory=list)


class BagWriter:
    """Writes one bag. Not thread safe; see ``write_queue`` for a writer behind a bounded queue.

    Args:
        path: folder to create, e.g. ``runs/pick``; neither it nor ``runs/pick.partial`` may exist.
        compression: of chunks, ``zstd`` or ``none``.
        chunk_bytes: uncompressed size of a chunk [B].
        ros_distro: noted in the metadata.

    Raises:
        BagExists: the output, or what is left of an earlier recording of that name, is there.
        BagWriteError: the folder or file cannot be created.
    """

    def __init__(
        self, path: Path, *, compression: str = "zstd", chunk_bytes: int = 1 << 20, ros_distro: str = "jazzy"
    ) -> None:
        self.path = Path(path)
        self.folder = self.path.with_name(self.path.name + PARTIAL)
        self._ros_distro = ros_distro
        self._topics: dict[int, _Topic] = {}
        self._schemas: dict[str, int] = {}
        self._custom: dict[str, str] = {}
        for taken in (self.path, self.folder):
            if taken.exists() or taken.is_symlink():
                raise BagExists(f"{taken} exists already: choose another name, or move it away")
        try:
            self.folder.mkdir(parents=True)
            self._file = McapFile(self.folder / f"{self.path.name}_0.mcap", _library(), compression, chunk_bytes)
        except OSError as error:
            raise BagWriteError(f"cannot create {self.folder}: {error.strerror}{_advice(error)}") from error

    @property
    def size(self) -> int:
        """Bytes on disk so far [B]."""
        return self._file.size

    def add_topic(self, name: str, definition: Definition, offers: Sequence[Qos] = ()) -> int:
        """Registers a topic with what its publishers offer; returns the id to write with."""
        text = definition.type_name
        if text not in self._schemas:
            self._schemas[text] = self._file.add_schema(text, definition.encoding, definition.text)
        unique = _unique(offers)
        channel = self._file.add_channel(
            name,
            self._schemas[text],
            {"offered_qos_profiles": qos.as_yaml(unique), "topic_type_hash": definition.type_hash},
        )
        self._topics[channel] = _Topic(name, definition, unique)
        return channel

    def add_offers(self, topic_id: int, offers: Sequence[Qos]) -> None:
        """Notes publishers that joined later (in ``metadata.yaml``)."""
        topic = self._topics[topic_id]
        topic.offers = _unique([*topic.offers, *offers])

    def write(self, topic_id: int, log_time: int, data: bytes, publish_time: int | None = None) -> None:
        """Adds one serialized message; times in ns.

        Raises:
            BagWriteError: the disk is full or failed. The bag is closed then; the text says what it holds.
        """
        try:
            self._file.write(topic_id, log_time, log_time if publish_time is None else publish_time, data)
        except OSError as error:
            raise self._failed(error) from error

    def flush(self) -> None:
        """Puts everything written so far where a crash of this process cannot take it.

        Raises:
            BagWriteError: as for :meth:`write`.
        """
        try:
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> Path:
        """Completes the bag and gives it its name; returns its path.

        Raises:
            BagWriteError: as for :meth:`write`, or when the name has been taken meanwhile.
        """
        try:
            self._complete()
        except OSError as error:
            raise self._failed(error) from error
        if self.path.exists():
            raise BagWriteError(
                f"the recording is complete, but {self.path} has appeared meanwhile: it stays {self.folder}"
            )
        try:
            self.folder.rename(self.path)
        except OSError as error:
            raise BagWriteError(f"the recording is complete, but stays {self.folder}: {error.strerror}") from error
        return self.path

    def _failed(self, error: OSError) -> BagWriteError:
        """Closes what can be closed and words the error."""
        self._custom["gr2_incomplete"] = f"writing failed: {error.strerror}"
        what = f"writing {self._file.path} failed: {error.strerror}{_advice(error)}"
        give_up = lost = 0
        while True:
            try:
                lost += self._file.cut_back(give_up)
                kept = self._file.statistics().message_count
                self._complete()
            except OSError as again:
                if again.errno in _FULL and self._file.chunks:
                    give_up = max(1, 2 * give_up)
                    continue
                self._file.abandon()
                if not self._file.path.exists():
                    return BagWriteError(f"{what}. {self.folder} was removed while recording")
                return BagWriteError(
                    f"{what}. What was written lies in {self.folder} without an index; `gr2 replay` can read it"
                )
            dropped = f", {lost} messages did not fit" if lost else ""
            return BagWriteError(f"{what}. {self.folder} is readable and holds {kept} messages{dropped}")

    def _complete(self) -> None:
        """Closes the MCAP file and writes ``metadata.yaml``. Both, or an OSError."""
        self._file.flush()
        metadata = self._metadata()
        text = yaml.safe_dump({"rosbag2_bagfile_information": metadata}, sort_keys=False, default_flow_style=False)
        target = self.folder / "metadata.yaml"
        temporary = self.folder / "metadata.yaml.tmp"
        try:
            with open(temporary, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.rename(target)
            self._file.close({"serialized_metadata": yaml.safe_dump(metadata, sort_keys=False).strip()})
        except OSError:
            temporary.unlink(missing_ok=True)
            target.unlink(missing_ok=True)
            raise

    def _metadata(self) -> dict[str, Any]:
        statistics = self._file.statistics()

        def span() -> dict[str, Any]:  # a new one each time: YAML would turn a shared one into an alias
            return {
                "starting_time": {"nanoseconds_since_epoch": statistics.message_start_time},
                "duration": {"nanoseconds": statistics.message_end_time - statistics.message_start_time},
                "message_count": statistics.message_count,
            }

        name = self._file.path.name
        return {
            "version": METADATA_VERSION,
            "storage_identifier": "mcap",
            **span(),
            "topics_with_message_count": [
                {
                    "topic_metadata": {
                        "name": topic.name,
                        "type": topic.definition.type_name,
                        "serialization_format": "cdr",
                        "offered_qos_profiles": qos.as_dicts(topic.offers),
                        "type_description_hash": topic.definition.type_hash,
                    },
                    "message_count": statistics.channel_message_counts[channel],
                }
                for channel, topic in self._topics.items()
            ],
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [name],
            "files": [{"path": name, **span()}],
            "custom_data": self._custom or None,
            "ros_distro": self._ros_distro,
        }


def _unique(offers: Sequence[Qos]) -> list[Qos]:
    return list(dict.fromkeys(offers))


def _advice(error: OSError) -> str:
    if error.errno in _FULL:
        return " (free some space, or record elsewhere with --output)"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return " (choose a folder that you may write to with --output)"
    return ""


def _library() -> str:
    try:
        return f"gr2_tools {version('gr2-tools')}"
    except PackageNotFoundError:
        return "gr2_tools"
