"""What the tests share: synthetic bags, and processes in a DDS domain of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from domain_coordinator import domain_id
from geometry_msgs.msg import Pose
from gr2_msgs.msg import RobotState, SceneTruth
from rclpy.serialization import serialize_message
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability
from std_msgs.msg import String

from gr2_tools.bag_writer import BagWriter
from gr2_tools.msgdefs import find_definition
from gr2_tools.qos import INFINITE

HERE = Path(__file__).parent
PROFILE = HERE.parents[1] / "gr2_bringup" / "config" / "fastdds_large_images.xml"
START = 1_700_000_000_000_000_000
_VERB = """
import argparse, importlib, sys
module = importlib.import_module("gr2_tools." + sys.argv[1])
parser = argparse.ArgumentParser(prog="gr2 " + sys.argv[1])
module.add_arguments(parser)
sys.exit(module.run(parser.parse_args(sys.argv[2:])))
"""


def offer(reliable: bool = True, latched: bool = False) -> Qos:
    """What a publisher offers."""
    return Qos(
        QosHistory.UNKNOWN,
        0,
        QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        INFINITE,
        INFINITE,
        QosLiveliness.AUTOMATIC,
        INFINITE,
        False,
    )


def robot_state(k: int) -> bytes:
    """A serialized state that differs for each k."""
    return serialize_message(
        RobotState(
            gripper_opening=float(k),
            joint_names=[f"joint_{i}" for i in range(7)],
            joint_positions=[0.001 * (k + i) for i in range(7)],
            joint_velocities=[0.0] * 7,
        )
    )


def write_bag(path: Path, count: int = 300, chunk_bytes: int = 4096, compression: str = "zstd") -> list[bytes]:
    """A bag of ``count`` robot states at 100 Hz, a latched instruction at the start and a scene truth a second."""
    writer = BagWriter(path, chunk_bytes=chunk_bytes, compression=compression)
    text = writer.add_topic("/instruction", find_definition("std_msgs/msg/String"), [offer(latched=True)])
    state = writer.add_topic("/robot_state", find_definition("gr2_msgs/msg/RobotState"), [offer()])
    truth = writer.add_topic("/sim/truth", find_definition("gr2_msgs/msg/SceneTruth"), [offer(), offer(False)])
    writer.write(text, START, serialize_message(String(data="push the red block")))
    states = []
    for k in range(count):
        time_ns = START + k * 10_000_000
        states.append(robot_state(k))
        writer.write(state, time_ns, states[-1], time_ns - 1_000_000)
        if k % 100 == 0:
            message = SceneTruth(scene="table", names=["cube"], poses=[Pose()], episode=k)
            writer.write(truth, time_ns, serialize_message(message))
    writer.close()
    return states


@pytest.fixture(name="bag")
def _bag(tmp_path: Path) -> Path:
    path = tmp_path / "bag"
    write_bag(path)
    return path


@pytest.fixture(name="offer")
def _offer() -> Callable[..., Qos]:
    return offer


@pytest.fixture(name="write_bag")
def _write_bag() -> Callable[..., list[bytes]]:
    return write_bag


@pytest.fixture(name="start")
def _start() -> int:
    return START


class Processes:
    """Starts processes in one DDS domain, and ends what is left of them."""

    def __init__(self, folder: Path, domain: int) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []
        self.environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_PYTHON_CHECK_FIELDS": "1",
            "ROS_LOG_DIR": str(folder / "log"),
            "FASTRTPS_DEFAULT_PROFILES_FILE": str(PROFILE),
        }

    def start(self, *command: str, **keywords: object) -> subprocess.Popen[str]:
        """Any command, its output in pipes."""
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **keywords,  # type: ignore[call-overload]
        )
        self._started.append(process)
        return process

    def listen(self, *topics: str) -> subprocess.Popen[str]:
        """A listener to topics (NAME=TYPE[,latched]) that has subscribed."""
        ready = self.folder / f"ready{len(self._started)}"
        listener = self.script("listener.py", str(ready), *topics)
        deadline = time.monotonic() + 10
        while not ready.exists():
            assert time.monotonic() < deadline, listener.communicate(timeout=1)
            time.sleep(0.02)
        return listener

    def heard(self, listener: subprocess.Popen[str]) -> dict[str, list[tuple[int, int]]]:
        """Ends a listener: by topic, checksum and receive time [ns] of each message."""
        time.sleep(0.3)
        code, out, _ = self.stop(listener, signal.SIGTERM)
        assert code == 0
        return json.loads(out.strip().splitlines()[-1])

    def verb(self, *arguments: str, **keywords: object) -> subprocess.Popen[str]:
        """A verb of the gr2 command."""
        return self.start(sys.executable, "-c", _VERB, *arguments, **keywords)

    def script(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """A helper script beside the tests."""
        return self.start(sys.executable, str(HERE / name), *arguments)

    def finish(self, process: subprocess.Popen[str], timeout: float = 60.0) -> tuple[int, str, str]:
        """Waits for the end: exit code, stdout, stderr. No traceback may ever reach a user."""
        out, err = process.communicate(timeout=timeout)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def stop(self, process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[int, str, str]:
        """Sends a signal and waits."""
        process.send_signal(number)
        return self.finish(process)

    def end(self) -> None:
        """Kills what still runs."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Processes in a DDS domain that no other test uses at the same time."""
    with domain_id() as domain:
        group = Processes(tmp_path, domain)
        yield group
        group.end()
