"""The recorder beside publishers that come, differ and change; its queue and its warnings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rclpy
from domain_coordinator import domain_id
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosbags.interfaces import QosReliability
from std_msgs.msg import String

from gr2_tools import write_queue
from gr2_tools.bag_reader import BagReader
from gr2_tools.bag_writer import BagWriter
from gr2_tools.errors import BagError
from gr2_tools.msgdefs import find_definition
from gr2_tools.recorder import Recorder, RecordOptions, _count_lost, _Recorded
from gr2_tools.recorder_report import Reporter, Snapshot
from gr2_tools.session import check_domain
from gr2_tools.signals import StopFlag
from gr2_tools.write_queue import QueuedMessage, WriteQueue

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)


class Session:
    """A recorder in a thread, and a node to publish with."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self.folder = folder
        self.lines: list[str] = []
        self._stop = StopFlag()

    def record(self, *topics: str, **options: Any) -> None:
        """Begins, with a node of its own."""
        self.own = own = Node("recorder", context=self.node.context, start_parameter_services=False)
        settings = RecordOptions(self.folder / "run", topics=topics, status_period=0, **options)
        self.recorder = Recorder(own, settings, self.lines.append, self.lines.append)
        self._thread = threading.Thread(target=self.recorder.run, args=(self._stop,))
        self._thread.start()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until it holds."""
        deadline = time.monotonic() + 15
        while not condition():
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.02)

    def finish(self) -> BagReader:
        """Ends the recording and opens it."""
        time.sleep(0.3)
        self._stop.set()
        self._thread.join()
        return BagReader(self.recorder.finish())


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    with domain_id() as number:
        context = Context()
        rclpy.init(args=[], context=context, domain_id=number)
        made = Session(Node("publisher", context=context, start_parameter_services=False), tmp_path)
        yield made
        made._stop.set()
        made._thread.join()
        made.own.destroy_node()
        made.node.destroy_node()
        context.shutdown()


def test_latched_and_volatile_publishers_are_both_recorded_once(session: Session) -> None:
    """`ros2 topic pub` is volatile, our own publishers are latched: each instruction counts, and counts once."""
    latched = session.node.create_publisher(String, "/instruction", LATCHED)
    latched.publish(String(data="before"))
    session.record("/instruction")
    session.wait(lambda: latched.get_subscription_count() == 2)
    time.sleep(0.5)  # to have the kept one delivered: the publisher keeps but one
    latched.publish(String(data="latched"))
    volatile = session.node.create_publisher(String, "/instruction", 10)
    session.wait(lambda: volatile.get_subscription_count() == 1)
    volatile.publish(String(data="volatile"))
    with session.finish() as bag:
        assert [m.message().data for m in bag.messages()] == ["before", "latched", "volatile"]
        assert len(bag.topics[0].offers) == 2


def test_adapts_to_a_best_effort_publisher_that_joins(session: Session) -> None:
    reliable = session.node.create_publisher(String, "/x", 50)
    session.record("/x")
    session.wait(lambda: reliable.get_subscription_count() == 1)
    reliable.publish(String(data="reliable"))
    late = session.node.create_publisher(String, "/x", BEST_EFFORT)
    session.wait(lambda: late.get_subscription_count() == 1)
    late.publish(String(data="best effort"))
    session.wait(lambda: reliable.get_subscription_count() == 1)
    reliable.publish(String(data="reliable again"))
    with session.finish() as bag:
        assert [m.message().data for m in bag.messages()] == ["reliable", "best effort", "reliable again"]
        assert {o.reliability for o in bag.topics[0].offers} == {QosReliability.RELIABLE, QosReliability.BEST_EFFORT}


def test_joins_late_topics_and_leaves_out_hidden_and_excluded_ones(session: Session) -> None:
    session.record(record_all=True, exclude=["/rosout", "/no*"])
    time.sleep(0.3)
    hidden = session.node.create_publisher(String, "/_hidden", 10)
    late = session.node.create_publisher(String, "/late", 10)
    session.node.create_publisher(String, "/not", 10)
    session.wait(lambda: late.get_subscription_count() == 1)
    late.publish(String(data="here"))
    assert hidden.get_subscription_count() == 0
    with session.finish() as bag:
        counts = {t.name: t.count for t in bag.topics}
    assert counts.pop("/late") == 1
    assert counts.keys() <= {"/diagnostics", "/parameter_events"}


def test_without_clock_sim_time_records_nothing_and_says_so(session: Session) -> None:
    publisher = session.node.create_publisher(String, "/x", 10)
    session.record("/x", use_sim_time=True)
    session.wait(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(String(data="a"))
    with session.finish() as bag:
        assert bag.count == 0
    assert any("1 messages are not recorded" in line and "/clock" in line for line in session.lines)


def test_lost_messages_are_counted() -> None:
    recorded = _Recorded("/x", "std_msgs/msg/String", 1, [], SimpleNamespace())  # type: ignore[arg-type]
    for number in (5, 6, 9, 10):
        _count_lost(recorded, number)
    assert recorded.lost == 2
    _count_lost(recorded, 1)  # the publisher was started again
    assert recorded.lost == 2
    recorded.publishers = 2
    _count_lost(recorded, 50)
    assert recorded.lost == 2


def test_slow_disk_drops_and_counts_but_never_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = BagWriter(tmp_path / "bag")
    release = threading.Event()
    write = writer.write
    monkeypatch.setattr(writer, "write", lambda *a: (release.wait(20), write(*a)))
    queue = WriteQueue(writer, max_bytes=10_000)
    topic = queue.add_topic("/x", find_definition("std_msgs/msg/String"), ())
    data = serialize_message(String(data="x" * 979))
    begin = time.monotonic()
    taken = [queue.put(QueuedMessage(topic, k, k, data)) for k in range(50)]
    assert time.monotonic() - begin < 1.0
    kept = sum(taken)
    assert kept == 10_000 // len(data)
    assert queue.counters.dropped == {topic: 50 - kept}
    release.set()
    with BagReader(queue.close()) as bag:
        assert [m.log_time for m in bag.messages()] == list(range(kept))


def test_is_flushed_every_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_queue, "_FLUSH_PERIOD", 0.05)
    queue = WriteQueue(BagWriter(tmp_path / "bag"))
    topic = queue.add_topic("/x", find_definition("std_msgs/msg/String"), ())
    queue.put(QueuedMessage(topic, 7, 7, serialize_message(String(data="x"))))
    deadline = time.monotonic() + 5
    times: list[int] = []
    while not times and time.monotonic() < deadline:
        time.sleep(0.05)
        with BagReader(tmp_path / "bag.partial") as bag:
            times = [m.log_time for m in bag.messages()]
    assert times == [7]
    queue.close()


def _reporter(warnings: list[str], published: list[Any]) -> Reporter:
    clock = SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: _stamp()))
    node = SimpleNamespace(
        create_publisher=lambda *_: SimpleNamespace(publish=published.append),
        get_name=lambda: "recorder",
        get_clock=lambda: clock,
    )
    return Reporter(node, 0, lambda _: None, warnings.append)  # type: ignore[arg-type]


def _stamp() -> Any:
    from builtin_interfaces.msg import Time

    return Time()


def test_low_space_is_told_once_and_early() -> None:
    warnings: list[str] = []
    published: list[Any] = []
    reporter = _reporter(warnings, published)
    now = time.monotonic()
    for k, free in enumerate((50_000_000_000, 900_000_000, 800_000_000)):
        snapshot = Snapshot(Path("run.partial"), 3, 100, 5_000_000, 0, {}, {}, free, "")
        reporter.tick(now + 2 * k, lambda s=snapshot: s)
    assert len(warnings) == 1
    assert "only 900 MB are free at run.partial" in warnings[0]
    assert [a.status[0].level for a in published] == [b"\x00", b"\x01", b"\x01"]
    error = Snapshot(Path("run.partial"), 3, 100, 5_000_000, 0, {"/x": 2}, {}, 1, "disk full")
    reporter.last(error)
    assert published[-1].status[0].level == b"\x02"
    assert any("/x 2" in w for w in warnings)


@pytest.mark.parametrize("value", ["abc", "-1", "500", "1.5"])
def test_domains_that_would_crash_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", value)
    with pytest.raises(BagError, match=value):
        check_domain()
