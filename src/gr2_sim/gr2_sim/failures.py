"""What kind of failure an episode was: watched from outside, whatever the policy."""

from __future__ import annotations

import numpy as np

from gr2_policy.policy import SceneTruth
from gr2_sim.cell import Cell
from gr2_sim.tasks import Task

CATEGORIES = ("stopped", "wrong object", "never reached", "never grasped", "dropped", "time-out")
LIFTED = 0.03
"""Rise [m] from which on a thing counts as grasped."""
MOVED = 0.06
"""How far [m] a thing that is none of the task's may be moved before it counts as the wrong object."""


class FailureWatch:
    """Collects what happens in one episode.

    Args:
        cell: the scene.
        task: what is to be done.
        start: the scene when the instruction was given.
    """

    def __init__(self, cell: Cell, task: Task, start: SceneTruth) -> None:
        self._task, self._start = task, start
        related = {task.object, task.target, cell.seats.get(task.object, ""), *cell.granules.names}
        self._others = [name for name in cell.objects if name not in related and task.family != "bin_pick"]
        self._about = {task.object, task.target} | {f.name for j, f in cell.joints.items() if j == task.target}
        self._any = task.family == "bin_pick"
        if self._any:
            self._about |= set(cell.objects)
        self._reached = self._lifted = self._wrong = False
        self._low_again = False

    def update(self, truth: SceneTruth, touched: frozenset[str]) -> None:
        """Look once, at 10 Hz or so."""
        task, start = self._task, self._start
        self._reached |= bool(touched & self._about)
        for name in self._others:
            if name in touched and float(np.linalg.norm(truth.poses[name][0] - start.poses[name][0])) > MOVED:
                self._wrong = True
        if self._any:
            self._lifted |= any(
                truth.poses[n][0][2] - start.poses[n][0][2] > LIFTED for n in touched & self._about if n in start.poses
            )
        if task.object in truth.poses:
            rise = float(truth.poses[task.object][0][2] - start.poses[task.object][0][2])
            self._lifted |= rise > LIFTED
            self._low_again = self._lifted and rise < 0.5 * LIFTED and task.object not in touched

    def category(self, stopped: bool) -> str:
        """One of CATEGORIES.

        Args:
            stopped: the controller stopped for good.
        """
        if stopped:
            return "stopped"
        if self._wrong and not self._lifted:
            return "wrong object"
        if not self._reached:
            return "never reached"
        moves = self._any or (self._task.object and self._task.family not in ("push", "push_forward"))
        if moves and not self._lifted:
            return "never grasped"
        return "dropped" if self._low_again else "time-out"
