"""Planning in a process of its own: it builds collision models and plans motions while the control cycle goes on.

:mod:`gr2_wbc.planning_process` runs there with one end of a socket pair; :class:`PlanningWorker` is the other end. Both
ends are ours, on one machine: what goes through the socket is pickled.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass

import numpy as np

from gr2_wbc.collision_model import CollisionModel
from gr2_wbc.environment import Environment
from gr2_wbc.framed import FramedSocket, Gone
from gr2_wbc.joint_motion import JointMotion
from gr2_wbc.planning import PlanningConfig
from gr2_wbc.robot import RobotSource


@dataclass(frozen=True, eq=False)
class SceneReply:
    """The model of an environment, or why there is none."""

    version: int
    model: CollisionModel | None
    refusal: str = ""


@dataclass(frozen=True, eq=False)
class MotionReply:
    """The motion that was asked for under this number, or why there is none."""

    number: int
    motion: JointMotion | None
    refusal: str = ""


@dataclass(frozen=True)
class WorkerDied:
    """The process has ended; what was asked of it will not be answered."""

    code: int | None


@dataclass(frozen=True, eq=False)
class MotionRequest:
    """A motion asked for; see :meth:`PlanningWorker.plan`."""

    number: int
    name: str
    start: np.ndarray
    goal: np.ndarray
    speed: float


Reply = SceneReply | MotionReply | WorkerDied


class PlanningWorker:
    """The worker as the control process sees it. No call blocks."""

    def __init__(self, source: RobotSource, config: PlanningConfig | None = None) -> None:
        """Start the process, at low priority."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "gr2_wbc.planning_process", str(theirs.fileno())]
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, preexec_fn=_at_ordinary_priority
        )
        theirs.close()
        self._channel = FramedSocket(ours, blocking=False)
        self._number = 0
        self._dead = False
        self._send((str(source.path), source.description, config or PlanningConfig()))

    def build(self, environment: Environment) -> None:
        """Ask for the model of an environment; plans are made in it from then on."""
        self._send(environment)

    def plan(self, name: str, start: np.ndarray, goal: np.ndarray, speed: float) -> int:
        """Ask for a motion at this share of the velocity limits; returns the number of the request."""
        self._number += 1
        self._send(MotionRequest(self._number, name, start, goal, speed))
        return self._number

    def poll(self) -> Reply | None:
        """The next reply, if there is one."""
        try:
            return self._channel.poll()
        except Gone:
            told, self._dead = self._dead, True
            return None if told else WorkerDied(self._process.poll())

    def close(self) -> None:
        """End the process."""
        self._channel.close()
        self._process.terminate()
        self._process.wait()

    def _send(self, request: object) -> None:
        try:
            self._channel.send(request)
        except Gone:
            return  # poll tells


def _at_ordinary_priority() -> None:
    """In the child, before it becomes Python: its start must not compete with the control loop for a core."""
    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
