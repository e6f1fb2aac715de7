"""The two messages of every cycle as the bytes that are on the wire (CDR), without objects in between.

Joint states come and commands go 200 times a second and more. rclpy's conversion to and from message objects costs
more than the controller does (47 us to take a joint state, 42 us to build and publish a command, against 6 and 12 us
for their bytes; measured). Both layouts are fixed as long as names and counts are, so they are worked out once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from gr2_wbc.command import Command
from gr2_wbc.joint_input import BadJointState, JointReading, JointStateReader
from gr2_wbc.robot import Robot

_LITTLE_ENDIAN = b"\x00\x01\x00\x00"  # encapsulation header of plain CDR; alignments count from its end
_ORIGIN = len(_LITTLE_ENDIAN)
_STAMP = struct.Struct("<iI")
_COUNT = struct.Struct("<I")
_BODY = _ORIGIN + _STAMP.size  # where the header's frame_id begins


class _Cursor:
    """Walks through CDR bytes. Everything raises BadJointState past their end."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self.offset = offset

    def count(self) -> int:
        """An unsigned 32-bit number."""
        self._align(4)
        self._require(4)
        (value,) = _COUNT.unpack_from(self._data, self.offset)
        self.offset += 4
        return int(value)

    def string(self) -> str:
        """A string; its length counts the closing zero."""
        length = self.count()
        self._require(length)
        begin, self.offset = self.offset, self.offset + length
        return self._data[begin : begin + max(length - 1, 0)].decode("utf-8", errors="replace")

    def strings(self) -> tuple[str, ...]:
        """A sequence of strings."""
        count = self.count()
        self._require(4 * count)
        return tuple(self.string() for _ in range(count))

    def doubles(self) -> tuple[int, int]:
        """How many numbers a sequence of doubles has, and where they begin."""
        count = self.count()
        if count:
            self._align(8)
        self._require(8 * count)
        begin, self.offset = self.offset, self.offset + 8 * count
        return count, begin

    def _align(self, size: int) -> None:
        self.offset += -(self.offset - _ORIGIN) % size

    def _require(self, size: int) -> None:
        if self.offset + size > len(self._data):
            raise BadJointState(f"its {len(self._data)} bytes end before its contents do")


@dataclass(frozen=True)
class _Layout:
    """Where the numbers of a joint state are, and the bytes that say so."""

    length: int
    names: tuple[str, ...]
    head: bytes
    positions: tuple[int, int]
    between: bytes
    velocities: tuple[int, int]

    @staticmethod
    def of(data: bytes) -> _Layout:
        """Work it out.

        Raises:
            BadJointState: the bytes are too short for what they announce.
        """
        cursor = _Cursor(data, _BODY)
        cursor.string()
        names = cursor.strings()
        positions = cursor.doubles()
        after = cursor.offset
        velocities = cursor.doubles()
        return _Layout(len(data), names, data[_BODY : positions[1]], positions, data[after : velocities[1]], velocities)

    def fits(self, data: bytes) -> bool:
        """Whether other bytes have the same layout and names."""
        (count, begin), (_, speeds) = self.positions, self.velocities
        return (
            len(data) == self.length
            and data[_BODY:begin] == self.head
            and data[begin + 8 * count : speeds] == self.between
            and data[:_ORIGIN] == _LITTLE_ENDIAN
        )


class JointStateBytes:
    """Reads serialized sensor_msgs/JointState."""

    def __init__(self, reader: JointStateReader) -> None:
        self._reader = reader
        self._layout: _Layout | None = None

    def read(self, data: bytes) -> tuple[float, JointReading]:
        """Stamp [s] and contents of a message.

        Raises:
            BadJointState: the bytes are no such message, or the reader refuses its contents.
        """
        if len(data) < _BODY or data[:_ORIGIN] != _LITTLE_ENDIAN:
            return self._read_object(data)
        layout = self._layout
        if layout is None or not layout.fits(data):
            layout = self._layout = _Layout.of(data)
        seconds, nanoseconds = _STAMP.unpack_from(data, _ORIGIN)
        positions = np.frombuffer(data, "<f8", *layout.positions)
        velocities = np.frombuffer(data, "<f8", *layout.velocities)
        return seconds + 1e-9 * nanoseconds, self._reader.read(layout.names, positions, velocities)

    def _read_object(self, data: bytes) -> tuple[float, JointReading]:
        """Of another representation than little-endian CDR: rclpy knows them all."""
        try:
            message = deserialize_message(data, JointState)
        except RuntimeError as error:
            raise BadJointState(f"its {len(data)} bytes are no JointState: {error}") from error
        stamp = message.header.stamp
        return stamp.sec + 1e-9 * stamp.nanosec, self._reader.read(message.name, message.position, message.velocity)


class CommandBytes:
    """Writes the set point and braking tail of active commands as serialized trajectory_msgs/JointTrajectory."""

    def __init__(self, robot: Robot) -> None:
        points, still = 3, [0.0] * robot.dof
        message = JointTrajectory(joint_names=list(robot.joint_names))
        message.header.frame_id = robot.base_frame
        message.points = [JointTrajectoryPoint(positions=still, velocities=still) for _ in range(points)]
        self._buffer = bytearray(serialize_message(message))
        cursor = _Cursor(bytes(self._buffer), _BODY)
        cursor.string()
        cursor.strings()
        cursor.count()
        self._times: list[int] = []
        self._positions: list[np.ndarray] = []
        self._velocities: list[np.ndarray] = []
        for _ in range(points):
            for views in (self._positions, self._velocities):
                views.append(np.frombuffer(self._buffer, "<f8", *cursor.doubles()))
            cursor.doubles()  # accelerations
            cursor.doubles()  # effort
            self._times.append(cursor.offset + -(cursor.offset - _ORIGIN) % 4)
            cursor.count()
            cursor.count()

    def write(self, command: Command) -> bytes:
        """The message.

        Raises:
            CommandRejected: the command is not to be sent.
        """
        times, positions, velocities = command.trajectory()
        _STAMP.pack_into(self._buffer, _ORIGIN, *_whole_and_rest(max(command.stamp, 0.0)))
        for index, offset in enumerate(self._times):
            self._positions[index][:] = positions[index]
            self._velocities[index][:] = velocities[index]
            _STAMP.pack_into(self._buffer, offset, *_whole_and_rest(float(times[index])))
        return bytes(self._buffer)


def _whole_and_rest(seconds: float) -> tuple[int, int]:
    return divmod(round(seconds * 1e9), 1_000_000_000)
