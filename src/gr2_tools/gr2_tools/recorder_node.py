"""Records live topics into a bag.

Runs as ``gr2 record`` (see ``record``) or as a node of its own, with the parameters of :func:`options_of`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from rclpy.logging import get_logger
from rclpy.node import Node

from gr2_tools.errors import BagError
from gr2_tools.parameters import Parameters
from gr2_tools.recorder import Recorder, RecordOptions
from gr2_tools.session import ros_session
from gr2_tools.signals import StopFlag


def record_bag(options: RecordOptions, say: Callable[[str], None], warn: Callable[[str], None]) -> int:
    """Records with a node of its own until SIGINT, SIGTERM or the end of the duration.

    Args:
        say: prints a line for the user.
        warn: prints a line that needs attention.

    Returns:
        Exit code: 0 the bag is complete, 1 it could not be created or written, 2 an option or the ROS environment is
        unusable.
    """
    try:
        options.check()
        with ros_session("gr2_recorder", []) as (node, stop):
            return _record(node, options, say, warn, stop)
    except BagError as error:
        warn(str(error))
        return 2


def _record(
    node: Node,
    options: RecordOptions,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    stop: StopFlag,
) -> int:
    try:
        recorder = Recorder(node, options, say, warn)
        recorder.run(stop)
        say(f"complete: {recorder.finish()}")
    except BagError as error:
        warn(str(error))
        return 1
    return 0


def options_of(node: Node) -> RecordOptions:
    """Declares and reads the node's parameters: those of RecordOptions; ``all`` for record_all.

    Raises:
        BagError: a parameter is of the wrong kind.
    """
    read = Parameters(node)
    output = read.text("output", "")
    return RecordOptions(
        output=Path(output) if output else None,
        topics=read.names("topics"),
        record_all=read.flag("all", False),
        exclude=read.names("exclude"),
        duration=read.number("duration", 0.0),
        use_sim_time=bool(node.get_parameter("use_sim_time").value),
        compression=read.text("compression", "zstd"),
        status_period=read.number("status_period", 5.0),
        queue_mb=read.number("queue_mb", 128.0),
    )


def main(args: list[str] | None = None) -> None:
    """Entry point of the executable ``recorder_node``."""
    log = get_logger("gr2_recorder")
    try:
        with ros_session("gr2_recorder", args) as (node, stop):
            log = node.get_logger()
            options = options_of(node)
            options.check()
            code = _record(node, options, log.info, log.warning, stop)
    except BagError as error:
        log.error(str(error))
        code = 2
    sys.exit(code)
