"""Reading MCAP files, whole or damaged.

A whole file is read through its summary. A file without one (the writer was killed, the copy was cut off, the disk
was full) is scanned record by record: everything up to the damage is found, also the intact beginning of a chunk
that is cut off in its middle. A chunk whose checksum fails is left out. Nothing is silent: see ``notes``.
"""

from __future__ import annotations

import heapq
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import lz4.frame
import zstandard
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import make_reader

from gr2_tools.errors import NotABag
from gr2_tools.mcap_file import MAGIC

_HEADER = struct.Struct("<BQ")
_CHUNK = struct.Struct("<QQQI")
_MESSAGE = struct.Struct("<HIQQ")
_FOOTER = struct.Struct("<QQI")
_RUN_BYTES = 1 << 22
# What parsing bytes raises that are not what they claim to be.
_PARSE_ERRORS = (McapError, struct.error, ValueError, IndexError, KeyError, EOFError, OverflowError)
_UNPACK_ERRORS = (zstandard.ZstdError, RuntimeError, EOFError, ValueError, MemoryError, OverflowError)


class RawMessage(NamedTuple):
    """A message as stored; times in ns."""

    channel_id: int
    log_time: int
    publish_time: int
    data: bytes


@dataclass(frozen=True)
class McapSchema:
    """A message definition: type name, encoding (``ros2msg``, ``ros2idl``), text."""

    name: str
    encoding: str
    text: str


@dataclass(frozen=True)
class McapChannel:
    """A topic with its message encoding and rosbag2's extra metadata."""

    topic: str
    schema_id: int
    encoding: str
    metadata: dict[str, str]


@dataclass
class _Segment:
    """A stretch of the file that holds messages: a chunk, or a run of records outside of chunks."""

    offset: int  # of the (compressed) record data
    length: int
    start: int
    end: int
    compression: str | None = None  # None: plain records, not a chunk
    size: int = 0  # uncompressed
    crc: int | None = None  # None: read it from the chunk
    cut: bool = False  # the file ends inside
    counts: dict[int, int] = field(default_factory=dict)


