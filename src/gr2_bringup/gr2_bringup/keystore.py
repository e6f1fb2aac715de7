"""Make a keystore for a secured stack (SROS 2): certificates and permissions of every process (docs/security.md).

examples:
  ./gr2 keystore ~/keystore                                     for real.launch.py
  ./gr2 keystore ~/keystore head_camera:=/camera policy:=gr2    with the arguments that it will be launched with
  ./gr2 keystore /tmp/keystore --stack sim                      for sim.launch.py
  ./gr2 keystore ~/keystore --verify                            check one
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from gr2_bringup import stack
from gr2_bringup.contracts import OTHERS, contract
from gr2_bringup.security.keystore import Enclave, KeystoreError, create, verify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 keystore``."""
    parser.add_argument("folder", type=Path, help="where; it must not exist")
    parser.add_argument("arguments", nargs="*", metavar="name:=value", help="launch arguments of the stack")
    parser.add_argument(
        "--stack", choices=("real", "sim"), default="real", help="which stack it is for (default: real)"
    )
    parser.add_argument("--domain", type=int, help="ROS domain (default: ROS_DOMAIN_ID or 0)")
    parser.add_argument("--days", type=int, default=365, help="for which it is valid (default: 365)")
    parser.add_argument("--verify", action="store_true", help="only check it: files, signatures, dates")


def run(args: argparse.Namespace) -> int:
    """Exit code 0: made or sound, 1: not, 2: a wrong call."""
    domain = int(os.environ.get("ROS_DOMAIN_ID") or 0) if args.domain is None else args.domain
    try:
        chosen = enclaves(args.stack, args.arguments)
        if not 0 <= domain <= 101 or args.days < 1:
            raise stack.BadArgument("ROS domains go from 0 to 101, and --days is at least 1")
    except stack.BadArgument as error:
        print(f"gr2 keystore: {error}", file=sys.stderr)
        return 2
    try:
        if not args.verify:
            create(args.folder, chosen, domain, args.days)
        verify(args.folder, [enclave.path for enclave in chosen], domain)
    except (KeystoreError, OSError) as error:
        print(f"gr2 keystore: {error}", file=sys.stderr)
        return 1
    for enclave in chosen:
        print(f"{enclave.path:<20} {len(enclave.contract.publishes)} topics out, {len(enclave.contract.subscribes)} in")
    print(f"use it: security:={args.folder.absolute()}   (domain {domain}; keep {args.folder}/private elsewhere)")
    return 0


def enclaves(which: str, arguments: list[str]) -> list[Enclave]:
    """One for each node that the stack can have with these launch arguments, and for what runs beside it.

    Raises:
        BadArgument: an argument is wrong.
    """
    offered = stack.REAL if which == "real" else stack.SIMULATION
    pairs = [argument.partition(":=") for argument in arguments]
    wrong = [name for name, mark, _ in pairs if not mark]
    if wrong:
        raise stack.BadArgument(f"'{wrong[0]}' is not of the form name:=value")
    values = stack.parse(offered, {name: value for name, _, value in pairs})
    values |= {"console": True, "record": "bag", "security": "", "planning_scene": True}
    if which == "real":
        nodes = {node.name: node for driver in ("fake", "none") for node in stack.real(values | {"driver": driver})}
        remappings = stack.camera_remappings(values)
    else:
        nodes = {node.name: node for node in stack.simulation(values | {"viewer": True})}
        remappings = ()
    others = [Enclave(f"/gr2/{name}", "*", one.renamed(name, remappings)) for name, one in OTHERS.items()]
    return [Enclave(f"/gr2/{name}", name, contract(node)) for name, node in nodes.items()] + others
