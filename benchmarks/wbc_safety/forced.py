"""Paths that lead into things: through the table, through what stands on it, into the arm itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pinocchio as pin
from benchmarks.wbc_safety.distances import IndependentDistances

from gr2_sim.build import ARM_JOINTS
from gr2_sim.world import World
from gr2_wbc.chunk import Chunk, ChunkRefused
from gr2_wbc.collision_model import build_collision_model
from gr2_wbc.config import ControllerConfig, override
from gr2_wbc.controller import Controller, Measurement
from gr2_wbc.environment import SceneObject, Shape
from gr2_wbc.robot import Robot
from gr2_wbc.rotation import quaternion_of

PERIOD = 0.005
KINDS = ("table", "obstacle", "self")
_OBSTACLES = ("bin", "cabinet", "button")


@dataclass(frozen=True)
class ForcedRun:
    """One forced-collision run.

    Attributes:
        kind, solver, seed: what was run.
        speed: of the path [m/s].
        commanded, measured: smallest distance minus safe distance [m] of the commanded and of the simulated arm.
        pair: where the commanded one was smallest.
        contacts: time steps in which the simulated robot touched table, fixtures or objects.
        rows: largest number of distance rows in the program.
        stopped: why the controller stopped, if it did.
    """

    kind: str
    solver: str
    seed: int
    speed: float
    commanded: float
    measured: float
    pair: str
    contacts: int
    rows: int
    stopped: str

    @property
    def near(self) -> bool:
        """Whether the path did lead to where distances are kept."""
        return self.commanded < 0.02


def forced_run(robot: Robot, world: World, kind: str, solver: str, seed: int, seconds: float = 4.0) -> ForcedRun:
    """Lead the tool along a path that no arm can follow; the world is reset."""
    random = np.random.default_rng([17, KINDS.index(kind), seed])
    world.reset(seed=seed)
    _clear(world)
    robot = _with_fixtures(robot, world)
    controller = Controller(robot, override(ControllerConfig(), {"qp.solver": solver}))
    distances = IndependentDistances(robot, build_collision_model(robot))
    session = controller.activate("forced", robot.robot_id, controller.config.intake.action_space, 0.1)
    speed = float(random.uniform(0.1, 0.5))
    goal, turn = _goal(random, world, kind)
    start, quaternion = robot.tool_pose(world.joint_positions)
    rotation = pin.Quaternion(*quaternion[[3, 0, 1, 2]]).matrix()
    length = max(float(np.linalg.norm(goal - start)), 1e-3)

    def motion(time: float) -> tuple[np.ndarray, np.ndarray]:
        share = min(max(time, 0.0) * speed / length, 1.0)
        return start + share * (goal - start), quaternion_of(rotation @ pin.exp3(share * turn))

    robot_geoms, least, measured, pair = _robot_geoms(world), np.inf, np.inf, ""
    begun, contacts, rows, sequence, reached = world.time, 0, 0, 0, 0.0
    for cycle in range(round(seconds / PERIOD)):
        now = world.time
        if cycle % 60 == 1:
            # A policy that sees how far the arm has come asks for more and more, up to what is accepted.
            place, _ = robot.tool_pose(world.joint_positions)
            progress = float((place - start) @ (goal - start)) / length / speed
            reached = max(reached, min(now - begun, progress + 0.2 / speed))
            times = reached - 0.1 + 0.1 * np.arange(1, 17)
            poses = [motion(time) for time in times]
            sequence += 1
            try:
                controller.accept(_chunk(poses, now - 0.1, sequence, session), now)
            except ChunkRefused:
                reached = progress
        measurement = Measurement(now, world.joint_positions, world.joint_velocities, world.gripper_opening)
        command = controller.step(now, measurement)
        if command.active:
            world.accept_trajectory(command.stamp, ARM_JOINTS, *command.trajectory())
        for _ in range(round(PERIOD / world.timestep)):
            world.step()
            contacts += _touches(world, robot_geoms)
        rows = max(rows, controller.status().active_constraints)
        if cycle % 2 == 0:
            found = distances.closest(command.plan.positions[2])
            if found[0] < least:
                least, pair = found
            measured = min(measured, distances.closest(world.joint_positions)[0])
    status = controller.status()
    stopped = status.reason if status.state.name == "STOPPED" else ""
    return ForcedRun(kind, solver, seed, speed, least, measured, pair, contacts, rows, stopped)


def forced_runs(
    robot: Robot, runs: int, seed: int, progress: Callable[[int], None] | None = None, seconds: float = 4.0
) -> list[ForcedRun]:
    """This many runs of each kind with each solver."""
    world, done = World(), []
    try:
        for number in range(runs):
            for kind in KINDS:
                for solver in ("osqp", "daqp"):
                    done.append(forced_run(robot, world, kind, solver, 1000 * seed + number, seconds))
                    if progress is not None:
                        progress(1)
    finally:
        world.close()
    return done


def _goal(random: np.random.Generator, world: World, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the path leads to (3,) [m], and how the tool turns on the way (3,) [rad]."""
    turn = random.normal(0.0, 0.4, 3)
    if kind == "table":
        turn[:2] *= 2.0  # so that other links than the fingers come first as well
        return np.array([random.uniform(0.3, 0.6), random.uniform(-0.25, 0.25), random.uniform(-0.2, -0.1)]), turn
    if kind == "obstacle":
        name = _OBSTACLES[random.integers(len(_OBSTACLES))]
        low, high = _bounds(world, name)
        centre = random.uniform(low, high)
        return np.array([centre[0], centre[1], random.uniform(0.0, high[2])]), turn
    return np.array([random.uniform(-0.05, 0.1), random.uniform(-0.1, 0.1), random.uniform(0.05, 0.6)]), turn


