"""Targets that cannot be reached, or only where the arm is singular: bounded, without chatter, to rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from benchmarks.wbc_safety.checker import RobotSide

from gr2_wbc.chunk import Chunk, ChunkRefused
from gr2_wbc.config import ControllerConfig, override
from gr2_wbc.controller import Controller, Measurement
from gr2_wbc.robot import Robot

PERIOD = 0.005
TARGETS = {
    "outstretched forward": (1.3, 0.0, 0.4),
    "outstretched upward": (0.3, 0.0, 1.5),
    "outstretched to the side": (0.2, 1.2, 0.3),
    "over the shoulder": (0.0, 0.0, 1.15),
    "behind the base": (-0.9, 0.0, 0.3),
    "inside the base": (0.0, 0.0, 0.2),
    "under the table": (0.45, 0.1, -0.4),
}
_PUSH, _SETTLE = 8.0, 5.5  # [s] in which chunks come, and after the last one
_QUIET, _WATCHED = 0.4, 1.6  # [s] from the last chunk on, and then: the arm still tries, by that chunk alone
_DEAD = 0.05  # share of the acceleration limit below which a change of sign is none
CHATTER = 4.0
"""Reversals [1/s] that are still no chatter: a settling motion has a few, an oscillation has them all the time."""
REST = 1e-3
"""Joint speed [rad/s] that is rest."""


@dataclass(frozen=True)
class TargetRun:
    """One unreachable target.

    Attributes:
        name, solver: what was run.
        velocity: largest joint speed over its limit.
        manipulability: smallest.
        pulses: changes of sign of a joint's acceleration, larger than 5 % of its limit on both sides, a second, while
            new chunks come at 5 Hz: the worst joint.
        reversals: the same once no more chunks come but the last one still wants the arm to go on.
        ripple: standard deviation of the joint speed then, worst joint [rad/s].
        rest: largest joint speed in the last second, when chunks have ended [rad/s].
        distance: from the target at the end [m].
        violations: of the checker.
        state: at the end.
    """

    name: str
    solver: str
    velocity: float
    manipulability: float
    pulses: float
    reversals: float
    ripple: float
    rest: float
    distance: float
    violations: int
    state: str


def target_run(robot: Robot, name: str, solver: str, push: float = _PUSH) -> TargetRun:
    """Ask again and again for a target, a little further than the arm is each time, then fall silent."""
    target = np.array(TARGETS[name])
    controller = Controller(robot, override(ControllerConfig(), {"qp.solver": solver}))
    session = controller.activate("targets", robot.robot_id, controller.config.intake.action_space, 0.1)
    side = RobotSide(robot.limits, robot.configurations["ready"], 10.0, name)
    quaternion = robot.tool_pose(side.positions)[1]
    now, sequence, least = 10.0, 0, np.inf
    velocities = []
    for cycle in range(round((push + _SETTLE) / PERIOD)):
        if cycle % 40 == 1 and now - 10.0 < push:
            place, _ = robot.tool_pose(side.positions)
            way = target - place
            far = float(np.linalg.norm(way))
            steps = np.minimum(0.02 * np.arange(1, 13), far)[:, None]
            sequence += 1
            chunk = Chunk(
                now - 0.1,
                sequence,
                session,
                "reach",
                "targets",
                0.1,
                place + steps * way / max(far, 1e-9),
                np.tile(quaternion, (12, 1)),
                np.zeros(12),
            )
            try:
                controller.accept(chunk, now)
            except ChunkRefused as refused:
                raise AssertionError(f"{name}: {refused}") from refused
        side.send(controller.step(now, Measurement(now, side.positions, side.velocities, 0.0)))
        least = min(least, controller.status().manipulability)
        now += PERIOD
        side.run(now)
        velocities.append(side.velocities)
    side.check()
    speeds = np.array(velocities)
    last = round(push / PERIOD)
    pushed, quiet = speeds[last - round(3.0 / PERIOD) : last], speeds[last + round(_QUIET / PERIOD) :]
    quiet = quiet[: round(_WATCHED / PERIOD)]
    return TargetRun(
        name,
        solver,
        side.findings.velocity,
        least,
        _reversals(np.diff(pushed, axis=0) / PERIOD / robot.limits.acceleration) / 3.0,
        _reversals(np.diff(quiet, axis=0) / PERIOD / robot.limits.acceleration) / _WATCHED,
        float(quiet.std(axis=0).max()),
        float(np.abs(speeds[-200:]).max()),
        float(np.linalg.norm(robot.tool_pose(side.positions)[0] - target)),
        sum(side.findings.violations.values()),
        controller.status().state.name,
    )


def _reversals(shares: np.ndarray) -> float:
    """Changes of sign of accelerations (k, n) over their limits, those in between within the dead band: worst joint."""
    worst = 0
    for column in shares.T:
        signs = np.sign(column[np.abs(column) > _DEAD])
        worst = max(worst, int(np.sum(signs[1:] != signs[:-1])))
    return float(worst)
