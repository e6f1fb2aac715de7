"""Run the whole stack with the simulated cell: simulator, 200 Hz controller and policy, each a process of its own,
talking through ROS 2.

examples:
  ./gr2 sim                                   up until Ctrl-C; type instructions, or ./gr2 say "…" elsewhere
  ./gr2 sim --headless --instruction "press the red button" --timeout 120
  ./gr2 sim --headless --instruction "open the drawer" --keep --seed 7
  ./gr2 sim --policy gr2 --untrained mini     the model itself, with random weights: nonsense, inside every bound

exit codes:
  0  the referee saw the instruction carried out (or the stack was ended by hand)
  1  it did not within the timeout
  2  wrong call
  3  the stack could not run: a process ended, the ROS domain is taken, something is missing
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import select
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gr2_bringup import stack
from gr2_bringup.security.keystore import environment
from gr2_bringup.supervisor import MissingExecutable, Supervisor

if TYPE_CHECKING:
    from gr2_bringup.director import Director

SUCCESS, FAILED, WRONG_CALL, BROKEN, INTERRUPTED = 0, 1, 2, 3, 130
READY_TIMEOUT = 60.0  # [s]
OPERATOR = "/gr2/operator"  # enclave of whoever directs a stack: it instructs, stops and looks
OWN = {"record", "viewer", "console", "console_open"}  # arguments of the stack that this verb sets itself


class StackEnded(RuntimeError):
    """A required process of the stack has ended; the message names it."""


class DomainTaken(RuntimeError):
    """Another stack runs in this ROS domain."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 sim``."""
    parser.add_argument("--instruction", help="say this as soon as the stack is ready, then wait for the referee")
    parser.add_argument("--timeout", type=float, default=120.0, help="simulated seconds for it (default: %(default)s)")
    parser.add_argument("--headless", action="store_true", help="no window, and the console is not opened")
    parser.add_argument("--keep", action="store_true", help="stay up afterwards, for ./gr2 say")
    parser.add_argument("--domain", type=int, default=None, help="ROS domain (default: ROS_DOMAIN_ID or 0)")
    parser.add_argument("--runs", type=Path, default=None, help="folder for bags and logs (default: runs/)")
    parser.add_argument("--no-bag", action="store_true", help="do not record")
    parser.add_argument("--no-console", action="store_true", help="no operator's console (a web page)")
    group = parser.add_argument_group("the stack (same names as the launch arguments)")
    for argument in stack.SIMULATION:
        if argument.name not in OWN:
            add_stack_argument(group, argument)


def add_stack_argument(group: argparse._ArgumentGroup, argument: stack.Argument) -> None:
    """One launch argument as a command-line option."""
    kind = str if isinstance(argument.default, bool) else type(argument.default)
    group.add_argument(
        "--" + argument.name.replace("_", "-"),
        type=kind,
        default=argument.default,
        choices=argument.choices or None,
        help=f"{argument.help} (default: {argument.default or 'none'})",
    )


def run(args: argparse.Namespace) -> int:
    """Run the stack; see the module's docstring for the exit codes."""
    values = stack.defaults(stack.SIMULATION) | {
        a.name: getattr(args, a.name) for a in stack.SIMULATION if a.name not in OWN
    }
    problem = check(args, values)
    if problem:
        print(f"gr2 sim: {problem}", file=sys.stderr)
        return WRONG_CALL
    folder = run_folder(args.runs, args.instruction or "session")
    values["record"] = "" if args.no_bag else str(folder / "bag")
    values["viewer"] = wants_window(args.headless)
    values["console"], values["console_open"] = not args.no_console, values["viewer"]
    try:
        with domain_lock(args.domain):
            return run_stack(args, values, folder)
    except (DomainTaken, StackEnded, MissingExecutable, stack.BadArgument) as error:
        print(f"gr2 sim: {error}", file=sys.stderr)
        return BROKEN
    except OSError as error:
        print(f"gr2 sim: {error.strerror or error}: {error.filename or folder}", file=sys.stderr)
        return BROKEN


def check(args: argparse.Namespace, values: dict[str, object]) -> str:
    """What is wrong with the call, in words; empty if nothing. Fills in the task of the instruction."""
    from gr2_policy.policy import UnknownInstruction, available_policies
    from gr2_sim.tasks import load_tasks, task_for

    args.domain = int(os.environ.get("ROS_DOMAIN_ID") or 0) if args.domain is None else args.domain
    if not 0 <= args.domain <= 101:
        return f"--domain {args.domain}: ROS domains go from 0 to 101"
    if args.timeout <= 0.0:
        return f"--timeout {args.timeout}: must be positive"
    for name in ("replan_rate", "camera_rate", "real_time_factor", "image_width", "image_height"):
        if not values[name] > 0:  # type: ignore[operator]
            return f"--{name.replace('_', '-')} {values[name]}: must be positive"
    if values["policy"] not in available_policies():
        return f"--policy {values['policy']}: not installed (installed: {', '.join(available_policies())})"
    if values["task"] and values["task"] not in load_tasks():
        return f"--task {values['task']}: unknown (known: {', '.join(load_tasks())})"
    if args.instruction is not None:
        if not args.instruction.strip():
            return "--instruction is empty"
        try:
            task = task_for(args.instruction)
        except UnknownInstruction as error:
            return str(error)
        values["task"] = values["task"] or task.name
    return ""


def wants_window(headless: bool) -> bool:
    """Whether to open a window; says so when there is no display for one."""
    if headless:
        return False
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return True
    print("gr2 sim: no display here, so no window; --headless silences this line", file=sys.stderr)
    return False


