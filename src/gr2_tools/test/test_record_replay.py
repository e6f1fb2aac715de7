"""Recording and replaying over real DDS, every party a process of its own."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticStatus
from domain_coordinator import domain_id
from mcap.writer import Writer
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as BagOfRosbags
from rosbags.typesys import Stores, get_typestore

from gr2_tools.bag_reader import BagReader
from gr2_tools.bag_writer import BagWriter
from gr2_tools.msgdefs import find_definition

TYPES = {
    "/instruction": "std_msgs/msg/String,latched",
    "/robot_state": "gr2_msgs/msg/RobotState",
    "/joint_states": "sensor_msgs/msg/JointState",
    "/head_camera/image_raw": "sensor_msgs/msg/Image",
}


def _await_line(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if re.search(pattern, line):
            return line
    raise AssertionError(f"ended without {pattern!r}: {process.communicate()[1]}")


def test_what_was_published_is_recorded_and_replayed(processes, tmp_path: Path) -> None:
    """Same messages, same bytes, same times; latched ones too, although recorder and listener came too late."""
    talker = processes.script("talker.py", "2")
    time.sleep(1.0)  # the instruction has been said by now
    recorder = processes.verb("record", "-o", "run", "--exclude", "/diagnostics")
    code, out, _ = processes.finish(talker)
    assert code == 0
    sent = json.loads(out)
    code, out, err = processes.stop(recorder, signal.SIGTERM)
    assert (code, err) == (0, "")
    assert "0 dropped, 0 lost" in out
    assert "complete: run" in out
    with BagReader(tmp_path / "run") as bag:
        recorded = list(bag.messages())
        offers = {t.name: t.offers for t in bag.topics}
        assert bag.notes == []
    by_topic = {t: [zlib.crc32(m.data) for m in recorded if m.topic == t] for t in TYPES}
    assert by_topic == sent
    assert offers["/instruction"][0].durability is QosDurability.TRANSIENT_LOCAL
    assert offers["/joint_states"][0].reliability is QosReliability.BEST_EFFORT
    steps = np.diff([m.log_time for m in recorded if m.topic == "/joint_states"]) * 1e-9
    assert np.percentile(np.abs(steps - 0.005), 90) < 0.01
    latency = [(m.log_time - m.publish_time) * 1e-9 for m in recorded if m.topic != "/instruction"]
    assert 0 <= np.percentile(latency, 50) < 0.01, "receive times are the middleware's, not those of the polls"

    listener = processes.listen(*(f"{t}={TYPES[t]}" for t in TYPES if t != "/instruction"))
    code, _, err = processes.finish(processes.verb("replay", "run"))
    assert code == 0
    got = processes.heard(listener)
    for topic, received in got.items():
        assert [crc for crc, _ in received] == by_topic[topic], topic
    then = np.array([m.log_time for m in recorded if m.topic == "/joint_states"]) * 1e-9
    now = np.array([t for _, t in got["/joint_states"]]) * 1e-9
    error = np.abs((now - now[0]) - (then - then[0]))
    report = re.search(r"lateness p50 ([\d.]+) ms, p99 ([\d.]+) ms", err)
    assert report is not None
    print(
        f"replay: arrival error p50 {1e3 * np.percentile(error, 50):.2f}, p99 {1e3 * np.percentile(error, 99):.2f} ms"
    )
    print(f"replay: lateness p50 {report[1]}, p99 {report[2]} ms")
    assert np.percentile(error, 50) < 0.02
    assert np.percentile(error, 99) < 0.2
    assert float(report[1]) < 5


def test_latched_topics_are_latched_in_replay(processes, tmp_path: Path, bag: Path) -> None:
    """A listener that joins in the middle still gets the instruction; --start past it, too."""
    for arguments in ([], ["--start", "0.5"]):
        player = processes.verb("replay", str(bag), "--wait", "0", "--duration", "2", *arguments)
        time.sleep(0.8)
        listener = processes.listen(f"/instruction={TYPES['/instruction']}")
        code, _, _ = processes.finish(player)
        assert code == 0
        got = processes.heard(listener)
        assert len(got["/instruction"]) == 1, arguments


def test_window_rate_topics_remap_and_clock(processes, bag: Path) -> None:
    listener = processes.listen(
        "/other=gr2_msgs/msg/RobotState", "/sim/truth=gr2_msgs/msg/SceneTruth", "/clock=rosgraph_msgs/msg/Clock"
    )
    player = processes.verb(
        "replay",
        str(bag),
        *("--wait", "0.4", "--rate", "2", "--start", "0.495", "--duration", "2", "--clock", "100"),
        *("--topics", "/robot_*", "/sim/*", "-x", "/sim/truth", "--remap", "/robot_state:=/other"),
    )
    code, _, err = processes.finish(player)
    assert code == 0
    assert "1 topics, 2.0 s at 2x" in err
    got = processes.heard(listener)
    assert len(got["/other"]) == 200
    assert got["/sim/truth"] == []
    span = (got["/other"][-1][1] - got["/other"][0][1]) * 1e-9
    assert span == pytest.approx(0.995, abs=0.1)
    assert len(got["/clock"]) == pytest.approx(200, abs=3)


def test_recorded_clock_is_replayed_unless_asked_for_one(processes, tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "sim")
    clock = writer.add_topic("/clock", find_definition("rosgraph_msgs/msg/Clock"))
    text = writer.add_topic("/text", find_definition("std_msgs/msg/String"))
    for k in range(50):
        writer.write(clock, 10_000_000 * k, b"\0\1\0\0" + (1000 + k).to_bytes(4, "little") + bytes(4))
        writer.write(text, 10_000_000 * k, b"\0\1\0\0\2\0\0\0a\0")
    writer.close()
    counts = []
    for arguments in ([], ["--clock", "20"]):
        listener = processes.listen("/clock=rosgraph_msgs/msg/Clock")
        code, _, err = processes.finish(processes.verb("replay", "sim", "--wait", "0.4", *arguments))
        assert code == 0
        counts.append(len(processes.heard(listener)["/clock"]))
    assert counts == [50, 10]
    assert "recorded /clock is left out" in err
    assert "would agree with the stamps" in err, "the recorded /clock showed other times than those of recording"


def test_loop_until_interrupted(processes, bag: Path) -> None:
    listener = processes.listen("/robot_state=gr2_msgs/msg/RobotState")
    player = processes.verb("replay", str(bag), "--loop", "--wait", "0.4", "--rate", "4", "--topics", "/robot_state")
    time.sleep(6.0)
    code, _, err = processes.stop(player, signal.SIGINT)
    assert code == 0
    assert "stopped after" in err
    got = [crc for crc, _ in processes.heard(listener)["/robot_state"]]
    assert len(got) > 400
    assert got[300:400] == got[:100], "the second round is like the first"


def test_sqlite3_bag_of_another_writer(processes, tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    with BagOfRosbags(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        text = writer.add_connection("/text", "std_msgs/msg/String", typestore=store)
        for k in range(50):
            message = store.types["std_msgs/msg/String"](data=f"{k}")
            writer.write(text, 10_000_000 * k, store.serialize_cdr(message, "std_msgs/msg/String"))
    listener = processes.listen("/text=std_msgs/msg/String")
    code, _, err = processes.finish(processes.verb("replay", str(tmp_path / "bag" / "bag.db3"), "--wait", "0.4"))
    assert (code, "played 50 messages" in err) == (0, True)
    assert len(processes.heard(listener)["/text"]) == 50


def test_unknown_and_changed_types_are_skipped_and_named(processes, tmp_path: Path) -> None:
    with open(tmp_path / "a.mcap", "wb") as stream:
        writer = Writer(stream)
        writer.start("ros2")
        for number, (name, type_name, text) in enumerate(
            [
                ("/known", "std_msgs/msg/String", "string data"),
                ("/changed", "gr2_msgs/msg/Surprise", "string only"),
                ("/unknown", "no_such_msgs/msg/Thing", "string data"),
                ("/service", "std_srvs/srv/Trigger", "string data"),
            ]
        ):
            schema = writer.register_schema(type_name, "ros2msg", text.encode())
            channel = writer.register_channel(name, "cdr", schema)
            writer.add_message(channel, 1000 + number, b"\0\1\0\0\2\0\0\0a\0", 0)
        writer.finish()
    code, _, err = processes.finish(processes.verb("replay", "a.mcap", "--wait", "0"))
    assert code == 0
    lines = err.splitlines()
    assert any("/unknown" in x and "no_such_msgs/msg/Thing is unknown here" in x for x in lines)
    assert any("/changed" in x and "gr2_msgs/msg/Surprise" in x and "another definition" in x for x in lines)
    assert any("/service" in x and "std_srvs/srv/Trigger" in x for x in lines)
    assert "played 1 messages" in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["replay", "nowhere"], 2, "nowhere does not exist"),
        (["replay", "foreign.mcap"], 2, "foreign.mcap is no MCAP file"),
        (["replay", "bag", "--rate", "0"], 2, "rate must be"),
        (["replay", "bag", "--start", "100"], 2, "beyond the end"),
        (["replay", "bag", "--remap", "/a=/b"], 2, "'/a=/b'"),
        (["replay", "bag", "--remap", "/a:=b c"], 2, "'b c' is no full topic name"),
        (["replay", "bag", "--topics", "/nope"], 2, "/robot_state"),
        (["record", "-o", "bag"], 1, "bag exists already"),
        (["record", "--all", "/x"], 2, "not both"),
        (["record", "-o", "foreign.mcap/run"], 1, "cannot create"),
        (["record", "--duration", "-1"], 2, "negative"),
    ],
)
def test_mistakes_get_one_clear_line(
    bag: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.chdir(bag.parent)
    (bag.parent / "foreign.mcap").write_bytes(b"hello" * 100)
    module = importlib.import_module(f"gr2_tools.{arguments[0]}")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    with domain_id() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        assert module.run(parser.parse_args(arguments[1:])) == code
    err = capsys.readouterr().err
    assert words in err
    assert len(err.strip().splitlines()) == 1, err


def test_recorder_says_that_the_disk_is_full(processes, tmp_path: Path) -> None:
    """A real failing write (a limit of the file size) ends the recording with a readable bag and exit code 1."""
    recorder = processes.start(
        sys.executable,
        "-c",
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000,) * 2);"
        "from gr2_tools.recorder_node import RecordOptions, record_bag; from pathlib import Path;"
        "say = lambda text: print(text, file=sys.stderr, flush=True);"
        "sys.exit(record_bag(RecordOptions(Path('run'), compression='none', status_period=0), say, say))",
    )
    talker = processes.script("talker.py", "1")
    code, _, err = processes.finish(recorder)
    assert code == 1
    assert "run.partial/run_0.mcap failed: File too large" in err
    assert "is readable and holds" in err
    with BagReader(tmp_path / "run.partial") as bag:
        assert bag.notes == []
        assert bag.count == sum(1 for _ in bag.messages())
    processes.finish(talker)


def test_killed_recorder_leaves_a_bag_that_replays(processes, tmp_path: Path) -> None:
    talker = processes.script("talker.py", "2")
    recorder = processes.verb("record", "-o", "run")
    deadline = time.monotonic() + 15
    path = tmp_path / "run.partial" / "run_0.mcap"
    while not path.exists() or path.stat().st_size < 10_000:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    recorder.kill()
    recorder.communicate()
    sent = json.loads(processes.finish(talker)[1])
    with BagReader(tmp_path / "run.partial") as bag:
        states = [zlib.crc32(m.data) for m in bag.messages(["/joint_states"])]
    assert len(states) > 50
    assert states == sent["/joint_states"][: len(states)]
    code, _, err = processes.finish(processes.verb("replay", "run.partial", "--rate", "20", "--wait", "0"))
    assert code == 0
    assert "not complete" in err


def test_finish_is_not_torn_by_more_signals(processes, tmp_path: Path) -> None:
    recorder = processes.verb("record", "-o", "run", "/x")
    _await_line(recorder, "recording to")
    for _ in range(5):
        recorder.send_signal(signal.SIGINT)
        recorder.send_signal(signal.SIGTERM)
    code, _, err = processes.finish(recorder)
    assert code == 0
    assert "no topic to record was found" in err
    with BagReader(tmp_path / "run") as bag:
        assert bag.count == 0


def test_nodes_with_parameters(processes, tmp_path: Path, bag: Path) -> None:
    """As a launch file or a supervisor starts them; the recorder with the times of /clock."""
    writer = BagWriter(tmp_path / "sim")
    clock = writer.add_topic("/clock", find_definition("rosgraph_msgs/msg/Clock"))
    text = writer.add_topic("/text", find_definition("std_msgs/msg/String"))
    for k in range(200):
        time_ns = 10_000_000 * k
        stamp = (100 + time_ns // 10**9).to_bytes(4, "little") + (time_ns % 10**9).to_bytes(4, "little")
        writer.write(clock, time_ns, b"\0\1\0\0" + stamp)
        writer.write(text, time_ns + 5_000_000, b"\0\1\0\0\2\0\0\0a\0")
    writer.close()

    def node(module: str, *parameters: str) -> subprocess.Popen[str]:
        code = f"from gr2_tools.{module} import main; main()"
        options = [x for p in parameters for x in ("-p", p)]
        return processes.start(sys.executable, "-c", code, "--ros-args", *options)

    recorder = node(
        "recorder_node", "output:=run", "topics:=[/text, /diagnostics]", "use_sim_time:=true", "duration:=6"
    )
    time.sleep(1.0)
    code, _, err = processes.finish(node("player_node", "bag:=sim", "wait:=1", "rate:=1"))
    assert code == 0
    assert "played 400 messages" in err
    code, _, _ = processes.stop(recorder)
    assert code == 0
    with BagReader(tmp_path / "run") as run:
        times = [m.log_time for m in run.messages(["/text"])]
        own = [m.message() for m in run.messages(["/diagnostics"])]
    assert len(times) >= 198
    expected = 100_000_000_000 + 10_000_000 * np.arange(200)
    assert set(times) <= set(expected.tolist()), "times of /clock, as it stood when the message came"
    assert Counter(np.diff(times).tolist()).most_common(1)[0][0] == 10_000_000
    assert own[-1].status[0].name == "gr2_recorder: recording"
    assert own[-1].status[0].level == DiagnosticStatus.OK
    code, _, err = processes.finish(node("player_node", "bag:=sim", "rate:=fast"))
    assert code == 2
    assert "'rate' must be a number, but is 'fast'" in err


def test_metadata_of_a_live_recording(processes, tmp_path: Path) -> None:
    """What `ros2 bag play` goes by: hashes, offers, and the distribution."""
    talker = processes.script("talker.py", "0.5", "/instruction", "/robot_state")
    recorder = processes.verb("record", "-o", "run", "/instruction", "/robot*")
    processes.finish(talker)
    processes.stop(recorder)
    information = yaml.safe_load((tmp_path / "run" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    topics = {t["topic_metadata"]["name"]: t["topic_metadata"] for t in information["topics_with_message_count"]}
    assert topics.keys() == {"/instruction", "/robot_state"}
    assert topics["/robot_state"]["type_description_hash"] == find_definition("gr2_msgs/msg/RobotState").type_hash
    assert topics["/instruction"]["offered_qos_profiles"][0]["durability"] == "transient_local"
    assert topics["/robot_state"]["offered_qos_profiles"][0]["reliability"] == "reliable"
    assert information["ros_distro"] == "jazzy"
