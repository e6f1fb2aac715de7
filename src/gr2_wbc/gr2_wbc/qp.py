"""The quadratic program of a cycle and the solvers for it.

    minimise  1/2 x^T H x + g^T x   subject to   box_lower <= x <= box_upper,  rows x >= rows_lower

What counts is the solver's STATUS: OSQP answers an infeasible program with a large finite number (2143289344), and a
single NaN poisons its workspace for good. So data are checked before they are handed over, the status after, the
answer is clipped to its box, and a solver that failed is set up anew.
"""

from __future__ import annotations

import math
from typing import Protocol

import daqp
import numpy as np
import osqp
import scipy.sparse as sparse

_FAR = 1e4  # stands for infinity: large against every velocity, harmless to the solvers' scaling
_LARGEST_ANSWER = 1e3
_OSQP_SETTINGS = {
    "verbose": False,
    "scaling": 0,
    "adaptive_rho": False,
    "rho": 0.5,
    "eps_abs": 1e-4,
    "eps_rel": 0.0,
    "check_termination": 5,
    "max_iter": 1000,
    "polishing": False,
    "warm_starting": True,
}


class QpRejected(RuntimeError):
    """A program was not solved. The message says what the solver reported."""


class Program:
    """A quadratic program of fixed size, overwritten each cycle; all numbers lie in one block of memory.

    Attributes:
        hessian: (N, N), symmetric, positive definite.
        gradient: (N,).
        lower, upper: (N,) box of the variables.
        rows: (M, N).
        rows_lower: (M,); free rows have a large negative bound.
    """

    def __init__(self, variables: int, rows: int) -> None:
        """A program of N variables and M rows without costs and bounds."""
        sizes = (variables * variables, variables, variables, variables, rows * variables, rows)
        fills = (0.0, 0.0, -_FAR, _FAR, 0.0, -_FAR)
        self._empty = np.concatenate([np.full(size, fill) for size, fill in zip(sizes, fills, strict=True)])
        self._numbers = self._empty.copy()
        hessian, self.gradient, self.lower, self.upper, free, self.rows_lower = np.split(
            self._numbers, np.cumsum(sizes)[:-1]
        )
        self.hessian = hessian.reshape(variables, variables)
        self.rows = free.reshape(rows, variables)

    def clear(self) -> None:
        """Back to no costs and no bounds."""
        self._numbers[:] = self._empty

    def require_finite(self) -> None:
        """Raise QpRejected if any number is not finite."""
        # A sum is finite only if all its terms are; sums of large numbers do not overflow here.
        if not math.isfinite(self._numbers.sum()):
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
    """OSQP, set up once with a dense pattern and updated in place."""

    def __init__(self, variables: int, rows: int) -> None:
        self._shape = (variables, rows)
        # Both matrices are handed over column by column, as OSQP stores them: the upper triangle of H, and [I; rows].
        self._triangle = np.nonzero(np.tri(variables, dtype=bool))
        self._constraints = np.ones((variables, rows + 1))
        self._lower = np.empty(variables + rows)
        self._upper = np.full(variables + rows, _FAR)
        self._prob = self._setup()

    def solve(self, program: Program) -> np.ndarray:
        """See :class:`QpSolver`."""
        variables = self._shape[0]
        program.require_finite()
        # The lower triangle row by row is the upper one column by column.
        hessian = program.hessian[self._triangle]
        self._constraints[:, 1:] = program.rows.T
        self._lower[:variables] = program.lower
        self._lower[variables:] = program.rows_lower
        self._upper[:variables] = program.upper
        try:
            answer = self._run(hessian, program.gradient)
        except QpRejected:
            self._prob = self._setup()
            raise
        return np.minimum(np.maximum(answer, program.lower), program.upper)

    def _run(self, hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        # The public update() and solve() cost as much again as the work: talk to the extension they wrap.
        extension = self._prob._solver
        failed = extension.update_data_mat(P_x=hessian, P_i=None, A_x=self._constraints.ravel(), A_i=None)
        failed = failed or extension.update_data_vec(q=gradient, l=self._lower, u=self._upper)
        failed = failed or extension.solve()
        if failed:
            raise QpRejected(f"OSQP refused the data (error {failed})")
        info = extension.info
        if info.status_val != osqp.SolverStatus.OSQP_SOLVED:
            raise QpRejected(f"OSQP reports '{info.status}' after {info.iter} iterations")
        answer = np.array(extension.solution.x)
        if not (np.abs(answer) < _LARGEST_ANSWER).all():
            raise QpRejected(f"OSQP reports a solution, but it is {answer}")
        return answer

    def _setup(self) -> osqp.OSQP:
        variables, rows = self._shape
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
        variables = len(program.gradient)
        upper = np.full(variables + len(program.rows), _FAR)
        upper[:variables] = program.upper
        lower = np.concatenate([program.lower, program.rows_lower])
        answer, _, flag, _ = daqp.solve(program.hessian, program.gradient, program.rows, upper, lower)
        if flag != 1:
            raise QpRejected(f"DAQP reports exit flag {flag}")
        if not (np.abs(answer) < _LARGEST_ANSWER).all():
            raise QpRejected(f"DAQP reports a solution, but it is {answer}")
        return np.minimum(np.maximum(answer, program.lower), program.upper)


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