def _chunk(poses: list[tuple[np.ndarray, np.ndarray]], stamp: float, sequence: int, session: str) -> Chunk:
    positions, orientations = np.array([p for p, _ in poses]), np.array([q for _, q in poses])
    return Chunk(stamp, sequence, session, "forced", "forced", 0.1, positions, orientations, np.zeros(len(poses)))


def _clear(world: World) -> None:
    """Put the loose objects aside: they are not in the controller's environment."""
    for number, name in enumerate(world.cell.objects):
        start = world.model.joint(name).qposadr[0]
        world.data.qpos[start : start + 3] = (3.0 + number, 3.0, 0.1)


def _bounds(world: World, fixture: str) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner (3,) [m] of a box round a fixture and its moving parts."""
    world.refresh()
    model, data = world.model, world.data
    root = model.body(fixture).id
    corners = []
    for geom in range(model.ngeom):
        if model.body_rootid[model.geom_bodyid[geom]] != root or not model.geom_contype[geom]:
            continue
        centre, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
        signs = np.array(np.meshgrid(*[(-1.0, 1.0)] * 3)).reshape(3, -1).T
        corners.append(data.geom_xpos[geom] + (centre + signs * half) @ data.geom_xmat[geom].reshape(3, 3).T)
    return np.vstack(corners).min(axis=0), np.vstack(corners).max(axis=0)


def _with_fixtures(robot: Robot, world: World) -> Robot:
    """The robot with boxes round the cell's fixtures in its environment."""
    environment = robot.collision.environment
    for name in world.cell.fixtures:
        low, high = _bounds(world, name)
        half = 0.5 * (high - low)
        box = Shape("box", (float(half[0]), float(half[1]), float(half[2])))
        environment = environment.add(SceneObject(name, (box,), pin.SE3(np.eye(3), 0.5 * (low + high))))
    return replace(robot, collision=replace(robot.collision, environment=environment))


def _robot_geoms(world: World) -> np.ndarray:
    model = world.model
    root = model.body("base_link").id
    return model.body_rootid[model.geom_bodyid] == root


def _touches(world: World, robot_geoms: np.ndarray) -> bool:
    """Whether the robot touches anything but itself at this moment."""
    contact = world.data.contact
    if len(contact.geom) == 0:
        return False
    of_robot = robot_geoms[contact.geom]
    return bool((of_robot[:, 0] != of_robot[:, 1]).any())
