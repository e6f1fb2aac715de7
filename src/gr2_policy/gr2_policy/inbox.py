"""Subscriptions that a node reads in turns of a few milliseconds, instead of being woken up for each message.

An executor's wait costs a quarter of a millisecond and more however little there is to do, and a node in simulation
gets a message every three milliseconds, most of them ticks of the clock: a third of a core and more, beside an
inference that could use it. Here a turn costs what its messages cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from rosgraph_msgs.msg import Clock

PERIOD = 0.005  # [s] between two turns
SELDOM = 0.05  # [s] between two looks at what the executor still waits for: services and parameters, one at a time
Handler = Callable[[Any, dict[str, int]], None]


def _set_time(clock: Callable[[Clock], None], tick: Clock, _info: object) -> None:
    clock(tick)


class Inbox(CallbackGroup):
    """The subscriptions of one node, read by :meth:`take` on the thread that calls it.

    Args:
        node: whose they are. Its clock, where it runs on simulation time, is read here, too.
    """

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node
        self._handlers: dict[Subscription, tuple[int, Handler]] = {}
        self._regular: list[tuple[float, Callable[[], object]]] = []
        for subscription in node.subscriptions:
            if subscription.msg_type is Clock:
                subscription.callback_group = self
                self._handlers[subscription] = 1, partial(_set_time, subscription.callback)

    def subscribe(
        self, kind: type, topic: str, handler: Handler, profile: QoSProfile | int, most: int = 10
    ) -> Subscription:
        """Subscribe to a topic.

        Args:
            kind: type of its messages.
            handler: called with each message and what the middleware says of it (``source_timestamp`` ...).
            profile: its quality of service; a number is the depth of a reliable one.
            most: messages of one turn; more than come in one.
        """
        made = self._node.create_subscription(kind, topic, handler, profile)  # type: ignore[arg-type]
        # Only now, so that the executor goes on to warn of publishers that do not fit. (An executor that waits would be
        # woken for every message that is not yet taken; :meth:`run` only lets it look.)
        made.callback_group = self
        self._handlers[made] = most, handler
        return made

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        del self._handlers[subscription]
        self._node.destroy_subscription(subscription)

    def every(self, period: float, work: Callable[[], object]) -> None:
        """Have :meth:`run` do something once in so many seconds of the steady clock."""
        self._regular.append((period, work))

    def take(self) -> None:
        """Handle what has come, topic by topic in the order of the subscriptions, each oldest first."""
        for subscription, (most, handler) in list(self._handlers.items()):
            for _ in range(most):
                if subscription not in self._handlers:
                    break  # a handler has ended it
                with subscription.handle:
                    taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
                if taken is None:
                    break
                handler(*taken)

    def run(self, executor: Executor, stopped: Callable[[], bool]) -> None:
        """Take turns, do what is regular, and let an executor see to everything else of the node, until stopped."""
        look: Callable[[], object] = partial(executor.spin_once, timeout_sec=0.0)
        regular = [*self._regular, (SELDOM, look)]
        due = [time.monotonic() + period for period, _ in regular]
        while not stopped():
            self.take()
            for index, (period, work) in enumerate(regular):
                now = time.monotonic()
                if now >= due[index]:
                    due[index] = max(due[index] + period, now)  # what was missed is missed
                    work()
            time.sleep(PERIOD)

    # --- as rclpy's executors see it: nothing is ever to be done ---

    def can_execute(self, entity: object) -> bool:
        """Never."""
        return False

    def beginning_execution(self, entity: object) -> bool:
        """Never."""
        return False

    def ending_execution(self, entity: object) -> None:
        """Nothing to do."""
