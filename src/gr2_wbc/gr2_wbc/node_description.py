"""The robot's URDF from a topic, as robot_state_publisher sends it."""

from __future__ import annotations

import time

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from gr2_wbc.config import ConfigError

PATIENCE = 15.0  # [s]


def receive_description(node: Node, topic: str, patience: float = PATIENCE) -> str:
    """Wait for the description on a latched topic.

    Raises:
        ConfigError: none has come in time.
    """
    profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    received: list[str] = []

    def take(message: String) -> None:
        received.append(message.data)

    subscription = node.create_subscription(String, topic, take, profile)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    deadline = time.monotonic() + patience
    while not received and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    executor.remove_node(node)
    node.destroy_subscription(subscription)
    if not received:
        raise ConfigError(
            f"robot_description_topic: nothing came on {topic} in {patience:.0f} s; is robot_state_publisher running?"
        )
    return received[-1]
