"""Child processes: output, order of ending, stubborn ones, orphans."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gr2_bringup.stack import Node
from gr2_bringup.supervisor import Supervisor

POLITE = (
    "import signal, time as t; signal.signal(signal.SIGTERM, lambda *a: exit(0)); print('up', flush=True); t.sleep(60)"
)
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
FORKING = (
    "import signal, subprocess, sys, time\n"
    "p = subprocess.Popen([sys.executable, '-c', 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    " time.sleep(60)'])\n"
    "print('child', p.pid, flush=True)\n"
    "signal.signal(signal.SIGTERM, lambda *a: exit(0))\n"
    "time.sleep(60)\n"
)


class Bench:
    """A supervisor over executables that the test writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[tuple[str, str]] = []
        self.nodes: list[Node] = []

    def node(self, name: str, code: str, required: bool = True) -> None:
        path = self.folder / "lib" / "bench" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!{sys.executable}\n{code}\n")
        path.chmod(0o755)
        self.nodes.append(Node("bench", name, name, required=required))

    def start(self) -> Supervisor:
        env = dict(os.environ) | {"AMENT_PREFIX_PATH": str(self.folder)}
        supervisor = Supervisor(
            self.nodes, env, self.folder, self.folder / "log", lambda n, c, t: self.lines.append((n.strip(), t))
        )
        supervisor.start()
        return supervisor

    def until(self, condition, seconds: float = 10.0) -> None:  # type: ignore[no-untyped-def]
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.01)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_output_is_prefixed_and_logged(bench: Bench) -> None:
    bench.node("one", POLITE)
    supervisor = bench.start()
    bench.until(lambda: ("one", "up") in bench.lines)
    assert supervisor.stop() == []
    assert (bench.folder / "log" / "one.log").read_text() == "up\n"


def test_end_of_a_required_process_is_told_and_of_another_only_shown(bench: Bench) -> None:
    bench.node("helper", "raise SystemExit(4)", required=False)
    bench.node("core", POLITE)
    supervisor = bench.start()
    bench.until(lambda: supervisor.ended() is None and any("exit code 4" in t for _, t in bench.lines))
    core = supervisor.children[1]
    core.process.send_signal(signal.SIGKILL)
    core.process.wait()
    child = supervisor.ended()
    assert child is not None
    assert child.node.name == "core"
    supervisor.stop()


def test_stubborn_process_is_killed_and_named(bench: Bench) -> None:
    bench.node("polite", POLITE)
    bench.node("stubborn", STUBBORN)
    supervisor = bench.start()
    bench.until(lambda: len(bench.lines) == 2)
    assert supervisor.stop(patience=0.5) == ["stubborn"]
    assert all(child.process.poll() is not None for child in supervisor.children)


def test_grandchildren_do_not_survive(bench: Bench) -> None:
    bench.node("forking", FORKING)
    supervisor = bench.start()
    bench.until(lambda: bool(bench.lines))
    grandchild = int(bench.lines[0][1].split()[1])
    assert alive(grandchild)
    supervisor.stop()
    bench.until(lambda: not alive(grandchild))


def test_children_end_when_the_supervisor_is_killed(bench: Bench, tmp_path: Path) -> None:
    bench.node("node", "import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    script = (
        "import os, sys, time; from pathlib import Path\n"
        "from gr2_bringup.stack import Node; from gr2_bringup.supervisor import Supervisor\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "env = dict(os.environ) | {'AMENT_PREFIX_PATH': str(folder)}\n"
        "Supervisor([Node('bench', 'node', 'node')], env, folder, folder / 'log',"
        " lambda n, c, t: print(t, flush=True)).start()\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    parent.wait()
    bench.until(lambda: not alive(child))
