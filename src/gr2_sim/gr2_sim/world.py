"""The simulated cell: physics, robot interface, ground truth, images. No ROS; deterministic for each seed."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from gr2_sim.build import ARM_JOINTS, DAMPING, ROBOT, STIFFNESS, build_model
from gr2_sim.cell import Cell
from gr2_sim.stage import Stage
from gr2_sim.trajectory_executor import TrajectoryExecutor
from gr2_wbc.robots import load_robot

FEED_FORWARD = DAMPING / STIFFNESS
"""(7,) [s]: what a position servo's damping takes away from a moving set point."""

FAST_TIMESTEP = 0.0025
"""Time step [s] that saves a fifth of the time of an episode, half of it where something is poured."""

SETTLING = 1.0
"""Time [s] that dropped objects are given to come to rest."""
DISTURBANCE = 0.10
"""Largest offset [rad] of each joint from the ready configuration in a disturbed start."""


class World(Stage):
    """One cell, running.

    Args:
        scene: name of the scene.
        timestep: of the physics [s]: 1 ms for tests of the controller; FAST_TIMESTEP for many episodes.

    Raises:
        DataError: unknown scene, or a data file is wrong.
    """

    actor = "base_link"

    def __init__(self, scene: str = "table", timestep: float = 0.001) -> None:
        self._ready = np.asarray(load_robot(ROBOT).configurations["ready"], dtype=float)
        self.executor = TrajectoryExecutor(ARM_JOINTS, self._ready)
        super().__init__(scene, timestep)
        self.reset()

    # ------------------------------------------------------------------------------------------- life

    def _build(self, cell: Cell) -> mujoco.MjModel:
        return build_model(cell, self._timestep)

    def _load(self, scene: str) -> None:
        super()._load(scene)
        model = self.model
        self._arm_qpos = np.array([model.joint(name).qposadr[0] for name in ARM_JOINTS])
        self._arm_dof = np.array([model.joint(name).dofadr[0] for name in ARM_JOINTS])
        self._arm_ctrl = np.array([model.actuator(name).id for name in ARM_JOINTS])

    def reset(
        self, task: str = "", seed: int = 0, scene: str = "", time: float | None = None, disturbed: bool = False
    ) -> str:
        """Lay the scene anew and put the arm in its ready configuration, at rest, gripper open.

        Args:
            task: the task the scene is arranged for; empty for none.
            seed: the arrangement's seed, not negative.
            scene: another scene; empty for the present one, or, where that lacks what the task takes, the task's.
            time: what the clock shows afterwards [s]; None: it goes on.
            disturbed: the arm begins beside its ready configuration, as if it had been pushed.

        Returns:
            An instruction of the task; empty where none was named.

        Raises:
            DataError: unknown scene. UnknownTask: unknown task. LayoutError: no arrangement was found.
        """
        chosen = self._lay(task, seed, scene, time)
        clock = self.time
        start = self._ready
        if disturbed:
            start = start + np.random.default_rng([seed, 7]).uniform(-DISTURBANCE, DISTURBANCE, len(start))
        self.data.qpos[self._arm_qpos] = start
        self.data.ctrl[self._arm_ctrl] = start
        self.executor.hold(start)
        mujoco.mj_forward(self.model, self.data)
        if self.cell.region.inside:
            self._settle(clock)
        return chosen.instructions[0] if chosen else ""

    def _settle(self, clock: float) -> None:
        """Let dropped objects come to rest before the clock runs."""
        self.step(round(SETTLING / self.timestep))
        self.data.qvel[:] = 0.0
        self.data.time = clock
        self.executor.hold(self.joint_positions)
        mujoco.mj_forward(self.model, self.data)

    # ---------------------------------------------------------------------------------------- running

    def accept_trajectory(
        self,
        stamp: float,
        joint_names: Sequence[str],
        times: np.ndarray,
        positions: np.ndarray,
        velocities: np.ndarray,
    ) -> None:
        """Follow a joint trajectory; see TrajectoryExecutor.accept.

        Raises:
            TrajectoryRejected: it cannot be followed; the one before goes on.
        """
        self.executor.accept(self.time, stamp, joint_names, times, positions, velocities)

    def step(self, n: int = 1) -> None:
        """Advance by n time steps."""
        data = self.data
        for _ in range(n):
            position, velocity = self.executor.sample(data.time)
            data.ctrl[self._arm_ctrl] = position + FEED_FORWARD * velocity
            self._move_fingers()
            mujoco.mj_step(self.model, data)

    # ---------------------------------------------------------------------------------------- reading

    @property
    def joint_positions(self) -> np.ndarray:
        """(7,) arm joints [rad]; continuous ones are not wrapped."""
        return self.data.qpos[self._arm_qpos]

    @property
    def joint_velocities(self) -> np.ndarray:
        """(7,) [rad/s]."""
        return self.data.qvel[self._arm_dof]

    @property
    def joint_efforts(self) -> np.ndarray:
        """(7,) torques of the drives [Nm], gravity compensation not counted."""
        return self.data.actuator_force[self._arm_ctrl]
