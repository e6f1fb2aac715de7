"""Checks what a robot would do with the commands it is sent, knowing nothing of how they were made.

An executor in the manner of ros2_control's JTC follows every command: from where it is to the first point that is not
yet past, then on from point to point by cubic Hermite interpolation, and past the last point it stays. Its positions
are taken at 1 kHz, and velocities and accelerations are differences of these positions alone.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from gr2_wbc.controller import Command
from gr2_wbc.robot import JointLimits

STEP = 0.001  # [s]
_BATCH = 4096
_SLACK = 1e-6  # [rad]
_TOLERANCE = 1e-5  # relative, on limits: rounding of second differences


@dataclass
class Findings:
    """What was found.

    Attributes:
        samples: positions looked at.
        velocity, acceleration: largest value over its limit, any joint.
        beyond: how far a joint was outside its position limits at most [rad].
        violations: how often which bound was broken.
        first: the first violations in words.
    """

    samples: int = 0
    velocity: float = 0.0
    acceleration: float = 0.0
    beyond: float = 0.0
    violations: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)

    def note(self, kind: str, text: str) -> None:
        """Count a violation."""
        self.violations[kind] += 1
        if len(self.first) < 20:
            self.first.append(f"{kind}: {text}")

    def add(self, other: Findings) -> None:
        """Take over another's."""
        self.samples += other.samples
        self.velocity = max(self.velocity, other.velocity)
        self.acceleration = max(self.acceleration, other.acceleration)
        self.beyond = max(self.beyond, other.beyond)
        self.violations.update(other.violations)
        self.first = [*self.first, *other.first][:20]


