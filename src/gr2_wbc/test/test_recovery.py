"""A standing arm that is where it must not be moves out, slowly, and stands again."""

from __future__ import annotations

import numpy as np
import pytest

from gr2_wbc.recovery import Recovery
from gr2_wbc.safety import State

DT = 0.005


def test_a_recovery_has_a_beginning_and_a_later_end(robot):
    recovery = Recovery(robot.limits)
    inside = np.zeros(robot.dof)
    assert not recovery.update(inside, 0.0, "")
    assert not recovery.update(inside, -0.0005, "a|b")  # as near as motion under way comes
    assert recovery.update(inside, -0.004, "a|b")
    assert recovery.reason == "moving out: a|b is 4.0 mm inside its safe distance"
    assert not recovery.update(inside, -0.0005, "a|b")
    assert recovery.reason
    assert recovery.update(inside, -0.0001, "a|b")
    assert not recovery.reason
    assert recovery.update(inside + 2.3, float("inf"), "")
    assert "joint_" in recovery.reason


@pytest.mark.parametrize(("joint", "side"), [(1, -1.0), (3, -1.0), (5, 1.0)])
def test_an_arm_started_beyond_a_joint_limit_comes_back_without_a_chunk(make_rig, robot, joint, side):
    start = robot.configurations["ready"].copy()
    bound = robot.limits.upper[joint] if side > 0 else robot.limits.lower[joint]
    start[joint] = bound + side * 0.05
    rig = make_rig(start)
    assert rig.state is State.HOLDING
    assert f"joint_{joint + 1} is 0.050 rad beyond" in rig.reason
    assert np.allclose(rig.commands[0].positions, start, atol=1e-3), "it must not jump"
    rig.step(1000)
    assert rig.state is State.HOLDING
    assert "moved out" in rig.reason
    assert side * (rig.positions[joint] - bound) < 1e-3
    speeds = np.array([command.velocities for command in rig.commands])
    assert np.abs(speeds[:, joint]).max() <= rig.controller.config.qp.joint_recovery_speed * 1.01
    assert np.abs(np.diff(speeds, axis=0) / DT).max() <= robot.limits.acceleration.max() * 1.001
    assert not rig.velocities.any()
    resting = rig.positions.copy()
    rig.step(200)
    assert np.array_equal(rig.positions, resting), "out of it, it stands"


def test_an_arm_started_too_near_the_table_moves_away_without_a_chunk(make_rig, robot, near_table):
    rig = make_rig(near_table)
    begin = rig.controller.status().minimum_distance
    assert "inside its safe distance" in rig.reason
    height = rig.tool()[0][2]
    rig.step(1000)
    assert rig.state is State.HOLDING
    assert "moved out" in rig.reason
    assert rig.controller.status().minimum_distance > begin + 0.002
    assert 0.002 < rig.tool()[0][2] - height < 0.03
    tool_speeds = np.diff([robot.tool_pose(command.positions)[0][2] for command in rig.commands]) / DT
    assert np.abs(tool_speeds).max() < 1.5 * rig.controller.config.qp.recovery_speed
    assert not rig.velocities.any()


@pytest.fixture
def near_table(make_rig, robot):
    """The arm with the distance to the table violated by some millimetres: down from where a path was blocked."""
    from scipy.optimize import brentq

    rig = make_rig(**{"intake.max_position_jump": 1.0})
    rig.send(rig.line((0.0, 0.0, -0.45)))
    rig.step(1000)
    collision = rig.controller._collision

    def clearance(angle: float) -> float:
        collision.update(rig.positions + np.eye(robot.dof)[1] * angle)
        return collision.clearance

    angle = brentq(lambda value: clearance(value) + 0.006, 0.0, 0.1)
    return rig.positions + np.eye(robot.dof)[1] * angle
