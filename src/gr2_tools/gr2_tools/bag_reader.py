"""Reading rosbag2 recordings: MCAP and sqlite3, a folder or a single file, whole or damaged.

    with BagReader(Path("runs/pick")) as bag:
        for message in bag.messages(topics={"/robot_state"}):
            state = message.message()               # gr2_msgs.msg.RobotState; .portable() needs nothing installed
            print(message.topic, message.log_time, state.gripper_opening)

``bag.notes`` says what is missing or damaged, in sentences for the user.
"""

from __future__ import annotations

import heapq
import operator
import struct
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import apsw
import yaml
from rosbags.interfaces import ConnectionExtRosbag2, MessageDefinitionFormat, Qos
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.rosbag2.metadata import parse_qos

from gr2_tools.bag_types import BagMessage, BagTopic, one_line
from gr2_tools.errors import NotABag
from gr2_tools.mcap_read import McapSource

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdError

# What rosbags raises for bytes that are not what they claim to be.
_PARSE_ERRORS = (
    ReaderError,
    apsw.Error,
    ZstdError,
    struct.error,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
)


class _Part(Protocol):
    topics: list[BagTopic]
    start: int
    end: int

    @property
    def notes(self) -> list[str]: ...

    def messages(self, names: Collection[str], start: int, stop: int) -> Iterator[BagMessage]: ...

    def close(self) -> None: ...


