"""Shared fixtures: the bundled robot, and a rig that runs a controller against an ideal robot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gr2_wbc.chunk import Chunk
from gr2_wbc.collision import CollisionMonitor
from gr2_wbc.config import ControllerConfig, override
from gr2_wbc.controller import Command, Controller, Measurement
from gr2_wbc.limits import BrakingProfile
from gr2_wbc.robot import Robot
from gr2_wbc.robots import load_robot
from gr2_wbc.safety import State

DT = 0.005
sys.path.insert(0, str(Path(__file__).parent))  # for kernels_in_numpy


def distance_rows(monitor: CollisionMonitor, spatial: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Rates (r, n) and lower bounds (r,) of a monitor's rows, for an arm whose velocities are next to free."""
    dof = spatial.shape[1]
    rows, lower, fastest = np.zeros((limit, dof + 1)), np.zeros(limit), np.full(dof, 1e3)
    used = monitor.rows(spatial, BrakingProfile(8.0, 1.5, 0.05), -fastest, fastest, rows, lower)
    assert (rows[:used, dof] == 1.0).all()
    return rows[:used, :dof], lower[:used]


class Rig:
    """A controller and a robot that does exactly what it is told.

    ``broken`` may be set to a function that turns the ideal measurement into another one (or a frozen one).
    """

    def __init__(self, robot: Robot, start: np.ndarray | None = None, **config: object) -> None:
        self.robot = robot
        self.controller = Controller(robot, override(ControllerConfig(), config))
        self.time = 10.0
        self.positions = (robot.configurations["ready"] if start is None else start).copy()
        self.velocities = np.zeros(robot.dof)
        self.broken: Callable[[Measurement], Measurement] | None = None
        self.commands: list[Command] = []
        self.sequence = 0
        self.session = self.controller.activate("test", robot.robot_id, "tool_pose_base_link+gripper", 0.1)
        self.step()

    def measurement(self) -> Measurement:
        ideal = Measurement(self.time, self.positions.copy(), self.velocities.copy(), 0.0)
        return self.broken(ideal) if self.broken else ideal

    def step(self, cycles: int = 1, gap: float = DT) -> Command:
        for _ in range(cycles):
            command = self.controller.step(self.time, self.measurement())
            self.commands.append(command)
            self.time += gap
            self.positions, self.velocities = command.plan.evaluate(self.time)
        return command

    def tool(self) -> tuple[np.ndarray, np.ndarray]:
        return self.robot.tool_pose(self.positions)

    def chunk(self, positions: np.ndarray, orientations: np.ndarray | None = None, **changes: object) -> Chunk:
        """A chunk of the present time through these positions, changed at will."""
        self.sequence += 1
        count = len(positions)
        fields: dict = {
            "stamp": self.time,
            "sequence": self.sequence,
            "session": self.session,
            "instruction": "move",
            "model_id": "test",
            "dt": 0.1,
            "positions": positions,
            "orientations": np.tile(self.tool()[1], (count, 1)) if orientations is None else orientations,
            "gripper": np.zeros(count),
        }
        return Chunk(**(fields | changes))

    @property
    def state(self) -> State:
        return self.controller.status().state

    @property
    def reason(self) -> str:
        return self.controller.status().reason

    def stream(self, motion: Callable, seconds: float, late: float = 0.1, each: Callable | None = None) -> np.ndarray:
        """Send chunks of ``motion(time since start)`` every 60 cycles; returns tool positions, cycle by cycle."""
        begun, places = self.time, []
        for cycle in range(round(seconds / DT)):
            if cycle % 60 == 0:
                times = self.time - late + 0.1 * np.arange(1, 17) - begun
                self.send(np.array([motion(time) for time in times]), stamp=self.time - late)
            self.step()
            places.append(self.tool()[0])
            if each:
                each()
        return np.array(places)

    def circle(self, radius: float = 0.08, rate: float = 1.2) -> Callable:
        """A motion that begins where the tool is."""
        centre = self.tool()[0]
        return lambda time: centre + radius * np.array([np.sin(rate * time), 1.0 - np.cos(rate * time), 0.0])

    def send(self, positions: np.ndarray, **changes: object) -> None:
        self.controller.accept(self.chunk(positions, **changes), self.time)

    def line(self, offset: tuple[float, float, float], count: int = 16) -> np.ndarray:
        """Positions from the tool's present one along a straight line, by ``offset`` in ``count`` poses."""
        return self.tool()[0] + np.linspace(0.0, 1.0, count + 1)[1:, None] * np.array(offset)


@pytest.fixture(scope="session")
def robot() -> Robot:
    return load_robot("gen3_2f85")


@pytest.fixture
def make_rig(robot: Robot) -> Callable[..., Rig]:
    def make(start: np.ndarray | None = None, on: Robot = robot, **config: object) -> Rig:
        return Rig(on, start, **config)

    return make


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig()


@pytest.fixture
def rows_of() -> Callable[[CollisionMonitor, np.ndarray, int], tuple[np.ndarray, np.ndarray]]:
    return distance_rows
