"""The program of a cycle: the joint velocities one period ahead that serve the contributors and keep every bound.

Variables are the n joint velocities and one slack, which only the collision rows may use.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gr2_wbc import kernels
from gr2_wbc.collision import CollisionMonitor
from gr2_wbc.config import QpConfig
from gr2_wbc.contributors import Contributor, Cost, CycleState, default_contributors
from gr2_wbc.limits import BrakingProfile
from gr2_wbc.qp import Program, make_solver
from gr2_wbc.robot import Robot


class VelocityProgram:
    """Assembles and solves the program of one cycle after the other.

    Attributes:
        contributors: what the controller wants; may be added to.
        rows: number of collision rows of the last program.
    """

    def __init__(self, robot: Robot, config: QpConfig) -> None:
        dof = self._dof = robot.dof
        self.contributors: list[Contributor] = default_contributors(config, robot)
        self.rows = 0
        self._slack = config.slack
        self._approach = BrakingProfile(config.approach_gain, config.approach_deceleration, config.recovery_speed)
        self._solver = make_solver(config.solver, dof + 1, config.collision_rows)
        program = self._program = Program(dof + 1, config.collision_rows)
        self._hessian, self._gradient = program.hessian[:dof, :dof], program.gradient[:dof]

    def solve(
        self,
        state: CycleState,
        collision: CollisionMonitor,
        lower: np.ndarray,
        upper: np.ndarray,
        instead: Sequence[Contributor] | None = None,
    ) -> np.ndarray:
        """Joint velocities (n,) one period ahead, within lower and upper (n,) [rad/s].

        ``instead`` of the contributors others may be served.

        Raises:
            QpRejected: the solver found none.
        """
        program, dof = self._program, self._dof
        program.clear()
        cost = Cost(self._hessian, self._gradient)
        for contributor in self.contributors if instead is None else instead:
            contributor.add(state, cost)
        kernels.add_box(cost.damping, self._slack, lower, upper, program.hessian, program.lower, program.upper)
        self._add_rows(state, collision, lower, upper)
        return self._solver.solve(program)[:dof]

    def _add_rows(self, state: CycleState, collision: CollisionMonitor, lower: np.ndarray, upper: np.ndarray) -> None:
        # What cannot be had within a cycle's acceleration is not asked for: the slack is for rows that contradict
        # each other, and large slacks make programs hard.
        program = self._program
        self.rows = program.used = collision.rows(
            state.kinematics.spatial, self._approach, lower, upper, program.rows, program.rows_lower
        )
