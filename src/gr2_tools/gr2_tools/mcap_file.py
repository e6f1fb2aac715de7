"""Writing one MCAP file, in a way that survives a full disk.

A chunk and its index are written in one go. When that fails, the file is cut back to the last whole chunk and
closed there; if not even the closing summary fits, the newest chunks are given up until it does.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

MAGIC = b"\x89MCAP0\r\n"
COMPRESSIONS = ("zstd", "none")
_MESSAGE = struct.Struct("<BQHIQQ")
_CHUNK = struct.Struct("<BQQQQI")


@dataclass
class ChunkEntry:
    """What the summary has to say about a chunk already in the file."""

    index: ChunkIndex
    counts: dict[int, int]


@dataclass
class _OpenChunk:
    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    messages: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    first: int = 2**63 - 1
    last: int = 0

    def add(self, data: bytes) -> None:
        self.parts.append(data)
        self.size += len(data)


class McapFile:
    """An MCAP file being written. Not thread safe.

    Args:
        path: file to create; must not exist.
        library: who writes, for the header.
        compression: ``zstd`` or ``none``, of chunks.
        chunk_bytes: uncompressed size at which a chunk is written.

    Raises:
        OSError: from any method that writes; :meth:`cut_back` and :meth:`close` may follow.
    """

    def __init__(self, path: Path, library: str, compression: str = "zstd", chunk_bytes: int = 1 << 20) -> None:
        if compression not in COMPRESSIONS:
            raise ValueError(f"compression {compression!r} is none of {', '.join(COMPRESSIONS)}")
        self.path = path
        self.chunk_bytes = chunk_bytes
        self.chunks: list[ChunkEntry] = []
        self._schemas: list[Schema] = []
        self._channels: dict[int, Channel] = {}
        self._chunk = _OpenChunk()
        self._compression = "" if compression == "none" else compression
        self._compressor = zstandard.ZstdCompressor(level=1) if self._compression else None
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - lives as long as this object
        header = RecordBuilder()
        Header("ros2", library).write(header)
        self._end = 0
        self._append(MAGIC + header.end())
        self._data_start = self._end

    @property
    def size(self) -> int:
        """Bytes in the file [B]."""
        return self._end

    @property
    def pending_messages(self) -> int:
        """Messages of the chunk not written yet."""
        return sum(len(m) for m in self._chunk.messages.values())

    def add_schema(self, name: str, encoding: str, text: str) -> int:
        """Registers a message definition; returns its id."""
        schema = Schema(id=len(self._schemas) + 1, name=name, encoding=encoding, data=text.encode())
        self._schemas.append(schema)
        self._chunk.add(_bytes(schema))
        return schema.id

    def add_channel(self, topic: str, schema_id: int, metadata: dict[str, str]) -> int:
        """Registers a topic of CDR messages; returns its id."""
        channel = Channel(
            id=len(self._channels) + 1,
            topic=topic,
            message_encoding="cdr",
            metadata=metadata,
            schema_id=schema_id,
        )
        self._channels[channel.id] = channel
        self._chunk.add(_bytes(channel))
        return channel.id

    def write(self, channel_id: int, log_time: int, publish_time: int, data: bytes) -> None:
        """Adds a message (times in ns); writes the chunk once it is large enough."""
        chunk = self._chunk
        chunk.messages.setdefault(channel_id, []).append((log_time, chunk.size))
        chunk.add(_MESSAGE.pack(Opcode.MESSAGE, 22 + len(data), channel_id, 0, log_time, publish_time))
        chunk.add(data)
        chunk.first = min(chunk.first, log_time)
        chunk.last = max(chunk.last, log_time)
        if chunk.size >= self.chunk_bytes:
            self.flush()

    def flush(self) -> None:
        """Writes the open chunk, if it holds any message, so that a later crash cannot take it."""
        chunk = self._chunk
        if not chunk.messages:
            return
        plain = b"".join(chunk.parts)
        packed = self._compressor.compress(plain) if self._compressor else plain
        name = self._compression.encode()
        length = 8 + 8 + 8 + 4 + 4 + len(name) + 8 + len(packed)
        out = [
            _CHUNK.pack(Opcode.CHUNK, length, chunk.first, chunk.last, len(plain), zlib.crc32(plain)),
            struct.pack("<I", len(name)) + name + struct.pack("<Q", len(packed)),
            packed,
        ]
        start = self._end
        chunk_length = 9 + length
        offsets: dict[int, int] = {}
        position = start + chunk_length
        for channel_id, entries in chunk.messages.items():
            offsets[channel_id] = position
            record = _bytes(MessageIndex(channel_id=channel_id, records=entries))
            position += len(record)
            out.append(record)
        self._append(b"".join(out))
        index = ChunkIndex(
            message_start_time=chunk.first,
            message_end_time=chunk.last,
            chunk_start_offset=start,
            chunk_length=chunk_length,
            message_index_offsets=offsets,
            message_index_length=position - start - chunk_length,
            compression=self._compression,
            compressed_size=len(packed),
            uncompressed_size=len(plain),
        )
        self.chunks.append(ChunkEntry(index, {c: len(m) for c, m in chunk.messages.items()}))
        self._chunk = _OpenChunk()

    def cut_back(self, give_up: int = 0) -> int:
        """Drops the open chunk and the newest ``give_up`` chunks; returns the number of messages lost."""
        lost = self.pending_messages
        self._chunk = _OpenChunk()
        for _ in range(min(give_up, len(self.chunks))):
            lost += sum(self.chunks.pop().counts.values())
        last = self.chunks[-1].index if self.chunks else None
        self._rewind(
            self._data_start
            if last is None
            else last.chunk_start_offset + last.chunk_length + last.message_index_length
        )
        return lost

    def statistics(self) -> Statistics:
        """Counts and time range of the chunks in the file."""
        counts = dict.fromkeys(self._channels, 0)
        for chunk in self.chunks:
            for channel_id, count in chunk.counts.items():
                counts[channel_id] += count
        return Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=counts,
            chunk_count=len(self.chunks),
            message_count=sum(counts.values()),
            message_end_time=max((c.index.message_end_time for c in self.chunks), default=0),
            message_start_time=min((c.index.message_start_time for c in self.chunks), default=0),
            metadata_count=1,
            schema_count=len(self._schemas),
        )

    def close(self, metadata: dict[str, str]) -> None:
        """Writes what is open, the ``rosbag2`` metadata record and the summary, syncs and closes the file.

        After an OSError the file is still open, cut back to its last chunk: give up chunks and call again.
        """
        self.flush()
        end = self._end
        try:
            self._append(self._closing(metadata))
            os.fsync(self._file.fileno())
        except OSError:
            self._rewind(end)
            raise
        self._file.close()

    def abandon(self) -> None:
        """Closes the file as it is, without a summary."""
        self._file.close()

    def _closing(self, metadata: dict[str, str]) -> bytes:
        out = RecordBuilder()
        Metadata(name="rosbag2", metadata=metadata).write(out)
        metadata_index = MetadataIndex(offset=self._end, length=out.count, name="rosbag2")
        DataEnd(0).write(out)
        data = out.end()
        summary_start = self._end + len(data)
        groups: list[tuple[Opcode, Sequence[McapRecord]]] = [
            (Opcode.SCHEMA, self._schemas),
            (Opcode.CHANNEL, list(self._channels.values())),
            (Opcode.STATISTICS, [self.statistics()]),
            (Opcode.CHUNK_INDEX, [c.index for c in self.chunks]),
            (Opcode.METADATA_INDEX, [metadata_index]),
        ]
        offsets: list[SummaryOffset] = []
        for opcode, records in groups:
            begin = out.count
            for record in records:
                record.write(out)
            if records:
                offsets.append(SummaryOffset(opcode, summary_start + begin, out.count - begin))
        offset_start = summary_start + out.count
        for offset in offsets:
            offset.write(out)
        summary = out.end()
        begin_footer = struct.pack("<BQQQ", Opcode.FOOTER, 20, summary_start, offset_start)
        Footer(summary_start, offset_start, zlib.crc32(begin_footer, zlib.crc32(summary))).write(out)
        return data + summary + out.end() + MAGIC

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError:
            self._rewind(self._end)
            raise
        self._end += len(data)

    def _rewind(self, end: int) -> None:
        self._file.truncate(end)
        self._file.seek(end)
        self._end = end


def _bytes(record: Schema | Channel | MessageIndex) -> bytes:
    out = RecordBuilder()
    record.write(out)
    return out.end()
