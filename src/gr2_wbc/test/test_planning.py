"""Paths around obstacles, their timing, and following them with the controller."""

from __future__ import annotations

import builtins
from itertools import pairwise

import numpy as np
import pytest

from gr2_wbc.chunk import ChunkRefused, Refusal
from gr2_wbc.collision import CollisionMonitor
from gr2_wbc.collision_model import build_collision_model
from gr2_wbc.controller_motion import MotionRefused
from gr2_wbc.environment import SceneObject, Shape, pose_of
from gr2_wbc.joint_motion import JointMotion
from gr2_wbc.joints import JointLimits
from gr2_wbc.path_timing import TimingConfig, timed_motion
from gr2_wbc.planning import OmplPlanner, PlanningConfig, PlanningFailed, Trouble
from gr2_wbc.safety import State
from gr2_wbc.tool_speed import ToolSpeed


@pytest.fixture(scope="module")
def walled(robot):
    """The Gen3 with a wall at its left."""
    wall = SceneObject("wall", (Shape("box", (0.25, 0.01, 0.5)),), pose_of("wall", (0.4, 0.25, 0.5)))
    return build_collision_model(robot, robot.collision.environment.add(wall))


@pytest.fixture(scope="module")
def beyond(robot):
    goal = robot.configurations["ready"].copy()
    goal[0] -= 1.5
    return goal


def test_the_path_leads_around_the_wall_and_is_the_same_each_time(robot, walled, beyond):
    planner = OmplPlanner(robot.limits, walled)
    ready = robot.configurations["ready"]
    path = planner.plan(ready, beyond)
    assert np.array_equal(path[0], ready)
    assert np.allclose(robot.limits.difference(path[-1], beyond), 0.0, atol=1e-9)
    assert len(path) > 2
    monitor = CollisionMonitor(walled)
    for first, second in pairwise(path):
        for u in np.linspace(0.0, 1.0, 100):
            monitor.update(first + u * (second - first))
            assert monitor.clearance > 0.0
            assert np.all(np.abs(robot.limits.difference(second, first)) <= np.abs(second - first) + 1e-9)
    assert np.array_equal(path, OmplPlanner(robot.limits, walled).plan(ready, beyond))


def test_without_an_obstacle_the_way_is_straight_and_short_for_continuous_joints(robot):
    planner = OmplPlanner(robot.limits, build_collision_model(robot))
    start, goal = robot.configurations["ready"].copy(), robot.configurations["ready"].copy()
    start[0], goal[0] = 3.0, -3.0
    path = planner.plan(start, goal)
    assert path.shape == (2, robot.dof)
    assert path[-1][0] == pytest.approx(2.0 * np.pi - 3.0)


def troubled(robot, model, start, goal, **config):
    with pytest.raises(PlanningFailed) as failure:
        OmplPlanner(robot.limits, model, PlanningConfig(**config)).plan(start, goal)
    return failure.value


def test_each_failure_is_named(robot, walled, beyond):
    ready = robot.configurations["ready"]
    inside = ready.copy()
    inside[0] -= 0.6
    failure = troubled(robot, walled, inside, ready)
    assert failure.trouble is Trouble.START_IN_COLLISION
    assert "wall" in failure.text
    assert troubled(robot, walled, ready, inside).trouble is Trouble.GOAL_IN_COLLISION
    outside = ready.copy()
    outside[3] = 2.6
    failure = troubled(robot, walled, ready, outside)
    assert failure.trouble is Trouble.GOAL_OUTSIDE_LIMITS
    assert "joint_4 = 2.6000 rad" in failure.text
    assert troubled(robot, walled, ready, np.full(robot.dof, np.nan)).trouble is Trouble.BAD_GOAL
    failure = troubled(robot, walled, ready, beyond, time_limit=1e-4)
    assert failure.trouble is Trouble.NO_PATH
    assert "no path was found in" in failure.text


