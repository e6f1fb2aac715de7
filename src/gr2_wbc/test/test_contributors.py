"""The costs: what each adds, and that all but tracking move the joints and not the tool."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gr2_wbc.config import QpConfig
from gr2_wbc.contributors import (
    Cost,
    CycleState,
    Damping,
    Manipulability,
    Posture,
    Smoothness,
    Tracking,
    default_contributors,
)
from gr2_wbc.joints import JointLimits
from gr2_wbc.kinematics import Kinematics
from gr2_wbc.robot import ToolLimits

SLOW, FAST = ToolLimits(0.1, 0.5), ToolLimits(10.0, 10.0)


def state_at(robot, positions, velocities=None) -> CycleState:
    kinematics = Kinematics(robot)
    kinematics.update(positions)
    velocities = np.zeros(robot.dof) if velocities is None else velocities
    return CycleState(positions, velocities, kinematics, kinematics.manipulability())


def costs(state: CycleState, *contributors) -> Cost:
    dof = len(state.positions)
    cost = Cost(np.zeros((dof, dof)), np.zeros(dof))
    for contributor in contributors:
        contributor.add(state, cost)
    return cost


def minimiser(cost: Cost) -> np.ndarray:
    return np.linalg.solve(cost.hessian + cost.damping * np.eye(len(cost.gradient)), -cost.gradient)


def value(cost: Cost, velocities: np.ndarray) -> float:
    hessian = cost.hessian + cost.damping * np.eye(len(velocities))
    return float(0.5 * velocities @ hessian @ velocities + cost.gradient @ velocities)


def test_tracking_is_the_weighted_distance_to_the_wanted_twist(robot):
    state = state_at(robot, robot.configurations["ready"])
    state.twist, state.error = np.array([0.1, 0, -0.2, 0.3, 0, 0.1]), np.array([0.01, 0.0, 0, 0, 0.02, 0])
    cost, rng = costs(state, Tracking(12.0, 0.3, FAST)), np.random.default_rng(0)
    wanted, weights = state.twist + 12.0 * state.error, np.array([1.0] * 3 + [0.09] * 3)

    def distance(velocities):
        return 0.5 * float(weights @ (state.kinematics.jacobian @ velocities - wanted) ** 2)

    still = distance(np.zeros(robot.dof))
    for _ in range(5):
        velocities = rng.normal(size=robot.dof)
        assert value(cost, velocities) == pytest.approx(distance(velocities) - still)


def test_no_faster_motion_than_the_tool_may_make_is_wanted(robot):
    state = state_at(robot, robot.configurations["ready"])
    state.error = np.array([1.0, 0.0, 0.0, 0.0, 2.0, 0.0])
    velocities = minimiser(costs(state, Tracking(12.0, 0.3, SLOW), Damping(1e-6, 0.0, 0.03)))
    twist = state.kinematics.jacobian @ velocities
    assert twist == pytest.approx([0.1, 0.0, 0.0, 0.0, 0.5, 0.0], abs=1e-3)


def test_damping_grows_where_the_arm_is_close_to_singular(robot):
    state = state_at(robot, robot.configurations["ready"])
    contributor = Damping(1e-4, 2e-2, 0.03)
    state.manipulability = 0.04
    assert costs(state, contributor).damping == 1e-4
    state.manipulability = 0.015
    assert costs(state, contributor).damping == pytest.approx(1e-4 + 2e-2 * 0.25)


def test_smoothness_alone_keeps_the_velocities(robot):
    velocities = np.linspace(-0.5, 0.5, robot.dof)
    state = state_at(robot, robot.configurations["ready"], velocities)
    assert minimiser(costs(state, Smoothness(1e-4))) == pytest.approx(velocities)


def limits_of(count: int) -> JointLimits:
    """Joints of -2 ... 1 rad, the last one without limits."""
    lower, upper = np.full(count, -2.0), np.full(count, 1.0)
    lower[-1], upper[-1] = -np.inf, np.inf
    return JointLimits(tuple(f"j{i}" for i in range(count)), lower, upper, np.ones(count), np.ones(count))


def test_posture_is_drawn_to_rest_no_faster_than_allowed_and_away_from_the_ends_of_its_range():
    rest = np.array([0.0, 0.0, 0.0, 0.0])
    posture = Posture(rest, limits_of(4), weight=2.0, gain=1.0, speed=0.3, centering_speed=0.5, centering_share=0.2)
    state = CycleState(np.array([0.1, -1.0, 0.85, 50.0]), np.zeros(4), kinematics=None)  # type: ignore[arg-type]
    # At 0.85 rad, half way through the outermost 20 % (0.7 ... 1), half of the centring speed is added.
    assert minimiser(costs(state, posture)) == pytest.approx([-0.1, 0.3, -0.3 - 0.25, -0.3])
    state.positions = np.array([-2.0, 1.0, -2.5, -50.0])
    assert minimiser(costs(state, posture)) == pytest.approx([0.3 + 0.5, -0.3 - 0.5, 0.3 + 0.5 * 0.8 / 0.3, 0.3])


def nullspace_part(robot, state, *contributors) -> tuple[np.ndarray, np.ndarray]:
    """Velocities with these contributors beside tracking of a standing tool, and the tool's twist then."""
    config, tool = QpConfig(), Tracking(12.0, 0.3, robot.tool_limits)
    velocities = minimiser(costs(state, tool, Damping(config.damping, 0.0, 0.03), *contributors))
    return velocities, state.kinematics.jacobian @ velocities


