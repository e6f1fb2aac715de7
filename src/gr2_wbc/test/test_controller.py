"""The controller as a whole, against an ideal robot: following, limits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pinocchio as pin
import pytest

from gr2_wbc.chunk import ChunkRefused
from gr2_wbc.controller import State

DT = 0.005


# -- following ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["osqp", "daqp"])
def test_a_streamed_motion_is_tracked_to_a_fraction_of_a_millimetre(make_rig, solver):
    rig = make_rig(**{"qp.solver": solver})
    motion = rig.circle()
    places = rig.stream(motion, 4.0)
    wanted = np.array([motion(DT * (index + 1)) for index in range(len(places))])
    error = np.linalg.norm(places - wanted, axis=1)[200:]
    assert np.median(error) < 0.5e-3
    assert error.max() < 1.5e-3
    assert rig.state is State.TRACKING
    assert rig.controller.status().path_speed_scale == 1.0


def test_rotations_are_tracked(rig):
    place, start = rig.tool()
    turn = pin.Quaternion(start).matrix()
    angles = np.linspace(0.0, 0.8, 17)[1:]
    wanted = [pin.Quaternion(turn @ pin.exp3(np.array([0.0, 0.3, 1.0]) * angle)).coeffs() for angle in angles]
    rig.send(np.tile(place, (16, 1)), orientations=np.array(wanted))
    rig.step(500)
    position, orientation = rig.tool()
    assert np.abs(orientation @ wanted[-1]) > np.cos(0.5 * 0.01)
    assert np.linalg.norm(position - place) < 2e-3


def test_a_chunk_runs_out_into_decelerating_and_holding(rig):
    assert rig.state is State.HOLDING
    goal = rig.line((0.05, 0.05, -0.03))
    rig.send(goal)
    rig.step()
    assert rig.state is State.TRACKING
    seen = []
    for _ in range(500):
        rig.step()
        seen.append(rig.state)
    assert [now for before, now in pairwise(seen) if now is not before] == [
        State.DECELERATING,
        State.HOLDING,
    ]
    assert np.linalg.norm(rig.tool()[0] - goal[-1]) < 1e-3
    assert not rig.velocities.any()
    assert "is done" in rig.reason


def test_a_fresh_chunk_while_decelerating_goes_on(rig):
    rig.send(rig.line((0.0, 0.1, 0.0)))
    while rig.state is not State.DECELERATING:
        rig.step()
    rig.send(rig.line((0.0, 0.1, 0.0)))
    assert rig.state is State.TRACKING
    rig.step(100)
    assert rig.state is State.TRACKING


def test_the_state_tells_the_instruction_that_is_followed_now(rig):
    rig.send(rig.line((0.0, 0.1, 0.0)), instruction="open the drawer")
    rig.step(10)
    rig.send(rig.line((0.0, 0.1, 0.0)), instruction="lift the mug")
    assert rig.state is State.TRACKING
    assert "lift the mug" in rig.reason


def test_the_gripper_follows_and_stays(rig):
    rig.send(np.tile(rig.tool()[0], (8, 1)), gripper=np.array([0, 0, 0, 1, 1, 1, 1, 1.0]))
    assert rig.step(50).gripper == 0.0
    assert rig.step(60).gripper == 1.0
    assert rig.step(400).gripper == 1.0
    assert rig.state is State.HOLDING


def test_started_near_a_singularity_speeds_stay_bounded_without_chatter(make_rig, robot):
    """The arm almost stretched out, asked to reach further than it can."""
    start = robot.configurations["ready"].copy()
    start[1], start[3], start[5] = 0.7, 0.25, 0.3
    rig = make_rig(start, **{"intake.max_position_jump": 1.0})
    outward = rig.tool()[0] / np.linalg.norm(rig.tool()[0])
    goal = rig.tool()[0] + np.linspace(0, 1, 16)[:, None] * 0.4 * outward
    velocities = []
    for _ in range(8):
        rig.send(goal)
        for _ in range(60):
            velocities.append(rig.step().velocities)
    velocities = np.array(velocities)
    assert np.abs(velocities).max() <= 0.8727 + 1e-6
    late = velocities[-200:]
    turns = np.sum(np.abs(np.diff(np.sign(np.where(np.abs(late) > 0.02, late, 0.0)), axis=0)) == 2, axis=0)
    assert turns.max() <= 2
    assert rig.controller.status().qp_failures == 0


# -- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "solver"), [(0, "osqp"), (2, "daqp"), (21, "osqp")])
def test_adversarial_chunks_and_late_cycles_never_violate_a_limit(make_rig, robot, seed, solver):
    """Random walks of the tool in 6 dimensions, random latencies, cycles up to 150 ms late."""
    rng, limits = np.random.default_rng(seed), robot.limits
    rig = make_rig(**{"qp.solver": solver, "intake.max_position_jump": 0.4, "intake.max_angle_jump": 2.0})
    following, accepted = 0, 0
    for cycle in range(1000):
        if cycle >= following:
            following = cycle + int(rng.integers(2, 120))
            count = int(rng.integers(1, 33))
            place, orientation = rig.tool()
            size = rng.choice([0.01, 0.05, 0.15, 0.3])
            turn = pin.Quaternion(orientation).matrix()
            turns = []
            for _ in range(count):
                turn = turn @ pin.exp3(rng.normal(0.0, rng.choice([0.02, 0.1, 0.4]), 3))
                turns.append(pin.Quaternion(turn).coeffs())
            positions = place + np.cumsum(rng.normal(0.0, size, (count, 3)), axis=0)
            try:
                rig.send(positions, orientations=np.array(turns), stamp=rig.time - rng.uniform(0.0, 0.8))
                accepted += 1
            except ChunkRefused:
                pass
        command = rig.step(gap=DT + (rng.uniform(0.0, 0.15) if rng.random() < 0.01 else 0.0))
        times, positions, velocities = command.trajectory()
        assert (np.abs(velocities) <= limits.velocity * (1 + 1e-5)).all()
        assert (positions <= limits.upper + 1e-5).all()
        assert (positions >= limits.lower - 1e-5).all()
        change = np.abs(velocities[0] - command.plan.start_velocity)
        assert (change <= limits.acceleration * times[0] * (1 + 1e-5) + 1e-8).all()
        assert (np.abs(velocities[1]) <= limits.acceleration * (times[2] - times[1]) * (1 + 1e-5)).all()
        twist = rig.controller._kinematics.jacobian @ command.plan.start_velocity
        assert np.linalg.norm(twist[:3]) <= robot.tool_limits.linear * 1.03
        assert np.linalg.norm(twist[3:]) <= robot.tool_limits.angular * 1.03
        assert rig.controller._collision.clearance > -0.0005
    assert accepted >= 5
    status = rig.controller.status()
    assert status.rejected_commands == 0
    assert status.qp_failures == 0


def test_successive_commands_join_without_a_step(rig):
    rig.stream(rig.circle(), 1.0)
    plans = [command.plan for command in rig.commands]
    for before, after in pairwise(plans):
        position, velocity = before.evaluate(after.stamp)
        assert np.allclose(after.start, position, atol=1e-12)
        assert np.allclose(after.start_velocity, velocity, atol=1e-12)


def test_a_late_cycle_goes_on_from_what_the_robot_really_does(rig):
    rig.send(rig.line((0.0, 0.2, 0.0)))
    rig.step(150)
    before = rig.positions.copy()
    rig.step(gap=0.5)  # the machine stalls: the robot brakes on the tail
    assert np.allclose(rig.velocities, 0.0)
    assert np.abs(rig.positions - before).max() < 0.15
    command = rig.step()
    assert np.allclose(command.plan.start, rig.commands[-2].plan.positions[2])
    assert np.abs(command.velocities).max() <= 5.0 * DT * 1.0001
    rig.step(600)
    assert rig.state is State.HOLDING
    assert rig.controller.status().position_error < 1e-3


def test_two_cycles_at_the_same_instant_are_one(rig):
    rig.send(rig.line((0.0, 0.2, 0.0)))
    rig.step(100)
    first = rig.controller.step(rig.time, rig.measurement())
    second = rig.controller.step(rig.time, rig.measurement())
    assert np.allclose(first.plan.start, second.plan.start)
    assert np.abs(first.velocities - second.velocities).max() < 5e-3
