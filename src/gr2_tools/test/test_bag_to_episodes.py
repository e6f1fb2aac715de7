"""Recordings to demonstrations and back: what the policy saw, exactly; what does not fit is said, or rejected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gr2_msgs.msg import RobotState
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, String

from gr2_policy import conversions
from gr2_policy.data.episode import Episode
from gr2_policy.runtime.observation_buffer import BufferConfig, ObservationBuffer
from gr2_tools.bag_reader import BagReader
from gr2_tools.bag_to_episodes import Alignment, convert
from gr2_tools.bag_writer import BagWriter
from gr2_tools.episode_to_bag import _image, _state, write_bag
from gr2_tools.errors import BagError
from gr2_tools.msgdefs import find_definition

NAMES = tuple(f"joint_{i + 1}" for i in range(7))
HEAD, WRIST = "/head_camera/image_raw", "/wrist_camera/image_raw"


class Bag:
    """A recording made by hand; stamps and log times may differ."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = BagWriter(path)
        kinds = {
            HEAD: "sensor_msgs/msg/Image",
            WRIST: "sensor_msgs/msg/Image",
            "/robot_state": "gr2_msgs/msg/RobotState",
            "/gripper_command": "std_msgs/msg/Float64",
            "/instruction": "std_msgs/msg/String",
        }
        self._topics = {name: self._writer.add_topic(name, find_definition(kind)) for name, kind in kinds.items()}
        self._random = np.random.default_rng(0)

    def put(self, topic: str, at: float, message: object) -> None:
        self._writer.write(self._topics[topic], round(at * 1e9), serialize_message(message))

    def say(self, at: float, text: str) -> None:
        self.put("/instruction", at, String(data=text))

    def picture(self, topic: str, stamp: float, delay: float = 0.0) -> None:
        pixels = self._random.integers(0, 256, (16, 24, 3), dtype=np.uint8)
        self.put(topic, stamp + delay, _image(pixels, stamp, ""))

    def state(self, stamp: float) -> None:
        pose = np.array([0.4 + 0.01 * stamp, 0.0, 0.3, 0.0, 1.0, 0.0, 0.0, 0.2])
        self.put("/robot_state", stamp, _state(pose, np.full(7, stamp), NAMES, stamp))

    def close(self) -> Path:
        return self._writer.close()


def _record(path: Path, head: np.ndarray, wrist: np.ndarray, states: np.ndarray, grip_at: float = 1.04) -> Path:
    bag = Bag(path)
    events: list[tuple[float, str]] = [(t, HEAD) for t in head] + [(t, WRIST) for t in wrist]
    events += [(t, "/robot_state") for t in states] + [(grip_at, "/gripper_command"), (0.0, "/instruction")]
    for at, topic in sorted(events):
        if topic in (HEAD, WRIST):
            bag.picture(topic, at)
        elif topic == "/robot_state":
            bag.state(at)
        elif topic == "/instruction":
            bag.say(at, "Lift the mug.")
        else:
            bag.put(topic, at, Float64(data=1.0))
    return bag.close()


TIMES = 0.1 + 0.1 * np.arange(21)
FINE = 0.05 + 0.02 * np.arange(110)


def test_an_episode_holds_what_the_running_policy_saw(tmp_path: Path) -> None:
    path = _record(tmp_path / "bag", TIMES, TIMES + 0.004, FINE)
    result = convert(path)
    assert (result.fps, result.reports, result.rejected, len(result.episodes)) == (10, [], 0, 1)
    episode = result.episodes[0]
    episode.check()
    buffer, seen = ObservationBuffer(BufferConfig()), []
    with BagReader(path) as bag:
        for item in bag.messages([HEAD, WRIST, "/robot_state"]):
            if item.topic == "/robot_state":
                buffer.add_state(conversions.robot_state(item.message()))
            else:
                camera = "head" if item.topic == HEAD else "wrist"
                buffer.add_image(camera, *conversions.image(item.message(), None))
            seen += list(buffer.take("lift the mug"))
    assert len(seen) == len(episode) + 1  # the last frame only tells where the arm went
    for frame, observation in enumerate(seen[:-1]):
        for view in ("head", "wrist"):
            np.testing.assert_array_equal(episode.images[view][frame], observation.images[view])
        np.testing.assert_array_equal(episode.states[frame, :3], observation.tool_position)
        np.testing.assert_array_equal(episode.joints[frame], observation.joint_positions)
        assert episode.stamps[frame] == observation.stamp
        np.testing.assert_array_equal(episode.actions[frame, :3], seen[frame + 1].tool_position)
    np.testing.assert_array_equal(episode.actions[:, 7], episode.stamps + 0.1 > 1.04)