def test_joint_centring_moves_the_joint_and_not_the_tool(robot):
    positions = robot.configurations["ready"] + np.array([0.0, 0.0, 0.8, 0.1, -0.6, 0.2, 0.3])  # elbow to the side
    positions[1] = 0.95 * robot.limits.upper[1]
    state, config = state_at(robot, positions), QpConfig()
    # The posture's drift is switched off by resting where the arm is: what is left is the centring.
    posture = Posture(positions, robot.limits, config.posture, 1.0, 0.3, config.centering_speed, config.centering_share)
    velocities, twist = nullspace_part(robot, state, posture)
    assert velocities[1] < -0.01
    assert np.abs(twist[:3]).max() < 5e-4  # [m/s]; feedback of 12 1/s leaves 0.04 mm of it
    other = state_at(robot, robot.configurations["ready"])
    rest = replace(config, centering_speed=1e-9)
    still, _ = nullspace_part(
        robot, other, Posture(other.positions, robot.limits, rest.posture, 1.0, 0.3, rest.centering_speed, 0.3)
    )
    assert np.abs(still).max() < 1e-6


def test_manipulability_is_climbed_without_moving_the_tool(robot):
    positions = robot.configurations["ready"] + np.array([0.0, 0.3, 0.4, 0.2, -0.3, 0.1, 0.0])
    state, step = state_at(robot, positions), 1e-4
    velocities, twist = nullspace_part(robot, state, Manipulability(2e-3, 1.0))
    moved = state_at(robot, positions + step * velocities)
    assert moved.manipulability > state.manipulability + step * 1e-4
    assert np.linalg.norm(velocities) > 20.0 * np.linalg.norm(twist[:3])


def test_the_tool_stays_while_the_posture_drifts(make_rig, robot):
    """In the closed loop, with everything on: a chunk that stands still, far from the rest configuration."""
    start = robot.configurations["ready"] + np.array([0.0, 0.2, 0.8, 0.1, -0.6, 0.2, 0.3])
    rig = make_rig(start)
    place = rig.tool()[0]
    worst = 0.0
    for cycle in range(800):
        if cycle % 100 == 0:
            rig.send(np.tile(place, (16, 1)))
        rig.step()
        worst = max(worst, float(np.linalg.norm(rig.tool()[0] - place)))
    rest = robot.configurations["ready"]
    assert np.linalg.norm(rig.positions - rest) < np.linalg.norm(start - rest) - 0.05
    assert worst < 3e-4  # [m]


def test_default_contributors_follow_the_configuration(robot):
    kinds = [type(each) for each in default_contributors(QpConfig(), robot)]
    assert kinds == [Tracking, Damping, Smoothness, Posture, Manipulability]
