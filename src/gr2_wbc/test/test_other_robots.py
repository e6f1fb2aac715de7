"""Robots of other makes, from URDFs of the example-robot-data wheel, in closed loop with the controller.

A UR5 (six hinges), PAL's Tiago (a lift that slides, and seven hinges) and Kinova's Jaco (three joints without end).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import mujoco
import numpy as np
import pinocchio as pin
import pytest
import yaml

from gr2_wbc.arm_model import resolve
from gr2_wbc.collision import CollisionMonitor
from gr2_wbc.collision_model import build_collision_model
from gr2_wbc.joint_input import JointStateReader
from gr2_wbc.path_timing import TimingConfig, timed_motion
from gr2_wbc.planning import OmplPlanner
from gr2_wbc.robot import RobotFileError
from gr2_wbc.robots import load_robot
from gr2_wbc.safety import State

FOLDER = Path(__file__).parent / "robots"
NAMES = ["ur5", "tiago", "jaco"]


@pytest.fixture(scope="module", params=NAMES)
def other(request):
    return load_robot(FOLDER / request.param)


@pytest.fixture
def rig(make_rig, other):
    return make_rig(on=other, **{"intake.max_position_jump": 2.0, "intake.max_angle_jump": 4.0})


def line(rig, offset, count=16):
    return {"positions": rig.line(offset, count), "frame_id": rig.robot.base_frame}


def test_both_libraries_know_the_same_arm(other):
    model = other.arm.spec.copy().compile()
    data, kinematics = mujoco.MjData(model), other.model.createData()
    rng = np.random.default_rng(0)
    for _ in range(20):
        positions = rng.uniform(-1.0, 1.0, other.dof)
        for name, value in zip(other.joint_names, positions, strict=True):
            data.qpos[model.joint(name).qposadr[0]] = value
        mujoco.mj_kinematics(model, data)
        pin.forwardKinematics(other.model, kinematics, positions)
        for index, name in enumerate(other.model.names[1:], start=1):
            assert np.allclose(data.body(f"after {name}").xpos, kinematics.oMi[index].translation, atol=1e-12)


def test_limits_are_the_strictest_of_file_and_urdf(other):
    limits = other.limits
    if other.robot_id == "ur5":
        assert np.all(limits.velocity == 1.5)  # the URDF allows 3.15
        assert limits.upper[2] == pytest.approx(np.pi)
    elif other.robot_id == "tiago":
        assert limits.velocity[0] == 0.07  # [m/s] from the URDF
        assert (limits.lower[0], limits.upper[0]) == (0.0, 0.35)
        assert limits.unit("torso_lift_joint") == "m"
        assert limits.unit("arm_1_joint") == "rad"
    else:
        assert limits.continuous.tolist() == [True, False, False, True, False, True]
        assert other.model.nq == other.model.nv == 6


def test_a_chunk_is_followed_within_limits(rig, other):
    """There and back by 8 cm; every command within the joints' limits, the tool where it is told to be."""
    start = rig.tool()[0]
    commanded = []
    for offset in ((0.0, 0.0, 0.08), (0.0, 0.0, -0.08)):
        goal = rig.tool()[0] + np.array(offset)
        chunk = line(rig, offset, 24)
        rig.send(chunk.pop("positions"), **chunk)
        for _ in range(900):
            rig.step()
            commanded.append((rig.positions.copy(), rig.velocities.copy()))
            if rig.state is State.HOLDING:
                break
        assert rig.state is State.HOLDING, rig.reason
        assert np.linalg.norm(rig.tool()[0] - goal) < 0.002
    assert np.linalg.norm(rig.tool()[0] - start) < 0.002
    limits = other.limits
    positions, velocities = (np.array(values) for values in zip(*commanded, strict=True))
    assert np.all(positions >= limits.lower - 1e-9)
    assert np.all(positions <= limits.upper + 1e-9)
    assert np.all(np.abs(velocities) <= limits.velocity + 1e-9)
    changes = np.abs(np.diff(velocities, axis=0)) / 0.005
    assert np.all(changes <= limits.acceleration * 1.001)
    assert rig.controller.status().qp_failures == 0


def test_forced_into_itself_distances_are_kept(rig, other):
    """Towards the middle of its own base, with no other purpose than to touch it."""
    monitor = CollisionMonitor(build_collision_model(other))
    start, orientation = rig.tool()
    aim = {"ur5": (-0.6, -0.1, -0.3), "tiago": (-0.7, -0.3, -0.1), "jaco": (0.0, -0.8, -0.3)}[other.robot_id]
    least = np.inf
    for cycle in range(800):
        if cycle % 60 == 0:
            share = np.clip(0.25 * (rig.time - 10.0) + 0.025 * np.arange(1, 17), 0.0, 1.0)
            rig.send(
                start + share[:, None] * np.array(aim),
                orientations=np.tile(orientation, (16, 1)),
                frame_id=other.base_frame,
            )
        rig.step()
        monitor.update(rig.positions)
        least = min(least, monitor.clearance)
    assert least > -0.0005
    assert least < 0.03  # it came near
    assert rig.controller.status().qp_failures == 0