def run_folder(base: Path | None, title: str) -> Path:
    """A new folder for this run's bag and logs, named after the time and the instruction."""
    base = base or Path(os.environ.get("GR2_ROOT", ".")) / "runs"
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:48]
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    folder = base / f"{stamp}_{slug}"
    number = 1
    while folder.exists():
        number += 1
        folder = base / f"{stamp}_{slug}_{number}"
    return folder


@dataclass
class domain_lock:  # noqa: N801 - reads as a statement
    """Holds a ROS domain against a second ``./gr2 sim`` of the same user, who would drive the same robot.

    Raises:
        DomainTaken: somebody holds it.
    """

    domain: int
    _file: IO[str] | None = None

    def __enter__(self) -> domain_lock:
        path = Path(tempfile.gettempdir()) / f"gr2-{os.getuid()}-domain-{self.domain}.lock"
        self._file = open(path, "a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            raise DomainTaken(
                f"ROS domain {self.domain} is used by another ./gr2 sim (process {owner}, lock {path}); "
                f"stop it, or take another with --domain"
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()


def enter_domain(domain: int) -> dict[str, str]:
    """Put this process and its future children into a ROS domain; their environment."""
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    return dict(os.environ)


def enter_graph(name: str, alive: Callable[[], None], security: str) -> Director:
    """The director of a stack that this process is about to start.

    Args:
        name: of its node.
        alive: as :class:`gr2_bringup.director.Director` takes it.
        security: keystore, in which it has the operator's enclave; empty: without security.

    Raises:
        StackEnded: ROS refuses, e.g. for want of DDS security.
    """
    if security:
        os.environ |= environment(Path(security)) | {"ROS_SECURITY_ENCLAVE_OVERRIDE": OPERATOR}
    from gr2_bringup.director import Director, StackError  # reads the environment when rclpy starts

    try:
        return Director(name, alive)
    except StackError as error:
        raise StackEnded(f"nothing was started. {error}") from error


def run_stack(args: argparse.Namespace, values: Mapping[str, object], folder: Path) -> int:
    """Start the stack, direct it, stop it."""
    env = enter_domain(args.domain)
    supervisor = Supervisor(stack.simulation(values), env, stack.share_folder(), folder / "log")

    def alive() -> None:
        child = supervisor.ended()
        if child is not None:
            raise StackEnded(
                f"{child.node.name} has ended with exit code {child.process.returncode}; "
                f"its output is in {folder / 'log' / (child.node.name + '.log')}"
            )

    code = SUCCESS
    with enter_graph("gr2_director", alive, str(values["security"])) as director:
        others = director.other_nodes()
        if others:
            raise DomainTaken(
                f"ROS domain {args.domain} already has nodes of a stack ({', '.join(sorted(others))}); "
                "stop them, or take another domain with --domain"
            )
        try:
            supervisor.start()
            code = direct(args, director, folder)
        except KeyboardInterrupt:
            code = INTERRUPTED if args.instruction and not args.keep else code
        finally:
            killed = supervisor.stop()
    if killed:
        print(f"gr2 sim: had to kill {', '.join(killed)}, which did not end by itself", file=sys.stderr)
    report_folder(folder, recorded=bool(values["record"]))
    return code


def direct(  # type: ignore[no-untyped-def]
    args: argparse.Namespace, director, folder: Path, verb: str = "gr2 sim"
) -> int:
    """Say the instruction and wait for the referee; without one, pass on what the user types."""
    start = time.monotonic()
    if not director.wait_until(director.ready, READY_TIMEOUT):
        raise StackEnded(f"the stack is not ready after {READY_TIMEOUT:.0f} s: {director.not_ready_because()}")
    print(f"{verb}: ready after {time.monotonic() - start:.1f} s (ROS domain {args.domain})", flush=True)
    code = SUCCESS
    if args.instruction:
        director.say(args.instruction)
        code = report(director.follow(args.instruction, args.timeout, lambda outcome: None), args.instruction)
        if not args.keep:
            return code
    print(
        f'{verb}: up until Ctrl-C. Type an instruction, or elsewhere:  ./gr2 say "open the drawer"',
        flush=True,
    )
    try:
        while True:
            director.spin(0.2)
            text = typed_line()
            if text is not None:
                director.say(text)
    except KeyboardInterrupt:
        return code


def typed_line() -> str | None:
    """A line that the user has typed, if any."""
    if not sys.stdin or not sys.stdin.isatty():
        return None
    ready, _, _ = select.select([sys.stdin], [], [], 0.0)
    return sys.stdin.readline().strip() if ready else None


def report(outcome, instruction: str) -> int:  # type: ignore[no-untyped-def]
    """Print how it ended; the exit code for it."""
    if outcome is None:
        print(f'FAILED: "{instruction}": the referee never heard of it', flush=True)
        return FAILED
    if outcome.success:
        print(f'SUCCESS: "{instruction}" after {outcome.elapsed:.1f} s ({outcome.detail})', flush=True)
        return SUCCESS
    print(f'FAILED: "{instruction}" not done after {outcome.elapsed:.1f} s ({outcome.detail})', flush=True)
    return FAILED


def report_folder(folder: Path, recorded: bool) -> None:
    """Print where the run's files are."""
    bag = folder / "bag"
    if recorded and bag.exists():
        print(f"bag:  {bag}")
    elif recorded:
        print(f"bag:  none was finished; see {folder / 'log' / 'recorder.log'}", file=sys.stderr)
    print(f"logs: {folder / 'log'}", flush=True)
