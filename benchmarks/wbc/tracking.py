"""How near the simulated arm's tool stays to the reference, at a steady speed along a circle."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.wbc.scene import CHUNK_AGE, CHUNK_DT, CHUNK_EVERY, HORIZON, PERIOD

from gr2_sim.build import ARM_JOINTS, ROBOT
from gr2_sim.world import World
from gr2_wbc.chunk import Chunk
from gr2_wbc.config import ControllerConfig
from gr2_wbc.controller import Controller, Measurement
from gr2_wbc.robots import load_robot

RADIUS = 0.12  # [m]
_LAP_IN = 2.0  # [s] of the run that are not counted: from rest to speed


def tracking(speed: float, seconds: float) -> dict[str, Any]:
    """Distance of the measured tool to the reference at the same instant, and what speed was reached."""
    world = World()
    world.reset(None, 0, time=0.0)
    controller = Controller(load_robot(ROBOT), ControllerConfig())
    robot = controller.robot
    session = controller.activate("bench", robot.robot_id, controller.config.intake.action_space, CHUNK_DT)
    home, orientation = robot.tool_pose(world.joint_positions.copy())
    errors: list[float] = []
    speeds: list[float] = []
    begun, before = world.time, home
    for cycle in range(round(seconds / PERIOD)):
        if cycle and cycle % CHUNK_EVERY == 0:
            times = world.time - CHUNK_AGE + CHUNK_DT * np.arange(1, HORIZON + 1) - begun
            controller.accept(
                Chunk(
                    stamp=world.time - CHUNK_AGE,
                    sequence=cycle,
                    session=session,
                    instruction="circle",
                    model_id="bench",
                    dt=CHUNK_DT,
                    positions=np.array([_circle(home, speed, time) for time in times]),
                    orientations=np.tile(orientation, (HORIZON, 1)),
                    gripper=np.zeros(HORIZON),
                ),
                world.time,
            )
        measured = Measurement(world.time, world.joint_positions, world.joint_velocities, world.gripper_opening)
        place = world.tool_pose()[0]
        command = controller.step(world.time, measured)
        reference = controller._kinematics.position + controller._error[:3]
        if world.time - begun > _LAP_IN:
            errors.append(float(np.linalg.norm(place - reference)))
            speeds.append(float(np.linalg.norm(reference - before)) / PERIOD)
        before = reference
        if command.active:
            world.accept_trajectory(command.stamp, ARM_JOINTS, *command.trajectory())
        world.step(round(PERIOD / world.timestep))
    world.close()
    millimetres = 1e3 * np.array(errors)
    return {
        "speed_asked": speed,
        "speed_median": float(np.median(speeds)),
        "median_mm": float(np.median(millimetres)),
        "p95_mm": float(np.percentile(millimetres, 95)),
        "max_mm": float(millimetres.max()),
        "cycles": len(errors),
    }


def _circle(home: np.ndarray, speed: float, time: float) -> np.ndarray:
    """From rest to the speed within a second, then along the circle."""
    ramp = min(max(time, 0.0), 1.0)
    angle = speed / RADIUS * (0.5 * ramp**2 + max(time - 1.0, 0.0))
    return home + RADIUS * np.array([np.cos(angle) - 1.0, np.sin(angle), 0.0])