def test_without_ompl_straight_ways_still_work(robot, walled, beyond, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "ompl":
            raise ImportError("no ompl")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    ready = robot.configurations["ready"]
    assert len(OmplPlanner(robot.limits, walled).plan(ready, robot.configurations["home"])) == 2
    assert troubled(robot, walled, ready, beyond).trouble is Trouble.NO_PLANNER


LIMITS = JointLimits(
    ("a", "b", "c"), np.full(3, -9.0), np.full(3, 9.0), np.array([1.0, 0.5, 0.07]), np.array([5.0, 3.0, 0.3])
)


@pytest.mark.parametrize("seed", range(8))
def test_timed_motions_keep_velocity_acceleration_and_jerk(seed):
    rng = np.random.default_rng(seed)
    points = np.cumsum(rng.normal(size=(rng.integers(2, 7), 3)) * [1.0, 0.5, 0.1], axis=0)
    config = TimingConfig()
    motion = timed_motion("x", points, LIMITS, config)
    assert np.allclose(motion.positions[0], points[0])
    assert np.allclose(motion.goal, points[-1])
    velocity = np.diff(motion.positions, axis=0) / motion.period
    acceleration = np.diff(velocity, axis=0) / motion.period
    jerk = np.diff(acceleration, axis=0) / motion.period
    assert np.max(np.abs(velocity) / LIMITS.velocity) < config.speed * 1.02
    assert np.max(np.abs(acceleration) / LIMITS.acceleration) < config.acceleration * 1.05
    assert np.max(np.abs(jerk) / LIMITS.acceleration) < 2.1 * config.acceleration / config.window
    # And nowhere far from the fastest: some joint is at a limit most of the time.
    busy = np.max(np.abs(velocity) / LIMITS.velocity, axis=1) > 0.8 * config.speed
    accelerating = np.max(np.abs(acceleration) / LIMITS.acceleration, axis=1) > 0.5 * config.acceleration
    assert np.mean(busy[:-1] | accelerating) > 0.6
    # It passes close to every corner.
    for point in points:
        assert np.min(np.linalg.norm(motion.positions - point, axis=1)) < 0.16


def test_corners_are_rounded_no_further_than_is_free():
    points = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.5, 0.0]])
    inside = timed_motion("x", points, LIMITS)
    tight = timed_motion("x", points, LIMITS, free=lambda q: q[0] > 0.995 or q[1] < 0.005)
    assert np.min(np.linalg.norm(inside.positions - points[1], axis=1)) > 0.03
    assert np.min(np.linalg.norm(tight.positions - points[1], axis=1)) < 0.01
    assert tight.duration > inside.duration