class McapSource:
    """One MCAP file, open for reading.

    Attributes:
        schemas, channels: by id.
        counts: messages by channel id.
        start, end: log times of the first and last message [ns]; 0, 0 when there is none.
        notes: what is wrong with the file, in sentences for the user; empty for a whole file.

    Raises:
        NotABag: it is no MCAP file, or one of another kind than ROS 2.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.schemas: dict[int, McapSchema] = {}
        self.channels: dict[int, McapChannel] = {}
        self.counts: dict[int, int] = {}
        self.start = 0
        self.end = 0
        self.notes: list[str] = []
        self._segments: list[_Segment] = []
        self._index_damaged = False
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed by close()
        try:
            self._size = self._file.seek(0, 2)
            self._check_magic()
            if not self._read_summary():
                self._scan()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def messages(
        self, channel_ids: set[int] | None = None, start: int | None = None, stop: int | None = None
    ) -> Iterator[RawMessage]:
        """Messages in order of log time, of some channels, with start <= log time < stop [ns]."""
        wanted = self.channels.keys() if channel_ids is None else channel_ids
        low = 0 if start is None else start
        high = 2**63 if stop is None else stop
        pending = sorted(
            (s for s in self._segments if s.end >= low and s.start < high),
            key=lambda s: s.start,
            reverse=True,
        )
        ready: list[tuple[int, int, RawMessage]] = []
        serial = 0
        while pending or ready:
            while pending and (not ready or pending[-1].start <= ready[0][0]):
                segment = pending.pop()
                if segment.counts and not wanted & segment.counts.keys():
                    continue
                for message in self._load(segment):
                    if message.channel_id in wanted and low <= message.log_time < high:
                        heapq.heappush(ready, (message.log_time, serial, message))
                        serial += 1
            if ready:
                yield heapq.heappop(ready)[2]

    def _check_magic(self) -> None:
        self._file.seek(0)
        magic = self._file.read(len(MAGIC))
        if magic != MAGIC:
            what = "is empty" if not magic else "is no MCAP file (its first bytes are others)"
            raise NotABag(f"{self.path} {what}")
        head = self._file.read(_HEADER.size)
        if len(head) < _HEADER.size or head[0] != Opcode.HEADER:
            raise NotABag(f"{self.path} is cut off before any content")
        body = self._file.read(min(_HEADER.unpack(head)[1], 1 << 16))
        profile = _string(body, 0)[0] if len(body) >= 4 else ""
        if profile != "ros2":
            raise NotABag(f"{self.path} is an MCAP file, but of profile {profile!r}, not 'ros2'")

    def _read_summary(self) -> bool:
        """Takes schemas, channels and chunks from the summary; False when there is none to trust."""
        if not self._summary_intact():
            self._index_damaged = True
            return False
        self._file.seek(0)
        try:
            summary = make_reader(self._file).get_summary()
        except _PARSE_ERRORS:
            self._index_damaged = True
            return False
        if summary is None or summary.statistics is None or not summary.chunk_indexes:
            return False
        for schema in summary.schemas.values():
            self.schemas[schema.id] = McapSchema(schema.name, schema.encoding, schema.data.decode("utf-8", "replace"))
        for channel in summary.channels.values():
            self.channels[channel.id] = McapChannel(
                channel.topic, channel.schema_id, channel.message_encoding, dict(channel.metadata)
            )
        for index in summary.chunk_indexes:
            head = _HEADER.size + _CHUNK.size + 4 + len(index.compression) + 8
            segment = _Segment(
                offset=index.chunk_start_offset + head,
                length=index.compressed_size,
                start=index.message_start_time,
                end=index.message_end_time,
                compression=index.compression,
                size=index.uncompressed_size,
                counts=dict.fromkeys(index.message_index_offsets, 0),
            )
            if segment.offset + segment.length > self._size:
                self._index_damaged = True
                return False
            self._segments.append(segment)
        statistics = summary.statistics
        self.counts = {c: statistics.channel_message_counts.get(c, 0) for c in self.channels}
        self.start, self.end = statistics.message_start_time, statistics.message_end_time
        return set(statistics.channel_message_counts) <= set(self.channels)

    def _summary_intact(self) -> bool:
        """Whether the file ends as it should, and the summary is what was written."""
        footer_size = _HEADER.size + _FOOTER.size
        if self._size < len(MAGIC) + footer_size + len(MAGIC):
            return False
        footer_start = self._size - len(MAGIC) - footer_size
        self._file.seek(footer_start)
        footer = self._file.read(footer_size)
        if self._file.read(len(MAGIC)) != MAGIC or footer[0] != Opcode.FOOTER:
            return False
        summary_start, _, crc = _FOOTER.unpack_from(footer, _HEADER.size)
        if not summary_start:
            return True  # without a summary, as some writers like it
        if summary_start > footer_start:
            return False
        self._file.seek(summary_start)
        return not crc or zlib.crc32(self._file.read(footer_start + footer_size - 4 - summary_start)) == crc

    def _scan(self) -> None:
        """Finds everything readable from the front."""
        self.schemas.clear()
        self.channels.clear()
        self._segments.clear()
        self._file.seek(len(MAGIC))
        run: _Segment | None = None
        position = len(MAGIC)
        complete = False
        while position + _HEADER.size <= self._size:
            self._file.seek(position)
            opcode, length = _HEADER.unpack(self._file.read(_HEADER.size))
            body = position + _HEADER.size
            cut = body + length > self._size
            if opcode in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE) and not cut:
                if run is None or run.length > _RUN_BYTES:
                    run = _Segment(position, 0, 0, 0)
                    self._segments.append(run)
                run.length = body + length - run.offset
            elif opcode == Opcode.CHUNK:
                self._scan_chunk(body, length)
            if opcode in (Opcode.DATA_END, Opcode.FOOTER):
                complete = True
                break
            if cut or opcode == 0:
                break
            position = body + length
        self._take_stock()
        if not complete:
            self.notes.append(
                f"{self.path} is not complete (its writer was killed, or the copy was cut off): "
                f"read as far as it goes, {sum(self.counts.values())} messages"
            )
        elif self._index_damaged:
            self.notes.append(
                f"{self.path}: the index at its end is damaged; read without it, {sum(self.counts.values())} messages"
            )

    def _scan_chunk(self, body: int, length: int) -> None:
        head = self._file.read(_CHUNK.size + 4)
        if len(head) < _CHUNK.size + 4:
            return
        start, end, size, crc = _CHUNK.unpack_from(head)
        name_length = int.from_bytes(head[-4:], "little")
        rest = self._file.read(name_length + 8) if name_length < 32 else b""
        if len(rest) < name_length + 8:
            return
        packed = int.from_bytes(rest[name_length:], "little")
        offset = body + len(head) + len(rest)
        available = min(packed, max(0, self._size - offset))
        name = rest[:name_length].decode("ascii", "replace")
        self._segments.append(
            _Segment(offset, available, start, end, name, size, crc, cut=available < packed or packed > length)
        )

    def _take_stock(self) -> None:
        """Reads each segment once, for its counts, times, schemas and channels."""
        usable: list[_Segment] = []
        for segment in self._segments:
            times: list[int] = []
            for message in self._load(segment):
                segment.counts[message.channel_id] = segment.counts.get(message.channel_id, 0) + 1
                times.append(message.log_time)
            if times:
                segment.start, segment.end = min(times), max(times)
                usable.append(segment)
        self._segments = usable
        self.counts = {c: sum(s.counts.get(c, 0) for s in usable) for c in self.channels}
        self.start = min((s.start for s in usable), default=0)
        self.end = max((s.end for s in usable), default=0)

    def _load(self, segment: _Segment) -> list[RawMessage]:
        """The messages of a segment whose channel is known; learns schemas and channels on the way."""
        self._file.seek(segment.offset)
        data = self._file.read(segment.length)
        if segment.compression is not None:
            unpack = _UNPACKERS.get(segment.compression)
            if unpack is None:
                self._note(f"compression {segment.compression!r} is unknown", segment)
                return []
            try:
                data = unpack(data, segment.size, segment.cut)
            except _UNPACK_ERRORS as error:
                self._note(f"it cannot be decompressed ({error})", segment)
                return []
            crc = self._crc(segment)
            if not segment.cut and (len(data) != segment.size or (crc and zlib.crc32(data) != crc)):
                self._note("its checksum is wrong", segment)
                return []
        return list(self._records(data, segment))

    def _crc(self, segment: _Segment) -> int:
        if segment.crc is None:
            self._file.seek(segment.offset - 8 - len(segment.compression or "") - 8)
            segment.crc = int.from_bytes(self._file.read(4), "little")
        return segment.crc

    def _note(self, what: str, segment: _Segment) -> None:
        note = f"{self.path}: the chunk at byte {segment.offset} is left out: {what}"
        if note not in self.notes:
            self.notes.append(note)

    def _records(self, data: bytes, segment: _Segment) -> Iterator[RawMessage]:
        position = 0
        while position + _HEADER.size <= len(data):
            opcode, length = _HEADER.unpack_from(data, position)
            position += _HEADER.size
            if position + length > len(data):
                return  # the cut
            try:
                if opcode == Opcode.MESSAGE:
                    channel, _, log_time, publish_time = _MESSAGE.unpack_from(data, position)
                    if channel in self.channels:
                        body = data[position + _MESSAGE.size : position + length]
                        yield RawMessage(channel, log_time, publish_time, body)
                elif opcode == Opcode.SCHEMA:
                    self._learn_schema(data[position : position + length])
                elif opcode == Opcode.CHANNEL:
                    self._learn_channel(data[position : position + length])
            except _PARSE_ERRORS:
                self._note("it holds a malformed record", segment)
                return
            position += length

    def _learn_schema(self, data: bytes) -> None:
        number = int.from_bytes(data[:2], "little")
        name, position = _string(data, 2)
        encoding, position = _string(data, position)
        self.schemas[number] = McapSchema(name, encoding, _string(data, position)[0])

    def _learn_channel(self, data: bytes) -> None:
        number, schema_id = struct.unpack_from("<HH", data)
        topic, position = _string(data, 4)
        encoding, position = _string(data, position)
        end = position + 4 + int.from_bytes(data[position : position + 4], "little")
        position += 4
        metadata: dict[str, str] = {}
        while position < end:
            key, position = _string(data, position)
            metadata[key], position = _string(data, position)
        self.channels[number] = McapChannel(topic, schema_id, encoding, metadata)


def _string(data: bytes, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", data, position)
    end = position + 4 + length
    if end > len(data):
        raise ValueError("string reaches beyond its record")
    return data[position + 4 : end].decode("utf-8", "replace"), end


def _unpack_none(data: bytes, size: int, cut: bool) -> bytes:
    return data


def _unpack_zstd(data: bytes, size: int, cut: bool) -> bytes:
    if cut:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)


def _unpack_lz4(data: bytes, size: int, cut: bool) -> bytes:
    if cut:
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data))
    return bytes(lz4.frame.decompress(data))


_UNPACKERS: dict[str, Callable[[bytes, int, bool], bytes]] = {
    "": _unpack_none,
    "zstd": _unpack_zstd,
    "lz4": _unpack_lz4,
}
