"""MoveIt as the planner: the same interface, the same checks, the search by MoveIt's pipelines (moveit_py).

MoveIt gets the environment as collision objects and attached objects before each search. Only the parts of moveit_py
that docs/interfaces.md names are used, through the session that :func:`open_session` makes; tests have a stand-in.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gr2_wbc.collision_model import CollisionModel
from gr2_wbc.environment import Environment
from gr2_wbc.moveit_scene import attached_object, collision_object
from gr2_wbc.planning import CheckedPlanner, PlanningConfig, PlanningFailed, Trouble
from gr2_wbc.robot import Robot

NODE_NAME = "gr2_moveit"
GROUP = "manipulator"


class MoveItSession:
    """A running MoveItPy, and the few calls that a planner needs.

    Args:
        moveit: the instance.
        group: the planning group; its joints are the robot's.
        hand: links that an attached object may touch.
        parameters: makes a PlanRequestParameters with a planning time [s].
        state: makes a RobotState of the robot model.
    """

    def __init__(self, moveit: Any, group: str, hand: tuple[str, ...], parameters: Any, state: Any) -> None:
        self._moveit = moveit
        self._hand = hand
        self._parameters = parameters
        self._state = state
        self._component = moveit.get_planning_component(group)

    def show(self, environment: Environment, robot: Robot) -> None:
        """Make MoveIt's planning scene this environment, as a whole."""
        with self._moveit.get_planning_scene_monitor().read_write() as scene:
            scene.remove_all_collision_objects()
            for item in environment:
                if item.link is None:
                    scene.apply_collision_object(collision_object(item, robot.base_frame))
                else:
                    scene.process_attached_collision_object(attached_object(item, self._hand))
            scene.current_state.update()

    def plan(self, names: tuple[str, ...], start: np.ndarray, goal: np.ndarray, time_limit: float) -> np.ndarray | None:
        """Waypoints (k, n) in the order of ``names``; None: none were found in time [s]."""
        self._component.set_start_state(robot_state=self._made(names, start))
        self._component.set_goal_state(robot_state=self._made(names, goal))
        result = self._component.plan(single_plan_parameters=self._parameters(time_limit))
        if not result:
            return None
        told = result.trajectory.get_robot_trajectory_msg().joint_trajectory
        order = [list(told.joint_names).index(name) for name in names]
        return np.array([[float(point.positions[i]) for i in order] for point in told.points])

    def _made(self, names: tuple[str, ...], positions: np.ndarray) -> Any:
        state = self._state(self._moveit.get_robot_model())
        state.joint_positions = dict(zip(names, positions.tolist(), strict=True))
        state.update()
        return state

    def close(self) -> None:
        """End MoveIt's node."""
        self._moveit.shutdown()


class MoveItPlanner(CheckedPlanner):
    """See the module's docstring."""

    def __init__(
        self,
        robot: Robot,
        model: CollisionModel,
        environment: Environment,
        session: MoveItSession,
        config: PlanningConfig | None = None,
    ) -> None:
        super().__init__(robot.limits, model, config)
        self._robot = robot
        self._environment = environment
        self._session = session

    def _search(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        limits = self._limits
        # MoveIt wants continuous joints within -pi ... pi; the path is unwound afterwards.
        first, last = (np.where(limits.continuous, _wrapped(one), one) for one in (start, goal))
        self._session.show(self._environment, self._robot)
        path = self._session.plan(limits.names, first, last, self._config.time_limit)
        if path is None or len(path) < 2:
            raise PlanningFailed(Trouble.NO_PATH, f"MoveIt found no path within {self._config.time_limit:.1f} s")
        for what, end, found in (("begins", first, path[0]), ("ends", last, path[-1])):
            away = np.abs(limits.difference(found, end))
            if not away.max() < 1e-3:
                name = limits.names[int(np.argmax(away))]
                raise PlanningFailed(Trouble.NO_PATH, f"MoveIt's path {what} elsewhere: {name} is {away.max():.4f} off")
        path[0], path[-1] = start, goal
        return path


def _wrapped(angles: np.ndarray) -> np.ndarray:
    return np.remainder(angles + np.pi, 2.0 * np.pi) - np.pi


def open_session(path: Path, robot: Robot) -> MoveItSession:
    """Start MoveIt with a configuration file; takes seconds.

    Args:
        path: YAML: MoveIt's own parameters (``planning_pipelines``, ``plan_request_params``, ``ompl``, ...), beside
            ``robot_description`` and ``robot_description_semantic``, which are names of files, relative to its folder;
            an xacro file gets ``robot_description_arguments``.
        robot: whose joints are planned for.

    Raises:
        PlanningFailed: MoveIt is not installed, or the file is not usable.
    """
    try:
        from moveit.core.robot_state import RobotState
        from moveit.planning import MoveItPy, PlanRequestParameters
    except ImportError as error:
        raise PlanningFailed(
            Trouble.NO_PLANNER, f"MoveIt is not installed ({error}): apt install ros-jazzy-moveit-py, or planner: ompl"
        ) from error
    entries = read_configuration(path)
    group, hand = str(entries.pop("group", GROUP)), tuple(entries.pop("hand_links", ()))
    sys.argv[1:] = []  # moveit_py looks for --params-file there
    moveit = MoveItPy(node_name=NODE_NAME, config_dict=entries, provide_planning_service=False)

    def parameters(time_limit: float) -> Any:
        made = PlanRequestParameters(moveit, "")
        made.planning_time = time_limit
        return made

    return MoveItSession(moveit, group, hand, parameters, RobotState)


def read_configuration(path: Path) -> dict[str, Any]:
    """MoveIt's parameters from a file; descriptions are read in.

    Raises:
        PlanningFailed: it is not usable; the message names file and entry.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(entries, dict):
            raise ValueError("expected a mapping")
        arguments = entries.pop("robot_description_arguments", {})
        for name in ("robot_description", "robot_description_semantic"):
            if name not in entries:
                raise ValueError(f"it has no {name}")
            entries[name] = _text(path.parent / str(entries[name]), arguments)
    except (OSError, ValueError, ImportError, yaml.YAMLError) as error:
        raise PlanningFailed(Trouble.NO_PLANNER, f"MoveIt's configuration {path}: {error}") from error
    return entries


def _text(path: Path, arguments: dict[str, str]) -> str:
    if path.suffix != ".xacro":
        return path.read_text(encoding="utf-8")
    import xacro

    return str(xacro.process_file(str(path), mappings={key: str(value) for key, value in arguments.items()}).toxml())
