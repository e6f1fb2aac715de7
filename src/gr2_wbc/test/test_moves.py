"""Motions to a configuration from request to end, with the planning process and with one that misbehaves."""

from __future__ import annotations

import socket
import time

import numpy as np
import pytest

from gr2_wbc.chunk import ChunkRefused, Refusal
from gr2_wbc.collision import CollisionMonitor
from gr2_wbc.collision_model import build_collision_model
from gr2_wbc.controller_motion import MotionRefused
from gr2_wbc.environment import SceneObject, Shape, pose_of
from gr2_wbc.framed import FramedSocket, Gone
from gr2_wbc.joint_motion import JointMotion
from gr2_wbc.moves import Moves
from gr2_wbc.path_timing import timed_motion
from gr2_wbc.planning_worker import MotionReply, PlanningWorker, SceneReply, WorkerDied
from gr2_wbc.safety import State


class Ready:
    """A worker that answers at once with the straight way, or as told."""

    def __init__(self, robot, refusal=""):
        self.robot, self.refusal, self.number = robot, refusal, 0
        self.reply: MotionReply | None = None

    def plan(self, name, start, goal, speed):
        self.number += 1
        motion = None if self.refusal else timed_motion(name, np.array([start, goal]), self.robot.limits)
        self.reply = MotionReply(self.number, motion, self.refusal)
        return self.number


def run(rig, moves, worker, cycles=2000):
    for _ in range(cycles):
        moves.update(rig.time, worker)
        if worker.reply is not None:
            moves.take(worker.reply)
            worker.reply = None
        rig.step()
        if not rig.controller.reserved:
            return
    raise AssertionError(rig.reason)


def test_a_policy_is_brought_to_rest_kept_out_and_let_in_again(make_rig, robot):
    rig, worker = make_rig(), Ready(robot)
    moves = Moves(rig.controller)
    rig.send(rig.line((0.1, 0.0, 0.0)))
    rig.step(100)
    assert np.abs(rig.velocities).max() > 0.05
    moves.request(*moves.goal_of("home", [], np.zeros(0)), 0.0, rig.time)
    with pytest.raises(ChunkRefused) as refusal:
        rig.send(rig.line((0.1, 0.0, 0.0)))
    assert refusal.value.reason is Refusal.MOVING
    assert rig.controller.status().motion == "moving to 'home'"
    run(rig, moves, worker)
    assert moves.last_failure == ""
    assert np.abs(robot.limits.difference(rig.positions, robot.configurations["home"])).max() < 0.003
    rig.send(rig.line((0.02, 0.0, 0.0)))
    assert rig.state is State.TRACKING


def test_a_refusal_of_the_planner_is_told_and_ends_it(make_rig, robot):
    rig, worker = make_rig(), Ready(robot, "no_path: none")
    moves = Moves(rig.controller)
    moves.request(*moves.goal_of("home", [], np.zeros(0)), 0.5, rig.time)
    run(rig, moves, worker)
    assert moves.last_failure == "no_path: none"
    assert rig.reason == "no motion to 'home': no_path: none"


def test_an_answer_to_a_cancelled_request_is_not_followed(make_rig, robot):
    rig, worker = make_rig(), Ready(robot)
    moves = Moves(rig.controller)
    moves.request(*moves.goal_of("home", [], np.zeros(0)), 0.5, rig.time)
    rig.step(2)
    moves.update(rig.time, worker)
    moves.cancel()
    moves.take(worker.reply)
    rig.step(50)
    assert rig.state is State.HOLDING
    assert not rig.controller.moving
    with pytest.raises(MotionRefused, match="no motion"):
        moves.cancel()


def test_a_stop_while_it_is_planned_ends_it(make_rig, robot):
    rig, worker = make_rig(), Ready(robot)
    moves = Moves(rig.controller)
    moves.request(*moves.goal_of("home", [], np.zeros(0)), 0.5, rig.time)
    moves.update(rig.time, worker)
    rig.controller.e_stop("pressed")
    moves.update(rig.time, worker)
    assert rig.controller.reserved == ""
    assert "pressed" in moves.last_failure
    moves.take(worker.reply)
    assert not rig.controller.moving
    with pytest.raises(MotionRefused, match="STOPPED"):
        moves.request(*moves.goal_of("home", [], np.zeros(0)), 0.5, rig.time)


