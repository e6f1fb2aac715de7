"""Taking live topics into a bag, without deserialising them and without ever waiting for the disk.

No executor is involved: subscriptions are emptied fifty times a second, and the middleware's own receive time is
what is logged. That costs a third of the processor time of callbacks, and the poll period adds nothing to the times in
the bag.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from rclpy.subscription import Subscription
from rosbags.interfaces import Qos
from rosgraph_msgs.msg import Clock

from gr2_tools import qos
from gr2_tools.bag_writer import BagWriter
from gr2_tools.errors import BagError, UnknownType
from gr2_tools.msgdefs import find_definition, local_hash, message_class, type_hash_of
from gr2_tools.recorder_report import Reporter, Snapshot
from gr2_tools.signals import StopFlag
from gr2_tools.topics import STACK_TOPICS
from gr2_tools.write_queue import QueuedMessage, WriteQueue

POLL = 0.02  # [s]
DISCOVERY_PERIOD = 0.5  # [s]
_EAGER_PERIOD, _EAGER_TIME = 0.1, 3.0  # [s] looks around more often in the beginning
CLOCK_TOPIC = "/clock"
_HOLD_BYTES = 64_000_000
_DEEP = 1000
_DEEP_LARGE = 100
_LARGE = frozenset(
    f"sensor_msgs/msg/{name}" for name in ("Image", "CompressedImage", "PointCloud2")
)  # kept less deep: a stalled recorder must not eat the memory


@dataclass
class RecordOptions:
    """What to record and where.

    Attributes:
        output: bag folder to create; None: ``gr2_DATE-TIME`` in the working directory.
        topics: names, with shell wildcards; none: the stack's topics.
        record_all: every visible topic instead.
        exclude: names that are not recorded, with shell wildcards.
        duration: stop after this time [s]; 0: until a signal.
        use_sim_time: log times are ROS time (from /clock) instead of the system clock's.
        compression: ``zstd`` or ``none``.
        status_period: seconds between status lines; 0: only one at the end.
        queue_mb: messages are dropped while more than this waits for the disk [MB].
    """

    output: Path | None = None
    topics: Sequence[str] = ()
    record_all: bool = False
    exclude: Sequence[str] = ()
    duration: float = 0.0
    use_sim_time: bool = False
    compression: str = "zstd"
    status_period: float = 5.0
    queue_mb: float = 128.0

    def check(self) -> None:
        """Raises BagError for values that make no sense."""
        if self.record_all and self.topics:
            raise BagError("either all topics or a list of topics, not both")
        if self.compression not in ("zstd", "none"):
            raise BagError(f"compression must be zstd or none, not {self.compression!r}")
        for name in ("duration", "status_period"):
            if not getattr(self, name) >= 0:
                raise BagError(f"{name} must not be negative, but is {getattr(self, name):g}")
        if not self.queue_mb >= 1:
            raise BagError(f"queue_mb must be at least 1, but is {self.queue_mb:g}")

    def folder(self) -> Path:
        """The bag to create."""
        return self.output or Path(time.strftime("gr2_%Y_%m_%d-%H_%M_%S"))


@dataclass
class _Recorded:
    """A topic being recorded."""

    name: str
    type_name: str
    topic_id: int
    offers: list[Qos]
    live: Subscription
    history: Subscription | None = None  # catches what latched publishers have kept
    seen: OrderedDict[tuple[int, int], None] = field(default_factory=OrderedDict)
    publishers: int = 1
    sequence: int = 0
    lost: int = 0


class Recorder:
    """Records until told to stop. Create, :meth:`run`, then :meth:`finish`.

    Args:
        node: subscribes, and publishes /diagnostics.
        say: prints a line for the user.
        warn: prints a line that needs attention.

    Raises:
        BagError: the bag cannot be created.
    """

    def __init__(
        self,
        node: Node,
        options: RecordOptions,
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._node = node
        self._options = options
        self._say = say
        self._warn = warn
        self._warned: set[str] = set()
        self._recorded: dict[str, _Recorded] = {}
        self._sim_now = 0
        self._held: list[tuple[_Recorded, bytes]] = []  # came before the first /clock
        self._held_bytes = 0
        self._before_clock = 0
        self._clock: Subscription | None = None
        if options.use_sim_time:
            self._clock = node.create_subscription(
                Clock, CLOCK_TOPIC, _never, qos.subscription_profile([], _DEEP), raw=True
            )
        self._patterns = [_resolved(node, p) for p in options.topics or STACK_TOPICS]
        self._exclude = [_resolved(node, p) for p in options.exclude]
        writer = BagWriter(
            options.folder(),
            compression=options.compression,
            ros_distro=os.environ.get("ROS_DISTRO", "jazzy"),
        )
        self._queue = WriteQueue(writer, round(options.queue_mb * 1e6))
        self._reporter = Reporter(node, options.status_period, say, warn)

    @property
    def topics(self) -> list[str]:
        """Names of the topics subscribed to."""
        return list(self._recorded)

    def run(self, stop: StopFlag) -> None:
        """Records until ``stop``, the end of the duration or a write error (raised by :meth:`finish`)."""
        self._say(f"recording to {self._queue.folder} (renamed when complete); Ctrl-C to finish")
        begin = time.monotonic()
        discover = begin
        while not stop.is_set() and self._queue.error is None:
            now = time.monotonic()
            if self._options.duration and now - begin >= self._options.duration:
                break
            if now >= discover:
                self._discover()
                discover = now + (_EAGER_PERIOD if now - begin < _EAGER_TIME else DISCOVERY_PERIOD)
            self._drain()
            self._reporter.tick(now, self._snapshot)
            time.sleep(POLL)
        self._drain()
        if self._sim_now:
            self._release_held()

    def finish(self) -> Path:
        """Completes the bag; returns its path.

        Raises:
            BagWriteError: writing failed; the text says what is readable.
        """
        try:
            path = self._queue.close()
        finally:
            self._reporter.last(self._snapshot())
        if self._held or self._before_clock:
            count = len(self._held) + self._before_clock
            self._warn(f"{count} messages are not recorded: they came before any /clock, as use_sim_time needs it")
        if not self._recorded:
            self._warn("no topic to record was found; is the stack running, in the same ROS_DOMAIN_ID?")
        return path

    def _wanted(self, name: str) -> bool:
        if any(fnmatchcase(name, pattern) for pattern in self._exclude):
            return False
        if self._options.record_all:
            return not any(part.startswith("_") for part in name.split("/"))
        return any(fnmatchcase(name, pattern) for pattern in self._patterns)

    def _discover(self) -> None:
        """Subscribes to new topics, and adapts to publishers that joined."""
        for name, types in self._node.get_topic_names_and_types():
            if not self._wanted(name):
                continue
            endpoints = self._node.get_publishers_info_by_topic(name)
            if not endpoints:
                continue
            type_name = self._recorded[name].type_name if name in self._recorded else types[0]
            for other in types:
                if other != type_name:
                    self._warn_once(f"{name} is published with several types: only {type_name} is recorded")
            endpoints = [e for e in endpoints if e.topic_type == type_name]
            if not self._same_definition(name, type_name, endpoints):
                continue
            offers = list(dict.fromkeys(qos.offered(e.qos_profile) for e in endpoints))
            if name in self._recorded:
                self._adapt(self._recorded[name], offers, len(endpoints))
            elif endpoints:
                self._subscribe(name, type_name, offers, len(endpoints))

    def _same_definition(self, name: str, type_name: str, endpoints: list) -> bool:  # type: ignore[type-arg]
        """Whether all publishers mean the definition installed here; the middleware does not check that."""
        try:
            here = local_hash(type_name)
        except UnknownType as error:
            self._warn_once(f"{name} is not recorded: its type {type_name} is unknown here ({error})")
            return False
        for endpoint in endpoints:
            there = type_hash_of(endpoint.topic_type_hash)
            if here and there and here != there:
                known = name in self._recorded
                self._warn_once(
                    f"{name} {'cannot be read from the bag in part' if known else 'is not recorded'}: node "
                    f"{endpoint.node_name} publishes another definition of {type_name} than the one installed here: "
                    "build both from the same sources"
                )
                return known
        return True

    def _subscribe(self, name: str, type_name: str, offers: list[Qos], publishers: int) -> None:
        try:
            definition = find_definition(type_name)
            cls = message_class(type_name)
        except UnknownType as error:
            self._warn_once(f"{name} is not recorded: its type {type_name} is unknown here ({error})")
            return
        topic_id = self._queue.add_topic(name, definition, tuple(offers))
        self._recorded[name] = recorded = _Recorded(
            name, type_name, topic_id, offers, self._live(cls, name, type_name, offers), publishers=publishers
        )
        self._catch_history(recorded)

    def _live(self, cls: type, name: str, type_name: str, offers: list[Qos]) -> Subscription:
        profile = qos.subscription_profile(offers, _depth(type_name))
        return self._node.create_subscription(cls, name, _never, profile, raw=True)

    def _catch_history(self, recorded: _Recorded) -> None:
        """Latched topics get a second subscription: a transient-local one would miss volatile publishers."""
        if recorded.history is None and qos.is_latched(recorded.offers):
            recorded.history = self._node.create_subscription(
                message_class(recorded.type_name),
                recorded.name,
                _never,
                qos.history_profile(_depth(recorded.type_name)),
                raw=True,
            )

    def _adapt(self, recorded: _Recorded, offers: list[Qos], publishers: int) -> None:
        recorded.publishers = publishers
        new = [o for o in offers if o not in recorded.offers]
        if not new:
            return
        depth = _depth(recorded.type_name)
        before = qos.subscription_profile(recorded.offers, depth)
        recorded.offers.extend(new)
        self._queue.add_offers(recorded.topic_id, tuple(new))
        if qos.subscription_profile(recorded.offers, depth) != before:
            self._take(recorded, recorded.live, [])
            self._node.destroy_subscription(recorded.live)
            recorded.live = self._live(
                message_class(recorded.type_name), recorded.name, recorded.type_name, recorded.offers
            )
        self._catch_history(recorded)

    def _drain(self) -> None:
        """Takes everything that has arrived, in the order of arrival, to the writer."""
        batch: list[tuple[int, int, _Recorded | None, bytes]] = []
        if self._clock is not None:
            for data, info in _take_all(self._clock):
                batch.append((info["received_timestamp"], 0, None, data))
        for recorded in self._recorded.values():
            self._take(recorded, recorded.live, batch)
            if recorded.history is not None:
                self._take(recorded, recorded.history, batch)
        batch.sort(key=lambda entry: entry[0])
        for received, published, source, data in batch:
            if source is None:
                self._sim_now = _clock_ns(data) or self._sim_now
            elif self._clock is None:
                self._queue.put(QueuedMessage(source.topic_id, received, published, data))
            else:
                self._put_at_sim_time(source, data)

    def _put_at_sim_time(self, source: _Recorded, data: bytes) -> None:
        """Logs a message at the time /clock shows; what comes before the first /clock is held back until then."""
        if not self._sim_now:
            if self._held_bytes + len(data) > _HOLD_BYTES:
                self._before_clock += 1
                return
            self._held.append((source, data))
            self._held_bytes += len(data)
            return
        self._release_held()
        self._queue.put(QueuedMessage(source.topic_id, self._sim_now, self._sim_now, data))

    def _release_held(self) -> None:
        for source, data in self._held:
            self._queue.put(QueuedMessage(source.topic_id, self._sim_now, self._sim_now, data))
        self._held.clear()

    def _take(
        self,
        recorded: _Recorded,
        subscription: Subscription,
        batch: list[tuple[int, int, _Recorded | None, bytes]],
    ) -> None:
        for data, info in _take_all(subscription):
            published = int(info["source_timestamp"] or 0)
            received = int(info["received_timestamp"] or time.time_ns())
            if recorded.history is not None and not _first_time(recorded.seen, (published, hash(data))):
                continue
            if subscription is recorded.live:
                _count_lost(recorded, int(info["publication_sequence_number"] or 0))
            batch.append((received, published or received, recorded, data))

    def _snapshot(self) -> Snapshot:
        counters = self._queue.counters
        names = {r.topic_id: r.name for r in self._recorded.values()}
        return Snapshot(
            folder=self._queue.folder,
            topics=len(self._recorded),
            messages=counters.written,
            size=counters.size,
            backlog=counters.backlog,
            dropped={names[i]: n for i, n in counters.dropped.items() if i in names},
            lost={r.name: r.lost for r in self._recorded.values() if r.lost},
            free=self._queue.free_bytes(),
            error=str(self._queue.error) if self._queue.error else "",
        )

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)


def _resolved(node: Node, pattern: str) -> str:
    """A name with the node's remappings applied (a camera may be called otherwise); wildcards stay as they are."""
    if any(c in pattern for c in "*?["):
        return pattern
    try:
        return str(node.resolve_topic_name(pattern))
    except NameValidationException as error:
        raise BagError(f"{pattern!r} is no topic name") from error


