"""Open a shell in which the workspace is active: import rclpy and gr2_msgs, run sim_node, wbc_node, policy_node.

examples:
  ./gr2 shell                                         interactive
  ./gr2 shell -- python -c "import rclpy, gr2_msgs"   one command
  ./gr2 shell -- policy_node --ros-args -p handshake:=false    one node, here without a controller
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

PASS_ON = True  # the command to run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 shell``."""
    parser.usage = "gr2 shell [-h] [-- command ...]"


def run(args: argparse.Namespace) -> int:
    """Replace this process by the shell or the command."""
    command = args.rest
    nodes = [f"{prefix}/lib/{Path(prefix).name}" for prefix in os.environ["AMENT_PREFIX_PATH"].split(":")]
    os.environ["PATH"] = ":".join([folder for folder in nodes if Path(folder).is_dir()] + [os.environ["PATH"]])
    if not command:
        shell = os.environ.get("SHELL", "/bin/bash")
        os.environ["PS1"] = r"(gr2) \w\$ "
        command = [shell, "--norc"] if shell.endswith("bash") else [shell]
        print("gr2 shell: rclpy and gr2_msgs can be imported here; leave with Ctrl-D", file=sys.stderr)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"gr2 shell: cannot run '{command[0]}': {error.strerror}", file=sys.stderr)
        return 127
