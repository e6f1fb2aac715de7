"""The controller as a whole, against an ideal robot: following, limits, states, faults."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pinocchio as pin
import pytest

from gr2_wbc.chunk import ChunkRefused, Refusal
from gr2_wbc.command import CommandRejected
from gr2_wbc.config import ConfigError, ControllerConfig, override
from gr2_wbc.controller import Controller, Measurement, State
from gr2_wbc.qp import QpRejected
from gr2_wbc.safety import ResetRefused

DT = 0.005


def state(rig) -> State:
    return rig.controller.status().state


def reason(rig) -> str:
    return rig.controller.status().reason


def stream(rig, motion, seconds, late=0.1, every=60, each=None):
    """Send chunks of ``motion(time since start)`` every few cycles; returns tool positions, cycle by cycle."""
    begun, places = rig.time, []
    for cycle in range(round(seconds / DT)):
        if cycle % every == 0:
            times = rig.time - late + 0.1 * np.arange(1, 17) - begun
            rig.send(np.array([motion(time) for time in times]), stamp=rig.time - late)
        rig.step()
        places.append(rig.tool()[0])
        if each:
            each()
    return np.array(places)


def circle(centre, radius=0.08, rate=1.2):
    return lambda time: centre + radius * np.array([np.sin(rate * time), 1.0 - np.cos(rate * time), 0.0])


# -- following ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["osqp", "daqp"])
def test_a_streamed_motion_is_tracked_to_a_fraction_of_a_millimetre(make_rig, solver):
    rig = make_rig(**{"qp.solver": solver})
    motion = circle(rig.tool()[0])
    places = stream(rig, motion, 4.0)
    wanted = np.array([motion(DT * (index + 1)) for index in range(len(places))])
    error = np.linalg.norm(places - wanted, axis=1)[200:]
    assert np.median(error) < 0.5e-3
    assert error.max() < 1.5e-3
    assert state(rig) is State.TRACKING
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
    assert state(rig) is State.HOLDING
    goal = rig.line((0.05, 0.05, -0.03))
    rig.send(goal)
    rig.step()
    assert state(rig) is State.TRACKING
    seen = []
    for _ in range(500):
        rig.step()
        seen.append(state(rig))
    assert [now for before, now in pairwise(seen) if now is not before] == [
        State.DECELERATING,
        State.HOLDING,
    ]
    assert np.linalg.norm(rig.tool()[0] - goal[-1]) < 1e-3
    assert not rig.velocities.any()
    assert "is done" in reason(rig)


def test_a_fresh_chunk_while_decelerating_goes_on(rig):
    rig.send(rig.line((0.0, 0.1, 0.0)))
    while state(rig) is not State.DECELERATING:
        rig.step()
    rig.send(rig.line((0.0, 0.1, 0.0)))
    assert state(rig) is State.TRACKING
    rig.step(100)
    assert state(rig) is State.TRACKING


def test_the_gripper_follows_and_stays(rig):
    rig.send(np.tile(rig.tool()[0], (8, 1)), gripper=np.array([0, 0, 0, 1, 1, 1, 1, 1.0]))
    assert rig.step(50).gripper == 0.0
    assert rig.step(60).gripper == 1.0
    assert rig.step(400).gripper == 1.0
    assert state(rig) is State.HOLDING


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
    stream(rig, circle(rig.tool()[0]), 1.0)
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
    assert state(rig) is State.HOLDING
    assert rig.controller.status().position_error < 1e-3


def test_two_cycles_at_the_same_instant_are_one(rig):
    rig.send(rig.line((0.0, 0.2, 0.0)))
    rig.step(100)
    first = rig.controller.step(rig.time, rig.measurement())
    second = rig.controller.step(rig.time, rig.measurement())
    assert np.allclose(first.plan.start, second.plan.start)
    assert np.abs(first.velocities - second.velocities).max() < 5e-3


# -- taking over -----------------------------------------------------------------------------------------------------


def test_before_a_joint_state_chunks_are_refused_by_name(robot):
    controller = Controller(robot)
    controller.activate("p", robot.robot_id, "tool_pose_base_link+gripper", 0.1)
    assert controller.status().state is State.IDLE


def test_a_moving_arm_is_not_taken_over(robot):
    controller = Controller(robot)
    ready = robot.configurations["ready"]
    moving = Measurement(1.0, ready, np.full(7, 0.5), 0.0)
    command = controller.step(1.0, moving)
    assert not command.active
    assert command.state is State.IDLE
    assert "still moves: joint_1" in command.reason
    with pytest.raises(CommandRejected, match="nothing is commanded"):
        command.trajectory()
    assert controller.step(1.005, Measurement(1.005, ready, np.zeros(7), 0.0)).active


def test_stale_or_foreign_joint_states_do_not_start_anything(robot):
    controller = Controller(robot)
    old = Measurement(1.0, robot.configurations["ready"], np.zeros(7), 0.0)
    assert controller.step(1e9, old).state is State.IDLE
    assert "use_sim_time" in controller.status().reason


def test_an_unknown_rest_configuration_is_named(robot):
    with pytest.raises(ConfigError, match=r"'nap'.*ready"):
        Controller(robot, override(ControllerConfig(), {"qp.rest": "nap"}))


# -- faults ----------------------------------------------------------------------------------------------------------


def test_the_policy_dies_in_full_motion(rig):
    stream(rig, lambda time: rig.commands[0].positions[:3] * 0 + np.array([0.42, 0.15 * time, 0.3]), 1.0)
    rig.step(700)
    assert state(rig) is State.HOLDING


def test_a_refused_chunk_leaves_the_one_before_untouched(make_rig):
    runs = []
    for bad in (False, True):
        rig = make_rig()
        rig.send(rig.line((0.0, 0.1, 0.0)))
        for cycle in range(250):
            if bad and cycle in (50, 51, 120):
                broken = rig.chunk(rig.line((0.1, 0.0, 0.0)))
                broken.positions[cycle % 16, 1] = np.nan
                with pytest.raises(ChunkRefused) as refused:
                    rig.controller.accept(broken, rig.time)
                assert refused.value.reason is Refusal.NOT_FINITE
            rig.step()
        runs.append(np.array([command.positions for command in rig.commands]))
    assert np.array_equal(runs[0], runs[1])
    assert rig.controller.status().refusals["not_finite"] == 3


def test_a_policy_can_withdraw_its_chunk(rig):
    """A chunk without poses asks to come to rest along the path; it must be of the session and newer."""
    rig.send(rig.line((0.0, 0.3, 0.0)))
    rig.step(150)
    speed = np.abs(rig.velocities).max()
    assert speed > 0.05
    empty = np.zeros((0, 3))
    for wrong in ({"session": "intruder"}, {"sequence": 1}):
        with pytest.raises(ChunkRefused):
            rig.send(empty, horizon=0, **wrong)
    rig.step()
    assert state(rig) is State.TRACKING
    rig.send(empty, horizon=0)
    rig.step()
    assert state(rig) is State.DECELERATING
    assert "given up" in reason(rig)
    rig.step(150)
    assert state(rig) is State.HOLDING
    assert not rig.velocities.any()
    rig.send(rig.line((0.0, 0.1, 0.0)))
    rig.step(20)
    assert state(rig) is State.TRACKING


def test_huge_but_finite_poses_are_refused_and_counted(rig):
    with pytest.raises(ChunkRefused):
        rig.send(rig.line((1e6, 0.0, 0.0)))
    assert rig.controller.status().refusals["out_of_reach"] == 1
    rig.step(50)
    assert state(rig) is State.HOLDING


def test_stale_joint_states_stop_and_reset_waits_for_fresh_ones(rig):
    rig.send(rig.line((0.0, 0.15, 0.0)))
    rig.step(60)
    frozen = rig.measurement()
    rig.broken = lambda _measurement: frozen
    for _ in range(60):
        command = rig.step()
    assert command.state is State.STOPPED
    assert not command.active
    assert "stale" in command.reason
    with pytest.raises(ResetRefused, match="stale"):
        rig.controller.reset(rig.time, rig.measurement())
    rig.broken = None
    rig.step(100)
    assert state(rig) is State.STOPPED  # latched although the cause is gone
    rig.controller.reset(rig.time, rig.measurement())
    assert rig.step().active
    assert state(rig) is State.HOLDING


def test_the_steady_clock_tells_staleness_when_stamps_look_fresh(rig):
    measurement = rig.measurement()
    for cycle in range(80):
        now = rig.time + cycle * DT
        lying = replace(measurement, stamp=now, received=100.0)
        command = rig.controller.step(now, lying, steady=100.0 + cycle * DT)
    assert command.state is State.STOPPED


def test_stopped_the_set_point_runs_out_on_the_tail_of_the_last_command(rig):
    stream(rig, circle(rig.tool()[0], rate=2.0), 1.0)
    moving = rig.commands[-1]
    assert np.abs(moving.velocities).max() > 0.05
    rig.controller.e_stop("test")
    for _ in range(60):
        command = rig.step()
        assert not command.active
        assert np.allclose(command.positions, moving.plan.evaluate(rig.time)[0], atol=1e-9)
    assert not command.velocities.any()


def test_e_stop_latches_across_activation_and_chunks(rig):
    rig.controller.e_stop("button")
    rig.step()
    rig.session = rig.controller.activate("again", "gen3_2f85", "tool_pose_base_link+gripper", 0.1)
    with pytest.raises(ChunkRefused) as refused:
        rig.send(rig.line((0.0, 0.1, 0.0)))
    assert refused.value.reason is Refusal.STOPPED
    assert rig.controller.status().e_stop
    assert state(rig) is State.STOPPED
    rig.controller.reset(rig.time, rig.measurement())
    assert not rig.controller.status().e_stop
    rig.step()
    rig.send(rig.line((0.0, 0.1, 0.0)))
    assert state(rig) is State.TRACKING


def test_reset_is_refused_while_the_arm_moves_and_keeps_the_commanded_state(rig):
    rig.controller.e_stop("button")
    rig.step()
    moving = replace(rig.measurement(), velocities=np.full(7, 0.3))
    with pytest.raises(ResetRefused, match="still moves"):
        rig.controller.reset(rig.time, moving)
    sagging = replace(rig.measurement(), positions=rig.positions + 0.01)
    rig.controller.reset(rig.time, sagging)
    assert np.allclose(rig.step().positions, rig.positions)  # no step of the size of the sag


def test_reset_far_from_the_commanded_state_takes_the_arm_over_where_it_stands(rig):
    rig.controller.e_stop("button")
    rig.step()
    rig.positions = rig.positions + 0.3
    rig.controller.reset(rig.time, rig.measurement())
    assert "where it stands" in reason(rig)
    assert np.allclose(rig.step().positions, rig.positions)


def test_observations_from_before_a_reset_are_not_followed(rig):
    early = rig.chunk(rig.line((0.0, 0.1, 0.0)))
    rig.step(20)
    rig.controller.e_stop("button")
    rig.step(20)
    rig.controller.reset(rig.time, rig.measurement())
    with pytest.raises(ChunkRefused) as refused:
        rig.controller.accept(early, rig.time)
    assert refused.value.reason is Refusal.BEFORE_RESYNC


def test_a_joint_that_does_not_follow_stops(rig):
    rig.broken = lambda measurement: replace(measurement, positions=measurement.positions + np.eye(7)[2] * 0.2)
    command = rig.step()
    assert command.state is State.STOPPED
    assert "joint_3 is 0.200 rad from its command" in command.reason


def test_a_wrapped_continuous_joint_is_no_error(rig):
    turn = 2.0 * np.pi * rig.robot.limits.continuous
    rig.broken = lambda measurement: replace(measurement, positions=measurement.positions - turn)
    rig.step(10)
    assert state(rig) is State.HOLDING
    assert rig.controller.status().joint_tracking_error < 1e-9


def test_a_measurement_that_is_not_finite_stops(rig):
    rig.broken = lambda measurement: replace(measurement, positions=measurement.positions * np.nan)
    assert rig.step().state is State.STOPPED


def test_a_simulator_reset_is_taken_over_only_where_that_was_asked_for(make_rig, robot):
    for allowed in (False, True):
        rig = make_rig(**{"safety.resync_on_jump": allowed})
        rig.send(rig.line((0.0, 0.1, 0.0)))
        rig.step(100)
        old = rig.chunk(rig.line((0.0, 0.1, 0.0)))
        home = robot.configurations["home"]
        rig.positions, rig.velocities = home.copy(), np.zeros(7)
        command = rig.step()
        if not allowed:
            assert command.state is State.STOPPED
            continue
        assert command.state is State.HOLDING
        assert "jumped" in command.reason
        assert np.allclose(command.positions, home)
        with pytest.raises(ChunkRefused):
            rig.controller.accept(old, rig.time)
        rig.send(rig.line((0.0, 0.05, 0.0)))
        rig.step(100)
        assert state(rig) is State.TRACKING


def test_a_small_jump_of_the_measurement_is_noticed_too(make_rig):
    rig = make_rig(**{"safety.resync_on_jump": True})
    rig.step(10)
    rig.positions = rig.positions + 0.08
    command = rig.step()
    assert "jumped" in command.reason
    assert np.allclose(command.positions, rig.positions)


@pytest.mark.parametrize("jump", [-50.0, 100.0])
def test_a_jump_of_control_time_holds_and_forgets(rig, jump):
    rig.send(rig.line((0.0, 0.15, 0.0)))
    rig.step(100)
    rig.time += jump
    command = rig.step()
    assert command.state is State.HOLDING
    assert "control time jumped" in command.reason
    rig.step(10)
    rig.send(rig.line((0.0, 0.05, 0.0)))
    rig.step(10)
    assert state(rig) is State.TRACKING


def reject(_self, _program):
    raise QpRejected("injected")


def test_rejected_solves_brake_along_the_motion_then_stop(rig, monkeypatch):
    stream(rig, circle(rig.tool()[0], rate=2.0), 1.0)
    before = np.abs(rig.velocities).max()
    monkeypatch.setattr(type(rig.controller._solver), "solve", reject)
    velocities = [rig.step().velocities for _ in range(9)]
    assert rig.controller.status().qp_failures == 9
    assert state(rig) is not State.STOPPED
    assert np.abs(velocities[-1]).max() < before - 0.15
    for first, second in pairwise(velocities):
        assert (np.abs(second - first) <= 5.0 * DT * 1.0001).all()
    command = rig.step()
    assert command.state is State.STOPPED
    assert "injected" in command.reason


def test_one_rejected_solve_is_survived(rig, monkeypatch):
    stream(rig, circle(rig.tool()[0]), 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(type(rig.controller._solver), "solve", reject)
        rig.step(3)
    rig.step(200)
    status = rig.controller.status()
    assert status.state is State.TRACKING
    assert status.qp_failures == 3
    assert status.position_error < 1e-3


def test_nothing_bypasses_the_last_check(rig, monkeypatch):
    """A solver gone mad: its answers do not reach the robot, which brakes, and the controller stops."""
    stream(rig, circle(rig.tool()[0]), 0.5)
    for nonsense in (np.full(8, np.nan), np.full(8, 5.0)):
        last = rig.commands[-1]
        monkeypatch.setattr(type(rig.controller._solver), "solve", lambda *_, answer=nonsense: answer)
        command = rig.step()
        assert np.isfinite(command.positions).all()
        assert command.plan is last.plan
    for _ in range(20):
        command = rig.step()
    assert command.state is State.STOPPED
    assert "last check" in command.reason
    assert rig.controller.status().rejected_commands >= 10
    assert np.abs(rig.positions - last.positions).max() < 0.1


def test_overruns_stop(rig):
    for _ in range(300):
        rig.controller.note_lateness(0.02)
        command = rig.step()
    assert command.state is State.STOPPED
    assert "late" in command.reason


def test_a_blocked_path_is_given_up_and_held(make_rig):
    rig = make_rig(**{"intake.max_position_jump": 1.0})
    rig.send(rig.line((0.0, 0.0, -0.45)))
    rig.step(1000)
    assert state(rig) is State.HOLDING
    assert "short of its last pose" in reason(rig)
    assert "table" in rig.controller.status().minimum_distance_pair
