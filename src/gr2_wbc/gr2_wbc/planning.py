"""Collision-free paths in joint space.

:class:`Planner` is the interface; :class:`OmplPlanner` is the one that comes with pip, and
:class:`gr2_wbc.moveit_planner.MoveItPlanner` takes MoveIt where it is installed. Whoever searches, the motions between
the planned configurations are checked with the same distances that the controller keeps, held objects included.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Protocol

import numpy as np

from gr2_wbc.collision import CollisionMonitor
from gr2_wbc.collision_model import CollisionModel
from gr2_wbc.joints import JointLimits

__all__ = ["CheckedPlanner", "OmplPlanner", "Planner", "PlanningConfig", "PlanningFailed", "Trouble"]

_SEED_LOCK = threading.Lock()  # OMPL's seed is one for the whole process


class Trouble(Enum):
    """Why there is no path."""

    START_IN_COLLISION = "start_in_collision"
    GOAL_IN_COLLISION = "goal_in_collision"
    GOAL_OUTSIDE_LIMITS = "goal_outside_limits"
    BAD_GOAL = "bad_goal"
    NO_PATH = "no_path"
    NO_PLANNER = "no_planner"


class PlanningFailed(RuntimeError):
    """There is no path.

    Attributes:
        trouble: the named reason.
        text: the reason in words, with the figures.
    """

    def __init__(self, trouble: Trouble, text: str) -> None:
        super().__init__(trouble, text)
        self.trouble = trouble
        self.text = text

    def __str__(self) -> str:
        return f"{self.trouble.value}: {self.text}"


@dataclass(frozen=True)
class PlanningConfig:
    """How paths are planned.

    Attributes:
        time_limit: [s] for finding a path; shortening it comes on top.
        margin: distance [m] kept beyond the safe one; less where start or goal have less.
        start_inside: a start this far [m] inside a safe distance is taken as at its edge.
        resolution: distance [rad, m] between the configurations that are checked.
        range: largest step [rad, m] of the search.
        seed: of the random numbers.
        backend: who searches: ``ompl``, or ``moveit`` where MoveIt is installed.
        moveit: for the latter: YAML file of MoveIt's configuration (docs/robots.md).
    """

    time_limit: float = 5.0
    margin: float = 0.005
    start_inside: float = 0.0015
    resolution: float = 0.02
    range: float = 1.0
    seed: int = 1
    backend: str = "ompl"
    moveit: str = ""


class Planner(Protocol):
    """Finds paths."""

    def plan(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Waypoints (k, n) from start (n,) to goal (n,), free on straight lines between them.

        Continuous joints end at the goal modulo whole turns.

        Raises:
            PlanningFailed: there is no such path, or none was found in time.
        """


