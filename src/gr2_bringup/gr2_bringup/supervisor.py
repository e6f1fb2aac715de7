"""Runs the nodes of the stack as child processes: starts in order, prefixes their output, leaves no orphans."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gr2_bringup.stack import Node, located

COLOURS = (36, 33, 35, 32, 34, 31)  # ANSI, one per node
PR_SET_PDEATHSIG = 1


class MissingExecutable(RuntimeError):
    """A node of the stack is not built; the message names it."""


@dataclass
class Child:
    """A started node."""

    node: Node
    process: subprocess.Popen[str]
    reader: threading.Thread
    ended: bool = False


def executable_path(node: Node, prefixes: Sequence[str]) -> Path:
    """Find a node's executable in the ament prefixes.

    Raises:
        MissingExecutable: none of them has it.
    """
    for prefix in prefixes:
        path = Path(prefix) / "lib" / node.package / node.executable
        if path.exists():
            return path
    raise MissingExecutable(f"no executable {node.package}/{node.executable} in {':'.join(prefixes)}")


def command_line(node: Node, path: Path, share: Path) -> list[str]:
    """The command that ``ros2 launch`` would also run; ``share``: this package's share folder."""
    command = [str(path), "--ros-args", "-r", f"__node:={node.name}"]
    if node.enclave:
        command += ["--enclave", node.enclave]
    for source, target in node.remappings:
        command += ["-r", f"{source}:={target}"]
    for file in node.parameter_files:
        command += ["--params-file", str(share / "config" / file)]
    for name, value in node.parameters.items():
        command += ["-p", f"{name}:={_yaml(located(value, share))}"]
    return command


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    if isinstance(value, float):
        return repr(value) if "." in repr(value) or "e" in repr(value) else f"{value!r}.0"
    return str(value)


class Supervisor:
    """Starts and stops the processes of a stack.

    Args:
        nodes: in starting order.
        env: complete environment of the children.
        share: share folder of gr2_bringup.
        log: folder for one log file per node.
        show: prints one line of a node: (node name, colour, text).
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        env: dict[str, str],
        share: Path,
        log: Path,
        show: Callable[[str, int, str], None] | None = None,
    ) -> None:
        self._nodes = list(nodes)
        self._env = env
        self._share = share
        self._log = log
        self._show = show or print_line
        self._width = max(len(node.name) for node in nodes)
        self.children: list[Child] = []
        self.stopping = False

    def start(self) -> None:
        """Start all nodes.

        Raises:
            MissingExecutable: one of them is not built; nothing has been started then.
        """
        prefixes = [p for p in self._env.get("AMENT_PREFIX_PATH", "").split(":") if p]
        commands = [command_line(n, executable_path(n, prefixes), self._share) for n in self._nodes]
        self._log.mkdir(parents=True, exist_ok=True)
        for index, (node, command) in enumerate(zip(self._nodes, commands, strict=True)):
            process = subprocess.Popen(
                command,
                env={**self._env, **node.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                bufsize=1,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which then stops them in order
                preexec_fn=_die_with_parent,
            )
            colour = COLOURS[index % len(COLOURS)]
            reader = threading.Thread(target=self._read, args=(node, process, colour), daemon=True)
            reader.start()
            self.children.append(Child(node, process, reader))

    def _read(self, node: Node, process: subprocess.Popen[str], colour: int) -> None:
        assert process.stdout is not None
        with open(self._log / f"{node.name}.log", "w", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                self._show(node.name.ljust(self._width), colour, line.rstrip())

    def ended(self) -> Child | None:
        """The first required node that has ended by itself, if any; reports the others that have."""
        for child in self.children:
            code = child.process.poll()
            if code is None or child.ended:
                continue
            child.ended = True
            if child.node.required:
                return child
            self._show(child.node.name.ljust(self._width), 31, f"has ended with exit code {code}")
        return None

    def stop(self, patience: float = 8.0) -> list[str]:
        """Stop everything: SIGTERM in reverse order, then SIGKILL for what has not ended after ``patience`` [s].

        Returns:
            names of the nodes that had to be killed.
        """
        self.stopping = True
        for child in reversed(self.children):
            _signal_group(
                child.process, signal.SIGTERM
            )  # SIGINT would end one that is still importing with a traceback
        deadline = time.monotonic() + patience
        killed = []
        for child in self.children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                killed.append(child.node.name)
                _signal_group(child.process, signal.SIGKILL)
                child.process.wait()
            _signal_group(child.process, signal.SIGKILL)  # whatever the node itself had started
            child.reader.join(2.0)
        return killed


def print_line(name: str, colour: int, text: str) -> None:
    """Print one line of a node's output with its name before it."""
    prefix = f"\033[{colour}m{name}\033[0m" if sys.stdout.isatty() else name
    print(f"{prefix} | {text}", flush=True)


def _signal_group(process: subprocess.Popen[str], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended already


def _die_with_parent() -> None:
    """Ask the kernel to end this child when the supervisor dies, even by SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
