"""Give a running stack an instruction.

examples:
  ./gr2 say "press the red button"
  ./gr2 say "open the drawer" --wait --timeout 60     exit 0 only when the referee has seen it
  ./gr2 say --reset --seed 7 "press the button"       lay the simulated scene anew first
  ./gr2 say ""                                        stop

Without gr2:  ros2 topic pub --once /instruction std_msgs/msg/String "{data: 'open the drawer'}"
"""

from __future__ import annotations

import argparse
import os
import sys

FAILED, WRONG_CALL = 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 say``."""
    parser.add_argument("instruction", help="what to do, in words; empty to stop")
    parser.add_argument("--wait", action="store_true", help="wait for the simulator's referee")
    parser.add_argument("--timeout", type=float, default=120.0, help="simulated seconds for it (default: %(default)s)")
    parser.add_argument("--reset", action="store_true", help="lay the simulated scene anew first")
    parser.add_argument("--seed", type=int, default=0, help="seed for --reset (default: %(default)s)")
    parser.add_argument("--domain", type=int, default=None, help="ROS domain (default: ROS_DOMAIN_ID or 0)")


def run(args: argparse.Namespace) -> int:
    """Say it; 0 said (and, with --wait, done), 1 not, 2 wrong call."""
    from gr2_bringup.sim import enter_domain, report

    domain = int(os.environ.get("ROS_DOMAIN_ID") or 0) if args.domain is None else args.domain
    if not 0 <= domain <= 101:
        print(f"gr2 say: --domain {domain}: ROS domains go from 0 to 101", file=sys.stderr)
        return WRONG_CALL
    if args.wait and not args.instruction.strip():
        print("gr2 say: there is nothing to wait for after an empty instruction", file=sys.stderr)
        return WRONG_CALL
    enter_domain(domain)
    from gr2_bringup.director import Director, StackError  # reads the environment when rclpy starts

    try:
        with Director("gr2_say") as director:
            if args.reset:
                director.say("")  # or the arm would carry out the old instruction in the new scene
                director.reset_scene(task=task_of(args.instruction), seed=args.seed)
                director.spin(1.0)
            director.say(args.instruction)
            print(f'said: "{args.instruction}"')
            if not args.wait:
                return 0
            return report(director.follow(args.instruction, args.timeout, lambda outcome: None), args.instruction)
    except StackError as error:
        print(f"gr2 say: {error}", file=sys.stderr)
        return FAILED


def task_of(instruction: str) -> str:
    """Name of the simulated task that this instruction means; empty if there is none."""
    from gr2_policy.policy import UnknownInstruction
    from gr2_sim.tasks import task_for

    try:
        return str(task_for(instruction).name)
    except UnknownInstruction:
        return ""