def test_the_tool_keeps_its_speed(robot):
    """A stretched arm that turns: its joints may be faster than its tool."""
    start = np.array([0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0])
    goal = start + np.array([2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    config, speed = TimingConfig(speed=1.0, acceleration=0.8), ToolSpeed(robot)
    free = timed_motion("x", np.array([start, goal]), robot.limits, config)
    motion = timed_motion("x", np.array([start, goal]), robot.limits, config, tool_speed=speed.share)
    shares = [max(map(speed.share, each.positions, each.velocities)) for each in (free, motion)]
    assert shares[0] > 1.3
    assert 0.95 < shares[1] < 1.01


def test_a_motion_to_where_one_is_is_over_at_once(robot):
    ready = robot.configurations["ready"]
    motion = timed_motion("x", np.array([ready, ready]), robot.limits)
    assert motion.duration == 0.0
    assert np.array_equal(motion.sample(3.0)[0], ready)


def go(rig, motion, cycles=4000):
    rig.controller.move(motion)
    for _ in range(cycles):
        rig.step()
        if not rig.controller.moving:
            return
    raise AssertionError("the motion did not end")


def test_the_controller_follows_it_and_keeps_policies_out(make_rig, robot, walled, beyond):
    planner = OmplPlanner(robot.limits, walled)
    path = planner.plan(robot.configurations["ready"], beyond)
    motion = timed_motion("'there'", path, robot.limits, TimingConfig(speed=0.9), planner.free)
    rig = make_rig()
    rig.controller.use_collision(walled)
    rig.controller.move(motion)
    assert (rig.state, rig.reason) == (State.TRACKING, "moving to 'there'")
    with pytest.raises(ChunkRefused) as refusal:
        rig.send(rig.line((0.05, 0.0, 0.0)))
    assert refusal.value.reason is Refusal.MOVING
    off, least = 0.0, np.inf
    while rig.controller.moving:
        rig.step()
        least = min(least, rig.controller._collision.clearance)
        off = max(off, np.min(np.linalg.norm(motion.positions - rig.positions, axis=1)))
    assert (rig.state, rig.reason) == (State.HOLDING, "'there' is reached")
    assert np.abs(robot.limits.difference(rig.positions, beyond)).max() < 0.002
    assert least > 0.0
    assert off < 0.01  # [rad] from the planned path
    rig.send(rig.line((0.03, 0.0, 0.0)))  # policies may go on
    speeds = np.array([command.velocities for command in rig.commands])
    assert np.all(np.abs(speeds) <= robot.limits.velocity)
    assert np.all(np.abs(np.diff(speeds, axis=0)) <= robot.limits.acceleration * 0.005 * 1.001)


def straight(robot, goal, speed=0.8):
    return timed_motion("'x'", np.array([robot.configurations["ready"], goal]), robot.limits, TimingConfig(speed=speed))


def test_in_front_of_an_obstacle_that_came_later_it_stops_and_gives_up(make_rig, robot, walled, beyond):
    rig = make_rig()
    rig.controller.use_collision(walled)
    least = []
    rig.controller.move(straight(robot, beyond))
    for _ in range(3000):
        rig.step()
        least.append(rig.controller._collision.clearance)
        if not rig.controller.moving:
            break
    assert rig.state is State.HOLDING
    assert "something is in the way" in rig.reason
    assert min(least) > -0.0005


def test_given_up_it_comes_to_rest_along_its_path(make_rig, robot, beyond):
    rig = make_rig()
    rig.controller.move(straight(robot, beyond))
    rig.step(150)
    rig.controller.come_to_rest()
    rig.step(1)
    assert rig.state is State.DECELERATING
    rig.step(100)
    assert (rig.state, rig.reason) == (State.HOLDING, "the motion to 'x' was given up")
    assert np.abs(rig.velocities).max() < 1e-3
    others = np.abs(rig.positions - robot.configurations["ready"])[1:]
    assert others.max() < 1e-3


@pytest.mark.parametrize("how", ["e_stop", "stale", "jump"])
def test_what_stops_a_chunk_stops_a_motion(make_rig, robot, beyond, how):
    rig = make_rig()
    rig.controller.move(straight(robot, beyond))
    rig.step(200)
    if how == "e_stop":
        rig.controller.e_stop("pressed")
    elif how == "stale":
        frozen = rig.measurement()
        rig.broken = lambda _: frozen
        rig.step(80)
    else:
        rig.time += 3.0
    rig.step(1)
    if how == "jump":
        assert "jumped" in rig.reason
    else:
        assert rig.state is State.STOPPED
        rig.step(100)
        rig.broken = None
        rig.controller.reset(rig.time, rig.measurement())
    at = rig.positions.copy()
    rig.step(100)
    assert not rig.controller.moving
    assert rig.state is State.HOLDING
    assert np.abs(rig.positions - at).max() < 0.2


def test_a_motion_begins_where_the_arm_stands_only(make_rig, robot, beyond):
    rig = make_rig()
    away = JointMotion("'x'", 0.005, np.array([beyond, beyond]), np.zeros((2, robot.dof)))
    with pytest.raises(MotionRefused, match="joint_1 is 1"):
        rig.controller.move(away)
    rig.send(rig.line((0.1, 0.0, 0.0)))
    rig.step(50)
    with pytest.raises(MotionRefused, match="TRACKING"):
        rig.controller.move(straight(robot, beyond))
