"""The quadratic program of a cycle and the solvers for it.

    minimise  1/2 x^T H x + g^T x   subject to   box_lower <= x <= box_upper,  rows x >= rows_lower

What counts is the solver's STATUS: OSQP answers an infeasible program with a large finite number (2143289344), and a
single NaN poisons its workspace for good. So data are checked before they are handed over, the status after, the
answer is clipped to its box, and a solver that failed is set up anew.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import daqp
import numpy as np
import osqp
import scipy.sparse as sparse

from gr2_wbc import kernels

_FAR = 1e4  # stands for infinity: large against every velocity, harmless to the solvers' scaling
_LARGEST_ANSWER = 1e3
_FEW_ROWS = 4
_OSQP_SOLVED = osqp.SolverStatus.OSQP_SOLVED
_OSQP_UNFINISHED = (osqp.SolverStatus.OSQP_MAX_ITER_REACHED, osqp.SolverStatus.OSQP_SOLVED_INACCURATE)
_OSQP_SETTINGS = {
    "verbose": False,
    "scaling": 0,
    "adaptive_rho": False,
    "rho": 0.5,
    "eps_abs": 1e-4,
    "eps_rel": 0.0,
    "check_termination": 5,
    "max_iter": 400,  # 15 are usual, 180 the most that was seen; a program that takes more is DAQP's
    "polishing": False,
    "warm_starting": True,
}


class QpRejected(RuntimeError):
    """A program was not solved. The message says what the solver reported."""


class _TooManyIterations(QpRejected):
    """OSQP did not arrive, but its workspace is sound."""


class Program:
    """A quadratic program of fixed size, overwritten each cycle; all numbers lie in one block of memory.

    Attributes:
        hessian: (N, N), symmetric, positive definite.
        gradient: (N,).
        lower, upper: (N,) box of the variables.
        rows: (M, N).
        rows_lower: (M,); free rows have a large negative bound.
        used: how many of the first rows count; those behind them are free.
    """

    def __init__(self, variables: int, rows: int) -> None:
        """A program of N variables and M rows without costs and bounds."""
        sizes = (variables * variables, variables, variables, variables, rows * variables, rows)
        fills = (0.0, 0.0, -_FAR, _FAR, 0.0, -_FAR)
        self._empty = np.concatenate([np.full(size, fill) for size, fill in zip(sizes, fills, strict=True)])
        self._numbers = self._empty.copy()
        self.used = rows
        hessian, self.gradient, self.lower, self.upper, free, self.rows_lower = np.split(
            self._numbers, np.cumsum(sizes)[:-1]
        )
        self.hessian = hessian.reshape(variables, variables)
        self.rows = free.reshape(rows, variables)

    def clear(self) -> None:
        """Back to no costs and no bounds."""
        self._numbers[:] = self._empty
        self.used = len(self.rows)

    def require_finite(self) -> None:
        """Raise QpRejected if any number is not finite."""
        if not kernels.all_finite(self._numbers):
            names = ("hessian", "gradient", "lower", "upper", "rows", "rows_lower")
            wrong = [name for name in names if not np.isfinite(getattr(self, name)).all()]
            raise QpRejected(f"the program's {', '.join(wrong)} hold numbers that are not finite")


class QpSolver(Protocol):
    """Solves programs of one fixed size."""

    def solve(self, program: Program) -> np.ndarray:
        """Minimiser (N,), inside the box.

        Raises:
            QpRejected: the data are not finite, or the solver did not report a solution.
        """


def make_solver(name: str, variables: int, rows: int) -> QpSolver:
    """The solver of this name for N variables and M rows.

    ``osqp``: OSQP, with DAQP for the rare program that it does not solve within its iterations. ``daqp``: DAQP alone.

    Raises:
        ValueError: no solver of this name.
    """
    if name == "osqp":
        return WithBackup(OsqpSolver(variables, rows), DaqpSolver())
    if name == "daqp":
        return DaqpSolver()
    raise ValueError(f"no QP solver named '{name}' (known: osqp, daqp)")


class OsqpSolver:
    """OSQP, set up once for a few numbers of rows with dense patterns, and updated in place."""

    def __init__(self, variables: int, rows: int) -> None:
        # Most cycles have few rows, and a program of 4 takes half the time of one of 16.
        sizes = {min(size, rows) for size in (_FEW_ROWS, rows)}
        self._workspaces = [_OsqpWorkspace(variables, size) for size in sorted(sizes)]
        self._last = self._workspaces[0]

    def solve(self, program: Program) -> np.ndarray:
        """See :class:`QpSolver`."""
        program.require_finite()
        for workspace in self._workspaces:
            if program.used <= workspace.rows:
                break
        if workspace is not self._last:
            workspace.go_on_from(self._last)
            self._last = workspace
        return workspace.solve(program)


class _OsqpWorkspace:
    """OSQP for one number of rows."""

    def __init__(self, variables: int, rows: int) -> None:
        self.rows = rows
        self._variables = variables
        # Both matrices are handed over column by column, as OSQP stores them: the upper triangle of H, and [I; rows].
        self._triangle = np.empty(variables * (variables + 1) // 2)
        self._constraints = np.ones((variables, rows + 1))
        self._flat_constraints = self._constraints.ravel()
        self._lower, self._upper = np.empty(variables + rows), np.full(variables + rows, _FAR)
        self._prob = self._setup()

    def solve(self, program: Program) -> np.ndarray:
        """Minimiser (N,) of a program whose data are finite and whose rows fit."""
        kernels.pack_program(
            *(program.hessian, program.lower, program.upper, program.rows, program.rows_lower),
            *(self._triangle, self._constraints, self._lower, self._upper),
        )
        try:
            return self._run(program)
        except _TooManyIterations:
            raise  # slow, and no harm done: a set-up costs as much as a hundred cycles' solves
        except QpRejected:
            self._prob = self._setup()
            raise

    def go_on_from(self, other: _OsqpWorkspace) -> None:
        """Start the next solve from the other's last solution; rows beyond its own are taken to be inactive."""
        solution = other._prob._solver.solution
        duals = np.zeros(self._variables + self.rows)
        shared = min(self.rows, other.rows) + self._variables
        duals[:shared] = solution.y[:shared]
        self._prob._solver.warm_start(np.array(solution.x), duals)

    def _run(self, program: Program) -> np.ndarray:
        # The public update() and solve() cost as much again as the work: talk to the extension they wrap.
        extension = self._prob._solver
        failed = extension.update_data_mat(P_x=self._triangle, P_i=None, A_x=self._flat_constraints, A_i=None)
        failed = failed or extension.update_data_vec(q=program.gradient, l=self._lower, u=self._upper)
        failed = failed or extension.solve()
        if failed:
            raise QpRejected(f"OSQP refused the data (error {failed})")
        info = extension.info
        if info.status_val != _OSQP_SOLVED:
            unfinished = info.status_val in _OSQP_UNFINISHED and _finite(extension)
            kind = _TooManyIterations if unfinished else QpRejected
            raise kind(f"OSQP reports '{info.status}' after {info.iter} iterations")
        return _sound(extension.solution.x, program, "OSQP")

    def _setup(self) -> osqp.OSQP:
        variables, rows = self._variables, self.rows
        prob = osqp.OSQP()
        prob.setup(
            P=sparse.csc_matrix(np.triu(np.full((variables, variables), 1e-3) + np.eye(variables))),
            q=np.zeros(variables),
            A=_pattern(variables, rows),
            l=np.full(variables + rows, -_FAR),
            u=np.full(variables + rows, _FAR),
            **_OSQP_SETTINGS,
        )
        return prob


