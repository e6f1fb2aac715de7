"""Prints what it received until a signal: by topic, checksums and receive times [ns].

Arguments: a file to touch when ready, then NAME=TYPE[,latched] ...
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from gr2_tools.msgdefs import message_class
from gr2_tools.signals import stop_on_signals

context = Context()
rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
node = Node("listener", context=context)
got: dict[str, list[tuple[int, int]]] = {}
subscriptions = []
for argument in sys.argv[2:]:
    name, _, rest = argument.partition("=")
    type_name, _, flag = rest.partition(",")
    profile = QoSProfile(depth=1000)
    profile.reliability = ReliabilityPolicy.RELIABLE if flag == "latched" else ReliabilityPolicy.BEST_EFFORT
    profile.durability = DurabilityPolicy.TRANSIENT_LOCAL if flag == "latched" else DurabilityPolicy.VOLATILE
    got[name] = []
    subscriptions.append(node.create_subscription(message_class(type_name), name, lambda _: None, profile, raw=True))


def drain() -> None:
    for subscription in subscriptions:
        with subscription.handle:
            while (taken := subscription.handle.take_message(subscription.msg_type, True)) is not None:
                data, info = taken
                got[subscription.topic_name].append((zlib.crc32(data), info["received_timestamp"]))


with stop_on_signals() as stop:
    Path(sys.argv[1]).touch()
    while not stop.is_set():
        drain()
        time.sleep(0.01)
    drain()
print(json.dumps(got))
rclpy.shutdown(context=context)
