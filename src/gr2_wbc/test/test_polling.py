"""Subscriptions that are polled leave an executor asleep."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import rclpy
from domain_coordinator import domain_id
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from std_msgs.msg import String

from gr2_wbc.polling import Polled, take


@pytest.fixture
def context() -> Iterator[Context]:
    made = Context()
    with domain_id() as domain:
        rclpy.init(context=made, domain_id=domain)
        yield made
        rclpy.try_shutdown(context=made)


def test_messages_wait_for_whoever_asks_and_wake_no_executor(context: Context) -> None:
    node = rclpy.create_node("polling", context=context)
    sender = node.create_publisher(String, "/polled", QoSProfile(depth=10))
    heard = Polled().subscribe(node, String, "/polled", print, QoSProfile(depth=10))
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    deadline = time.monotonic() + 10.0
    while not sender.get_subscription_count():
        assert time.monotonic() < deadline, "not connected"
        executor.spin_once(timeout_sec=0.01)
    for number in range(3):
        sender.publish(String(data=str(number)))
    time.sleep(0.2)
    worked, begun = time.thread_time(), time.monotonic()
    executor.spin_once(timeout_sec=1.0)
    share = (time.thread_time() - worked) / (time.monotonic() - begun)
    assert share < 0.5, f"the executor was busy for {share:.0%} of the time, though it has nothing to do"
    assert [message.data for message, _ in take(heard, 2)] == ["0", "1"]
    assert [message.data for message, _ in take(heard, 9)] == ["2"]
    node.destroy_node()
