"""Which gripper goal is sent when, and how the trajectory controller is led to a faulted arm."""

from __future__ import annotations

import numpy as np
import pytest

from gr2_bringup.arm_adapter import BadOpening, GoalConfig, GripperGoals, settling
from gr2_wbc.joints import GripperJoint
from gr2_wbc.robots import load_robot

ROBOT = load_robot("gen3_2f85")


@pytest.fixture
def goals() -> GripperGoals:
    return GripperGoals(GripperJoint("knuckle", 0.0, 0.8), GoalConfig(step=0.01, interval=0.1, retry=0.5))


def test_nothing_is_sent_before_anything_is_wanted_and_nothing_twice(goals: GripperGoals) -> None:
    assert goals.due(0.0) is None
    goals.wish(1.0)
    number, position = goals.due(0.0) or (0, 0.0)
    assert position == 0.8
    goals.answered(number, True)
    for now in (0.05, 0.2, 5.0):
        goals.wish(1.0)
        assert goals.due(now) is None
    goals.ended(number, True)
    assert goals.due(9.0) is None


def test_goals_keep_an_interval_and_a_small_change_is_none(goals: GripperGoals) -> None:
    goals.wish(0.5)
    number, _ = goals.due(0.0) or (0, 0.0)
    goals.answered(number, True)
    goals.wish(0.505)
    assert goals.due(1.0) is None
    goals.wish(0.6)
    assert goals.due(0.05) is None, "too soon"
    assert goals.due(0.11) == (2, pytest.approx(0.48))


@pytest.mark.parametrize("how", ["rejected", "failed", "never answered"])
def test_a_goal_that_came_to_nothing_is_sent_again(goals: GripperGoals, how: str) -> None:
    goals.wish(1.0)
    number, _ = goals.due(0.0) or (0, 0.0)
    if how != "never answered":
        goals.answered(number, how == "failed")
    if how == "failed":
        goals.ended(number, False)
    assert goals.due(0.3) is None
    assert goals.due(0.6) == (2, 0.8)
    assert goals.failures == (how != "never answered")


def test_the_end_of_a_goal_that_was_replaced_means_nothing(goals: GripperGoals) -> None:
    goals.wish(1.0)
    first, _ = goals.due(0.0) or (0, 0.0)
    goals.answered(first, True)
    goals.wish(0.0)
    second, _ = goals.due(0.2) or (0, 0.0)
    goals.answered(second, True)
    goals.ended(first, False)  # preempted
    assert goals.due(5.0) is None
    assert goals.failures == 0


@pytest.mark.parametrize("opening", [-0.1, 1.1, float("nan"), float("inf")])
def test_an_opening_that_is_none_is_refused_and_the_last_one_stays(goals: GripperGoals, opening: float) -> None:
    goals.wish(0.5)
    with pytest.raises(BadOpening, match="not within"):
        goals.wish(opening)
    assert goals.due(0.0) == (1, pytest.approx(0.4))


def test_settling_goes_to_the_arm_in_the_controllers_own_turn_and_slowly() -> None:
    limits = ROBOT.limits
    reference = np.array([7.0, 0.5, 0.0, 1.0, -9.0, 0.2, 3.1])
    measured = np.array([7.1 - 2.0 * np.pi, 0.3, 0.0, 1.0, -9.0 + 2.0 * np.pi, 0.2, -3.1])
    positions, duration = settling(limits, reference, measured)
    assert positions == pytest.approx([7.1, 0.3, 0.0, 1.0, -9.0, 0.2, 2.0 * np.pi - 3.1])
    assert duration == pytest.approx(0.2 / (0.5 * 0.8727))
    assert settling(limits, reference, reference)[1] == 0.3
