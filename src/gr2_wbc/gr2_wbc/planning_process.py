"""The process that builds collision models and plans: ``python -m gr2_wbc.planning_process FD``.

FD is one end of a socket pair; :class:`gr2_wbc.planning_worker.PlanningWorker` has the other. One request after the
other is answered, until the other end is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gr2_wbc.collision_model import build_collision_model
from gr2_wbc.environment import Environment, SceneRefused
from gr2_wbc.framed import FramedSocket, Gone
from gr2_wbc.joint_motion import JointMotion
from gr2_wbc.path_timing import TimingConfig, timed_motion
from gr2_wbc.planning import CheckedPlanner, OmplPlanner, PlanningConfig, PlanningFailed, Trouble
from gr2_wbc.planning_worker import MotionReply, MotionRequest, Reply, SceneReply
from gr2_wbc.robot import Robot, RobotFileError
from gr2_wbc.robots import load_robot
from gr2_wbc.tool_speed import ToolSpeed

if TYPE_CHECKING:
    from gr2_wbc.moveit_planner import MoveItSession

_NICENESS = 10


class Desk:
    """Answers requests for one robot."""

    def __init__(self, robot: Robot, config: PlanningConfig) -> None:
        self._robot = robot
        self._config = config
        self._environment = robot.collision.environment
        self._model = build_collision_model(robot)
        self._session: MoveItSession | None = None
        self._tool_speed = ToolSpeed(robot)

    def answer(self, request: Environment | MotionRequest) -> Reply:
        """The answer to a request."""
        if isinstance(request, Environment):
            try:
                self._model = build_collision_model(self._robot, request)
            except (SceneRefused, RobotFileError, ValueError) as error:
                return SceneReply(request.version, None, str(error))
            self._environment = request
            return SceneReply(request.version, self._model)
        try:
            return MotionReply(request.number, self._plan(request))
        except PlanningFailed as failed:
            return MotionReply(request.number, None, str(failed))

    def _plan(self, request: MotionRequest) -> JointMotion:
        planner = self._planner()
        waypoints = planner.plan(request.start, request.goal)
        timing = replace(TimingConfig(), speed=request.speed)
        return timed_motion(request.name, waypoints, self._robot.limits, timing, planner.free, self._tool_speed.share)

    def _planner(self) -> CheckedPlanner:
        """By the configured backend; MoveIt is started when it is needed first.

        Raises:
            PlanningFailed: there is no such backend, or it cannot be started.
        """
        config = self._config
        if config.backend == "ompl":
            return OmplPlanner(self._robot.limits, self._model, config)
        if config.backend != "moveit":
            raise PlanningFailed(Trouble.NO_PLANNER, f"there is no planner '{config.backend}': ompl or moveit")
        from gr2_wbc.moveit_planner import MoveItPlanner, open_session

        if self._session is None:
            self._session = open_session(Path(config.moveit), self._robot)
        return MoveItPlanner(self._robot, self._model, self._environment, self._session, config)


def _be_modest() -> None:
    """Lay down the real-time priority and the core that the control process may have handed on; it goes first."""
    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    os.nice(_NICENESS)


def main() -> int:
    """Serve until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the parent, whose end ends us
    _be_modest()
    channel = FramedSocket(socket.socket(fileno=int(sys.argv[1])), blocking=True)
    try:
        path, description, config = channel.receive()
        desk = Desk(load_robot(Path(path), description), config)
        while True:
            channel.send(desk.answer(channel.receive()))
    except Gone:
        return 0


if __name__ == "__main__":
    sys.exit(main())
