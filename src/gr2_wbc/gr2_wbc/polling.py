"""Subscriptions that the control loop reads by itself, once a cycle, instead of an executor waking up for each.

An executor's wait costs a quarter of a millisecond however little there is to do (measured), and messages are used at
the next cycle only. So the loop sleeps until its deadline and then takes what has come.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription


class Polled(CallbackGroup):
    """Its subscriptions are read by whoever asks; no executor waits for them."""

    def subscribe(
        self, node: Node, kind: type, topic: str, callback: Any, profile: QoSProfile, raw: bool = False
    ) -> Subscription:
        """A subscription of this group.

        The executor does not wait for what else can happen to it either, such as a publisher that does not fit: the
        middleware would wake it for every message.
        """
        return node.create_subscription(kind, topic, callback, profile, raw=raw, callback_group=self)

    def can_execute(self, entity: object) -> bool:
        """Never: see the class."""
        return False

    def beginning_execution(self, entity: object) -> bool:
        """Never: see the class."""
        return False

    def ending_execution(self, entity: object) -> None:
        """Nothing to do."""


def take(subscription: Subscription, most: int) -> Iterator[tuple[Any, dict[str, int]]]:
    """Messages that have come, oldest first, ``most`` at most, each with what the middleware says of it."""
    with subscription.handle:
        for _ in range(most):
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            if taken is None:
                return
            yield taken


def arrival(info: dict[str, int], earliest: float) -> float:
    """Steady time [s] at which a message came, not before ``earliest``: the middleware tells it on the system clock.

    A system clock that is set meanwhile makes this wrong by no more than the time since ``earliest``.
    """
    now = time.monotonic()
    waited = 1e-9 * (time.time_ns() - info["received_timestamp"])
    return min(max(now - waited, earliest), now)
