"""Messages off the wire, undeserialised, ten times a second: no executor, no callback for a message every 5 ms.

The middleware keeps what has come since the last look, and only so many: a console that is slow loses messages, and
nobody who sends them notices. Arrival times are the middleware's own, so looking seldom does not blur latencies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray
from gr2_msgs.msg import RobotState, SceneTruth, Surprise, TaskOutcome, TrajectoryChunk, WbcStatus
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from gr2_wbc.polling import Polled


@dataclass(frozen=True)
class Topic:
    """A topic that the console looks at.

    Attributes:
        depth: how many messages wait for the next look at most.
        latched: also what was said before the console began.
        stamped: messages begin with a header.
    """

    name: str
    type: type
    depth: int = 4
    latched: bool = False
    stamped: bool = True


TOPICS = (
    Topic("/joint_states", JointState, 64),
    Topic("/robot_state", RobotState, 16),
    Topic("/wbc_status", WbcStatus, 8),
    Topic("/trajectory_chunk", TrajectoryChunk, 8),
    Topic("/joint_commands", JointTrajectory, 64),
    Topic("/head_camera/image_raw", Image),
    Topic("/wrist_camera/image_raw", Image),
    Topic("/imagination/head", Image),
    Topic("/imagination/wrist", Image),
    Topic("/imagination/surprise", Surprise, 16),
    Topic("/instruction", String, 8, latched=True, stamped=False),
    Topic("/sim/truth", SceneTruth, 2),
    Topic("/sim/outcome", TaskOutcome, 4),
    Topic("/diagnostics", DiagnosticArray, 32),
)


class Arrival(NamedTuple):
    """A message as it came: bytes (CDR), when it arrived and when it was sent [ns, system clock]."""

    topic: Topic
    data: bytes
    received: int
    sent: int

    @property
    def stamp(self) -> int:
        """Header stamp [ns], read from the bytes; 0 without a header."""
        return _stamp(self.data) if self.topic.stamped else 0

    def message(self) -> Any:
        """The message itself."""
        return deserialize_message(self.data, self.topic.type)


class Intake:
    """Subscriptions to :data:`TOPICS`, for one thread."""

    def __init__(self, node: Node) -> None:
        group = Polled()
        self._subscriptions = []
        for topic in TOPICS:
            for profile in _profiles(topic):
                self._subscriptions.append(
                    (topic, group.subscribe(node, topic.type, topic.name, _never, profile, raw=True))
                )
        self._seen: dict[str, int] = {}  # of latched topics: when the newest was sent

    def take(self) -> list[Arrival]:
        """What has come since the last call, in the order of arrival."""
        found = []
        for topic, subscription in self._subscriptions:
            with subscription.handle:
                while (entry := subscription.handle.take_message(subscription.msg_type, True)) is not None:
                    data, info = entry
                    arrival = Arrival(topic, data, int(info["received_timestamp"]), int(info["source_timestamp"] or 0))
                    if not topic.latched or self._first_time(arrival):
                        found.append(arrival)
        found.sort(key=lambda arrival: arrival.received)
        return found

    def _first_time(self, arrival: Arrival) -> bool:
        """A latched topic has two subscriptions: a latched one alone would miss volatile publishers."""
        if arrival.sent <= self._seen.get(arrival.topic.name, -1):
            return False
        self._seen[arrival.topic.name] = arrival.sent
        return True


def _profiles(topic: Topic) -> Iterator[QoSProfile]:
    # Best effort asks nothing of the sender, not even to wait for an acknowledgement.
    reliability = ReliabilityPolicy.RELIABLE if topic.latched else ReliabilityPolicy.BEST_EFFORT
    yield QoSProfile(depth=topic.depth, reliability=reliability)
    if topic.latched:
        yield QoSProfile(
            depth=topic.depth,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )


def _never(message: bytes) -> None:
    """Subscriptions want a callback; nobody calls it."""


def _stamp(data: bytes) -> int:
    """int32 sec, uint32 nanosec after the 4 bytes that begin each CDR message."""
    order = "little" if data[1] & 1 else "big"
    return int.from_bytes(data[4:8], order, signed=True) * 10**9 + int.from_bytes(data[8:12], order)  # type: ignore[arg-type]
