"""Joint states and commands as bytes: the same as rclpy's objects, and no bytes do harm."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="no ROS on this machine")

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from gr2_wbc.command import CommandRejected
from gr2_wbc.joint_input import BadJointState, JointStateReader
from gr2_wbc.serialized import CommandBytes, JointStateBytes

ANY = st.floats(allow_nan=True, allow_infinity=True)
# CDR strings end at the first zero byte.
NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
    | st.sampled_from([f"joint_{i}" for i in range(1, 8)])
    | st.just("robotiq_85_left_knuckle_joint"),
    max_size=9,
)


def outcome(read, *arguments):
    """What a reader makes of a message, as something that can be compared."""
    try:
        reading = read(*arguments)
    except BadJointState as bad:
        return str(bad)
    reading = reading[1] if isinstance(reading, tuple) else reading
    shown = [None if values is None else values.tolist() for values in (reading.positions, reading.velocities)]
    return [*shown, reading.gripper]


def joint_state(names, positions, velocities, sec=3, nanosec=5, frame=""):
    message = JointState(name=names, position=positions, velocity=velocities, effort=[0.0] * len(names))
    message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id = sec, nanosec, frame
    return message


class TestJointStates:
    @given(NAMES, st.lists(ANY, max_size=9), st.lists(ANY, max_size=9), st.text("abc", max_size=5))
    @settings(max_examples=300, deadline=None)
    def test_bytes_say_what_the_message_says(self, robot, names, positions, velocities, frame):
        message = joint_state(names, positions, velocities, frame=frame)
        by_bytes, by_object = JointStateBytes(JointStateReader(robot)), JointStateReader(robot)
        data = serialize_message(message)
        for _ in range(2):  # with a new layout and with a known one
            assert outcome(by_bytes.read, data) == outcome(
                by_object.read, message.name, message.position, message.velocity
            )

    def test_the_layout_follows_the_messages(self, robot):
        """Arm and gripper by turns, as two publishers send them, and names in another order."""
        reader = JointStateBytes(JointStateReader(robot))
        arm = list(robot.joint_names)
        values = np.arange(7.0)
        for _ in range(2):
            for names, order in ((arm, values), (arm[::-1], values[::-1])):
                stamp, reading = reader.read(serialize_message(joint_state(names, order.tolist(), order.tolist())))
                assert stamp == 3 + 5e-9
                assert np.array_equal(reading.positions, values)
                assert np.array_equal(reading.velocities, values)
            _, reading = reader.read(serialize_message(joint_state([robot.gripper.joint], [0.4], [])))
            assert reading.positions is None
            assert reading.gripper == pytest.approx(0.5)

    @given(st.binary(max_size=400))
    @settings(max_examples=300, deadline=None)
    def test_random_bytes_are_refused(self, robot, data):
        with pytest.raises(BadJointState):
            JointStateBytes(JointStateReader(robot)).read(data)

    @given(st.integers(0, 330), st.binary(min_size=1, max_size=4), st.booleans())
    @settings(max_examples=300, deadline=None)
    def test_damaged_bytes_give_finite_numbers_or_are_refused(self, robot, place, damage, cut):
        whole = serialize_message(joint_state(list(robot.joint_names), [0.1] * 7, [0.0] * 7))
        reader = JointStateBytes(JointStateReader(robot))
        reader.read(whole)
        data = whole[:place] if cut else whole[:place] + damage + whole[place + len(damage) :]
        try:
            stamp, reading = reader.read(data)
        except BadJointState:
            return
        assert math.isfinite(stamp)
        assert reading.positions is None or np.isfinite([reading.positions, reading.velocities]).all()

    def test_big_endian_bytes_are_read_too(self, robot):
        reader = JointStateBytes(JointStateReader(robot))
        with pytest.raises(BadJointState):
            reader.read(b"\x00\x00\x00\x00" + bytes(24))  # an empty message, big-endian


class TestCommands:
    def test_bytes_are_the_trajectory(self, rig):
        writer = CommandBytes(rig.robot)
        rig.send(rig.line((0.0, 0.1, 0.0)))
        for _ in range(100):
            command = rig.step()
            message = deserialize_message(writer.write(command), JointTrajectory)
            times, positions, velocities = command.trajectory()
            assert list(message.joint_names) == list(rig.robot.joint_names)
            assert message.header.frame_id == rig.robot.base_frame
            stamp = message.header.stamp
            assert stamp.sec + 1e-9 * stamp.nanosec == pytest.approx(command.stamp, abs=1e-9)
            shown = [point.time_from_start.sec + 1e-9 * point.time_from_start.nanosec for point in message.points]
            assert np.allclose(shown, times, atol=1e-9)
            assert np.array_equal([point.positions for point in message.points], positions)
            assert np.array_equal([point.velocities for point in message.points], velocities)

    def test_what_is_not_to_be_sent_is_not_written(self, rig):
        rig.controller.e_stop("test")
        with pytest.raises(CommandRejected):
            CommandBytes(rig.robot).write(rig.step())
