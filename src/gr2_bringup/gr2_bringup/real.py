"""Run the stack of the real arm, from pip: on the fake driver, or beside a driver that runs elsewhere.

examples:
  ./gr2 real --driver fake --armed true --policy teacher --instruction "put the red block in the bin"
  ./gr2 real --driver fake --policy teacher          a dry run: nothing is sent
  ./gr2 real --driver none                           beside a driver, or a replayed bag, in the same ROS domain

The arm itself needs ROS 2 and its driver: ros2 launch gr2_bringup real.launch.py robot_ip:=… (docs/real_arm.md).

exit codes: as of ./gr2 sim; without the fake driver's referee an instruction is given and not judged.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from gr2_bringup import stack
from gr2_bringup.sim import (
    BROKEN,
    INTERRUPTED,
    SUCCESS,
    WRONG_CALL,
    DomainTaken,
    StackEnded,
    add_stack_argument,
    direct,
    domain_lock,
    enter_domain,
    enter_graph,
    report_folder,
    run_folder,
)
from gr2_bringup.supervisor import MissingExecutable, Supervisor

OWN = {"robot_ip", "record", "console_open"}  # set by this verb itself, or of no use without ROS 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 real``."""
    parser.add_argument("--instruction", help="with --driver fake: do this, then end")
    parser.add_argument("--timeout", type=float, default=90.0, help="time for the instruction [s] (default: 90)")
    parser.add_argument("--keep", action="store_true", help="keep running after the instruction")
    parser.add_argument("--domain", type=int, help="ROS domain (default: ROS_DOMAIN_ID or 0)")
    parser.add_argument("--no-bag", action="store_true", help="record nothing")
    parser.add_argument("--runs", type=Path, help="folder for bags and logs (default: runs)")
    group = parser.add_argument_group("the stack (same names as the launch arguments)")
    for argument in stack.REAL:
        if argument.name not in OWN:
            add_stack_argument(group, argument)


def run(args: argparse.Namespace) -> int:
    """Run the stack; see the module's docstring for the exit codes."""
    try:
        given = {a.name: str(getattr(args, a.name)) for a in stack.REAL if a.name not in OWN}
        values = stack.parse(stack.REAL, given)
        problem = check(args, values)
        nodes = [] if problem else stack.real(values)
    except stack.BadArgument as error:
        problem, nodes = str(error), []
    if problem:
        print(f"gr2 real: {problem}", file=sys.stderr)
        return WRONG_CALL
    folder = run_folder(args.runs, args.instruction or "real")
    if not args.no_bag:
        nodes = stack.real(values | {"record": str(folder / "bag")})
    try:
        with domain_lock(args.domain):
            return run_stack(args, nodes, folder, str(values["security"]))
    except (DomainTaken, StackEnded, MissingExecutable) as error:
        print(f"gr2 real: {error}", file=sys.stderr)
        return BROKEN


def check(args: argparse.Namespace, values: Mapping[str, object]) -> str:
    """What is wrong with the call, in words; empty if nothing."""
    args.domain = int(os.environ.get("ROS_DOMAIN_ID") or 0) if args.domain is None else args.domain
    if not 0 <= args.domain <= 101:
        return f"--domain {args.domain}: ROS domains go from 0 to 101"
    if values["driver"] == "kortex":
        return (
            "the arm's driver needs ROS 2: ros2 launch gr2_bringup real.launch.py robot_ip:=… "
            "(here: --driver fake, or --driver none beside a driver that runs)"
        )
    if args.instruction is not None and values["driver"] != "fake":
        return "--instruction is judged by the fake driver's referee; elsewhere say it with ros2 topic pub /instruction"
    if args.instruction is not None and not args.instruction.strip():
        return "--instruction is empty"
    return ""


def run_stack(args: argparse.Namespace, nodes: list[stack.Node], folder: Path, security: str) -> int:
    """Start the stack, direct it, stop it.

    Raises:
        StackEnded: it does not start, or a node has ended.
    """
    env = enter_domain(args.domain)
    supervisor = Supervisor(nodes, env, stack.share_folder(), folder / "log")

    def alive() -> None:
        child = supervisor.ended()
        if child is not None:
            log = folder / "log" / f"{child.node.name}.log"
            raise StackEnded(f"{child.node.name} has ended with exit code {child.process.returncode}; see {log}")

    code = SUCCESS
    with enter_graph("gr2_director", alive, security) as director:
        try:
            supervisor.start()
            code = direct(args, director, folder, "gr2 real")
        except KeyboardInterrupt:
            code = INTERRUPTED if args.instruction and not args.keep else code
        finally:
            killed = supervisor.stop()
    if killed:
        print(f"gr2 real: had to kill {', '.join(killed)}, which did not end by itself", file=sys.stderr)
    report_folder(folder, recorded=any(node.name == "recorder" for node in nodes))
    return code