def test_it_moves_to_a_planned_configuration(rig, other):
    planner = OmplPlanner(other.limits, build_collision_model(other))
    goal = other.configurations["ready"].copy()
    goal[0] += 0.1
    goal[-1] += 0.8
    path = planner.plan(rig.positions, goal)
    rig.controller.move(timed_motion("'x'", path, other.limits, TimingConfig(speed=0.9), planner.free))
    for _ in range(3000):
        rig.step()
        if not rig.controller.moving:
            break
    assert rig.reason == "'x' is reached"
    assert np.abs(rig.positions - goal).max() < 0.003


def test_joint_states_are_read_in_any_order_and_without_a_gripper(other):
    names = [*reversed(other.joint_names), "head_1_joint", "finger"]
    values = [float(index) for index in range(len(names))]
    reading = JointStateReader(other).read(names, values, values)
    assert reading.positions.tolist() == values[: other.dof][::-1]
    assert reading.gripper is None


def test_a_description_as_text_is_the_same_robot():
    robot = load_robot(FOLDER / "ur5")
    path = "package://example-robot-data/robots/ur_description/urdf/ur5_robot.urdf"
    text = resolve(path, FOLDER).read_text()
    same = load_robot(FOLDER / "ur5", text)
    assert same.joint_names == robot.joint_names
    assert same.source.description == text
    assert same.collision.pairs == robot.collision.pairs
    ready = robot.configurations["ready"]
    assert np.allclose(same.tool_pose(ready)[0], robot.tool_pose(ready)[0], atol=1e-12)


def changed(tmp_path, name, change):
    folder = tmp_path / name
    shutil.copytree(FOLDER / name, folder)
    entries = yaml.safe_load((folder / "robot.yaml").read_text())
    change(entries)
    (folder / "robot.yaml").write_text(yaml.safe_dump(entries))
    return folder


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("ur5", lambda e: e.update(model="package://nowhere/x.urdf"), "package://nowhere/x.urdf was found in none"),
        ("ur5", lambda e: e["joints"].pop(), "wrist_3_joint"),
        ("ur5", lambda e: e["joints"].reverse(), "in its order"),
        ("ur5", lambda e: e["joints"][0].update(name="waist"), "no joint 'waist'"),
        ("ur5", lambda e: e["joints"][0].pop("acceleration"), "acceleration"),
        ("ur5", lambda e: e["collision"]["shapes"].update(nose="hull"), "'nose'"),
        ("ur5", lambda e: e["collision"]["shapes"].update(default="mesh"), "'mesh'"),
        ("ur5", lambda e: e.update(base_frame="forearm_link"), "moved by elbow_joint"),
        ("tiago", lambda e: e.pop("locked"), "locked: others"),
        ("tiago", lambda e: e.update(locked={"knee": 0.0}), "no joint 'knee'"),
        ("tiago", lambda e: e["configurations"].update(up=[0.5, *[0.5] * 7]), "torso_lift_joint = 0.5 m"),
    ],
)
def test_a_wrong_description_is_refused_naming_the_entry(tmp_path, name, change, words):
    with pytest.raises(RobotFileError, match=words) as failure:
        load_robot(changed(tmp_path, name, change))
    assert "robot.yaml" in str(failure.value)


def test_pairs_are_added_and_removed_by_name(tmp_path):
    before = {frozenset((pair.first, pair.second)) for pair in load_robot(FOLDER / "ur5").collision.pairs}
    gone, new = ["base_link", "wrist_3_link"], ["base_link", "shoulder_link"]
    assert frozenset(gone) in before
    assert frozenset(new) not in before
    change = {"remove_pairs": [gone], "add_pairs": [new]}
    robot = load_robot(changed(tmp_path, "ur5", lambda entries: entries["collision"].update(change)))
    after = {frozenset((pair.first, pair.second)) for pair in robot.collision.pairs}
    assert after == before - {frozenset(gone)} | {frozenset(new)}
    listed = {"self_pairs": [["base_link", ["wrist_2_link", "wrist_3_link"]]]}
    robot = load_robot(changed(tmp_path / "b", "ur5", lambda entries: entries["collision"].update(listed)))
    assert [(pair.first, pair.second) for pair in robot.collision.pairs] == [
        ("base_link", "wrist_2_link"),
        ("base_link", "wrist_3_link"),
    ]


