"""The robot description: kinematics against the manufacturer's figures, and files that are wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import mujoco
import numpy as np
import pinocchio as pin
import pytest
import yaml

from gr2_wbc.robot import GripperJoint, RobotFileError, UnknownRobot
from gr2_wbc.robots import load_robot, robot_path

# Pose of bracelet_link for three configurations, from MuJoCo Menagerie's Gen3 (1e-12 m).
BRACELET = [
    (
        [0.0, 0.26179939, 3.14159265, -2.26892803, 0.0, 0.95993109, 1.57079633],
        [0.395140189611, 0.001350101232, 0.433724312629],
        [[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]],
    ),
    (
        [0.4, -0.9, 1.3, 1.7, -2.2, 0.8, 2.9],
        [-0.358547507367, -0.255642388769, 0.661423084168],
        [
            [0.085159962549, -0.996115097468, 0.022416363994],
            [-0.796807970303, -0.054578841248, 0.60176258487],
            [-0.598201336709, -0.069107616686, -0.798360381079],
        ],
    ),
    (
        [-1.0, 1.5, -0.7, -1.1, 0.6, -1.4, -2.5],
        [0.417756991961, 0.293973316967, 0.605158154081],
        [
            [-0.879419548212, 0.143120823082, 0.454023885081],
            [0.399334147687, 0.740959638216, 0.53991763541],
            [-0.259139917255, 0.656121364182, -0.708767422184],
        ],
    ),
]


@pytest.mark.parametrize(("positions", "place", "turn"), BRACELET)
def test_kinematics_are_the_manufacturers(robot, positions, place, turn):
    data = robot.model.createData()
    pin.framesForwardKinematics(robot.model, data, np.array(positions))
    pose = data.oMf[robot.model.getFrameId("bracelet_link")]
    assert np.allclose(pose.translation, place, atol=1e-9)
    assert np.allclose(pose.rotation, turn, atol=1e-8)


def test_mujoco_and_pinocchio_agree(robot):
    model = mujoco.MjModel.from_xml_path(str(robot.model_path))
    data = mujoco.MjData(model)
    site = model.site("tool_frame").id
    rng = np.random.default_rng(0)
    for _ in range(50):
        data.qpos[:] = rng.uniform(-3.0, 3.0, robot.dof)
        mujoco.mj_forward(model, data)
        place, _ = robot.tool_pose(data.qpos)
        assert np.allclose(place, data.site_xpos[site], atol=1e-12)
        gravity = pin.computeGeneralizedGravity(robot.model, robot.model.createData(), data.qpos)
        assert np.allclose(gravity, data.qfrc_bias, atol=1e-9)


def test_ready_points_straight_down(robot):
    place, orientation = robot.tool_pose(robot.configurations["ready"])
    assert np.allclose(place, [0.42, 0.0, 0.30], atol=1e-8)
    rotation = pin.Quaternion(orientation).matrix()
    assert np.allclose(rotation[:, 2], [0.0, 0.0, -1.0], atol=1e-8)
    assert np.allclose(rotation[:, 0], [0.0, 1.0, 0.0], atol=1e-8)


def test_continuous_joints_differ_modulo_whole_turns(robot):
    first, second = np.zeros(robot.dof), np.full(robot.dof, 2.0 * np.pi - 0.1)
    difference = robot.limits.difference(first, second)
    assert np.allclose(difference[robot.limits.continuous], 0.1)
    assert np.allclose(difference[~robot.limits.continuous], 0.1 - 2.0 * np.pi)


def test_gripper_joint_is_mapped_and_clipped():
    gripper = GripperJoint("knuckle", open=0.0, closed=0.8)
    assert gripper.opening(0.4) == pytest.approx(0.5)
    assert gripper.opening(-0.1) == 0.0
    assert gripper.opening(0.9) == 1.0
    assert gripper.position(0.25) == pytest.approx(0.2)


def test_unknown_robot_is_named_with_the_known_ones():
    with pytest.raises(UnknownRobot, match="gen3_2f85"):
        load_robot("gen4")


def test_a_robot_loads_from_any_folder(tmp_path, robot):
    shutil.copytree(robot_path("gen3_2f85"), tmp_path / "mine")
    assert load_robot(tmp_path / "mine").joint_names == robot.joint_names


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda entries: entries.pop("tool_frame"), "tool_frame"),
        (lambda entries: entries.update(tool_frame="nose"), "nose"),
        (lambda entries: entries.update(model="nothing.xml"), "nothing.xml"),
        (lambda entries: entries["joints"].pop(), "joint_6"),
        (lambda entries: entries["joints"][1].update(position=[1.0, -1.0]), "joint_2"),
        (lambda entries: entries["joints"][0].update(velocity=-1.0), "joint_1"),
        (lambda entries: entries["configurations"].update(ready=[0.0]), "ready"),
        (lambda entries: entries["configurations"].update(far=[0, 3, 0, 0, 0, 0, 0]), "joint_2"),
        (lambda entries: entries["gripper"].update(closed=0.0), "gripper"),
        (lambda entries: entries["tool_limits"].update(linear=0.0), "tool_limits"),
        (lambda entries: entries["collision"]["environment"][0].update(type="torus"), "torus"),
        (lambda entries: entries["collision"]["distances"][0].update(pair=["a", "b"]), "'a', 'b'"),
        (lambda entries: entries["collision"].update(safe_distance=0.2), "influence_distance"),
    ],
)
def test_a_wrong_description_is_refused_naming_file_and_entry(tmp_path, change, words):
    folder = tmp_path / "robot"
    shutil.copytree(robot_path("gen3_2f85"), folder)
    entries = yaml.safe_load((folder / "robot.yaml").read_text())
    change(entries)
    (folder / "robot.yaml").write_text(yaml.safe_dump(entries))
    with pytest.raises(RobotFileError, match=words) as failure:
        load_robot(folder)
    assert str(folder / "robot.yaml") in str(failure.value)


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    (Path(tmp_path) / "robot.yaml").write_text("[1, 2")
    with pytest.raises(RobotFileError, match="cannot be read"):
        load_robot(tmp_path)
