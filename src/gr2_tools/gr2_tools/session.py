"""A node with a context and signal handling of its own, for programs that record or play."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.context import Context
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from gr2_tools.errors import BagError
from gr2_tools.signals import StopFlag, stop_on_signals

LAST_DOMAIN = 232


def check_domain() -> None:
    """Raises BagError when ROS_DOMAIN_ID is no usable number; Fast DDS would abort the process."""
    text = os.environ.get("ROS_DOMAIN_ID", "")
    if text and not (text.isdecimal() and int(text) <= LAST_DOMAIN):
        raise BagError(f"ROS_DOMAIN_ID is {text!r}, but must be a number from 0 to {LAST_DOMAIN} (better 101)")


@contextmanager
def ros_session(name: str, args: list[str] | None) -> Iterator[tuple[Node, StopFlag]]:
    """A node without services and executor, and the flag that signals set.

    Args:
        name: of the node, unless remapped.
        args: ROS arguments; None: those of the command line.

    Raises:
        BagError: ROS refuses to start; the text says why.
    """
    check_domain()
    context = Context()
    with stop_on_signals() as stop:
        try:
            try:
                rclpy.init(args=args, context=context, signal_handler_options=SignalHandlerOptions.NO)
                node = Node(name, context=context, start_parameter_services=False)
            except (RuntimeError, ParameterException) as error:
                raise BagError(f"ROS does not start: {' '.join(str(error).split())}") from error
            yield node, stop
        finally:
            rclpy.try_shutdown(context=context)
