"""Randomised cycles, splices, forced collisions and stops: short versions of ``./gr2 bench wbc_safety``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gr2_wbc.chunk import ChunkRefused, Refusal
from gr2_wbc.controller import Command, State

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from benchmarks.wbc_safety import checker, cycles, forced, splices, stops, targets

from gr2_sim.trajectory_executor import NEAREST, TrajectoryExecutor
from gr2_sim.world import World


def test_randomised_cycles_break_no_bound(robot):
    found = cycles.run_cycles(robot, 3000, seed=42, length=600)
    assert found.cycles == 3000
    assert found.accepted > 20
    assert not found.errors
    assert not found.findings.violations, found.findings.first
    assert found.findings.acceleration == pytest.approx(1.0, abs=1e-3)  # the limits are used, not avoided


def test_the_reference_is_continuous_at_random_splices(robot):
    steps = splices.reference_splices(robot, 100, seed=42)
    assert len(steps.position) == 100
    assert steps.violations == 0
    assert max(steps.speed) <= robot.tool_limits.linear
    assert max(steps.lateness) > 0.6


def test_no_joint_acceleration_is_above_its_limit_at_random_splices(robot):
    steps = splices.joint_splices(robot, 50, seed=42)
    assert len(steps.peak) == 50
    assert steps.violations == 0, steps.findings.first


@pytest.mark.parametrize("kind", forced.KINDS)
def test_paths_into_things_end_in_front_of_them(robot, kind):
    world = World()
    run = forced.forced_run(robot, world, kind, "osqp", seed=3, seconds=2.5)
    assert run.commanded > -0.5e-3, run
    assert run.measured > -0.5e-3, run
    assert run.contacts == 0
    assert run.rows > 0


@pytest.mark.parametrize("fault", ["chunk withdrawn", "e-stop", "controller silent", "program unsolved"])
def test_faults_bring_the_arm_to_rest_soon(robot, fault):
    stop = stops.measure_stop(robot, fault, 0.25)
    assert stop.speed == pytest.approx(0.25, abs=0.02)
    assert stop.time < (0.35 if fault == "chunk withdrawn" else 0.16)
    assert stop.tool < (0.045 if fault == "chunk withdrawn" else 0.022)


def test_a_singular_target_makes_no_chatter(robot):
    run = targets.target_run(robot, "outstretched to the side", "osqp", push=4.0)
    assert run.manipulability < 0.03
    assert run.violations == 0
    assert run.reversals <= targets.CHATTER
    assert run.rest < targets.REST
    assert run.state == "HOLDING"


# -- the checker can fail -----------------------------------------------------------------------------------------


def test_the_checkers_executor_is_that_of_the_simulated_robot(robot):
    """But for points that are all but due: the simulated robot may pass them over, the checker goes to every one."""
    rng = np.random.default_rng(0)
    start = robot.configurations["ready"]
    theirs, ours = TrajectoryExecutor(robot.joint_names, start), checker.Follower(start)
    now = 1.0
    for _ in range(60):
        times = np.cumsum(rng.uniform(0.002, 0.1, 3))
        positions, velocities = start + rng.normal(size=(3, 7)), rng.normal(size=(3, 7))
        stamp = now - rng.uniform(0.0, 0.1)
        due = stamp + times
        if due[-1] > now and not ((due > now) & (due < now + NEAREST)).any():
            theirs.accept(now, stamp, robot.joint_names, times, positions, velocities)
            ours.accept(now, due, positions, velocities)
        moments = now + np.sort(rng.uniform(0.0, 0.15, 9))
        for moment, position, velocity in zip(moments, *ours.sample(moments), strict=True):
            assert np.allclose(position, theirs.sample(moment)[0], atol=1e-12)
            assert np.allclose(velocity, theirs.sample(moment)[1], atol=1e-9)
        now = float(moments[-1])


def checked(robot, rig, change) -> set[str]:
    """Kinds of violations that the checker sees in commands of a moving arm, one of which was changed."""
    side = checker.RobotSide(robot.limits, rig.positions, rig.time)
    rig.send(rig.line((0.2, 0.1, 0.05)))
    for cycle in range(100):
        command = rig.controller.step(rig.time, rig.measurement())
        side.send(change(command) if cycle == 60 else command)
        rig.time += 0.005
        rig.positions, rig.velocities = command.plan.evaluate(rig.time)
        side.run(rig.time)
    side.check()
    return set(side.findings.violations)


def changed(command: Command, **arrays: np.ndarray) -> Command:
    plan = command.plan
    other = object.__new__(type(plan))
    other.__dict__ |= plan.__dict__ | arrays
    return replace(command, plan=other)


def test_the_checker_finds_nothing_in_good_commands(robot, rig):
    assert checked(robot, rig, lambda command: command) == set()


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("finite", lambda plan: {"positions": plan.positions * np.nan}),
        ("acceleration", lambda plan: {"positions": plan.positions + 1e-4}),
        ("velocity", lambda plan: {"positions": plan.positions + 0.1}),
        ("no stop", lambda plan: {"velocities": plan.velocities + 0.01}),
        ("stop position", lambda plan: {"positions": plan.positions + np.array([[0.0], [0.0], [9.0]])}),
        ("rejected", lambda plan: {"times": plan.times[::-1]}),
    ],
)
def test_the_checker_finds_what_is_wrong(robot, rig, kind, change):
    assert kind in checked(robot, rig, lambda command: changed(command, **change(command.plan)))


# -- regressions ------------------------------------------------------------------------------------------------


def largest_acceleration(robot, rig, seconds: float = 0.5) -> float:
    """Largest joint acceleration over its limit from now on, as the executor runs it."""
    velocities = [rig.velocities]
    for _ in range(round(seconds / 0.005)):
        rig.step()
        velocities.append(rig.velocities)
    return float(np.abs(np.diff(np.array(velocities), axis=0) / 0.005 / robot.limits.acceleration).max())


def moving(rig) -> None:
    rig.send(rig.line((0.25, 0.0, 0.0)))
    rig.step(80)
    assert np.abs(rig.velocities).max() > 0.1


def test_a_reset_while_the_last_command_still_brakes_makes_no_step(robot, rig):
    """Found by randomised cycles: the arm was slow enough for a reset, and its set point jumped to its end."""
    moving(rig)
    rig.controller.e_stop("pressed")
    while np.abs(rig.velocities).max() > 0.09:
        rig.step()
    assert np.abs(rig.velocities).max() > 0.01
    rig.controller.reset(rig.time, rig.measurement())
    assert rig.state is State.HOLDING
    assert largest_acceleration(robot, rig) <= 1.0 + 1e-6
    assert np.abs(rig.velocities).max() == 0.0


def test_a_stop_by_failed_cycles_and_a_reset_make_no_step(robot, rig):
    """Found by randomised cycles: the command of the cycle that stopped was taken for sent."""
    moving(rig)
    rig.controller._program._solver = stops._Broken()
    while rig.state is not State.STOPPED:
        sent = rig.commands[-1].plan
        rig.step()
    rig.positions, rig.velocities = sent.evaluate(rig.time)
    for _ in range(100):
        rig.controller.step(rig.time, rig.measurement())
        rig.time += 0.005
        rig.positions, rig.velocities = sent.evaluate(rig.time)
    assert np.abs(rig.velocities).max() == 0.0
    rig.controller.reset(rig.time, rig.measurement())
    command = rig.step()
    assert np.allclose(command.plan.start, sent.positions[2], atol=1e-9)


def test_a_clock_that_jumps_back_makes_no_step(robot, rig):
    """The executor goes by the same clock: it is at the start of the last command again, and moving."""
    moving(rig)
    rig.time -= 5.0
    rig.positions, rig.velocities = rig.commands[-1].plan.evaluate(rig.time)
    assert largest_acceleration(robot, rig) <= 1.0 + 1e-6
    assert np.abs(rig.velocities).max() == 0.0
    assert rig.state is State.HOLDING


def test_a_chunk_later_than_its_horizon_is_refused_and_the_motion_goes_on(rig):
    rig.send(rig.line((0.2, 0.0, 0.0)))
    rig.step(60)
    with pytest.raises(ChunkRefused) as refusal:
        rig.send(rig.line((0.2, 0.0, 0.0), count=4), stamp=rig.time - 0.41)
    assert refusal.value.reason is Refusal.EXPIRED
    rig.send(rig.line((0.2, 0.0, 0.0), count=4), stamp=rig.time - 0.39)
    assert rig.state is State.TRACKING
