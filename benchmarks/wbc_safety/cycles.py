"""Randomised control cycles: everything at once that may go wrong around the controller, and what comes out of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from benchmarks.wbc_safety.checker import Findings, RobotSide
from benchmarks.wbc_safety.chunks import Situation, random_chunk

from gr2_wbc.chunk import ChunkRefused
from gr2_wbc.config import ControllerConfig, override
from gr2_wbc.controller import Controller, Measurement, State
from gr2_wbc.qp import Program, QpRejected
from gr2_wbc.robot import Robot
from gr2_wbc.safety import ResetRefused

PERIOD = 0.005
EPISODE = 2000  # cycles
_DTS = (0.03, 0.05, 0.1, 0.1, 0.2)


@dataclass
class Summary:
    """What happened in randomised cycles.

    Attributes:
        findings: of the checker.
        cycles, commands: run, and commands sent.
        chunks: kind -> how many were sent; accepted: how many of all were taken.
        events: what else was done to the controller, by name.
        states: cycles spent in each state.
        stops: why it stopped, by the first words.
        errors: exceptions that the controller must not raise.
        nearest: smallest distance of a monitored pair that the controller reported [m], clearance to the safe one.
    """

    findings: Findings = field(default_factory=Findings)
    cycles: int = 0
    commands: int = 0
    chunks: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    events: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def add(self, other: Summary) -> None:
        """Take over another's."""
        self.findings.add(other.findings)
        self.cycles += other.cycles
        self.commands += other.commands
        self.accepted += other.accepted
        for name in ("chunks", "events", "states", "stops"):
            getattr(self, name).update(getattr(other, name))
        self.errors += other.errors

    @property
    def violations(self) -> int:
        """Bounds broken, exceptions included."""
        return sum(self.findings.violations.values()) + len(self.errors)


class _Failing:
    """A solver that fails on demand."""

    def __init__(self, inner: object) -> None:
        self._inner = inner
        self.failures = 0

    def solve(self, program: Program) -> np.ndarray:
        if self.failures > 0:
            self.failures -= 1
            raise QpRejected("made to fail")
        return self._inner.solve(program)  # type: ignore[attr-defined]


