"""The viewer's copy of the cell looks like the cell."""

import numpy as np
import pytest

pytest.importorskip("rclpy")
from gr2_sim.build import ARM_JOINTS, KNUCKLE_JOINT
from gr2_sim.viewer_node import Mirror
from gr2_sim.world import World


def test_mirror_stands_like_the_world() -> None:
    world = World("table")
    world.reset("close_drawer", 5)
    world.command_gripper(0.6)
    world.step(400)
    world.refresh()
    mirror = Mirror("table")
    truth = world.truth()
    for name, position in zip(ARM_JOINTS, world.joint_positions, strict=True):
        mirror.set_joint(name, float(position))
    mirror.set_joint(KNUCKLE_JOINT, world.knuckle[0])
    for name, (position, quaternion) in truth.poses.items():
        mirror.set_pose(name, position, quaternion)
    for name, value in truth.joints.items():
        mirror.set_joint(name, value)
    mirror.refresh()
    np.testing.assert_allclose(mirror.data.geom_xpos, world.data.geom_xpos, atol=2e-3)
    world.close()


def test_unknown_names_and_nan_are_passed_over() -> None:
    mirror = Mirror("table")
    before = mirror.data.qpos.copy()
    mirror.set_joint("joint_99", 1.0)
    mirror.set_joint("joint_1", float("nan"))
    mirror.set_pose("unicorn", np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))
    mirror.refresh()
    np.testing.assert_array_equal(mirror.data.qpos, before)
