"""What the tests of faults share: an arm that can fail on request, a policy's part played by the test, the measures."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gr2_msgs.msg import TrajectoryChunk
from gr2_msgs.srv import ActivatePolicy
from rclpy.qos import QoSProfile
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from gr2_bringup import stack
from gr2_bringup.supervisor import _die_with_parent
from gr2_wbc.robots import load_robot

ROBOT = load_robot("gen3_2f85")
NEWEST = QoSProfile(depth=1)
MOVES = 0.02  # [rad/s] a joint faster than this moves
RADIUS, RATE = 0.10, 2.0  # [m], [rad/s] of the circle that a bench's policy asks for: 0.2 m/s
POSES, DT = 16, 0.1  # of a chunk
PATIENCE = 30.0  # [s] for what comes at once on a machine that is not held up
HELD_UP, WINDOW = 0.05, 0.02  # [s]
CALM = 6  # cycles missed
Motion = Callable[[float], np.ndarray]


@dataclass(frozen=True)
class Halt:
    """How a motion came to its end.

    Attributes:
        speed: fastest joint at the fault [rad/s].
        time: from the fault to rest, by the stamps of the joint states [s]. Of a time without any, because the machine
            was held up, no more than ``HELD_UP`` is counted: when in it the arm came to rest is not known.
        joint: largest way of a joint from the fault to rest [rad].
        tool: way of the tool [m].
    """

    speed: float
    time: float
    joint: float
    tool: float


def halt(running: Any, fault: float) -> Halt:
    """How a stack's arm came to rest after a fault at this steady time [s]."""
    after = [sample for sample in running.motion if sample[0] >= fault]
    last = max((number for number, sample in enumerate(after) if np.abs(sample[3]).max() > MOVES), default=0)
    took = sum(min(late[1] - early[1], HELD_UP) for early, late in pairwise(after[: last + 1]))
    (_, _, q0, v0), q1 = after[0], after[-1][2]
    way = float(np.linalg.norm(ROBOT.tool_pose(q1)[0] - ROBOT.tool_pose(q0)[0]))
    return Halt(float(np.abs(v0).max()), took, float(np.abs(q1 - q0).max()), way)


def assert_within_limits(running: Any, since: float = 0.0, slack: float = 0.0) -> None:
    """No joint was faster, or changed its velocity faster, than it may, by the positions as they came.

    Looked at are mean velocities over ``WINDOW`` or the time between two joint states, where that is longer.

    Args:
        running: the stack.
        since: steady time from which on this is asked [s].
        slack: steps of this size are forgiven [rad/s]: an arm with dynamics of its own shakes when it is stopped.
    """
    samples = [sample for sample in running.motion if sample[0] >= since]
    chosen = samples[:1]
    for sample in samples:
        if sample[1] >= chosen[-1][1] + WINDOW - 1e-4:
            chosen.append(sample)
    stamps, places = np.array([s[1] for s in chosen]), np.array([s[2] for s in chosen])
    assert len(stamps) > 4, "no joint states"
    limits, spans = ROBOT.limits, np.diff(stamps)[:, None]
    speeds = np.diff(places, axis=0) / spans
    assert (np.abs(speeds) <= 1.02 * limits.velocity + slack).all(), np.abs(speeds).max(axis=0)
    # Between its points the executor interpolates with a cubic, which changes velocity up to 1.5 times as fast.
    excess = np.abs(np.diff(speeds, axis=0)) - 0.75 * limits.acceleration * (spans[1:] + spans[:-1])
    # An arm that was held up with the controller may have begun to brake when a command comes from before that.
    for gap in np.flatnonzero(spans[:, 0] > HELD_UP):
        excess[max(gap - 3, 0) : gap + 4] -= 0.2
    place, joint = np.unravel_index(int(np.argmax(excess)), excess.shape)
    near = slice(max(int(place) - 3, 0), int(place) + 5)
    assert excess[place, joint] <= slack, (
        f"{limits.names[joint]} by {excess[place, joint]:.3f} rad/s too much: {speeds[near, joint]} at {stamps[near]}"
    )


