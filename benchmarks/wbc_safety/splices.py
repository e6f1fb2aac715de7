"""Random splices: what a new chunk does to the reference and to the joints at the moment it is taken over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pinocchio as pin
from benchmarks.wbc_safety.checker import Findings, RobotSide
from benchmarks.wbc_safety.chunks import Situation, random_chunk

from gr2_wbc.chunk import ChunkRefused
from gr2_wbc.config import ControllerConfig, override
from gr2_wbc.controller import Controller, Measurement
from gr2_wbc.intake import Handshake, Intake
from gr2_wbc.reference import Motion, Reference
from gr2_wbc.robot import Robot
from gr2_wbc.rotation import quaternion_of

PERIOD = 0.005
_HOLD = 4 * PERIOD
_AHEAD = 1e-6  # [s] for the reference's acceleration
_DTS = (0.02, 0.05, 0.1, 0.1, 0.2)
_EPISODE = 50  # splices with one dt and one start
LIMITS = {"position": 1e-8, "velocity": 1e-7, "acceleration": 1e-3}
"""Largest steps of the reference that rounding explains [m or rad], [.../s], [.../s^2]."""


@dataclass
class ReferenceSteps:
    """Steps of the reference at splices, linear and angular mixed, and its motion after them.

    Attributes:
        position, velocity, acceleration: one a splice: largest change of a coordinate at the splice.
        linear, angular: one a splice: largest acceleration until the next one [m/s^2], [rad/s^2], by cycles.
        speed: one a splice: largest speed [m/s].
        lateness: age of the observation [s].
    """

    position: list[float] = field(default_factory=list)
    velocity: list[float] = field(default_factory=list)
    acceleration: list[float] = field(default_factory=list)
    linear: list[float] = field(default_factory=list)
    angular: list[float] = field(default_factory=list)
    speed: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)

    @property
    def violations(self) -> int:
        """Splices with a step that rounding does not explain."""
        return sum(int(np.sum(np.array(getattr(self, name)) > limit)) for name, limit in LIMITS.items())


def reference_splices(
    robot: Robot, splices: int, seed: int, progress: Callable[[int], None] | None = None
) -> ReferenceSteps:
    """Splices of a reference that is followed exactly."""
    random = np.random.default_rng([11, seed])
    steps = ReferenceSteps()
    while len(steps.position) < splices:
        _reference_episode(robot, random, min(_EPISODE, splices - len(steps.position)), steps)
        if progress is not None:
            progress(min(_EPISODE, splices))
    return steps


def _reference_episode(robot: Robot, random: np.random.Generator, splices: int, steps: ReferenceSteps) -> None:
    dt = float(random.choice(_DTS))
    config = override(ControllerConfig(), {"intake.chunk_dt": dt})
    reference = Reference(config.reference, robot.tool_limits)
    intake = Intake(config.intake, robot.robot_id, robot.base_frame)
    session = intake.activate(Handshake("random", robot.robot_id, config.intake.action_space, dt, ""))
    position, quaternion = robot.tool_pose(robot.configurations["ready"])
    now, sequence, done = 10.0, 0, 0
    reference.hold(now, position, pin.Quaternion(*quaternion[[3, 0, 1, 2]]).matrix())
    while done < splices:
        sequence += 1
        place, rotation, _ = reference.sample(0.0)
        _, chunk = random_chunk(random, Situation(now, place, rotation, session, sequence, dt))
        try:
            checked = intake.accept(chunk, now, place, quaternion_of(rotation))
        except ChunkRefused:
            continue
        except ValueError:  # a withdrawn one has no poses
            continue
        before = _state(reference)
        reference.splice(checked, Motion(place, rotation, np.zeros(6), np.zeros(6)))
        after = _state(reference)
        for name, one, other in zip(("position", "velocity", "acceleration"), before, after, strict=True):
            getattr(steps, name).append(float(np.abs(one - other).max()))
        steps.lateness.append(now - chunk.stamp)
        twists = [before[1]]
        for _ in range(int(random.integers(2, 80))):
            now += PERIOD
            reference.advance(now, PERIOD, _HOLD, 0.0, 0.0)
            twists.append(reference.sample(0.0)[2])
        rates = np.diff(np.array(twists), axis=0) / PERIOD
        steps.linear.append(float(np.linalg.norm(rates[:, :3], axis=1).max()))
        steps.angular.append(float(np.linalg.norm(rates[:, 3:], axis=1).max()))
        steps.speed.append(float(np.linalg.norm(np.array(twists)[:, :3], axis=1).max()))
        done += 1
        if reference.finished:
            reference.hold(now, *reference.sample(0.0)[:2])


def _state(reference: Reference) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    position, rotation, twist = reference.sample(0.0)
    _, _, later = reference.sample(_AHEAD)
    return np.concatenate([position, rotation.ravel()]), twist, (later - twist) / _AHEAD


@dataclass
class JointSteps:
    """What the joints are commanded to do at splices.

    Attributes:
        peak: one a splice: largest joint acceleration of the next 50 ms over its limit.
        step: one a splice: largest change of a joint acceleration from the cycle before to that of the splice, over
            its limit.
        findings: of the checker that sees the commands only.
        refused: chunks that were not taken.
    """

    peak: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    refused: int = 0

    @property
    def violations(self) -> int:
        """Splices after which an acceleration is above its limit, and what the checker found."""
        above = int(np.sum(np.array(self.peak) > 1.0 + 1e-6))
        return above + sum(self.findings.violations.values())


def joint_splices(robot: Robot, splices: int, seed: int, progress: Callable[[int], None] | None = None) -> JointSteps:
    """Splices through the controller, with a robot that does what it is told."""
    steps, episode = JointSteps(), 0
    while len(steps.peak) < splices:
        random = np.random.default_rng([13, seed, episode])
        _joint_episode(robot, random, min(_EPISODE, splices - len(steps.peak)), steps)
        episode += 1
        if progress is not None:
            progress(min(_EPISODE, splices))
    return steps


def _joint_episode(robot: Robot, random: np.random.Generator, splices: int, steps: JointSteps) -> None:
    dt = float(random.choice(_DTS))
    config = override(ControllerConfig(), {"intake.chunk_dt": dt})
    controller = Controller(robot, config)
    session = controller.activate("random", robot.robot_id, config.intake.action_space, dt)
    ready = robot.configurations["ready"]
    side = RobotSide(robot.limits, ready + random.normal(0.0, 0.2, len(ready)), 10.0, "splice")
    now, sequence, done = 10.0, 0, 0
    velocities, splices_at = [np.zeros(robot.dof)], []
    while done < splices:
        position, quaternion = robot.tool_pose(side.positions)
        rotation = pin.Quaternion(*quaternion[[3, 0, 1, 2]]).matrix()
        sequence += 1
        _, chunk = random_chunk(random, Situation(now, position, rotation, session, sequence, dt))
        try:
            controller.accept(chunk, now)
            if chunk.horizon != 0:
                splices_at.append(len(velocities))
                done += 1
        except ChunkRefused:
            steps.refused += 1
        for _ in range(int(random.integers(2, 60))):
            command = controller.step(now, Measurement(now, side.positions, side.velocities, 0.0))
            side.send(command)
            now += PERIOD
            side.run(now)
            velocities.append(side.velocities)
    side.check()
    steps.findings.add(side.findings)
    rates = np.diff(np.array(velocities), axis=0) / PERIOD / robot.limits.acceleration
    for index in splices_at:
        # Row index - 1 is the cycle after the splice, the one before it came before.
        steps.peak.append(float(np.abs(rates[index - 1 : index + 9]).max()))
        steps.step.append(float(np.abs(rates[index - 1] - rates[index - 2]).max()) if index > 1 else 0.0)
