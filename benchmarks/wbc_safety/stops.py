"""How long and how far the arm still moves after each fault that can be made without messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from benchmarks.wbc_safety.checker import RobotSide

from gr2_wbc.chunk import Chunk
from gr2_wbc.controller import Controller, Measurement
from gr2_wbc.qp import QpRejected
from gr2_wbc.robot import Robot

PERIOD = 0.005
SPEEDS = (0.1, 0.25, 0.45)
FAULTS = (
    "policy silent",
    "chunk withdrawn",
    "e-stop",
    "joint states stale",
    "controller silent",
    "program unsolved",
)
_FROM, _TO = np.array([0.42, -0.28, 0.30]), np.array([0.42, 0.30, 0.30])
_REST = 1e-3  # [rad/s] all joints
_DT = 0.1


@dataclass(frozen=True)
class Stop:
    """A stop.

    Attributes:
        fault: what was done.
        speed: of the tool at that moment [m/s].
        joint_speed: largest of a joint [rad/s].
        time: until all joints were slower than 1e-3 rad/s [s].
        tool: path of the tool until then [m].
        joint: largest way of a joint [rad].
        state: of the controller afterwards.
    """

    fault: str
    speed: float
    joint_speed: float
    time: float
    tool: float
    joint: float
    state: str


def measure_stop(robot: Robot, fault: str, speed: float) -> Stop:
    """Move the tool along a line at a speed, do the fault in its middle, and wait for rest.

    "policy silent" counts from the moment at which the chunk last received begins to run out; what it still held when
    the policy fell silent is followed before (its horizon less its age).
    """
    controller = Controller(robot)
    session = controller.activate("stops", robot.robot_id, controller.config.intake.action_space, _DT)
    side = RobotSide(robot.limits, robot.configurations["ready"], 10.0, fault)
    now, begun, sequence, since = 10.0, None, 0, 0
    approach = float(np.linalg.norm(robot.tool_pose(side.positions)[0] - _FROM)) / 0.15 + 0.5
    first = robot.tool_pose(side.positions)
    fired, frozen, before = None, None, first[0]
    trail: list[np.ndarray] = []
    start_positions, start_speed, start_joint = side.positions, 0.0, 0.0
    for cycle in range(4000):
        place = robot.tool_pose(side.positions)[0]
        if begun is None and now - 10.0 > approach:
            begun = now
        if fired is None and cycle % 60 == 1 and not (fault == "policy silent" and place[1] > -0.12 and begun):
            times = now + _DT * np.arange(1, 9)
            sequence += 1
            controller.accept(_line(times, begun, speed, first, approach, now, sequence, session), now)
            since = cycle
        due = begun is not None and place[1] >= 0.0
        if fault == "policy silent":
            due = fired is None and begun is not None and controller.status().state.name == "DECELERATING"
        if fired is None and due and cycle > since:
            fired, trail = now, []
            start_positions, start_joint = side.positions, float(np.abs(side.velocities).max())
            start_speed = float(np.linalg.norm(robot.tool_pose(side.positions)[0] - before) / PERIOD)
            frozen = _fire(controller, fault, now, side, sequence, session)
        before = place
        measured = frozen or Measurement(now, side.positions, side.velocities, 0.0)
        if not (fired is not None and fault == "controller silent"):
            side.send(controller.step(now, measured))
        now += PERIOD
        side.run(now)
        if fired is not None:
            trail.append(side.positions)
            if np.abs(side.velocities).max() < _REST:
                break
    assert fired is not None, f"{fault} at {speed} m/s was never done"
    tools = np.array([robot.tool_pose(q)[0] for q in (start_positions, *trail)])
    way = np.abs(np.array(trail) - start_positions).max()
    return Stop(
        fault,
        start_speed,
        start_joint,
        now - fired,
        float(np.linalg.norm(np.diff(tools, axis=0), axis=1).sum()),
        float(way),
        controller.status().state.name,
    )


def measure_stops(robot: Robot, progress: Callable[[int], None] | None = None) -> list[Stop]:
    """All faults at all speeds."""
    found = []
    for fault in FAULTS:
        for speed in SPEEDS:
            found.append(measure_stop(robot, fault, speed))
            if progress is not None:
                progress(1)
    return found


def _line(
    times: np.ndarray,
    begun: float | None,
    speed: float,
    first: tuple[np.ndarray, np.ndarray],
    approach: float,
    now: float,
    sequence: int,
    session: str,
) -> Chunk:
    if begun is None:
        share = np.clip((times - 10.0) / approach, 0.0, 1.0)[:, None]
        positions = first[0] + share * (_FROM - first[0])
    else:
        share = np.clip(speed * (times - begun) / np.linalg.norm(_TO - _FROM), 0.0, 1.0)[:, None]
        positions = _FROM + share * (_TO - _FROM)
    orientations = np.tile(first[1], (len(times), 1))
    return Chunk(now, sequence, session, "line", "stops", _DT, positions, orientations, np.zeros(len(times)))


class _Broken:
    def solve(self, _program: object) -> np.ndarray:
        raise QpRejected("made to fail")


def _fire(
    controller: Controller, fault: str, now: float, side: RobotSide, sequence: int, session: str
) -> Measurement | None:
    """Do the fault; the measurement that stays, if joint states are what fails."""
    if fault == "chunk withdrawn":
        empty = np.zeros(0)
        controller.accept(Chunk(now, sequence + 1, session, "", "stops", _DT, empty, empty, empty, horizon=0), now)
    elif fault == "e-stop":
        controller.e_stop("pressed")
    elif fault == "program unsolved":
        controller._program._solver = _Broken()
    elif fault == "joint states stale":
        return Measurement(now, side.positions, side.velocities, 0.0)
    return None
