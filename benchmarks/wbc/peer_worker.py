"""One peer, in an environment of its own: follows the loop with mink or Pink and times its cycles.

Nothing of gr2 is imported here. The first argument is a folder with ``arm.mjb``, ``arm.txt`` (pinocchio) and
``peer.json``; then each line of standard input is a number of cycles, answered by one line of JSON with their times.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import mujoco
import numpy as np


class Mink:
    """mink: FrameTask and PostureTask; position, velocity and collision limits."""

    def __init__(self, folder: Path, setup: dict[str, Any], solver: str) -> None:
        import mink

        self._mink, self._solver, self._period = mink, solver, setup["period"]
        model = mujoco.MjModel.from_binary_path(str(folder / "arm.mjb"))
        model.geom_contype[:] = model.geom_conaffinity[:] = 1  # mink leaves out pairs that could not collide otherwise
        self._configuration = mink.Configuration(model, q=np.array(setup["start"]))
        self._task = mink.FrameTask("tool_frame", "site", position_cost=1.0, orientation_cost=setup["rotation_length"])
        posture = mink.PostureTask(model, cost=setup["posture_cost"])
        posture.set_target(np.array(setup["start"]))
        self._tasks = [self._task, posture]
        collisions = mink.CollisionAvoidanceLimit(
            model,
            [([first], [second]) for first, second in setup["pairs"]],
            minimum_distance_from_collisions=setup["safe_distance"],
            collision_detection_distance=setup["influence_distance"],
        )
        self.pairs = len(collisions.geom_id_pairs)
        velocities = dict(zip(setup["joints"], setup["velocity"], strict=True))
        self._limits = [mink.ConfigurationLimit(model), mink.VelocityLimit(model, velocities), collisions]
        self._rotation = mink.SO3.from_matrix(np.array(setup["rotation"]))

    def step(self, position: np.ndarray) -> None:
        """One cycle towards a tool position (3,) [m]."""
        mink = self._mink
        self._task.set_target(mink.SE3.from_rotation_and_translation(self._rotation, position))
        velocity = mink.solve_ik(
            self._configuration, self._tasks, self._period, self._solver, damping=1e-4, limits=self._limits
        )
        self._configuration.integrate_inplace(velocity, self._period)

    def position(self) -> np.ndarray:
        """Tool position (3,) [m]."""
        return self._configuration.get_transform_frame_to_world("tool_frame", "site").translation()


class Pink:
    """Pink: FrameTask and PostureTask; position and velocity limits, self-collision barrier over all pairs."""

    def __init__(self, folder: Path, setup: dict[str, Any], solver: str) -> None:
        import pink
        import pinocchio as pin
        from pink.barriers import SelfCollisionBarrier
        from pink.limits import ConfigurationLimit, VelocityLimit

        self._pin, self._pink, self._solver, self._period = pin, pink, solver, setup["period"]
        model = pin.Model()
        model.loadFromText(str(folder / "arm.txt"))
        model.velocityLimit = np.array(setup["velocity"])
        geometry = self._geometry(model, folder, setup)
        self.pairs = len(geometry.collisionPairs)
        start = np.array(setup["start"])
        self._configuration = pink.Configuration(model, model.createData(), start, collision_model=geometry)
        self._task = pink.tasks.FrameTask("tool_frame", position_cost=1.0, orientation_cost=setup["rotation_length"])
        posture = pink.tasks.PostureTask(cost=setup["posture_cost"])
        posture.set_target(start)
        self._tasks = [self._task, posture]
        self._limits = [ConfigurationLimit(model), VelocityLimit(model)]
        self._barriers = [SelfCollisionBarrier(self.pairs, gain=20.0, d_min=setup["safe_distance"])]
        self._rotation = np.array(setup["rotation"])

    def _geometry(self, model: Any, folder: Path, setup: dict[str, Any]) -> Any:
        import coal

        pin = self._pin
        engine = mujoco.MjModel.from_binary_path(str(folder / "arm.mjb"))
        geometry = pin.GeometryModel()
        number: dict[str, int] = {}
        for index in range(engine.ngeom):
            name, size = engine.geom(index).name, engine.geom_size[index]
            kind = mujoco.mjtGeom(engine.geom_type[index])
            if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
                shape = coal.Capsule(size[0], 2.0 * size[1])
            elif kind == mujoco.mjtGeom.mjGEOM_BOX:
                shape = coal.Box(*(2.0 * size))
            else:  # distances to an infinite half space are those to a large box under its surface
                shape = coal.Box(20.0, 20.0, 2.0)
            quaternion = engine.geom_quat[index][[1, 2, 3, 0]]
            placement = pin.SE3(pin.Quaternion(quaternion).matrix(), engine.geom_pos[index])
            if kind == mujoco.mjtGeom.mjGEOM_PLANE:
                placement = placement * pin.SE3(np.eye(3), np.array([0.0, 0.0, -1.0]))
            joint, inner = setup["carriers"][name], np.array(setup["placements"][name])
            placement = pin.SE3(inner) * placement
            number[name] = geometry.addGeometryObject(pin.GeometryObject(name, joint, 0, placement, shape))
        for first, second in setup["pairs"]:
            geometry.addCollisionPair(pin.CollisionPair(number[first], number[second]))
        return geometry

    def step(self, position: np.ndarray) -> None:
        """One cycle towards a tool position (3,) [m]."""
        self._task.set_target(self._pin.SE3(self._rotation, position))
        velocity = self._pink.solve_ik(
            self._configuration,
            self._tasks,
            self._period,
            solver=self._solver,
            damping=1e-4,
            limits=self._limits,
            barriers=self._barriers,
            safety_break=False,
        )
        self._configuration.integrate_inplace(velocity, self._period)

    def position(self) -> np.ndarray:
        """Tool position (3,) [m]."""
        return self._configuration.get_transform_frame_to_world("tool_frame").translation


def main() -> int:
    """Serve segments until standard input ends."""
    folder, library, solver = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    setup = json.loads((folder / "peer.json").read_text())
    peer = {"mink": Mink, "pink": Pink}[library](folder, setup, solver)
    positions = np.array(setup["positions"])
    answers = sys.stdout
    sys.stdout = sys.stderr  # what solvers print is not an answer
    print(json.dumps({"pairs": peer.pairs}), file=answers, flush=True)
    cycle = 0
    gc.collect()
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        wall, cpu, errors = [], [], []
        for _ in range(int(line)):
            target = positions[cycle % len(positions)]
            cycle += 1
            wall_begun, cpu_begun = time.perf_counter_ns(), time.thread_time_ns()
            peer.step(target)
            cpu_end, wall_end = time.thread_time_ns(), time.perf_counter_ns()
            wall.append(wall_end - wall_begun)
            cpu.append(cpu_end - cpu_begun)
            errors.append(float(np.linalg.norm(peer.position() - target)))
        print(json.dumps({"wall": wall, "cpu": cpu, "errors": errors}), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
