"""The controller as a whole: taking over, refusals, stops, resets, rejected solves."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from gr2_wbc.chunk import ChunkRefused, Refusal
from gr2_wbc.command import CommandRejected
from gr2_wbc.config import ConfigError, ControllerConfig, override
from gr2_wbc.controller import Controller, Measurement, State
from gr2_wbc.qp import QpRejected
from gr2_wbc.safety import ResetRefused

DT = 0.005


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
    rig.stream(lambda time: rig.commands[0].positions[:3] * 0 + np.array([0.42, 0.15 * time, 0.3]), 1.0)
    rig.step(700)
    assert rig.state is State.HOLDING


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
    assert rig.state is State.TRACKING
    rig.send(empty, horizon=0)
    rig.step()
    assert rig.state is State.DECELERATING
    assert "given up" in rig.reason
    rig.step(150)
    assert rig.state is State.HOLDING
    assert not rig.velocities.any()
    rig.send(rig.line((0.0, 0.1, 0.0)))
    rig.step(20)
    assert rig.state is State.TRACKING


def test_huge_but_finite_poses_are_refused_and_counted(rig):
    with pytest.raises(ChunkRefused):
        rig.send(rig.line((1e6, 0.0, 0.0)))
    assert rig.controller.status().refusals["out_of_reach"] == 1
    rig.step(50)
    assert rig.state is State.HOLDING


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
    assert rig.state is State.STOPPED  # latched although the cause is gone
    rig.controller.reset(rig.time, rig.measurement())
    assert rig.step().active
    assert rig.state is State.HOLDING


def test_the_steady_clock_tells_staleness_when_stamps_look_fresh(rig):
    measurement = rig.measurement()
    for cycle in range(80):
        now = rig.time + cycle * DT
        lying = replace(measurement, stamp=now, received=100.0)
        command = rig.controller.step(now, lying, steady=100.0 + cycle * DT)
    assert command.state is State.STOPPED


def test_stopped_the_set_point_runs_out_on_the_tail_of_the_last_command(rig):
    rig.stream(rig.circle(rate=2.0), 1.0)
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
    assert rig.state is State.STOPPED
    rig.controller.reset(rig.time, rig.measurement())
    assert not rig.controller.status().e_stop
    rig.step()
    rig.send(rig.line((0.0, 0.1, 0.0)))
    assert rig.state is State.TRACKING


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
    assert "where it stands" in rig.reason
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
    assert rig.state is State.HOLDING
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
        assert rig.state is State.TRACKING


def test_a_small_jump_of_the_measurement_is_noticed_too(make_rig):
    rig = make_rig(**{"safety.resync_on_jump": True})
    rig.step(10)
    rig.positions = rig.positions + 0.08
    command = rig.step()
    assert "jumped" in command.reason
    assert np.allclose(command.positions, rig.positions)


def test_an_arm_that_jumps_while_it_moves_is_taken_over_once_it_rests(make_rig):
    """Told to be where it was just measured, a moving arm would be thrown back there, and jump again, and again."""
    rig = make_rig(**{"safety.resync_on_jump": True})
    rig.send(rig.line((0.0, 0.1, 0.0)))
    rig.step(100)
    old = rig.chunk(rig.line((0.0, 0.1, 0.0)))
    speed = 0.5 * np.eye(7)[6]
    start, begun = rig.positions + 0.3 * np.eye(7)[6], rig.time

    def thrown(measurement: Measurement) -> Measurement:
        gone = min(measurement.stamp - begun, 0.4)
        moving = speed if gone < 0.4 else np.zeros(7)
        return replace(measurement, positions=start + gone * speed, velocities=moving)

    rig.broken = thrown
    command = rig.step()
    assert command.state is State.HOLDING
    assert "joint_7 jumped while the arm moves" in command.reason
    for _ in range(70):
        assert not rig.step().active
    assert rig.state is State.HOLDING
    with pytest.raises(ChunkRefused):
        rig.send(rig.line((0.0, 0.05, 0.0)))
    command = rig.step(20)
    assert command.active
    assert rig.controller.status().resyncs == 1
    assert np.allclose(command.positions, start + 0.4 * speed)
    with pytest.raises(ChunkRefused):
        rig.controller.accept(old, rig.time)
    rig.positions, rig.broken = command.positions.copy(), None
    rig.send(rig.line((0.0, 0.05, 0.0)))
    rig.step(100)
    assert rig.state is State.TRACKING


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
    assert rig.state is State.TRACKING


def reject(_self, _program):
    raise QpRejected("injected")


def test_rejected_solves_brake_along_the_motion_then_stop(rig, monkeypatch):
    rig.stream(rig.circle(rate=2.0), 1.0)
    before = np.abs(rig.velocities).max()
    monkeypatch.setattr(type(rig.controller._program._solver), "solve", reject)
    velocities = [rig.step().velocities for _ in range(9)]
    assert rig.controller.status().qp_failures == 9
    assert rig.state is not State.STOPPED
    assert np.abs(velocities[-1]).max() < before - 0.15
    for first, second in pairwise(velocities):
        assert (np.abs(second - first) <= 5.0 * DT * 1.0001).all()
    command = rig.step()
    assert command.state is State.STOPPED
    assert "injected" in command.reason


def test_one_rejected_solve_is_survived(rig, monkeypatch):
    rig.stream(rig.circle(), 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(type(rig.controller._program._solver), "solve", reject)
        rig.step(3)
    rig.step(200)
    status = rig.controller.status()
    assert status.state is State.TRACKING
    assert status.qp_failures == 3
    assert status.position_error < 1e-3


def test_nothing_bypasses_the_last_check(rig, monkeypatch):
    """A solver gone mad: its answers do not reach the robot, which brakes, and the controller stops."""
    rig.stream(rig.circle(), 0.5)
    for nonsense in (np.full(8, np.nan), np.full(8, 5.0)):
        last = rig.commands[-1]
        monkeypatch.setattr(type(rig.controller._program._solver), "solve", lambda *_, answer=nonsense: answer)
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
    assert rig.state is State.HOLDING
    assert "short of its last pose" in rig.reason
    assert "table" in rig.controller.status().minimum_distance_pair