def _never(message: bytes) -> None:
    """Subscriptions want a callback; without an executor nobody calls it."""


def _depth(type_name: str) -> int:
    return _DEEP_LARGE if type_name in _LARGE else _DEEP


def _take_all(subscription: Subscription) -> list[tuple[bytes, dict[str, int]]]:
    taken = []
    with subscription.handle:
        while (entry := subscription.handle.take_message(subscription.msg_type, True)) is not None:
            taken.append(entry)
    return taken


def _first_time(seen: OrderedDict[tuple[int, int], None], key: tuple[int, int]) -> bool:
    if key in seen:
        return False
    seen[key] = None
    if len(seen) > 4 * _DEEP:
        seen.popitem(last=False)
    return True


def _count_lost(recorded: _Recorded, sequence: int) -> None:
    """Counts gaps in the numbers of a publisher, which are losses on the way; only possible with one publisher."""
    if recorded.publishers == 1 and recorded.sequence and sequence > recorded.sequence + 1:
        recorded.lost += sequence - recorded.sequence - 1
    recorded.sequence = sequence


def _clock_ns(data: bytes) -> int:
    """rosgraph_msgs/Clock from CDR: int32 sec, uint32 nanosec after the 4-byte header. 0: not a time of ours."""
    order = "little" if data[1] & 1 else "big"
    sec = int.from_bytes(data[4:8], order, signed=True)  # type: ignore[arg-type]
    return 0 if sec < 0 else sec * 1_000_000_000 + int.from_bytes(data[8:12], order)  # type: ignore[arg-type]