class CheckedPlanner:
    """What all planners share: goals are checked, straight ways are taken where they are free, results are looked at.

    A subclass says how to search (:meth:`_search`).
    """

    def __init__(self, limits: JointLimits, model: CollisionModel, config: PlanningConfig | None = None) -> None:
        self._limits = limits
        self._monitor = CollisionMonitor(model)
        self._config = config or PlanningConfig()
        self._margin = 0.0

    def free(self, positions: np.ndarray) -> bool:
        """Whether a configuration (n,) keeps the distances that the last path had to keep."""
        self._monitor.update(positions)
        return self._monitor.clearance >= self._margin

    def plan(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """See :class:`Planner`."""
        limits = self._limits
        start, goal = np.asarray(start, dtype=float), np.asarray(goal, dtype=float)
        self._check_goal(goal)
        start = np.clip(start, limits.lower, limits.upper)
        self._margin = min(self._config.margin, self._room(start, True), self._room(goal, False))
        nearest = start + limits.difference(goal, start)
        if self._free_line(start, nearest):
            return np.array([start, nearest])
        return self._unwound(start, self._search(start, goal))

    def _check_goal(self, goal: np.ndarray) -> None:
        limits = self._limits
        if goal.shape != limits.lower.shape or not np.isfinite(goal).all():
            raise PlanningFailed(
                Trouble.BAD_GOAL, f"the goal needs {len(limits.names)} finite numbers, got {goal.tolist()}"
            )
        for name, value, low, high in zip(limits.names, goal, limits.lower, limits.upper, strict=True):
            if not low <= value <= high:
                raise PlanningFailed(
                    Trouble.GOAL_OUTSIDE_LIMITS,
                    f"{name} = {value:.4f} {limits.unit(name)} is outside {low:.4f} ... {high:.4f}",
                )

    def _room(self, positions: np.ndarray, start: bool) -> float:
        """Distance [m] beyond the safe one at an end of the path."""
        self._monitor.update(positions)
        room = self._monitor.clearance
        if room < (-self._config.start_inside if start else 0.0):
            nearest = self._monitor.nearest
            raise PlanningFailed(
                Trouble.START_IN_COLLISION if start else Trouble.GOAL_IN_COLLISION,
                f"{'the arm is' if start else 'the goal puts the arm'} {-1e3 * room:.1f} mm inside a safe distance; "
                f"the nearest pair is {nearest.pair} at {1e3 * nearest.distance:.1f} mm",
            )
        return room

    def _free_line(self, start: np.ndarray, end: np.ndarray) -> bool:
        count = max(2, int(np.ceil(np.linalg.norm(end - start) / self._config.resolution)) + 1)
        return all(self.free(start + u * (end - start)) for u in np.linspace(0.0, 1.0, count))

    def _search(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Waypoints (k, n) from start to goal (n,), continuous joints in any turn; see :class:`Planner`."""
        raise NotImplementedError

    def _unwound(self, start: np.ndarray, path: np.ndarray) -> np.ndarray:
        """The path from the start on without jumps of whole turns; every step is the shorter way, as it was planned."""
        points = [start]
        for point in path[1:]:
            points.append(points[-1] + self._limits.difference(point, points[-1]))
        for first, second in pairwise(points):
            if not self._free_line(first, second):
                raise PlanningFailed(Trouble.NO_PATH, "the path that was found is not free when looked at closely")
        return np.array(points)


class OmplPlanner(CheckedPlanner):
    """RRT-Connect and shortening, from OMPL. Continuous joints may turn either way.

    The same start, goal, surroundings and seed give the same path, unless the time limit strikes.
    """

    def _search(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        try:
            from ompl import base, geometric, util
        except ImportError as error:
            raise PlanningFailed(
                Trouble.NO_PLANNER,
                f"the straight way is not free, and OMPL is not installed ({error}): pip install ompl",
            ) from error
        config, limits = self._config, self._limits
        turning = limits.continuous.tolist()
        with _SEED_LOCK:
            util.setLogLevel(util.LogLevel.LOG_NONE)
            util.RNG.setSeed(config.seed)
            space = base.CompoundStateSpace()
            for index, turns in enumerate(turning):
                part = base.SO2StateSpace() if turns else base.RealVectorStateSpace(1)
                if not turns:
                    part.setBounds(float(limits.lower[index]), float(limits.upper[index]))
                space.addSubspace(part, 1.0)
            setup = geometric.SimpleSetup(space)

            def read(state: base.State) -> np.ndarray:
                return np.array([state[i].value if turns else state[i][0] for i, turns in enumerate(turning)])

            def written(positions: np.ndarray) -> base.State:
                state = space.allocState()
                for i, turns in enumerate(turning):
                    if turns:
                        state[i].value = float(_wrapped(positions[i]))
                    else:
                        state[i][0] = float(positions[i])
                return state

            setup.setStateValidityChecker(lambda state: self.free(read(state)))
            setup.setStartAndGoalStates(written(start), written(goal))
            information = setup.getSpaceInformation()
            information.setStateValidityCheckingResolution(config.resolution / space.getMaximumExtent())
            planner = geometric.RRTConnect(information)
            planner.setRange(config.range)
            setup.setPlanner(planner)
            setup.setup()
            begun = time.monotonic()
            setup.solve(config.time_limit)
            if not setup.haveExactSolutionPath():
                raise PlanningFailed(Trouble.NO_PATH, f"no path was found in {time.monotonic() - begun:.1f} s")
            path = setup.getSolutionPath()
            shortening = geometric.PathSimplifier(information)
            shortening.reduceVertices(path)
            shortening.partialShortcutPath(path)
            shortening.collapseCloseVertices(path)
            shortening.reduceVertices(path)
            return np.array([read(state) for state in path.getStates()])


def _wrapped(angle: float) -> float:
    """The same angle in -pi ... pi."""
    return float(angle - 2.0 * np.pi * np.round(angle / (2.0 * np.pi)))
