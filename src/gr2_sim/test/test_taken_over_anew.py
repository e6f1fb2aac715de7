"""Controller and simulated arm together: an arm thrown off its command comes to rest and is taken over."""

from __future__ import annotations

import numpy as np
import pytest

from gr2_sim.build import ARM_JOINTS, ROBOT
from gr2_sim.world import World
from gr2_wbc.config import ControllerConfig, override
from gr2_wbc.controller import Controller, Measurement, State
from gr2_wbc.robots import load_robot


@pytest.mark.parametrize("kick", [5.0, 20.0, 60.0])
def test_a_joint_that_is_struck_does_not_swing_for_ever(quick_world: World, kick: float) -> None:
    """Told to be wherever it was just seen, the struck joint would be thrown to and fro at 20 rad/s without end."""
    world = quick_world
    world.reset("", 3, "table", time=0.0)
    controller = Controller(load_robot(ROBOT), override(ControllerConfig(), {"safety.resync_on_jump": True}))
    for cycle in range(500):
        seen = Measurement(
            world.time, world.joint_positions.copy(), world.joint_velocities.copy(), world.gripper_opening
        )
        command = controller.step(world.time, seen)
        if command.active:
            world.accept_trajectory(command.stamp, ARM_JOINTS, *command.trajectory())
        if cycle == 100:
            world.data.qvel[world._arm_dof] += kick * np.eye(7)[6]
        world.step(round(0.005 / world.timestep))
    status = controller.status()
    assert status.state is State.HOLDING
    assert 1 <= status.resyncs <= 3
    assert np.abs(world.joint_velocities).max() < 0.02
    assert status.joint_tracking_error < 0.01