class Report:
    """The table of faults, as measured."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def add(self, fault: str, what: str, stopped: Halt | None = None) -> None:
        """A row: the fault's number and name, what followed, and how the arm came to rest, if it had to."""
        row: dict[str, object] = {"fault": fault, "what": what}
        if stopped is not None:
            row |= {"speed": stopped.speed, "time": stopped.time, "joint": stopped.joint, "tool": stopped.tool}
        self.rows.append(row)

    def table(self) -> str:
        """As Markdown."""
        lines = ["| fault | what follows | at | at rest after | joint | tool |", "|---|---|---|---|---|---|"]
        for row in self.rows:
            figures = "– | – | – | –"
            if "time" in row:
                figures = "{speed:.2f} rad/s | {time:.2f} s | {joint:.3f} rad | {mm:.0f} mm".format(
                    mm=1e3 * float(str(row["tool"])), **row
                )
            lines.append(f"| {row['fault']} | {row['what']} | {figures} |")
        return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    """Rows of the table, written at the end to ``--faults-report`` or into the folder of temporary files."""
    made = Report()
    yield made
    path = Path(request.config.getoption("--faults-report") or tmp_path_factory.getbasetemp() / "faults.md")
    path.write_text(made.table(), encoding="utf-8")
    print(f"\nfaults as measured: {path}\n{made.table()}")


