"""Fixtures for whole-system tests: a real stack, its nodes as processes, over real DDS in a domain of its own."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from domain_coordinator import domain_id
from gr2_msgs.msg import WbcStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState

from gr2_bringup import stack
from gr2_bringup.director import Director
from gr2_bringup.supervisor import Supervisor
from gr2_wbc.polling import Polled, take

PATIENCE = 30.0  # [s] for what comes at once on a machine that is not held up
KEPT = QoSProfile(depth=2000, reliability=ReliabilityPolicy.BEST_EFFORT)  # ten seconds of joint states
IMAGE = 128  # [pixel] small images leave the two cores of a test machine to the controller


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of these tests."""
    parser.addoption("--faults-report", default="", help="file for the table of faults, as measured")


def clock_offset() -> float:
    """Steady time less system time [s], read at once even if this process is held up meanwhile."""
    while True:
        before, system, after = time.monotonic(), time.time(), time.monotonic()
        if after < before + 0.001:
            return before - system


class RunningStack:
    """A started stack with a director in it, and the arm's motion as it happened.

    Attributes:
        nodes: what was started.
        director: a node in the stack's domain.
        motion: (arrival time on the steady clock [s], stamp [s], positions (7,) [rad], velocities (7,) [rad/s]).
        states: (time on the steady clock [s], state of the controller), changes only.
    """

    clock_offset = staticmethod(clock_offset)

    def __init__(self, nodes: list[stack.Node], domain: int, folder: Path, joint_states: str = "/joint_states") -> None:
        self.nodes = nodes
        self.folder = folder
        self.domain = domain
        self.env = dict(os.environ) | {"ROS_DOMAIN_ID": str(domain)}
        self.supervisor = Supervisor(nodes, self.env, stack.share_folder(), folder / "log", lambda *_: None)
        self.motion: list[tuple[float, float, np.ndarray, np.ndarray]] = []
        self.states: list[tuple[float, str]] = []
        self.supervisor.start()
        # Joint states are taken whenever this process waits, all that have come: 200 calls a second by an executor
        # would be more than a busy machine leaves it.
        self.director = Director("gr2_test", alive=self._take_joints, domain_id=domain)
        node = self.director.node
        self._joints = node.create_subscription(JointState, joint_states, print, KEPT, callback_group=Polled())
        node.create_subscription(WbcStatus, "/wbc_status", self._on_status, 50)

    def _take_joints(self) -> None:
        offset = clock_offset()
        for message, info in take(self._joints, KEPT.depth):
            self._on_joints(message, 1e-9 * info["received_timestamp"] + offset)

    def _on_joints(self, message: JointState, arrived: float) -> None:
        if "joint_7" not in message.name:
            return  # a test's own garbage
        index = [message.name.index(f"joint_{i}") for i in range(1, 8)]
        stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        q, v = np.array(message.position), np.array(message.velocity)
        if np.isfinite(q).all() and len(v) == len(q):
            self.motion.append((arrived, stamp, q[index], v[index]))

    def _on_status(self, message: WbcStatus) -> None:
        if not self.states or self.states[-1][1] != message.state_name:
            self.states.append((time.monotonic(), message.state_name))

    def ready(self, timeout: float = 90.0) -> RunningStack:
        """Wait until a policy is active and the controller holds."""
        assert self.director.wait_until(self.director.ready, timeout), (
            f"not ready: {self.director.not_ready_because()}\n{self.logs()}"
        )
        return self

    def process(self, name: str):  # type: ignore[no-untyped-def]
        """The process of the node of this name."""
        return next(child.process for child in self.supervisor.children if child.node.name == name)

    def moving(self) -> bool:
        """Whether a joint is now faster than 0.3 rad/s."""
        return bool(self.motion) and float(np.abs(self.motion[-1][3]).max()) > 0.3

    def at_rest(self, span: float = 0.5, limit: float = 0.02) -> bool:
        """Whether no joint was faster than ``limit`` [rad/s] over the last ``span`` [s]."""
        now = time.monotonic()
        recent = [v for at, _, _, v in self.motion if at > now - span]
        return bool(recent) and float(np.abs(recent).max()) < limit

    def wait(self, condition: Callable[[], bool], timeout: float, what: str) -> float:
        """Handle messages until the condition holds; the time it took [s]."""
        start = time.monotonic()
        assert self.director.wait_until(condition, timeout), f"{what}: not within {timeout} s\n{self.logs()}"
        return time.monotonic() - start

    def log(self, name: str) -> str:
        """What the node of this name has printed."""
        path = self.folder / "log" / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def logs(self) -> str:
        """What all nodes have printed."""
        files = sorted((self.folder / "log").glob("*.log"))
        return "\n".join(f"--- {file.stem}\n{file.read_text()[-3000:]}" for file in files)

    def stop(self) -> None:
        """Stop everything; no node may have died with a traceback or had to be killed."""
        self.director.close()
        killed = self.supervisor.stop(PATIENCE)
        assert "Traceback" not in self.logs(), self.logs()
        assert killed == [], self.logs()


@contextmanager
def own_domain() -> Iterator[int]:
    """A ROS domain that nobody else on this machine uses.

    Processes that were killed leave shared memory behind, into which messages for their successors in the same domain
    would vanish; Fast DDS's own command removes what belongs to no living process.
    """
    if shutil.which("fastdds"):
        subprocess.run(["fastdds", "shm", "clean"], capture_output=True, check=True, timeout=120)
    with domain_id() as number:
        yield int(number)


@contextmanager
def starter(domain: int, folder: Path) -> Iterator[Callable[..., RunningStack]]:
    """Starts stacks in a domain, their logs below a folder, and stops them at the end, whatever went wrong."""
    numbers = itertools.count()
    with ExitStack() as ending:

        def begin(
            nodes: list[stack.Node] | None = None, joint_states: str = "/joint_states", **given: object
        ) -> RunningStack:
            size = {"image_width": IMAGE, "image_height": IMAGE}
            values = stack.defaults(stack.SIMULATION) | {"policy": "teacher"} | size | given
            chosen = stack.simulation(values) if nodes is None else nodes
            one = RunningStack(chosen, domain, folder / f"stack{next(numbers)}", joint_states)
            ending.callback(one.stop)
            return one

        yield begin


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS domain for this test."""
    with own_domain() as number:
        yield number


@pytest.fixture
def start(domain: int, tmp_path: Path) -> Iterator[Callable[..., RunningStack]]:
    """Starts stacks: ``start(task=…, seed=…)`` simulated, or ``start(nodes=[…])``."""
    with starter(domain, tmp_path) as begin:
        yield begin


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningStack]]:
    """As ``start``, for one stack that all tests of a file use."""
    with own_domain() as number, starter(number, tmp_path_factory.mktemp("shared")) as begin:
        yield begin