class BagReader:
    """A recording, open for reading. A context manager.

    Attributes:
        topics: every topic with its type; a name appears twice only if it was recorded with two types.
        start, end: log times of the first and last message [ns]; both 0 in an empty bag.

    Raises:
        NotABag: nothing at this path can be read as a bag; the text says why.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._parts: list[_Part] = []
        self._notes: list[str] = []
        try:
            self._parts, self._notes = _open(self.path)
        except OSError as error:
            raise NotABag(f"cannot read {error.filename or self.path}: {error.strerror}") from error
        filled = [p for p in self._parts if p.end]
        self.start = min((p.start for p in filled), default=0)
        self.end = max((p.end for p in filled), default=0)
        self.topics = _merge([t for p in self._parts for t in p.topics])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def count(self) -> int:
        """Messages in the bag."""
        return sum(t.count for t in self.topics)

    @property
    def notes(self) -> list[str]:
        """What is missing or damaged; may grow while reading."""
        return [*self._notes, *(note for part in self._parts for note in part.notes)]

    def close(self) -> None:
        """Closes the files."""
        for part in self._parts:
            part.close()
        self._parts = []

    def messages(
        self, topics: Collection[str] | None = None, start: int | None = None, stop: int | None = None
    ) -> Iterator[BagMessage]:
        """Messages in order of log time, of the named topics (all if None), start <= log time < stop [ns].

        Raises:
            NotABag: a sqlite3 bag turns out to be damaged on the way; the text names the file.
        """
        names = {t.name for t in self.topics} if topics is None else set(topics)
        low, high = (0 if start is None else start), (2**63 - 1 if stop is None else stop)
        streams = [p.messages(names, low, high) for p in self._parts]
        if len(streams) == 1:
            return streams[0]
        return heapq.merge(*streams, key=operator.attrgetter("log_time"))


class _McapPart:
    """One MCAP file."""

    def __init__(self, path: Path, listed: dict[tuple[str, str], BagTopic]) -> None:
        self._source = McapSource(path)
        self.start, self.end = self._source.start, self._source.end
        self._by_channel: dict[int, BagTopic] = {}
        skipped: list[str] = []
        for number, channel in self._source.channels.items():
            schema = self._source.schemas.get(channel.schema_id)
            if schema is None or channel.encoding != "cdr":
                skipped.append(f"{path}: {channel.topic} is left out: its messages are not CDR with a known type")
                continue
            known = listed.get((channel.topic, schema.name))
            self._by_channel[number] = BagTopic(
                channel.topic,
                schema.name,
                schema.encoding,
                schema.text,
                channel.metadata.get("topic_type_hash", "") or (known.type_hash if known else ""),
                known.offers if known else _offers(channel.metadata.get("offered_qos_profiles", "")),
                self._source.counts.get(number, 0),
            )
        self._skipped = skipped
        self.topics = list(self._by_channel.values())

    @property
    def notes(self) -> list[str]:
        return self._source.notes + self._skipped

    def messages(self, names: Collection[str], start: int, stop: int) -> Iterator[BagMessage]:
        channels = {n for n, t in self._by_channel.items() if t.name in names}
        for number, log_time, publish_time, data in self._source.messages(channels, start, stop):
            topic = self._by_channel[number]
            yield BagMessage(topic.name, log_time, publish_time, data, topic)

    def close(self) -> None:
        self._source.close()


class _RosbagsPart:
    """A sqlite3 file, or a folder in whole: what rosbags reads (also with rosbag2's own compression)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._reader = Reader(path)
            self._reader.open()
        except _PARSE_ERRORS as error:
            raise NotABag(f"{path} cannot be read as a bag: {one_line(error)}") from error
        self._topics: dict[int, BagTopic] = {}
        for connection in self._reader.connections:
            definition = connection.msgdef
            assert isinstance(connection.ext, ConnectionExtRosbag2)
            has_text = definition.format is not MessageDefinitionFormat.NONE
            self._topics[connection.id] = BagTopic(
                connection.topic,
                connection.msgtype,
                ("ros2msg" if definition.format is MessageDefinitionFormat.MSG else "ros2idl") if has_text else "",
                definition.data if has_text else "",
                connection.digest if connection.digest.startswith("RIHS") else "",
                tuple(connection.ext.offered_qos_profiles),
                connection.msgcount,
            )
        self.topics = list(self._topics.values())
        filled = self._reader.message_count > 0
        self.start = self._reader.start_time if filled else 0
        self.end = self._reader.end_time - 1 if filled else 0

    @property
    def notes(self) -> list[str]:
        return []

    def messages(self, names: Collection[str], start: int, stop: int) -> Iterator[BagMessage]:
        connections = [c for c in self._reader.connections if c.topic in names]
        if not connections:
            return
        try:
            for connection, time, data in self._reader.messages(connections, start, stop):
                yield BagMessage(connection.topic, time, time, bytes(data), self._topics[connection.id])
        except _PARSE_ERRORS as error:
            raise NotABag(f"{self._path} is damaged: {one_line(error)}") from error

    def close(self) -> None:
        self._reader.close()


def _open(path: Path) -> tuple[list[_Part], list[str]]:
    if not path.exists():
        partial = path.with_name(path.name + ".partial")
        hint = f"; an unfinished recording is at {partial}" if partial.exists() else ""
        raise NotABag(f"{path} does not exist{hint}")
    if path.is_dir():
        return _open_folder(path)
    if path.name == "metadata.yaml":
        return _open_folder(path.parent)
    if path.suffix in (".mcap", ".db3"):
        return [_open_file(path, {})], []
    raise NotABag(f"{path} is no bag: expected a folder with metadata.yaml, or a .mcap or .db3 file")


def _open_folder(path: Path) -> tuple[list[_Part], list[str]]:
    metadata = path / "metadata.yaml"
    information: dict[str, Any] | None = None
    if metadata.is_file():
        try:
            information = yaml.safe_load(metadata.read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
            files = [path / Path(name).name for name in information["relative_file_paths"]]
            plain = information.get("compression_mode", "") in ("", "none", "NONE", None)
            listed = {(t.name, t.type_name): t for t in _listed(information)}
            foreign = information["storage_identifier"] not in ("mcap", "sqlite3")
        except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
            information = None
        else:
            if foreign:
                raise NotABag(f"{path} is stored as {information['storage_identifier']!r}: only mcap and sqlite3")
            if not plain:
                return [_RosbagsPart(path)], []
    if information is None:
        files, listed = sorted([*path.glob("*.mcap"), *path.glob("*.db3")]), {}
        if not files:
            raise NotABag(f"{path} is no bag: it holds neither a usable metadata.yaml nor .mcap or .db3 files")
    parts: list[_Part] = []
    notes: list[str] = []
    try:
        for file in files:
            if file.is_file():
                parts.append(_open_file(file, listed))
            else:
                notes.append(f"{file} is missing")
    except (NotABag, OSError):
        for part in parts:
            part.close()
        raise
    if not parts:
        raise NotABag(f"{path} is no bag: {', '.join(notes)}")
    if information is None:
        notes.append(f"{path} has no usable metadata.yaml: read from its files")
    return parts, notes


def _open_file(path: Path, listed: dict[tuple[str, str], BagTopic]) -> _Part:
    return _McapPart(path, listed) if path.suffix == ".mcap" else _RosbagsPart(path)


def _listed(information: dict[str, Any]) -> Iterator[BagTopic]:
    for entry in information["topics_with_message_count"]:
        topic = entry["topic_metadata"]
        yield BagTopic(
            topic["name"],
            topic["type"],
            "",
            "",
            topic.get("type_description_hash", "") or "",
            _offers(topic.get("offered_qos_profiles", "")),
            int(entry["message_count"]),
        )


def _offers(stored: Any) -> tuple[Qos, ...]:
    try:
        return tuple(parse_qos(stored))
    except (ReaderError, KeyError, TypeError, ValueError, AttributeError):
        return ()


def _merge(topics: list[BagTopic]) -> list[BagTopic]:
    merged: dict[tuple[str, str], BagTopic] = {}
    for t in topics:
        key = (t.name, t.type_name)
        if key in merged:
            m = merged[key]
            merged[key] = BagTopic(
                *key,
                m.encoding or t.encoding,
                m.definition or t.definition,
                m.type_hash or t.type_hash,
                tuple(dict.fromkeys(m.offers + t.offers)),
                m.count + t.count,
            )
        else:
            merged[key] = t
    return sorted(merged.values(), key=lambda t: (t.name, t.type_name))
