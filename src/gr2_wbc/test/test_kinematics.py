"""Kinematics of arms unlike the Gen3: a sliding joint, a base that is not the origin, a joint beside the chain."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from gr2_wbc.collision import CollisionMonitor
from gr2_wbc.collision_model import build_collision_model
from gr2_wbc.kinematics import Kinematics
from gr2_wbc.robots import load_robot
from gr2_wbc.rotation import matrix_of

AXES = {2: 'type="slide" axis="0 0 1"', 5: 'axis="1 0 0"'}


def link(number: int, inner: str, side: str = "") -> str:
    axis = AXES.get(number, 'axis="0 1 0"' if number % 2 else 'axis="0 0 1"')
    return (
        f'<body name="link_{number}" pos="0.02 0.01 0.15"><inertial pos="0 0 0" mass="1" diaginertia="0.1 0.1 0.1"/>'
        f'<joint name="joint_{number}" {axis}/>'
        f'<geom name="geom_{number}" type="capsule" fromto="0 0 0 0 0 0.12" size="0.02"/>{inner}</body>{side}'
    )


@pytest.fixture(scope="module")
def odd_robot(tmp_path_factory):
    """Seven joints to the tool, the second sliding, and one that only moves a camera on the third link."""
    text = '<site name="tool" pos="0.03 0 0.1"/>'
    for number in (8, 7, 6):
        text = link(number, text)
    camera = link(4, "")
    text = link(1, link(2, link(3, camera + link(5, text))))
    folder = tmp_path_factory.mktemp("odd")
    (folder / "arm.xml").write_text(
        '<mujoco model="odd"><compiler angle="radian"/><worldbody>'
        '<body name="mount"><geom name="column" type="box" size="0.1 0.1 0.1" pos="0 0 -1"/>'
        f'<body name="base_link" pos="0.3 -0.2 0.5" quat="0.8 0.36 0.0 -0.48">{text}</body></body></worldbody></mujoco>'
    )
    entries = {
        "robot_id": "odd",
        "model": "arm.xml",
        "base_frame": "base_link",
        "tool_frame": "tool",
        "joints": [{"name": f"joint_{n}", "velocity": 1.0, "acceleration": 5.0} for n in range(1, 9)],
        "tool_limits": {"linear": 0.5, "angular": 1.5},
        "configurations": {"ready": [0.1] * 8},
        "collision": {
            "influence_distance": 0.3,
            "safe_distance": 0.01,
            "self_pairs": [["geom_1", ["geom_8"]], ["geom_2", ["geom_8"]]],
            "environment": [{"name": "table", "type": "plane", "position": [0, 0, -0.1], "normal": [0, 0.2, 1.0]}],
            "environment_geoms": ["geom_4", "geom_7", "geom_8"],
        },
    }
    entries["joints"][1]["position"] = [-0.3, 0.3]
    (folder / "robot.yaml").write_text(yaml.safe_dump(entries))
    return load_robot(folder)


def random_positions(count: int = 6) -> np.ndarray:
    return np.random.default_rng(3).uniform(-0.8, 0.8, (count, 8))


def differences(function, positions, step=1e-6) -> np.ndarray:
    """Central differences of a function of the positions, one column per joint."""
    moves = step * np.eye(len(positions))
    return np.stack([(function(positions + move) - function(positions - move)) / (2 * step) for move in moves], axis=-1)


def test_pose_and_jacobian(odd_robot):
    kinematics = Kinematics(odd_robot)

    def place(positions):
        return odd_robot.tool_pose(positions)[0]

    for positions in random_positions():
        kinematics.update(positions)
        position, orientation = odd_robot.tool_pose(positions)
        assert np.allclose(kinematics.position, position)
        assert np.allclose(kinematics.rotation, matrix_of(orientation))
        jacobian, rotation = kinematics.jacobian.copy(), kinematics.rotation.copy()
        assert np.allclose(differences(place, positions), jacobian[:3], atol=1e-8)
        turning = differences(lambda q: matrix_of(odd_robot.tool_pose(q)[1]), positions)
        for joint in range(8):
            spin = turning[..., joint] @ rotation.T
            assert np.allclose((spin[2, 1], spin[0, 2], spin[1, 0]), jacobian[3:, joint], atol=1e-7)
        assert not jacobian[:, 3].any()  # the camera's joint does not move the tool


def test_manipulability_gradient(odd_robot):
    kinematics = Kinematics(odd_robot)

    def manipulability(positions):
        kinematics.update(positions)
        return kinematics.manipulability()

    for positions in random_positions():
        slopes = differences(manipulability, positions)
        value = manipulability(positions)
        assert value == pytest.approx(np.sqrt(np.linalg.det(kinematics.jacobian @ kinematics.jacobian.T)))
        assert np.allclose(kinematics.manipulability_gradient(value), slopes, atol=1e-6)


def test_a_singular_arm_has_no_manipulability_and_no_gradient(robot):
    kinematics = Kinematics(robot)
    kinematics.update(np.zeros(robot.dof))  # stretched straight up
    assert kinematics.manipulability() < 1e-6
    assert np.isfinite(kinematics.manipulability_gradient(kinematics.manipulability())).all()


def test_what_was_read_is_not_overwritten_by_the_next_update(odd_robot, robot):
    """Except ``spatial``, which says so."""
    for one in (odd_robot, robot):
        kinematics = Kinematics(one)
        kinematics.update(np.full(one.dof, 0.1))
        kept = kinematics.position, kinematics.rotation, kinematics.jacobian
        copies = [each.copy() for each in kept]
        kinematics.update(np.full(one.dof, 0.4))
        assert all(np.array_equal(each, copy) for each, copy in zip(kept, copies, strict=True))


def test_rows_of_distances(odd_robot, rows_of):
    """A base that is not the origin, a joint beside the chain and a sliding one: rows are the distances' slopes."""
    monitor, kinematics = CollisionMonitor(build_collision_model(odd_robot)), Kinematics(odd_robot)
    near = 0

    def distance(positions):
        monitor.update(positions)
        return monitor.nearest.distance

    for positions in random_positions(40):
        monitor.update(positions)
        if not 0.01 < monitor.nearest.distance < 0.25:
            continue
        near += 1
        kinematics.update(positions)
        rates, _ = rows_of(monitor, kinematics.spatial, 16)
        closest = int(np.argmin(monitor._distances))
        row = rates[closest].copy()
        assert np.allclose(row, differences(distance, positions), atol=1e-4)
    assert near > 5


def test_distances_after_a_swap_of_the_model_are_those_of_the_new_one(robot, odd_robot):
    old, new = build_collision_model(odd_robot), build_collision_model(odd_robot)
    monitor = CollisionMonitor(old)
    positions = random_positions(1)[0]
    monitor.update(positions)
    before = monitor.nearest
    monitor.use(new)
    assert monitor.nearest.pair == ""
    assert monitor.clearance == np.inf
    monitor.update(positions)
    assert monitor.nearest == before
