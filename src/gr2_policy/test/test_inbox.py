"""Messages are handled in turns; an executor sees to the rest of the node."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import pytest
import rclpy
from builtin_interfaces.msg import Time
from domain_coordinator import domain_id
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String
from std_srvs.srv import Trigger

from gr2_policy.inbox import Inbox

RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


@pytest.fixture
def context() -> Iterator[Context]:
    made = Context()
    with domain_id() as domain:
        rclpy.init(context=made, domain_id=domain)
        yield made
        rclpy.try_shutdown(context=made)


@pytest.fixture
def node(context: Context) -> Iterator[Node]:
    simulated = Parameter("use_sim_time", value=True)
    made = rclpy.create_node("reader", context=context, parameter_overrides=[simulated])
    yield made
    made.destroy_node()


def _until(condition: Callable[[], bool], what: str, act: Callable[[], object] = lambda: None) -> None:
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline, what
        act()
        time.sleep(0.01)


def test_topics_in_turn_and_each_oldest_first(node: Node) -> None:
    inbox = Inbox(node)
    heard: list[str] = []
    made = [inbox.subscribe(String, topic, lambda m, _: heard.append(m.data), RELIABLE, 3) for topic in ("/a", "/b")]
    first, second = (node.create_publisher(String, topic, RELIABLE) for topic in ("/a", "/b"))
    _until(lambda: bool(first.get_subscription_count() and second.get_subscription_count()), "not connected")
    for number in range(4):
        second.publish(String(data=f"b{number}"))
        first.publish(String(data=f"a{number}"))
    time.sleep(0.2)
    assert heard == []
    inbox.take()
    assert heard == ["a0", "a1", "a2", "b0", "b1", "b2"]
    inbox.take()
    assert heard[6:] == ["a3", "b3"]
    inbox.unsubscribe(made[0])
    first.publish(String(data="nobody hears"))
    time.sleep(0.2)
    inbox.take()
    assert len(heard) == 8


def test_a_handler_may_end_its_own_subscription(node: Node) -> None:
    inbox = Inbox(node)
    heard: list[str] = []

    def once(message: String, info: dict[str, int]) -> None:
        assert info["source_timestamp"] > 0
        heard.append(message.data)
        inbox.unsubscribe(subscription)

    subscription = inbox.subscribe(String, "/a", once, RELIABLE)
    sender = node.create_publisher(String, "/a", RELIABLE)
    _until(lambda: sender.get_subscription_count() == 1, "not connected")
    sender.publish(String(data="one"))
    sender.publish(String(data="two"))
    _until(lambda: bool(heard), "nothing came", inbox.take)
    inbox.take()
    assert heard == ["one"]


def test_simulation_time_is_read_too(node: Node) -> None:
    inbox = Inbox(node)
    ticks = node.create_publisher(Clock, "/clock", 1)
    _until(lambda: ticks.get_subscription_count() == 1, "not connected")
    ticks.publish(Clock(clock=Time(sec=7)))
    _until(lambda: node.get_clock().now().nanoseconds == 7_000_000_000, "the clock stands still", inbox.take)


def test_running_serves_messages_services_and_warnings_until_stopped(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    inbox = Inbox(node)
    heard: list[str] = []
    inbox.subscribe(String, "/a", lambda message, _: heard.append(message.data), RELIABLE)
    node.create_service(Trigger, "/ask", lambda _, answer: answer)
    unfit = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    answers, warnings = [], []
    ticks: list[float] = []
    inbox.every(0.1, lambda: ticks.append(time.monotonic()))

    other = rclpy.create_node("other", context=node.context)
    sender = other.create_publisher(String, "/a", RELIABLE)
    other.create_publisher(String, "/a", unfit)
    client = other.create_client(Trigger, "/ask")
    aside = SingleThreadedExecutor(context=node.context)
    aside.add_node(other)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    deadline = time.monotonic() + 10.0
    asked = []

    def stopped() -> bool:
        assert time.monotonic() < deadline, (heard, answers, warnings)
        aside.spin_once(timeout_sec=0.0)
        if not asked and client.service_is_ready():
            asked.append(client.call_async(Trigger.Request()))
        answers.extend(future for future in asked if future.done())
        if sender.get_subscription_count() and not heard:
            sender.publish(String(data="hello"))
        if "incompatible QoS" in (text := capfd.readouterr().err):
            warnings.append(text)
        return bool(heard and answers and warnings and len(ticks) >= 3)

    inbox.run(executor, stopped)
    assert heard[0] == "hello"
    assert min(after - before for before, after in itertools.pairwise(ticks)) > 0.09
    other.destroy_node()