def test_a_missing_frame_is_reported_and_a_long_gap_rejected(tmp_path: Path) -> None:
    one = convert(_record(tmp_path / "one", np.delete(TIMES, 9), np.delete(TIMES, 9), FINE))
    assert len(one.episodes) == 1
    assert any("1 of 19 steps are not 100 ms long" in report for report in one.reports)
    two = convert(_record(tmp_path / "two", np.delete(TIMES, [9, 10]), TIMES, FINE))
    assert (len(two.episodes), two.rejected) == (0, 1)
    assert any("rejected: a gap of 300 ms, 3.0 periods" in report for report in two.reports)


def test_skew_is_reported_and_rejected(tmp_path: Path) -> None:
    wrist = TIMES.copy()
    wrist[4] += 0.045
    one = convert(_record(tmp_path / "one", TIMES, wrist, FINE))
    assert any("1 of 21 frames are too far from 'wrist' (up to 45 ms" in report for report in one.reports)
    assert len(one.episodes[0]) == 19
    two = convert(_record(tmp_path / "two", TIMES, TIMES + 0.045, FINE))
    assert two.rejected == 1
    three = convert(_record(tmp_path / "three", TIMES, TIMES, FINE[::20]))
    assert any("too far from 'state'" in report for report in three.reports)
    assert three.rejected == 1


def test_each_instruction_is_an_episode(tmp_path: Path) -> None:
    bag = Bag(tmp_path / "bag")
    for number in range(60):
        at = 0.1 * number
        if number in (5, 30):
            bag.say(at, "open the drawer" if number == 5 else "close the drawer")
        if number == 50:
            bag.say(at, "")
        bag.state(at + 0.001)
        bag.picture(WRIST, at + 0.001)
        bag.picture(HEAD, at + 0.001)
    result = convert(bag.close())
    assert [(e.instruction, len(e)) for e in result.episodes] == [("open the drawer", 24), ("close the drawer", 19)]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    bag = BagWriter(tmp_path / "bag")
    bag.add_topic("/other", find_definition("std_msgs/msg/String"))
    path = bag.close()
    with pytest.raises(
        BagError, match=r"no /instruction, /robot_state, /head_camera/image_raw, /wrist_camera/image_raw"
    ):
        convert(path)


def test_garbage_is_left_out_and_said(tmp_path: Path) -> None:
    bag = Bag(tmp_path / "bag")
    bag.say(0.0, "lift the mug")
    for number in range(30):
        at = 0.1 * number + 0.01
        bag.state(at)
        bag.picture(WRIST, at)
        bag.picture(HEAD, at)
    bag.put(HEAD, 2.0, Image(height=4, width=4, encoding="16UC1", step=8, data=bytes(32)))
    broken = RobotState()
    broken.tool_pose.position.x = float("nan")
    bag.put("/robot_state", 2.0, broken)
    result = convert(bag.close())
    assert len(result.episodes) == 1
    assert any("16UC1" in report for report in result.reports)
    assert any("not finite" in report for report in result.reports)


def test_there_and_back(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    states = np.column_stack([random.normal(size=(15, 3)), np.tile([0.0, 1.0, 0.0, 0.0], (15, 1)), np.zeros(15)])
    actions = np.vstack([states[1:], states[-1:]])
    actions[7:, 7] = 1.0
    chunks = np.repeat(actions[:, None], 4, axis=1)
    episode = Episode(
        instruction="lift the mug",
        task="",
        seed=-1,
        stamps=5.0 + 0.1 * np.arange(15),
        images={v: random.integers(0, 256, (15, 8, 8, 3), dtype=np.uint8) for v in ("head", "wrist")},
        states=states,
        actions=actions,
        joints=random.normal(size=(15, 7)),
        chunks=chunks,
    )
    path = write_bag(tmp_path / "bag", episode, NAMES, 0.1)
    again = convert(path, Alignment()).episodes[0]
    for name in ("states", "joints", "chunks", "actions"):
        np.testing.assert_allclose(getattr(again, name), getattr(episode, name), atol=1e-6, err_msg=name)
    np.testing.assert_allclose(again.stamps, episode.stamps, atol=1e-9)
    np.testing.assert_array_equal(again.images["wrist"], episode.images["wrist"])
