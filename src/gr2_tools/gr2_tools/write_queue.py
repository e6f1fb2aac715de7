"""A bag writer behind a bounded queue and a thread: whoever puts messages in never waits for the disk."""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from rosbags.interfaces import Qos

from gr2_tools.bag_writer import BagWriter
from gr2_tools.errors import BagWriteError
from gr2_tools.msgdefs import Definition

_FLUSH_PERIOD = 1.0  # [s] a killed recorder loses no more than this


@dataclass(frozen=True)
class QueuedTopic:
    """A topic to register; ids count up from 1 in the order of putting."""

    name: str
    definition: Definition
    offers: tuple[Qos, ...]


@dataclass(frozen=True)
class QueuedOffers:
    """Publishers that joined a registered topic."""

    topic_id: int
    offers: tuple[Qos, ...]


@dataclass(frozen=True)
class QueuedMessage:
    """A serialized message; times in ns."""

    topic_id: int
    log_time: int
    publish_time: int
    data: bytes


@dataclass
class Counters:
    """What went in and what did not.

    Attributes:
        written: messages handed to the bag.
        size: bytes on disk.
        dropped: messages refused because the queue was full, by topic id.
        backlog: bytes waiting.
    """

    written: int = 0
    size: int = 0
    dropped: dict[int, int] = field(default_factory=dict)
    backlog: int = 0


class WriteQueue:
    """Owns a BagWriter and feeds it from a thread of its own.

    Args:
        writer: a fresh writer.
        max_bytes: messages are dropped (and counted) while more than this waits [B].
    """

    def __init__(self, writer: BagWriter, max_bytes: int = 128 << 20) -> None:
        self.counters = Counters()
        self.error: BagWriteError | None = None
        self._writer = writer
        self._max_bytes = max_bytes
        self._queue: deque[QueuedTopic | QueuedOffers | QueuedMessage] = deque()
        self._topics = 0
        self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="bag writer", daemon=True)
        self._thread.start()

    @property
    def folder(self) -> Path:
        """Where the bag is being written."""
        return self._writer.folder

    def free_bytes(self) -> int | None:
        """Space left where the bag is being written [B]; None when that place does not answer."""
        try:
            return shutil.disk_usage(self._writer.path.absolute().parent).free
        except OSError:
            return None

    def add_topic(self, name: str, definition: Definition, offers: tuple[Qos, ...]) -> int:
        """Registers a topic; returns its id."""
        with self._wake:
            self._topics += 1
            self._queue.append(QueuedTopic(name, definition, offers))
            return self._topics

    def add_offers(self, topic_id: int, offers: tuple[Qos, ...]) -> None:
        """Notes publishers that joined a topic."""
        with self._wake:
            self._queue.append(QueuedOffers(topic_id, offers))

    def put(self, message: QueuedMessage) -> bool:
        """Hands over a message without waiting; False when it had to be dropped."""
        with self._wake:
            if self.error is not None or self.counters.backlog + len(message.data) > self._max_bytes:
                self._count_drop(message)
                return False
            self.counters.backlog += len(message.data)
            self._queue.append(message)
            self._wake.notify()
            return True

    def close(self) -> Path:
        """Writes what waits and completes the bag; returns its path.

        Raises:
            BagWriteError: now or at any time before, writing failed.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        if self.error is not None:
            raise self.error
        return self._writer.close()

    def _run(self) -> None:
        flushed = time.monotonic()
        batch: deque[QueuedTopic | QueuedOffers | QueuedMessage] = deque()
        try:
            while True:
                with self._wake:
                    self._wake.wait_for(lambda: self._queue or self._closing, timeout=_FLUSH_PERIOD)
                    batch, self._queue = self._queue, deque()
                    if not batch and self._closing:
                        return
                while batch:
                    self._write(batch.popleft())
                if time.monotonic() - flushed > _FLUSH_PERIOD:
                    self._writer.flush()
                    flushed = time.monotonic()
                self.counters.size = self._writer.size
        except BagWriteError as error:
            with self._wake:
                self.error = error
                for entry in (*batch, *self._queue):
                    if isinstance(entry, QueuedMessage):
                        self._count_drop(entry)
                self._queue.clear()

    def _count_drop(self, message: QueuedMessage) -> None:
        dropped = self.counters.dropped
        dropped[message.topic_id] = dropped.get(message.topic_id, 0) + 1

    def _write(self, entry: QueuedTopic | QueuedOffers | QueuedMessage) -> None:
        if isinstance(entry, QueuedMessage):
            self._writer.write(entry.topic_id, entry.log_time, entry.data, entry.publish_time)
            with self._wake:
                self.counters.backlog -= len(entry.data)
                self.counters.written += 1
        elif isinstance(entry, QueuedTopic):
            self._writer.add_topic(entry.name, entry.definition, entry.offers)
        else:
            self._writer.add_offers(entry.topic_id, entry.offers)
