"""Motions to a configuration, from the request to the end: come to rest, plan, move. No step waits for another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gr2_wbc.controller import Controller
from gr2_wbc.controller_motion import MotionRefused
from gr2_wbc.planning_worker import MotionReply, PlanningWorker
from gr2_wbc.safety import State

DEFAULT_SPEED = 0.5
_REST_TIME = 10.0  # [s] in which the arm must come to rest, and out of what it is too close to


@dataclass
class _Task:
    name: str
    goal: np.ndarray
    speed: float
    since: float
    number: int | None = None  # of the planning request
    started: bool = False


class Moves:
    """Motions to configurations, one at a time.

    Attributes:
        last_failure: why the last motion that was accepted did not come about; empty: it did.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._task: _Task | None = None
        self.last_failure = ""

    def goal_of(self, name: str, joint_names: list[str], positions: np.ndarray) -> tuple[str, np.ndarray]:
        """The goal that a request means: what to call it, and the positions (n,).

        Raises:
            MotionRefused: an unknown configuration, joints that are not the arm's, or a goal outside the limits.
        """
        robot = self._controller.robot
        limits = robot.limits
        if name:
            if name not in robot.configurations:
                known = ", ".join(robot.configurations)
                raise MotionRefused(f"{robot.robot_id} has no configuration '{name}' (known: {known})")
            return f"'{name}'", robot.configurations[name]
        if sorted(joint_names) != sorted(limits.names) or len(joint_names) != len(positions):
            raise MotionRefused(
                f"positions of {', '.join(limits.names)} are needed, got {len(positions)} of {', '.join(joint_names)}"
            )
        goal = np.array([float(positions[joint_names.index(joint)]) for joint in limits.names])
        for joint, value, low, high in zip(limits.names, goal, limits.lower, limits.upper, strict=True):
            if not low <= value <= high or not np.isfinite(value):
                raise MotionRefused(f"{joint} = {value} {limits.unit(joint)} is outside {low:.4f} ... {high:.4f}")
        return "the given configuration", goal

    def request(self, name: str, goal: np.ndarray, speed: float, now: float) -> None:
        """Begin a motion; policies are kept out until it has ended.

        Args:
            name: what to call the goal.
            goal: (n,), within the limits.
            speed: share of the velocity limits; 0: :data:`DEFAULT_SPEED`.
            now: control time [s].

        Raises:
            MotionRefused: the controller is stopped or not ready, another motion is under way, or a speed above 1.
        """
        controller = self._controller
        if controller.safety.stopped or controller.safety.state is State.IDLE:
            raise MotionRefused(f"the controller is {controller.safety.state.name}: {controller.safety.reason}")
        if self._task is not None:
            raise MotionRefused(f"the arm is moving to {self._task.name}; cancel that first")
        if not 0.0 <= speed <= 1.0:
            raise MotionRefused(f"speed {speed} must lie in 0 ... 1")
        self._task = _Task(name, goal, speed or DEFAULT_SPEED, now)
        controller.reserved = f"moving to {name}"
        controller.come_to_rest()

    def cancel(self) -> None:
        """Give up the motion; the arm comes to rest along it.

        Raises:
            MotionRefused: there is none.
        """
        if self._task is None:
            raise MotionRefused("no motion is under way")
        self._controller.come_to_rest()
        self._end("")

    def update(self, now: float, worker: PlanningWorker) -> None:
        """Go on, once a cycle."""
        task, controller = self._task, self._controller
        if task is None:
            return
        if controller.safety.stopped:
            self._end(f"the controller stopped: {controller.safety.reason}")
        elif task.started:
            if not controller.moving:
                self._end("" if controller.safety.reason.endswith("is reached") else controller.safety.reason)
        elif task.number is None:
            if controller.at_rest:
                task.number = worker.plan(task.name, controller.commanded_positions, task.goal, task.speed)
                controller.safety.hold(f"planning the way to {task.name}")
            elif not 0.0 <= now - task.since <= _REST_TIME:
                self._end(f"the arm did not come to rest: {controller.safety.reason}")

    def take(self, reply: MotionReply) -> None:
        """Take the worker's answer."""
        task = self._task
        if task is None or task.number != reply.number:
            return  # it was given up meanwhile
        if reply.motion is None:
            self._end(reply.refusal)
            return
        try:
            self._controller.move(reply.motion)
            task.started = True
        except MotionRefused as refused:
            self._end(str(refused))

    def worker_died(self) -> None:
        """Give up what the worker was asked for."""
        if self._task is not None and self._task.number is not None and not self._task.started:
            self._end("the planning process ended")

    def _end(self, failure: str) -> None:
        assert self._task is not None
        name, self._task = self._task.name, None
        self._controller.reserved = ""
        self.last_failure = failure
        if failure and self._controller.at_rest:
            self._controller.safety.hold(f"no motion to {name}: {failure}")