def test_a_locked_joint_of_an_mjcf_stays_where_it_is_put(tmp_path):
    """The Gen3 with joint_5 locked at 0.4 rad has the same geometry as with joint_5 at 0.4 rad."""
    bundled = load_robot("gen3_2f85")
    folder = tmp_path / "gen3"
    shutil.copytree(bundled.source.path.parent, folder)
    entries = yaml.safe_load((folder / "robot.yaml").read_text())
    del entries["joints"][4]
    entries["locked"] = {"joint_5": 0.4}
    entries["configurations"] = {name: values[:4] + values[5:] for name, values in entries["configurations"].items()}
    (folder / "robot.yaml").write_text(yaml.safe_dump(entries))
    robot = load_robot(folder)
    assert robot.dof == 6
    six = np.array([0.3, 0.5, -0.4, 1.2, 0.7, 0.2])
    seven = np.insert(six, 4, 0.4)
    assert np.allclose(robot.tool_pose(six)[0], bundled.tool_pose(seven)[0], atol=1e-9)
    monitors = [CollisionMonitor(build_collision_model(each)) for each in (robot, bundled)]
    for monitor, positions in zip(monitors, (six, seven), strict=True):
        monitor.update(positions)
    for name in robot.collision.environment_geoms:
        places = [monitor._data.geom(name).xpos for monitor in monitors]
        assert np.allclose(*places, atol=1e-9)


def test_a_lift_has_tolerances_of_its_own(make_rig):
    """A slide of a centimetre is tolerated, four are not; and it is told in metres."""
    robot = load_robot(FOLDER / "tiago")
    for offset, stopped in ((0.01, False), (0.04, True)):
        rig = make_rig(on=robot)
        rig.positions[0] += offset
        rig.controller.step(rig.time, rig.measurement())
        assert (rig.state is State.STOPPED) == stopped
    assert rig.reason == "torso_lift_joint is 0.040 m from its command, allowed are 0.030 m"


TEXT = """
<robot name="two"><link name="foot"/><link name="arm">
  <collision><geometry><box size="0.1 0.2 0.3"/></geometry></collision>
  <collision><origin xyz="0 0 0.3"/><geometry><cylinder radius="0.05" length="0.2"/></geometry></collision>
</link><link name="tip"/>
<joint name="turn" type="continuous"><parent link="foot"/><child link="arm"/><axis xyz="0.6 0 0.8"/></joint>
<joint name="slide" type="prismatic"><parent link="arm"/><child link="tip"/><axis xyz="0 0.6 0.8"/>
  <origin xyz="0 0 0.4" rpy="0.1 0.2 0.3"/><limit lower="-0.1" upper="0.2" effort="1" velocity="0.3"/></joint>
</robot>
"""
ENTRIES = """
robot_id: two
base_frame: foot
tool_frame: tip
joints: [{name: turn, velocity: 1.0, acceleration: 2.0}, {name: slide, acceleration: 1.0}]
tool_limits: {linear: 0.5, angular: 1.0}
configurations: {ready: [0.0, 0.0]}
collision: {influence_distance: 0.1, safe_distance: 0.01}
"""


def test_a_robot_with_slanted_axes_and_a_joint_without_limits(tmp_path):
    (tmp_path / "robot.yaml").write_text(ENTRIES)
    robot = load_robot(tmp_path, TEXT)
    assert robot.limits.continuous.tolist() == [True, False]
    assert robot.limits.velocity.tolist() == [1.0, 0.3]
    assert set(robot.arm.links) == {"arm_0", "arm_1"}
    assert set(robot.arm.links.values()) == {"arm"}
    assert robot.collision.pairs == ()
    model = build_collision_model(robot)
    monitor = CollisionMonitor(model)
    for positions in (np.array([0.7, 0.1]), np.array([-2.0, -0.05])):
        monitor.update(positions)
        for geom, inner in (("arm_0", [0.0, 0.0, 0.0]), ("arm_1", [0.0, 0.0, 0.3])):
            assert np.allclose(monitor._data.geom(geom).xpos, robot.frame_pose("arm", positions).act(np.array(inner)))
        slid = robot.frame_pose("tip", positions).translation - robot.frame_pose("arm", positions).act(
            np.array([0.0, 0.0, 0.4])
        )
        assert np.linalg.norm(slid) == pytest.approx(abs(positions[1]))


def test_a_description_that_is_none_is_refused(tmp_path):
    (tmp_path / "robot.yaml").write_text(ENTRIES)
    for text, words in (("<robot", "robot description"), (TEXT.replace("prismatic", "planar"), "slide")):
        with pytest.raises(RobotFileError, match=words):
            load_robot(tmp_path, text)
