"""Bags written here are what rosbag2 0.26 writes, read by others, and survive what can happen to a recording."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mcap.reader import make_reader
from mcap.records import Channel, Schema
from mcap.stream_reader import StreamReader
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Qos, QosDurability
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from gr2_tools.bag_reader import BagReader
from gr2_tools.bag_writer import BagWriter
from gr2_tools.errors import BagExists, BagWriteError
from gr2_tools.msgdefs import find_definition

# Writes random (incompressible) megabytes until it fails, in a process of its own: limits and signals apply to it only.
_HOG = """
import os, resource, sys
from pathlib import Path
from gr2_tools.bag_writer import BagWriter
from gr2_tools.errors import BagWriteError
from gr2_tools.msgdefs import find_definition
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
writer = BagWriter(Path(sys.argv[1]), chunk_bytes=100_000)
topic = writer.add_topic("/x", find_definition("std_msgs/msg/String"))
try:
    for k in range(2000):
        writer.write(topic, 1000 + k, bytes([0, 1, 0, 0]) + (9997).to_bytes(4, "little") + os.urandom(9997))
        print(k, flush=True)
except BagWriteError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
"""


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_round_trip_through_rosbags_and_mcap(
    tmp_path: Path, write_bag: Callable[..., list[bytes]], start: int, compression: str
) -> None:
    states = write_bag(tmp_path / "bag", compression=compression)
    with AnyReader([tmp_path / "bag"]) as reader:
        found = [(t, raw) for c, t, raw in reader.messages() if c.topic == "/robot_state"]
        assert found == [(start + k * 10_000_000, raw) for k, raw in enumerate(states)]
        connection = next(c for c in reader.connections if c.topic == "/robot_state")
        last = reader.deserialize(states[-1], connection.msgtype)
        assert (last.gripper_opening, list(last.joint_names)) == (299.0, [f"joint_{i}" for i in range(7)])
    with open(tmp_path / "bag" / "bag_0.mcap", "rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        messages = list(reader.iter_messages(topics=["/robot_state"]))
        assert [m.data for _, _, m in messages] == states
        assert messages[0][2].publish_time == start - 1_000_000
        assert {(s.name, s.encoding) for s, _, _ in messages} == {("gr2_msgs/msg/RobotState", "ros2msg")}
        assert {c.message_encoding for _, c, _ in messages} == {"cdr"}


def test_metadata_has_the_fields_of_rosbag2(tmp_path: Path, bag: Path) -> None:
    """Same keys and kinds as rosbags' writer, which follows rosbag2's version 9."""
    store = get_typestore(Stores.ROS2_JAZZY)
    with Writer(tmp_path / "theirs", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        text = writer.add_connection("/instruction", "std_msgs/msg/String", typestore=store)
        message = store.types["std_msgs/msg/String"](data="x")
        writer.write(text, 5, store.serialize_cdr(message, "std_msgs/msg/String"))

    def load(path: Path) -> dict:
        return yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]

    ours, theirs = load(bag), load(tmp_path / "theirs")
    assert ours.keys() == theirs.keys()
    assert (ours["version"], ours["storage_identifier"], ours["compression_mode"]) == (9, "mcap", "")
    assert ours["files"][0].keys() == theirs["files"][0].keys()
    entry = ours["topics_with_message_count"][0]
    assert entry.keys() == theirs["topics_with_message_count"][0].keys()
    assert entry["topic_metadata"].keys() == theirs["topics_with_message_count"][0]["topic_metadata"].keys()
    assert entry["topic_metadata"]["type_description_hash"] == store.hash_rihs01("std_msgs/msg/String")
    assert "&" not in (bag / "metadata.yaml").read_text(), "no YAML aliases"
    with open(bag / "bag_0.mcap", "rb") as mine, open(tmp_path / "theirs" / "theirs.mcap", "rb") as other:
        kinds = [{type(r) for r in StreamReader(f, validate_crcs=True).records} for f in (mine, other)]
    assert kinds[1] <= kinds[0]


def test_latched_offers_and_hashes_are_kept(bag: Path) -> None:
    with AnyReader([bag]) as reader:
        offers = {c.topic: c.ext.offered_qos_profiles for c in reader.connections}
    assert [q.durability for q in offers["/instruction"]] == [QosDurability.TRANSIENT_LOCAL]
    assert len(offers["/sim/truth"]) == 2
    with open(bag / "bag_0.mcap", "rb") as stream:
        records = list(StreamReader(stream).records)
    channels = {r.topic: r.metadata for r in records if isinstance(r, Channel)}
    assert "transient_local" in channels["/instruction"]["offered_qos_profiles"]
    assert channels["/instruction"]["topic_type_hash"] == find_definition("std_msgs/msg/String").type_hash
    schemas = {r.name: r.data.decode() for r in records if isinstance(r, Schema)}
    assert "MSG: geometry_msgs/Quaternion" in schemas["gr2_msgs/msg/SceneTruth"]


def test_is_partial_until_closed(tmp_path: Path, offer: Callable[..., Qos]) -> None:
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/x", find_definition("std_msgs/msg/String"), [offer()])
    assert (tmp_path / "bag.partial").is_dir()
    assert not (tmp_path / "bag").exists()
    assert writer.close() == tmp_path / "bag"
    assert not (tmp_path / "bag.partial").exists()
    with BagReader(tmp_path / "bag") as empty:
        assert (empty.count, empty.start, empty.end, list(empty.messages())) == (0, 0, 0, [])


@pytest.mark.parametrize("taken", ["bag", "bag.partial"])
def test_existing_output_is_not_touched(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).mkdir()
    with pytest.raises(BagExists, match=f"{taken} exists already"):
        BagWriter(tmp_path / "bag")


def test_output_taken_while_recording(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "bag")
    (tmp_path / "bag").mkdir()
    with pytest.raises(BagWriteError, match=r"it stays .*bag\.partial"):
        writer.close()


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BagWriteError, match="file"):
        BagWriter(tmp_path / "file" / "bag")


def _check_cut_short(folder: Path, returned: subprocess.CompletedProcess[str]) -> int:
    assert returned.returncode == 1
    assert "Traceback" not in returned.stderr
    assert len(returned.stderr.strip().splitlines()) == 1
    assert f"writing {folder / 'bag_0.mcap'} failed" in returned.stderr
    assert "free some space" in returned.stderr
    with AnyReader([folder]) as reader:  # properly closed, any tool can read it
        kept = sum(1 for _ in reader.messages())
    assert f"holds {kept} messages" in returned.stderr
    information = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert "writing failed" in information["custom_data"]["gr2_incomplete"]
    return kept


def test_file_size_limit_leaves_a_readable_bag(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOG, str(tmp_path / "bag"), "1000000"]
    returned = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert 60 <= _check_cut_short(tmp_path / "bag.partial", returned) <= 99


def test_full_disk_leaves_a_readable_bag(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        returned = subprocess.run(
            [sys.executable, "-c", _HOG, str(disk / "bag")], capture_output=True, text=True, timeout=60, check=False
        )
        assert 60 <= _check_cut_short(disk / "bag.partial", returned) <= 104
    finally:
        subprocess.run(["umount", disk], check=True)


def test_killed_writer_leaves_all_but_the_open_chunk(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOG, str(tmp_path / "bag")], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout is not None
    written = 0
    for line in process.stdout:
        written = int(line) + 1
        if written >= 300:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with BagReader(tmp_path / "bag.partial") as bag:
        assert "not complete" in " ".join(bag.notes)
        kept = [m.log_time for m in bag.messages()]
    assert len(kept) >= written - 10  # a chunk holds ten
    assert kept == list(range(1000, 1000 + len(kept)))