def test_an_arm_that_does_not_come_to_rest_is_told(make_rig, robot):
    rig, worker = make_rig(), Ready(robot)
    moves = Moves(rig.controller)
    rig.send(rig.line((0.1, 0.0, 0.0)))
    moves.request(*moves.goal_of("home", [], np.zeros(0)), 0.5, rig.time)
    moves.update(rig.time + 11.0, worker)
    assert "did not come to rest" in moves.last_failure


def test_an_arm_beyond_a_joint_limit_moves_back_first(make_rig, robot):
    start = robot.configurations["ready"].copy()
    start[1] = robot.limits.upper[1] + 0.03
    start[3] = 0.0  # stretched, well above the table
    start[1] *= -1.0
    rig, worker = make_rig(start), Ready(robot)
    moves = Moves(rig.controller)
    moves.request(*moves.goal_of("ready", [], np.zeros(0)), 1.0, rig.time)
    speeds = []
    while rig.controller.reserved and rig.time < 60.0:
        moves.update(rig.time, worker)
        if worker.reply is not None:
            assert rig.positions[1] > robot.limits.lower[1] - 0.002  # planned only once it is back
            moves.take(worker.reply)
            worker.reply = None
        speeds.append(rig.step().velocities)
    assert moves.last_failure == ""
    assert rig.reason == "'ready' is reached"
    assert np.all(np.abs(np.diff(speeds, axis=0)) <= robot.limits.acceleration * 0.005 * 1.001)


def test_an_arm_too_close_to_an_object_moves_out_first(make_rig, robot):
    """A block appears 5 mm below the fingers; the way home is planned from where the arm has moved out to."""
    rig, worker = make_rig(), Ready(robot)
    place = rig.tool()[0]
    block = SceneObject("block", (Shape("box", (0.1, 0.1, 0.02)),), pose_of("block", place - [0.0, 0.0, 0.0283]))
    model = build_collision_model(robot, robot.collision.environment.add(block))
    rig.controller.use_collision(model)
    rig.step()
    inside = CollisionMonitor(model)
    inside.update(rig.positions)
    assert inside.clearance < -0.005
    moves = Moves(rig.controller)
    moves.request(*moves.goal_of("home", [], np.zeros(0)), 1.0, rig.time)
    while rig.controller.reserved and rig.time < 60.0:
        moves.update(rig.time, worker)
        if worker.reply is not None:
            inside.update(rig.positions)
            assert inside.clearance > -0.0015
            moves.take(worker.reply)
            worker.reply = None
        rig.step()
    assert rig.reason == "'home' is reached"


def test_the_process_builds_scenes_and_plans_in_them(robot):
    worker = PlanningWorker(robot.source)

    def answer():
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            reply = worker.poll()
            if reply is not None:
                return reply
            time.sleep(0.005)
        raise AssertionError("no answer")

    try:
        wall = SceneObject("wall", (Shape("box", (0.25, 0.01, 0.5)),), pose_of("wall", (0.4, 0.25, 0.5)))
        environment = robot.collision.environment.add(wall)
        worker.build(environment)
        reply = answer()
        assert isinstance(reply, SceneReply)
        assert reply.model is not None
        assert reply.version == environment.version
        assert "wall" in reply.model.geom_names
        inside = robot.configurations["ready"].copy()
        inside[0] -= 0.6
        first = worker.plan("x", robot.configurations["ready"], inside, 0.5)
        second = worker.plan("y", robot.configurations["ready"], robot.configurations["home"], 0.5)
        refused, planned = answer(), answer()
        assert (refused.number, refused.motion) == (first, None)
        assert "goal_in_collision" in refused.refusal
        assert planned.number == second
        assert isinstance(planned.motion, JointMotion)
        # The surroundings that do not fit are told, and the ones before stay.
        worker.build(environment.add(SceneObject("palm_capsule", (Shape("sphere", (0.1,)),))))
        assert "palm_capsule" in answer().refusal
        worker._process.kill()
        assert isinstance(answer(), WorkerDied)
        assert worker.poll() is None
        worker.build(environment)  # nobody is there: no error, and no answer
    finally:
        worker.close()


def test_frames_come_whole_however_they_are_cut():
    ours, theirs = socket.socketpair()
    reader = FramedSocket(ours, blocking=False)
    sender = FramedSocket(theirs, blocking=False)
    assert reader.poll() is None
    large = np.arange(300_000)
    sender.send(large)  # more than the socket takes at once
    sender.send("next")
    for _ in range(1000):
        got = reader.poll()
        sender.poll()
        if got is not None:
            break
    assert np.array_equal(got, large)
    assert reader.poll() == "next"
    sender.close()
    with pytest.raises(Gone):
        reader.poll()
