"""The robot, its surroundings and the trajectory that every measurement of the cycle uses.

The Gen3 with 50 monitored pairs (26 of the arm with itself, 24 with table, box and wall), and a loop of the tool that
comes close to the table, to the box, and to the arm itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pinocchio as pin

from gr2_wbc.chunk import Chunk
from gr2_wbc.config import ControllerConfig, override
from gr2_wbc.contributors import Manipulability
from gr2_wbc.controller import Controller, Measurement
from gr2_wbc.environment import SceneObject, Shape
from gr2_wbc.robot import Robot
from gr2_wbc.robots import load_robot

PERIOD = 0.005
CHUNK_EVERY = 60  # cycles
CHUNK_DT, HORIZON, CHUNK_AGE = 0.1, 16, 0.1
SELF_PAIRS = 26
LOOP_TIME = 8.0  # [s]
_OUTER_GEOMS = (
    "half_arm_2_link_capsule",
    "forearm_link_capsule",
    "spherical_wrist_1_link_capsule",
    "spherical_wrist_2_link_capsule",
    "bracelet_link_capsule",
    "palm_capsule",
    "left_finger_capsule",
    "right_finger_capsule",
)
_BOXES = {"box": ((0.05, 0.05, 0.06), (0.55, 0.0, 0.06)), "wall": ((0.2, 0.02, 0.2), (0.45, 0.40, 0.2))}

Motion = Callable[[float], np.ndarray]


def bench_robot() -> Robot:
    """The Gen3 with 50 pairs."""
    robot = load_robot("gen3_2f85")
    environment = robot.collision.environment
    for name, (half_size, position) in _BOXES.items():
        environment = environment.add(
            SceneObject(name, (Shape("box", half_size),), pin.SE3(np.eye(3), np.array(position)))
        )
    collision = replace(
        robot.collision,
        environment=environment,
        environment_geoms=_OUTER_GEOMS,
        pairs=robot.collision.pairs[:SELF_PAIRS],
    )
    return replace(robot, collision=collision)


def loop_motion(home: np.ndarray) -> Motion:
    """Tool position (3,) [m] by time [s]: from ``home`` down to the table, along box and wall, and up to the arm."""

    def position(seconds: float) -> np.ndarray:
        angle = 2.0 * np.pi * seconds / LOOP_TIME
        sine, rise = np.sin(angle), 1.0 - np.cos(angle)
        return home + np.array([0.13 * sine - 0.10 * rise, 0.144 * np.sin(2.0 * angle), -0.13 * rise])

    return position


@dataclass
class Times:
    """Durations of cycles [ns]: by the wall clock and by the thread's own time."""

    wall: list[int] = field(default_factory=list)
    cpu: list[int] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Percentiles in microseconds."""
        wall, cpu = np.array(self.wall) / 1e3, np.array(self.cpu) / 1e3
        return {
            "p50_us": float(np.percentile(wall, 50)),
            "p99_us": float(np.percentile(wall, 99)),
            "max_us": float(wall.max()),
            "cpu_p50_us": float(np.percentile(cpu, 50)),
            "cpu_p99_us": float(np.percentile(cpu, 99)),
            "cpu_max_us": float(cpu.max()),
            "cycles": len(wall),
        }


class Loop:
    """A controller and an ideal robot that follow a motion for ever; only the controller is timed.

    Attributes:
        times: of the cycles so far.
        accepting: durations [ns] of taking over a chunk, which happens between cycles.
        rows: collision rows of each cycle.
    """

    def __init__(
        self, robot: Robot, solver: str = "osqp", manipulability: bool = False, motion: Motion | None = None
    ) -> None:
        """Set up; with ``manipulability`` its gradient is climbed in every cycle, else never."""
        config = override(ControllerConfig(), {"qp.solver": solver})
        self.controller = controller = Controller(robot, config)
        kept = [each for each in controller.contributors if not isinstance(each, Manipulability)]
        controller.contributors[:] = kept + [Manipulability(config.qp.manipulability, 1.0)] * manipulability
        self.times = Times()
        self.accepting: list[int] = []
        self.rows: list[int] = []
        self._session = controller.activate("bench", robot.robot_id, config.intake.action_space, CHUNK_DT)
        self._time = self._begun = 10.0
        self._cycle = 0
        self._measurement = Measurement(self._time, robot.configurations["ready"].copy(), np.zeros(robot.dof), 0.0)
        home, self._orientation = robot.tool_pose(self._measurement.positions)
        self._motion = motion or loop_motion(home)

    def step(self) -> None:
        """One cycle."""
        if self._cycle and self._cycle % CHUNK_EVERY == 0:
            self._send_chunk()
        now, measurement, controller = self._time, self._measurement, self.controller
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        command = controller.step(now, measurement)
        cpu_end, wall_end = time.thread_time_ns(), time.perf_counter_ns()
        self.times.wall.append(wall_end - wall)
        self.times.cpu.append(cpu_end - cpu)
        self.rows.append(controller._program.rows)
        self._cycle += 1
        self._time = self._begun + self._cycle * PERIOD
        positions, velocities = command.plan.evaluate(self._time)
        self._measurement = Measurement(self._time, positions, velocities, 0.0)

    def run(self, cycles: int) -> None:
        """Many cycles, as fast as they come.

        Raises:
            RuntimeError: the controller stopped following: the figures would mean nothing.
        """
        for _ in range(cycles):
            self.step()
        state = self.controller.safety
        if self._cycle > 2 * CHUNK_EVERY and state.state.name not in ("TRACKING", "DECELERATING"):
            raise RuntimeError(f"the controller is {state.state.name}: {state.reason}")

    def forget(self) -> None:
        """Drop what was timed so far."""
        self.times, self.accepting, self.rows = Times(), [], []

    def _send_chunk(self) -> None:
        stamp = self._time - CHUNK_AGE
        times = stamp + CHUNK_DT * np.arange(1, HORIZON + 1) - self._begun
        chunk = Chunk(
            stamp=stamp,
            sequence=self._cycle,
            session=self._session,
            instruction="loop",
            model_id="bench",
            dt=CHUNK_DT,
            positions=np.array([self._motion(seconds) for seconds in times]),
            orientations=np.tile(self._orientation, (HORIZON, 1)),
            gripper=np.zeros(HORIZON),
        )
        begun = time.perf_counter_ns()
        self.controller.accept(chunk, self._time)
        self.accepting.append(time.perf_counter_ns() - begun)
