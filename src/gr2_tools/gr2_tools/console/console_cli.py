"""Serve the operator's console for a stack, or a replayed bag, that runs already in this ROS domain.

examples:
  ./gr2 console                               for ./gr2 sim --no-console, ros2 launch, or:
  ./gr2 replay runs/…/bag --loop              in another terminal
  ./gr2 console --host 0.0.0.0                for the network; asks for a token, which it prints

Ends with Ctrl-C. GR2_CONSOLE_TOKEN: a token of your own.

exit codes:
  0  ended
  2  an option or the ROS environment is unusable, or no port is free
"""

from __future__ import annotations

import argparse
import os


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 console``."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8090, help="port, or the next free one (default: %(default)s)")
    parser.add_argument("--open", action="store_true", help="open it in a browser")
    parser.add_argument("--scene", default="table", help="simulated cell to begin with (default: %(default)s)")
    parser.add_argument("--domain", type=int, default=None, help="ROS domain (default: ROS_DOMAIN_ID or 0)")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; see the module's docstring for the exit codes."""
    if args.domain is not None:
        os.environ["ROS_DOMAIN_ID"] = str(args.domain)
    from gr2_tools.console.console_node import serve  # reads the environment when rclpy starts

    values = {"host": args.host, "port": args.port, "open": str(args.open).lower(), "scene": args.scene}
    return serve(["--ros-args", *(word for name, value in values.items() for word in ("-p", f"{name}:={value}"))])