class Bench:
    """A controller, set up as for the real arm, and the arm of arm.py; the test plays the policy.

    A test file may set parameters of the controller in ``BENCH``. Joint states may be a second old: where it is not
    about their age, a machine that is held up is no fault.

    Attributes:
        running: the stack, with the arm's true motion in it.
    """

    def __init__(self, begin: Callable[..., Any], **parameters: object) -> None:
        given = {"use_sim_time": False, "armed": True, "safety.joint_state_timeout": 1.0, **parameters}
        wbc = stack.Node("gr2_wbc", "wbc_node", "wbc", ("wbc_real.yaml",), given)
        self.running = begin(nodes=[wbc], joint_states="/arm/truth")
        self._arm: subprocess.Popen | None = None
        node = self.running.director.node
        self.node, self.director = node, self.running.director
        self.chunks = node.create_publisher(TrajectoryChunk, "/trajectory_chunk", NEWEST)
        self.e_stop = node.create_publisher(Bool, "/e_stop", 10)
        self._faults = node.create_publisher(String, "/arm/fault", 10)
        self._activation = node.create_client(ActivatePolicy, "/wbc/activate_policy")
        self._reset = node.create_client(Trigger, "/wbc/reset")
        self.session, self.sequence = "", 0

    # -- the arm -----------------------------------------------------------------------------------------------------

    def start_arm(self, positions: np.ndarray | None = None) -> None:
        """Start the arm, or another one in its place, standing at these positions (7,) [rad]."""
        self.stop_arm()
        start = ROBOT.configurations["ready"] if positions is None else positions
        command = [sys.executable, str(Path(__file__).with_name("arm.py")), json.dumps(start.tolist())]
        self._arm = subprocess.Popen(command, env=self.running.env, preexec_fn=_die_with_parent)
        self.running.wait(lambda: self._faults.get_subscription_count() > 0, PATIENCE, "the arm does not start")

    def stop_arm(self) -> None:
        """End the arm's process."""
        if self._arm is not None:
            self._arm.terminate()
            assert self._arm.wait(PATIENCE) == 0
            self.running.wait(lambda: self._faults.get_subscription_count() == 0, PATIENCE, "the arm is still seen")

    def break_arm(self, fault: str) -> float:
        """Have the arm fail (see arm.py); the steady time [s] of that."""
        self._faults.publish(String(data=fault))
        return time.monotonic()

    # -- the controller ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """Its state's name."""
        return self.director.status.state_name if self.director.status is not None else ""

    @property
    def reason(self) -> str:
        """Why it is in that state."""
        return self.director.status.reason if self.director.status is not None else ""

    def refused(self) -> dict[str, int]:
        """Refused chunks so far by name."""
        status = self.director.status
        return dict(zip(status.refusal_names, status.refusal_counts, strict=True))

    def until(self, state: str, timeout: float = PATIENCE) -> float:
        """Wait until it is in a state; how long that took [s]."""
        return self.running.wait(lambda: self.state == state, timeout, f"not {state} but {self.state}: {self.reason}")

    def call(self, client: Any, request: Any) -> Any:
        """Call a service."""
        self.running.wait(client.service_is_ready, PATIENCE, f"no {client.srv_name}")
        future = client.call_async(request)
        self.running.wait(future.done, PATIENCE, f"no answer of {client.srv_name}")
        return future.result()

    def activate(self, **changes: object) -> Any:
        """Begin a session."""
        fields = {"policy": "bench", "robot_id": ROBOT.robot_id, "action_space": "tool_pose_base_link+gripper"}
        answer = self.call(self._activation, ActivatePolicy.Request(**(fields | {"chunk_dt": DT} | changes)))
        if answer.accepted:
            self.session, self.sequence = answer.session, 0
        return answer

    def reset(self) -> Any:
        """Ask to leave STOPPED."""
        return self.call(self._reset, Trigger.Request())

    def recover(self, patience: float = PATIENCE) -> None:
        """Leave STOPPED; a new arm is seen by the controller a little later than by the test."""
        deadline = time.monotonic() + patience
        while not (answer := self.reset()).success:
            assert time.monotonic() < deadline, f"{answer.message}\n{self.running.logs()}"
            self.director.spin(0.1)
        self.running.wait(lambda: self.state != "STOPPED", patience, "it is told to be stopped still")

    def sound(self) -> Bench:
        """A sound arm where it began, a controller that holds it there, and a session."""
        if self._arm is None:
            self.start_arm()
            self.running.wait(lambda: self.state not in ("", "IDLE"), PATIENCE, "the arm is not taken over")
        self.e_stop.publish(Bool(data=True))
        self.running.wait(lambda: self.director.status.e_stop, PATIENCE, "no e-stop")
        self.break_arm("home")
        begun, home = time.monotonic(), ROBOT.configurations["ready"]
        self.running.wait(
            lambda: (
                bool(self.running.motion)
                and self.running.motion[-1][0] > begun
                and np.abs(self.running.motion[-1][2] - home).max() < 1e-6
                and self.running.at_rest(0.1)
            ),
            PATIENCE,
            "the arm is not where it began",
        )
        self.recover()
        self.until("HOLDING")
        if not self.session:
            assert self.activate().accepted
        self.running.motion.clear()
        self.running.states.clear()
        return self

    # -- the policy --------------------------------------------------------------------------------------------------

    def tool(self) -> tuple[np.ndarray, np.ndarray]:
        """Pose of the tool: position (3,) [m] and quaternion (4,)."""
        self.running.wait(lambda: bool(self.running.motion), PATIENCE, "no joint states")
        return ROBOT.tool_pose(self.running.motion[-1][2])

    def circle(self) -> Motion:
        """A motion that begins where the tool is, gently."""
        place = self.tool()[0]

        def motion(time: float) -> np.ndarray:
            angle = RATE * max(time, 0.0) * min(max(time, 0.0), 1.0)
            return place + RADIUS * np.array([0.0, np.sin(angle), 1.0 - np.cos(angle)])

        return motion

    def chunk(
        self, positions: np.ndarray, late: float = 0.05, now: int | None = None, **changes: object
    ) -> TrajectoryChunk:
        """A chunk through positions (k, 3) [m], computed from an observation ``late`` seconds before ``now`` [ns]."""
        self.sequence += 1
        k = len(positions)
        message = TrajectoryChunk(session=self.session, sequence=self.sequence, dt=DT, horizon=k, model_id="bench")
        stamp = (now or self.node.get_clock().now().nanoseconds) - round(late * 1e9)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        message.header.frame_id = "base_link"
        message.instruction = "move"
        message.positions = np.asarray(positions, dtype=float).ravel().tolist()
        message.orientations = np.tile(self.orientation, k).tolist()
        message.gripper = [0.0] * k
        for name, value in changes.items():
            setattr(message, name, value)
        return message

    def stream(
        self,
        seconds: float,
        motion: Motion,
        since: float | None = None,
        period: float = 0.2,
        late: Callable[[], float] = lambda: 0.05,
        send: Callable[[TrajectoryChunk], None] | None = None,
        until: Callable[[], bool] | None = None,
    ) -> float:
        """Be a policy for a while.

        Args:
            seconds: how long; with ``until``: within which that must hold.
            motion: tool position (3,) at a time since its beginning [s].
            since: steady time at which it began [s]; None: now.
            period: between chunks [s].
            late: age of a chunk's observation when it is sent [s].
            send: sends a chunk, or does something else with it.
            until: ends it as soon as this holds.

        Returns:
            When the motion began.
        """
        begun = time.monotonic() if since is None else since
        self.orientation = self.tool()[1] if since is None else self.orientation
        end, due = time.monotonic() + seconds, 0.0
        while not (until and until()):
            now = time.monotonic()
            if now >= end:
                assert until is None, f"not within {seconds} s; {self.state}: {self.reason}\n{self.running.logs()}"
                break
            if now >= due:
                due = now + period
                self.send(motion, begun, late(), send)
            self.director.spin(0.01)
        return begun

    def send(
        self, motion: Motion, begun: float, age: float = 0.05, send: Callable[[TrajectoryChunk], None] | None = None
    ) -> None:
        """Send a chunk of a motion that began at this steady time [s]; the rest is that of ``stream``."""
        steady = float("-inf")
        while time.monotonic() > steady + 0.002:  # both clocks at once, even if this process is held up between them
            steady, now = time.monotonic(), self.node.get_clock().now().nanoseconds
        times = steady - age - begun + DT * np.arange(1, POSES + 1)
        (send or self.chunks.publish)(self.chunk(np.array([motion(one) for one in times]), age, now))

    def move(self, before: float = 1.3) -> tuple[Motion, float]:
        """Get into full motion; the motion and when it began."""
        motion, due = self.circle(), time.monotonic() + before

        def under_way() -> bool:
            return time.monotonic() > due and self.state == "TRACKING" and self.running.moving()

        return motion, self.stream(PATIENCE, motion, until=under_way)

    def held_up(self) -> float:
        """The longest time without a joint state since the beginning of the test [s]."""
        stamps = [stamp for _, stamp, _, _ in self.running.motion]
        return max((late - early for early, late in pairwise(stamps)), default=0.0)

    def calm(self, span: float) -> Callable[[], bool]:
        """Holds once the last ``span`` [s] from now on passed without a hold-up of controller, arm or machine.

        What it needs to be undisturbed for: how near the arm is to a motion that is asked for in time.
        """
        mark = [time.monotonic(), self.director.status.missed_cycles]

        def holds() -> bool:
            now, missed = time.monotonic(), self.director.status.missed_cycles
            recent = [stamp for at, stamp, _, _ in self.running.motion[-round(1.5 * span / 0.005) :] if at >= mark[0]]
            gap = max((late - early for early, late in pairwise(recent)), default=0.0)
            if missed > mark[1] + CALM or gap > HELD_UP or self.director.status.path_speed_scale < 0.7:
                mark[:] = [now, missed]
            return now > mark[0] + span

        return holds

    def close(self) -> None:
        """End the arm; the controller ends with its stack."""
        self.stop_arm()


@pytest.fixture(scope="module")
def shared_bench(request: pytest.FixtureRequest, start_shared: Callable[..., Any]) -> Iterator[Bench]:
    """One bench for all tests of a file."""
    made = Bench(start_shared, **getattr(request.module, "BENCH", {}))
    yield made
    made.close()


@pytest.fixture
def bench(shared_bench: Bench) -> Bench:
    """The file's bench, sound again."""
    return shared_bench.sound()


class Measures:
    """The measures above, for test files, which cannot import them from here."""

    halt = staticmethod(halt)
    assert_within_limits = staticmethod(assert_within_limits)
    robot = ROBOT
    patience = PATIENCE


@pytest.fixture(scope="session")
def measures() -> type[Measures]:
    """See :class:`Measures`."""
    return Measures
