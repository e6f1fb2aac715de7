"""Publishes a recorded bag onto live topics.

Runs as ``gr2 replay`` (see ``replay``) or as a node of its own, with the parameters of :func:`options_of`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from builtin_interfaces.msg import Time as TimeMsg
from rclpy.duration import Duration
from rclpy.exceptions import InvalidTopicNameException
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from rclpy.validate_full_topic_name import validate_full_topic_name
from rosgraph_msgs.msg import Clock

from gr2_tools.bag_reader import BagReader
from gr2_tools.bag_types import BagMessage, BagTopic, require_same_definition
from gr2_tools.errors import BagError, UnknownType
from gr2_tools.msgdefs import message_class
from gr2_tools.parameters import Parameters
from gr2_tools.playback import Pace, Prefetch, TimingReport, play
from gr2_tools.qos import is_latched, publisher_profile
from gr2_tools.session import ros_session
from gr2_tools.signals import StopFlag

CLOCK_TOPIC = "/clock"
_SECOND = 1_000_000_000
_PATIENCE = 3.0  # [s]


@dataclass
class PlayOptions:
    """What to play and how.

    Attributes:
        bag: folder or file.
        rate: bag seconds per second.
        loop: start again at the end, until stopped.
        start, duration: window of the bag [s from its first message]; duration 0: to the end.
        topics, exclude: names, with shell wildcards; no topics: all.
        clock_hz: publish /clock from the bag's time at this rate; 0: not.
        remap: recorded name -> name to publish on.
        wait: seconds between creating the publishers and the first message, for discovery; up to three more while
            nobody listens at all. 0: none.
    """

    bag: Path
    rate: float = 1.0
    loop: bool = False
    start: float = 0.0
    duration: float = 0.0
    topics: Sequence[str] = ()
    exclude: Sequence[str] = ()
    clock_hz: float = 0.0
    remap: dict[str, str] = field(default_factory=dict)
    wait: float = 1.0

    def check(self) -> None:
        """Raises BagError for values that make no sense."""
        if not self.rate > 0 or self.rate > 1e6:
            raise BagError(f"rate must be a positive number, not {self.rate:g}")
        if self.clock_hz < 0 or self.clock_hz > 1e4:
            raise BagError(f"clock must be between 0 and 10000 Hz, not {self.clock_hz:g}")
        for name in ("start", "duration", "wait"):
            if not getattr(self, name) >= 0:
                raise BagError(f"{name} must not be negative, but is {getattr(self, name):g}")
        for source, target in self.remap.items():
            for topic in (source, target):
                try:
                    validate_full_topic_name(topic)
                except InvalidTopicNameException as error:
                    raise BagError(f"remap {source}:={target}: {topic!r} is no full topic name") from error


class Player:
    """Plays one bag. Create, :meth:`run`, then :meth:`close`.

    Args:
        node: publishes.
        say: prints a line for the user.
        stop: set it to end playing.

    Raises:
        BagError: nothing to play; the text says why.
    """

    def __init__(self, node: Node, options: PlayOptions, say: Callable[[str], None], stop: StopFlag) -> None:
        options.check()
        self._node = node
        self._options = options
        self._say = say
        self._stop = stop
        self._bag = BagReader(options.bag)
        self._said: set[str] = set()
        self._publishers: dict[tuple[str, str], Publisher] = {}
        self._latched: set[str] = set()
        self._types: dict[str, str] = {}
        self.report = TimingReport()
        try:
            self._say_notes()
            for topic in self._bag.topics:
                if self._selected(topic):
                    self._advertise(topic)
            if not self._publishers:
                raise BagError(f"{options.bag} holds nothing to play ({self._contents()})")
            self._clock = self._clock_publisher()
        except BaseException:
            self._bag.close()
            raise

    def run(self) -> bool:
        """Plays to the end (or for ever, with loop); False when stopped before.

        Raises:
            BagError: the bag turns out to be damaged on the way.
        """
        o = self._options
        begin = self._bag.start + round(o.start * _SECOND)
        end = self._bag.end + 1 if not o.duration else min(self._bag.end + 1, begin + round(o.duration * _SECOND))
        if begin >= end:
            length = (self._bag.end - self._bag.start) / _SECOND
            raise BagError(f"start {o.start:g} s lies beyond the end of {o.bag}, which is {length:.1f} s long")
        names = {name for name, _ in self._publishers}
        rate = f" at {o.rate:g}x" if o.rate != 1 else ""
        self._say(
            f"playing {o.bag}: {len(self._publishers)} topics, {(end - begin) / _SECOND:.1f} s{rate}"
            f"{', looping' if o.loop else ''}"
        )
        self._await_listeners()
        began = time.monotonic()
        finished = self._publish_latched(begin)
        while finished:
            ahead = Prefetch(self._bag.messages(names, begin, end))
            ahead.wait_filled(5.0)
            try:
                finished = play(
                    ahead,
                    self._publish,
                    Pace(begin, o.rate, self._stop),
                    self.report,
                    clock_period=round(_SECOND / o.clock_hz) if o.clock_hz else 0,
                    clock_start=begin,
                    publish_clock=self._publish_clock,
                )
            finally:
                ahead.close()
                self._say_notes()
            if not o.loop:
                break
        self.report.wall = time.monotonic() - began
        self._settle()
        return finished

    def close(self) -> None:
        """Closes the bag."""
        self._bag.close()

    def _await_listeners(self) -> None:
        """Gives listeners time to find the publishers; Fast DDS may need three seconds."""
        o = self._options
        if not o.wait:
            return
        self._stop.wait(o.wait)
        publishers = [*self._publishers.values(), *([self._clock] if self._clock else [])]
        deadline = time.monotonic() + _PATIENCE
        while not self._stop.is_set() and not any(p.get_subscription_count() for p in publishers):
            if time.monotonic() > deadline:
                self._say("nobody listens yet")
                return
            self._stop.wait(0.05)
            if any(p.get_subscription_count() for p in publishers):
                self._stop.wait(min(o.wait, 0.5))  # one is there: the others cannot be far

    def _selected(self, topic: BagTopic) -> bool:
        o = self._options
        if topic.name == CLOCK_TOPIC and o.clock_hz:
            return False  # two clocks on one topic would contradict each other
        if o.topics and not any(fnmatchcase(topic.name, pattern) for pattern in o.topics):
            return False
        return not any(fnmatchcase(topic.name, pattern) for pattern in o.exclude)

    def _advertise(self, topic: BagTopic) -> None:
        """Creates the publisher of a topic, or says why it cannot be played."""
        name = self._options.remap.get(topic.name, topic.name)
        other = self._types.setdefault(name, topic.type_name)
        try:
            if other != topic.type_name:
                raise BagError(f"{name} is played as {other}, and this would be {topic.type_name}")
            cls = message_class(topic.type_name)
            require_same_definition(topic)
            publisher = self._node.create_publisher(cls, name, publisher_profile(name, topic.offers))
        except UnknownType as error:
            self._say(f"skipped {topic.name}: type {topic.type_name} is unknown here: {error}")
        except InvalidTopicNameException:
            self._say(f"skipped {topic.name}: {name!r} is no valid topic name")
        except BagError as error:
            self._say(f"skipped {topic.name}: {error}")
        else:
            self._publishers[topic.name, topic.type_name] = publisher
            if is_latched(topic.offers):
                self._latched.add(topic.name)

    def _contents(self) -> str:
        names = [t.name for t in self._bag.topics]
        if not names:
            return "it has no topics"
        return "its topics: " + ", ".join(names[:12]) + (" …" if len(names) > 12 else "")

    def _clock_publisher(self) -> Publisher | None:
        if not self._options.clock_hz:
            return None
        first = next(iter(self._bag.messages([CLOCK_TOPIC])), None)
        if first is not None and first.info.type_name == "rosgraph_msgs/msg/Clock":
            self._say("--clock publishes the times of recording; the recorded /clock is left out")
            shown = Time.from_msg(first.message().clock).nanoseconds
            if abs(shown - first.log_time) > _SECOND:
                self._say(
                    f"the recorded /clock showed {shown / _SECOND:.1f} s when the time of recording was "
                    f"{first.log_time / _SECOND:.1f} s: without --clock, the time would agree with the stamps"
                )
        return self._node.create_publisher(
            Clock, CLOCK_TOPIC, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        )

    def _publish(self, message: BagMessage) -> None:
        self._publishers[message.topic, message.info.type_name].publish(message.data)

    def _publish_clock(self, now: int) -> None:
        if self._clock is not None:
            sec, nanosec = divmod(now, _SECOND)
            self._clock.publish(Clock(clock=TimeMsg(sec=int(sec), nanosec=int(nanosec))))

    def _publish_latched(self, begin: int) -> bool:
        """With --start: what a late joiner would have found on the latched topics at that time."""
        if begin > self._bag.start and self._latched:
            last: dict[tuple[str, str], BagMessage] = {}
            for message in self._bag.messages(self._latched, None, begin):
                last[message.topic, message.info.type_name] = message
            for message in last.values():
                self._publish(message)
        return not self._stop.is_set()

    def _settle(self) -> None:
        """Lets the last messages arrive before the publishers vanish."""
        deadline = time.monotonic() + 1.0
        for publisher in self._publishers.values():
            left = deadline - time.monotonic()
            if left <= 0 or self._stop.is_set():
                return
            publisher.wait_for_all_acked(Duration(seconds=left))
        self._stop.wait(0.1)

    def _say_notes(self) -> None:
        for note in self._bag.notes:
            if note not in self._said:
                self._said.add(note)
                self._say(note)


def play_bag(options: PlayOptions, say: Callable[[str], None]) -> int:
    """Plays a bag with a node of its own until its end, SIGINT or SIGTERM.

    Returns:
        Exit code: 0 played (or stopped by a signal), 2 the bag, an option or the ROS environment is unusable.
    """
    try:
        with ros_session("gr2_player", []) as (node, stop):
            return _play(node, options, say, stop)
    except BagError as error:
        say(str(error))
        return 2


def _play(node: Node, options: PlayOptions, say: Callable[[str], None], stop: StopFlag) -> int:
    player = Player(node, options, say, stop)
    try:
        finished = player.run()
    finally:
        player.close()
    say(f"{'played' if finished else 'stopped after'} {player.report.line()}")
    return 0


def options_of(node: Node) -> PlayOptions:
    """Declares and reads the node's parameters: those of PlayOptions, remap as a list of ``a:=b``.

    Raises:
        BagError: a parameter is missing or of the wrong kind.
    """
    read = Parameters(node)
    bag = read.text("bag", "")
    if not bag:
        raise BagError("parameter 'bag' is empty: give the folder or file to play")
    return PlayOptions(
        bag=Path(bag),
        rate=read.number("rate", 1.0),
        loop=read.flag("loop", False),
        start=read.number("start", 0.0),
        duration=read.number("duration", 0.0),
        topics=read.names("topics"),
        exclude=read.names("exclude"),
        clock_hz=read.number("clock_hz", 0.0),
        remap=parse_remap(read.names("remap")),
        wait=read.number("wait", 1.0),
    )


def parse_remap(rules: Sequence[str]) -> dict[str, str]:
    """``["/a:=/b"]`` -> ``{"/a": "/b"}``.

    Raises:
        BagError: a rule is not of that form.
    """
    remap: dict[str, str] = {}
    for rule in rules:
        source, sign, target = rule.partition(":=")
        if not (sign and source and target):
            raise BagError(f"remap {rule!r} is not of the form /recorded:=/new")
        remap[source] = target
    return remap


def main(args: list[str] | None = None) -> None:
    """Entry point of the executable ``player_node``."""
    log = get_logger("gr2_player")
    try:
        with ros_session("gr2_player", args) as (node, stop):
            log = node.get_logger()
            code = _play(node, options_of(node), log.info, stop)
    except BagError as error:
        log.error(str(error))
        code = 2
    sys.exit(code)