class DaqpSolver:
    """DAQP, an exact active-set solver: nothing is kept from one program to the next."""

    def solve(self, program: Program) -> np.ndarray:
        """See :class:`QpSolver`."""
        program.require_finite()
        variables, used = len(program.gradient), program.used
        bounds = np.empty((2, variables + used))
        lower, upper = bounds
        lower[:variables], lower[variables:] = program.lower, program.rows_lower[:used]
        upper[:variables], upper[variables:] = program.upper, _FAR
        answer, _, flag, _ = daqp.solve(program.hessian, program.gradient, program.rows[:used], upper, lower)
        if flag != 1:
            raise QpRejected(f"DAQP reports exit flag {flag}")
        return _sound(answer, program, "DAQP")


class WithBackup:
    """Asks a second solver where the first one rejects a program.

    Attributes:
        backups: how often the second one was asked.
    """

    def __init__(self, first: QpSolver, second: QpSolver) -> None:
        self._first = first
        self._second = second
        self.backups = 0

    def solve(self, program: Program) -> np.ndarray:
        """See :class:`QpSolver`."""
        try:
            return self._first.solve(program)
        except QpRejected as rejected:
            self.backups += 1
            try:
                return self._second.solve(program)
            except QpRejected as again:
                raise QpRejected(f"{rejected}; {again}") from again


def _pattern(variables: int, rows: int) -> sparse.csc_matrix:
    return sparse.csc_matrix(np.vstack([np.eye(variables), np.full((rows, variables), 1e-3)]))


def _finite(extension: Any) -> bool:
    solution = extension.solution
    return math.isfinite(np.sum(solution.x) + np.sum(solution.y))


def _sound(answer: np.ndarray, program: Program, solver: str) -> np.ndarray:
    """The answer (N,) clipped to the program's box."""
    clipped = np.empty(len(answer))
    if not kernels.clip_answer(answer, program.lower, program.upper, _LARGEST_ANSWER, clipped):
        raise QpRejected(f"{solver} reports a solution, but it is {answer}")
    return clipped
