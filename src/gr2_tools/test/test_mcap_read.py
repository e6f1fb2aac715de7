"""Damaged MCAP files: everything before the damage is read, and nothing but NotABag is ever raised."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from mcap.writer import CompressionType, IndexType, Writer

from gr2_tools.errors import NotABag
from gr2_tools.mcap_read import McapSource


def _plain(path: Path, count: int = 50, **options: object) -> Path:
    """A file by the mcap package: message k has log time k and k as data."""
    with open(path, "wb") as stream:
        writer = Writer(stream, **options)  # type: ignore[arg-type]
        writer.start("ros2")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        channel = writer.register_channel("/x", "cdr", schema)
        for k in range(count):
            writer.add_message(channel, k, k.to_bytes(4, "little") * 100, k)
        writer.finish()
    return path


def _times(path: Path) -> list[int]:
    source = McapSource(path)
    try:
        return [m.log_time for m in source.messages()]
    finally:
        source.close()


@pytest.mark.parametrize(
    "options",
    [
        {"compression": CompressionType.ZSTD, "chunk_size": 1000},
        {"compression": CompressionType.LZ4, "chunk_size": 1000},
        {"compression": CompressionType.NONE, "chunk_size": 1000},
        {"use_chunking": False},
        {"index_types": IndexType.NONE, "chunk_size": 1000},
        {"repeat_channels": False, "repeat_schemas": False, "chunk_size": 1000},
        {"use_statistics": False},
    ],
)
def test_foreign_writers_and_every_cut(tmp_path: Path, options: dict) -> None:
    path = _plain(tmp_path / "a.mcap", **options)
    source = McapSource(path)
    assert source.notes == []
    assert (source.start, source.end, source.counts) == (0, 49, {1: 50})
    assert [m.data[0] for m in source.messages()] == list(range(50))
    assert [m.log_time for m in source.messages(start=7, stop=9)] == [7, 8]
    source.close()
    data = path.read_bytes()
    cut = tmp_path / "cut.mcap"
    most = 0
    for size in range(len(data) - 1, 60, -41):
        cut.write_bytes(data[:size])
        times = _times(cut)
        assert times == list(range(len(times)))
        most = max(most, len(times))
    assert most == 50, "cut behind the data, all of it is there"


def test_cut_inside_a_chunk_gives_its_beginning(tmp_path: Path) -> None:
    """Not only whole chunks: what was decompressed before the cut counts, too."""
    path = tmp_path / "a.mcap"
    _plain(path, 50, compression=CompressionType.NONE, chunk_size=1 << 20)  # a single chunk
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert 10 < len(_times(path)) < 40


def test_says_that_it_is_not_complete(tmp_path: Path) -> None:
    path = _plain(tmp_path / "a.mcap", chunk_size=1000)
    data = path.read_bytes()
    for size, words in ((len(data) - 100, ("index", "50 messages")), (len(data) // 2, ("not complete", "messages"))):
        path.write_bytes(data[:size])
        source = McapSource(path)
        assert len(source.notes) == 1
        assert all(word in source.notes[0] for word in (str(path), *words))
        source.close()


def test_damaged_chunk_is_left_out_and_named(tmp_path: Path) -> None:
    path = _plain(tmp_path / "a.mcap", compression=CompressionType.NONE, chunk_size=4000)
    data = bytearray(path.read_bytes())
    position = data.index((25).to_bytes(4, "little") * 100)
    data[position] ^= 0xFF
    path.write_bytes(data)
    source = McapSource(path)
    times = [m.log_time for m in source.messages()]
    assert 25 not in times
    assert {0, 49} <= set(times)
    assert ["checksum is wrong" in n for n in source.notes] == [True]
    source.close()


def test_unordered_chunks_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    order = list(range(200))
    random.Random(1).shuffle(order)
    with open(path, "wb") as stream:
        writer = Writer(stream, chunk_size=500)
        writer.start("ros2")
        channel = writer.register_channel("/x", "cdr", writer.register_schema("a/msg/B", "ros2msg", b""))
        for k in order:
            writer.add_message(channel, k, b"x" * 50, k)
        writer.finish()
    assert _times(path) == list(range(200))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"SQLite format 3\x00" + bytes(100), "no MCAP file"),
        (b"\x89MCAP0\r\n", "cut off"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), "no MCAP file"),
    ],
)
def test_foreign_files(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(content)
    with pytest.raises(NotABag, match=why):
        McapSource(path)


def test_ros1_profile_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with open(path, "wb") as stream:
        writer = Writer(stream)
        writer.start("ros1")
        writer.finish()
    with pytest.raises(NotABag, match="'ros1'"):
        McapSource(path)


def test_random_damage_never_crashes(bag: Path, tmp_path: Path) -> None:
    data = (bag / "bag_0.mcap").read_bytes()
    path = tmp_path / "damaged.mcap"
    chance = random.Random(7)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(chance.choice([1, 3, 30])):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        if chance.random() < 0.3:
            del damaged[chance.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        try:
            _times(path)
        except NotABag:
            refused += 1
    assert refused < 30, "damage anywhere but in the first bytes leaves something to read"


def test_file_of_our_writer_cut_anywhere(tmp_path: Path, write_bag: Callable[..., list[bytes]], start: int) -> None:
    states = write_bag(tmp_path / "bag", count=60, chunk_bytes=2000)
    data = (tmp_path / "bag" / "bag_0.mcap").read_bytes()
    path = tmp_path / "cut.mcap"
    best = 0
    for size in range(200, len(data), 997):
        path.write_bytes(data[:size])
        source = McapSource(path)
        found = [m.data for m in source.messages() if source.channels[m.channel_id].topic == "/robot_state"]
        source.close()
        assert found == states[: len(found)]
        assert len(found) >= best
        best = len(found)
    assert best == 60