class Follower:
    """The executor: the same as the simulated robot's, but for many times at once."""

    def __init__(self, positions: np.ndarray) -> None:
        self._times = [float("-inf")]
        self._positions = positions[None].copy()
        self._velocities = np.zeros((1, len(positions)))

    def accept(self, now: float, times: np.ndarray, positions: np.ndarray, velocities: np.ndarray) -> None:
        """Follow a trajectory: absolute times (m,) [s], positions and velocities (m, n)."""
        here, rate = self.sample(np.array([now]))
        first = bisect_right(times, now)
        self._times = [now, *times[first:].tolist()]
        self._positions = np.concatenate([here, positions[first:]])
        self._velocities = np.concatenate([rate, velocities[first:]])

    def sample(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions (k, n) and velocities (k, n) at increasing times (k,) [s]."""
        first, last = bisect_right(self._times, times[0]), bisect_right(self._times, times[-1])
        if first == last:
            return self._within(first, times)
        parts, begin = [], 0
        for index in range(first, last + 1):
            end = len(times)
            if index < len(self._times):
                end = int(np.searchsorted(times, self._times[index]))
            if end > begin:
                parts.append(self._within(index, times[begin:end]))
            begin = max(begin, end)
        return np.concatenate([p for p, _ in parts]), np.concatenate([v for _, v in parts])

    def _within(self, index: int, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Between nodes ``index - 1`` and ``index``; before the first and after the last node it stands."""
        count = len(times)
        if index == len(self._times):
            return np.tile(self._positions[-1], (count, 1)), np.zeros((count, self._positions.shape[1]))
        if index == 0:
            return np.tile(self._positions[0], (count, 1)), np.tile(self._velocities[0], (count, 1))
        begin = self._times[index - 1]
        span = self._times[index] - begin
        s = ((times - begin) / span)[:, None]
        way = self._positions[index] - self._positions[index - 1]
        v0, v1 = span * self._velocities[index - 1], span * self._velocities[index]
        cubic = v0 + v1 - 2.0 * way
        square = way - v0 - cubic
        bent = s * cubic
        return (
            self._positions[index - 1] + s * (v0 + s * (square + bent)),
            (v0 + s * (2.0 * square + 3.0 * bent)) / span,
        )


class RobotSide:
    """The robot at the other end of the commands, and the checks.

    Attributes:
        findings: see :class:`Findings`.
        positions, velocities: (n,) where the executor is [rad], [rad/s].
    """

    def __init__(self, limits: JointLimits, positions: np.ndarray, now: float, label: str = "") -> None:
        self.findings = Findings()
        self.positions = positions.copy()
        self.velocities = np.zeros_like(positions)
        self._limits = limits
        self._label = label
        self._executor = Follower(positions)
        self._begin(now)
        self._lower, self._upper = np.minimum(limits.lower, positions), np.maximum(limits.upper, positions)
        self._trace: list[np.ndarray] = [self.positions] * 2

    def send(self, command: Command) -> None:
        """Take a command over, if it is one to be sent, and check what it says by itself."""
        if not command.active:
            return
        times, positions, velocities = command.trajectory()
        findings, limits, when = self.findings, self._limits, f"{self._label} at {self._now:.3f} s"
        if not math.isfinite(positions.sum() + velocities.sum() + times.sum()):
            findings.note("finite", when)
            return
        if velocities[-1].any():
            findings.note("no stop", f"{when}: ends with velocities {velocities[-1]}")
        end = positions[-1]
        if (end > self._upper + _SLACK).any() or (end < self._lower - _SLACK).any():
            findings.note("stop position", f"{when}: comes to rest at {end}")
        tail = np.abs(velocities[-2]) / (times[-1] - times[-2])
        if (tail > limits.acceleration * (1.0 + _TOLERANCE)).any():
            findings.note("stop acceleration", f"{when}: {tail}")
        absolute = times + command.stamp
        if not times[0] >= 0.0 or (np.diff(times) <= 0.0).any() or absolute[-1] < self._now:
            findings.note("rejected", f"{when}: times {times} from {command.stamp:.3f} s")
            return
        self._executor.accept(self._now, absolute, positions, velocities)

    def run(self, until: float) -> None:
        """Let time pass to ``until`` [s]."""
        count = math.floor((until - self._origin) / STEP + 1e-6)
        grid = self._origin + STEP * np.arange(self._count, count + 1)
        self._count = count + 1
        positions, velocities = self._executor.sample(np.append(np.minimum(grid, until), until))
        self._trace.extend(positions[:-1])
        self._now, self.positions, self.velocities = until, positions[-1], velocities[-1]
        if len(self._trace) > _BATCH:
            self.check()

    def jump(self, now: float, stands: bool) -> None:
        """The clock that both sides share jumps. Where that takes the executor is not the controller's doing.

        Args:
            stands: it is sent nothing any more and at rest; it stays so, though its clock may come by the times of
                the last command again.
        """
        if stands:
            self._executor = Follower(self.positions)
        self.check()
        self._begin(now)
        positions, velocities = self._executor.sample(np.array([now]))
        self.positions, self.velocities = positions[0], velocities[0]
        self._trace = [self.positions]

    def _begin(self, now: float) -> None:
        self._now = self._origin = now
        self._count = 1

    def check(self) -> None:
        """Look at the positions since the last call."""
        findings, limits = self.findings, self._limits
        if len(self._trace) < 3:
            return
        trace = np.array(self._trace)
        self._trace = self._trace[-2:]
        findings.samples += len(trace) - 2
        velocity = np.abs(np.diff(trace, axis=0)) / STEP / limits.velocity
        acceleration = np.abs(np.diff(trace, n=2, axis=0)) / STEP**2 / limits.acceleration
        beyond = np.maximum(trace - self._upper, self._lower - trace)
        findings.velocity = max(findings.velocity, float(velocity.max()))
        findings.acceleration = max(findings.acceleration, float(acceleration.max()))
        findings.beyond = max(findings.beyond, float(beyond.max()))
        for kind, values, allowed in (
            ("velocity", velocity, 1.0 + _TOLERANCE),
            ("acceleration", acceleration, 1.0 + _TOLERANCE),
            ("position", beyond, 1e-6),
        ):
            wrong = ~(values <= allowed)
            if wrong.any():
                row, joint = np.argwhere(wrong)[0]
                at = self._now - STEP * (len(values) - row)
                findings.note(
                    kind,
                    f"{self._label} at {at:.3f} s: {limits.names[joint]} {values[row, joint]:.6f}, "
                    f"allowed {allowed:.6f}, {int(wrong.sum())} samples",
                )
