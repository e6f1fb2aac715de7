"""One reader for every storage, with the same answers, and errors that name the file."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from gr2_msgs.msg import RobotState
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import JointState

from gr2_tools.bag_reader import BagReader
from gr2_tools.bag_types import recorded_hash
from gr2_tools.bag_writer import BagWriter
from gr2_tools.errors import BagError, NotABag
from gr2_tools.msgdefs import find_definition

STRING = "std_msgs/msg/String"


def _foreign(path: Path, plugin: StoragePlugin, compression: CompressionMode = CompressionMode.NONE) -> Path:
    """A bag by rosbags: ten strings a second apart."""
    store = get_typestore(Stores.ROS2_JAZZY)
    writer = Writer(path, version=9, storage_plugin=plugin)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/text", STRING, typestore=store)
        for k in range(10):
            message = store.types[STRING](data=f"{k}")
            writer.write(connection, 1_000_000_000 * (k + 1), store.serialize_cdr(message, STRING))
    return path


@pytest.mark.parametrize("plugin", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
@pytest.mark.parametrize("compression", [CompressionMode.NONE, CompressionMode.MESSAGE, CompressionMode.FILE])
def test_foreign_bags(tmp_path: Path, plugin: StoragePlugin, compression: CompressionMode) -> None:
    path = _foreign(tmp_path / "bag", plugin, compression)
    with BagReader(path) as bag:
        assert bag.notes == []
        assert [(t.name, t.type_name, t.count) for t in bag.topics] == [("/text", STRING, 10)]
        assert (bag.start, bag.end) == (1_000_000_000, 10_000_000_000)
        assert [m.portable().data for m in bag.messages()] == [f"{k}" for k in range(10)]
        assert [m.log_time for m in bag.messages(["/text"], 2_000_000_000, 4_000_000_000)] == [
            2_000_000_000,
            3_000_000_000,
        ]
        assert list(bag.messages(["/other"])) == []


@pytest.mark.parametrize("suffix", ["db3", "mcap"])
def test_single_files_and_folders_without_metadata(tmp_path: Path, suffix: str) -> None:
    plugin = StoragePlugin.SQLITE3 if suffix == "db3" else StoragePlugin.MCAP
    folder = _foreign(tmp_path / "bag", plugin)
    with BagReader(folder / f"bag.{suffix}") as bag:
        assert bag.count == 10
        assert recorded_hash(bag.topics[0]) == find_definition(STRING).type_hash
    (folder / "metadata.yaml").write_text("not: [a bag")
    with BagReader(folder) as bag:
        assert (bag.count, len(bag.notes)) == (10, 1)
    (folder / "metadata.yaml").unlink()
    with BagReader(folder) as bag:
        assert [m.log_time for m in bag.messages()] == [1_000_000_000 * (k + 1) for k in range(10)]
        assert "metadata.yaml" in bag.notes[0]


def test_several_files_are_one_bag(tmp_path: Path, bag: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    _foreign(tmp_path / "other", StoragePlugin.SQLITE3)
    shutil.copy(tmp_path / "other" / "other.db3", folder)
    shutil.copy(bag / "bag_0.mcap", folder)
    with BagReader(folder) as both:
        assert [t.name for t in both.topics] == ["/instruction", "/robot_state", "/sim/truth", "/text"]
        times = [m.log_time for m in both.messages()]
        assert times == sorted(times)
        assert len(times) == both.count == 314


def test_deserialises_what_rclpy_pads(tmp_path: Path) -> None:
    """A trailing empty float64[] (a JointState without effort) comes with stray bytes that rosbags alone refuses."""
    writer = BagWriter(tmp_path / "bag")
    sent = [JointState(name=["a"] * n, position=[0.5] * n) for n in range(9)]
    topic = writer.add_topic("/joint_states", find_definition("sensor_msgs/msg/JointState"))
    other = writer.add_topic("/robot_state", find_definition("gr2_msgs/msg/RobotState"))
    for k, message in enumerate(sent):
        writer.write(topic, k, serialize_message(message))
        writer.write(other, k, serialize_message(RobotState(joint_names=["j"] * k)))
    writer.close()
    with BagReader(tmp_path / "bag") as bag:
        got = [m.portable() for m in bag.messages(["/joint_states"])]
        assert [list(g.position) for g in got] == [list(s.position) for s in sent]
        assert [len(m.portable().joint_names) for m in bag.messages(["/robot_state"])] == list(range(9))


def test_messages_of_the_installed_types(bag: Path) -> None:
    with BagReader(bag) as reader:
        states = [m.message() for m in reader.messages(["/robot_state"])]
        assert {m.topic for m in reader.messages()} == {"/instruction", "/robot_state", "/sim/truth"}
    assert [s.gripper_opening for s in states] == list(range(300))
    assert isinstance(states[0], RobotState)


def test_wrong_bytes_are_named(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "bag")
    topic = writer.add_topic("/robot_state", find_definition("gr2_msgs/msg/RobotState"))
    writer.write(topic, 1, b"\x00\x01\x00\x00garbage")
    writer.close()
    with BagReader(tmp_path / "bag") as bag:
        message = next(bag.messages())
    for decode in (message.portable, message.message):
        with pytest.raises(BagError, match="/robot_state"):
            decode()


def _break_database(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE messages")


@pytest.mark.parametrize(
    ("name", "prepare", "why"),
    [
        ("missing", lambda p: None, "does not exist"),
        ("empty", lambda p: p.mkdir(), "is no bag"),
        ("notes.txt", lambda p: p.write_text("hello"), "is no bag"),
        ("a.db3", lambda p: p.write_bytes(b"hello" * 500), "a.db3"),
        ("a.db3", lambda p: p.touch(), "a.db3"),
        ("a.mcap", lambda p: p.write_bytes(b"hello" * 500), "no MCAP file"),
        ("a.mcap", lambda p: p.mkdir(), "is no bag"),
    ],
)
def test_what_is_no_bag(tmp_path: Path, name: str, prepare: Callable[[Path], None], why: str) -> None:
    prepare(tmp_path / name)
    with pytest.raises(NotABag, match=why) as caught:
        BagReader(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_database_without_tables(tmp_path: Path) -> None:
    folder = _foreign(tmp_path / "bag", StoragePlugin.SQLITE3)
    _break_database(folder / "bag.db3")
    with pytest.raises(NotABag, match=r"bag\.db3"):
        BagReader(folder)


def test_cut_off_database(tmp_path: Path) -> None:
    folder = _foreign(tmp_path / "bag", StoragePlugin.SQLITE3)
    data = (folder / "bag.db3").read_bytes()
    for size in range(0, len(data), 4000):
        (folder / "bag.db3").write_bytes(data[:size])
        try:
            with BagReader(folder) as bag:
                list(bag.messages())
        except NotABag as error:
            assert "bag.db3" in str(error)  # noqa: PT017 - a cut may also leave a readable database


def test_unfinished_recording_is_pointed_at(tmp_path: Path, bag: Path) -> None:
    bag.rename(tmp_path / "run.partial")
    with pytest.raises(NotABag, match=r"run\.partial"):
        BagReader(tmp_path / "run")


def test_damaged_file_beside_good_metadata(bag: Path) -> None:
    """The metadata still tells the quality of service; the notes tell that the file is cut off."""
    path = bag / "bag_0.mcap"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with BagReader(bag) as reader:
        assert "not complete" in reader.notes[0]
        offers = {t.name: len(t.offers) for t in reader.topics}
        assert offers["/sim/truth"] == 2
        assert sum(1 for _ in reader.messages()) == reader.count > 100


def test_missing_file_is_noted(bag: Path) -> None:
    text = (bag / "metadata.yaml").read_text()
    (bag / "metadata.yaml").write_text(text.replace("- bag_0.mcap", "- bag_0.mcap\n  - bag_1.mcap", 1))
    with BagReader(bag) as reader:
        assert "bag_1.mcap is missing" in reader.notes[0]
        assert reader.count == 304