class Episode:
    """One controller and one robot side, for some cycles of one random seed."""

    def __init__(self, robot: Robot, seed: int) -> None:
        self.random = random = np.random.default_rng([7, seed])
        self.robot = robot
        self.summary = Summary()
        self.dt = float(random.choice(_DTS))
        config = override(
            ControllerConfig(),
            {
                "qp.solver": "daqp" if random.random() < 0.2 else "osqp",
                "intake.chunk_dt": self.dt,
                "safety.resync_on_jump": False,
            },
        )
        self.controller = Controller(robot, config)
        self.now = float(random.uniform(10.0, 1000.0))
        start = self._start()
        self.side = RobotSide(robot.limits, start, self.now, f"seed {seed}")
        self.noise = float(random.choice([0.0, 1e-4, 1e-3]))
        self.sequence = 0
        self.session = self.controller.activate("random", robot.robot_id, config.intake.action_space, self.dt)
        self.frozen: Measurement | None = None
        self.thaw = 0
        self.solver: _Failing | None = None
        self.next_chunk = 0

    def _start(self) -> np.ndarray:
        """A configuration anywhere within the limits, a third of them near the ready one, some at a limit."""
        random, limits = self.random, self.robot.limits
        ready = self.robot.configurations["ready"]
        choice = random.random()
        if choice < 0.6:
            return np.clip(ready + random.normal(0.0, 0.3, len(ready)), limits.lower, limits.upper)
        low, high = np.maximum(limits.lower, -3.0), np.minimum(limits.upper, 3.0)
        if choice < 0.9:
            return random.uniform(low, high)
        return np.where(random.random(len(ready)) < 0.3, random.choice([-1.0, 1.0], len(ready)) * high, ready)

    def run(self, cycles: int) -> Summary:
        """Run this many cycles."""
        summary, controller, side = self.summary, self.controller, self.side
        for cycle in range(cycles):
            try:
                self._disturb()
                if cycle >= self.next_chunk:
                    self._send_chunk()
                    self.next_chunk = cycle + int(self.random.integers(2, 60))
                command = controller.step(self.now, self._measurement())
            except Exception as error:  # noqa: BLE001  anything that escapes is a finding
                summary.errors.append(f"{self.side._label} at {self.now:.3f} s: {type(error).__name__}: {error}")
                break
            side.send(command)
            summary.cycles += 1
            summary.commands += command.active
            summary.states[command.state.name] += 1
            if command.state is State.STOPPED and self.random.random() < 0.01:
                self._reset(command.reason)
            self._wait()
        side.check()
        summary.findings = side.findings
        return summary

    def _wait(self) -> None:
        """To the next cycle: on time, a little late, or much."""
        random, choice = self.random, self.random.random()
        gap = PERIOD
        if choice < 0.02:
            gap = float(random.uniform(0.001, 0.02))
        elif choice < 0.023:
            gap = float(random.uniform(0.02, 0.5))
            self.summary.events["late cycle"] += 1
        self.now += gap
        self.side.run(self.now)

    def _measurement(self) -> Measurement:
        if self.frozen is not None and self.thaw > 0:
            self.thaw -= 1
            return self.frozen
        random, side = self.random, self.side
        # Where the arm is taken over is where it is measured: without noise that is where its executor stands.
        noise = self.noise if self.summary.commands else 0.0
        measured = Measurement(
            self.now - float(random.uniform(0.0, 0.004)),
            side.positions + random.normal(0.0, 1.0, len(side.positions)) * noise,
            side.velocities + random.normal(0.0, 10.0, len(side.positions)) * noise,
            float(random.random()),
        )
        self.frozen = measured
        return measured

    def _send_chunk(self) -> None:
        position, quaternion = self.robot.tool_pose(self.side.positions)
        x, y, z, w = quaternion
        self.sequence += 1
        situation = Situation(self.now, position, _matrix(x, y, z, w), self.session, self.sequence, self.dt)
        kind, chunk = random_chunk(self.random, situation)
        self.summary.chunks[kind] += 1
        try:
            self.controller.accept(chunk, self.now)
        except ChunkRefused as refused:
            self.summary.events[f"refused: {refused.reason.value}"] += 1
            return
        if kind == "malformed" and chunk.sequence > 0:  # else the first of a session, whose sequence may be anything
            self.summary.errors.append(f"{self.side._label} at {self.now:.3f} s: a malformed chunk was accepted")
        self.summary.accepted += 1

    def _disturb(self) -> None:
        random, controller, events = self.random, self.controller, self.summary.events
        choice = random.random()
        if choice < 3e-4:
            controller.e_stop("pressed")
            events["e-stop"] += 1
        elif choice < 6e-4:
            self.thaw = int(random.integers(1, 120))
            events["frozen joint states"] += 1
        elif choice < 1.2e-3:
            self._fail_solver(int(random.choice([1, 3, 9, 15])))
        elif choice < 1.4e-3:
            jump = float(random.choice([-1.0, 1.0]) * random.uniform(2.5, 20.0))
            self.now += jump
            self.side.jump(self.now, controller.safety.stopped and not self.side.velocities.any())
            events["clock jump"] += 1
        elif choice < 1.8e-3:
            controller.note_lateness(float(random.uniform(0.0, 0.1)))
        elif choice < 2e-3:
            self.session = controller.activate(
                "random", self.robot.robot_id, controller.config.intake.action_space, self.dt
            )
            events["activation"] += 1

    def _fail_solver(self, count: int) -> None:
        if self.solver is None:
            program = self.controller._program
            self.solver = program._solver = _Failing(program._solver)
        self.solver.failures = count
        self.summary.events["solver failures"] += 1

    def _reset(self, reason: str) -> None:
        self.summary.stops[" ".join(reason.split()[:3])] += 1
        self.thaw = 0
        try:
            self.controller.reset(self.now, self._measurement())
            self.summary.events["reset"] += 1
        except ResetRefused:
            self.summary.events["reset refused"] += 1


def run_cycles(
    robot: Robot, cycles: int, seed: int, progress: Callable[[int], None] | None = None, length: int = EPISODE
) -> Summary:
    """Run randomised cycles in episodes of ``length``; the same for each seed.

    Args:
        progress: called with the number of cycles that were added.
    """
    total, episode = Summary(), 0
    while total.cycles < cycles and len(total.errors) < 20:
        found = Episode(robot, 100_000 * seed + episode).run(min(length, cycles - total.cycles))
        total.add(found)
        episode += 1
        if progress is not None:
            progress(found.cycles)
    return total


def _matrix(x: float, y: float, z: float, w: float) -> np.ndarray:
    return np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
        )
    )
