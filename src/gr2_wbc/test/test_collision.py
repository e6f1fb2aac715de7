"""Distances, and that they are kept when the arm is forced into things."""

from __future__ import annotations

import shutil

import mujoco
import numpy as np
import pytest
import yaml

from gr2_wbc.collision import CollisionMonitor
from gr2_wbc.collision_model import build_collision_model
from gr2_wbc.kinematics import Kinematics
from gr2_wbc.robot import RobotFileError
from gr2_wbc.robots import load_robot, robot_path


def near_configurations(robot, count=30):
    """Random configurations in which some pair is near."""
    rng, monitor, found = np.random.default_rng(0), CollisionMonitor(build_collision_model(robot)), []
    while len(found) < count:
        positions = rng.uniform(-2.2, 2.2, robot.dof)
        monitor.update(positions)
        if 0.0 < monitor.nearest.distance < 0.09:
            found.append(positions)
    return found


def test_distances_are_those_between_the_capsules(robot):
    """Against MuJoCo's direct distance query, another algorithm, over all pairs of robot.yaml."""
    monitor = CollisionMonitor(build_collision_model(robot))
    model = mujoco.MjModel.from_xml_path(str(robot.model_path))
    data = mujoco.MjData(model)
    for positions in near_configurations(robot):
        monitor.update(positions)
        data.qpos[:] = positions
        mujoco.mj_kinematics(model, data)
        smallest = np.inf
        for pair in robot.collision.pairs:
            first, second = model.geom(pair.first).id, model.geom(pair.second).id
            smallest = min(smallest, mujoco.mj_geomDistance(model, data, first, second, 1.0, None))
        for name in set(robot.collision.environment_geoms) - {"shoulder_link_capsule"}:  # always at the table
            geom = model.geom(name).id
            half = abs(data.geom_xmat[geom].reshape(3, 3)[2, 2]) * model.geom_size[geom, 1]
            smallest = min(smallest, data.geom_xpos[geom, 2] - half - model.geom_size[geom, 0])
        assert monitor.nearest.distance == pytest.approx(smallest, abs=1e-6)


def test_rows_are_the_rates_of_the_distances(robot, rows_of):
    monitor, kinematics, step = CollisionMonitor(build_collision_model(robot)), Kinematics(robot), 1e-5
    rng = np.random.default_rng(1)
    for positions in near_configurations(robot):
        kinematics.update(positions)
        monitor.update(positions)
        name = monitor.nearest.pair
        rates, _ = rows_of(monitor, kinematics.spatial, 100)
        index = int(np.argmin(monitor._distances))
        direction = rng.normal(size=robot.dof)
        ends = []
        for sign in (-1.0, 1.0):
            monitor.update(positions + sign * step * direction)
            ends.append(monitor.nearest.distance)
            assert monitor.nearest.pair == name
        assert (ends[1] - ends[0]) / (2 * step) == pytest.approx(rates[index] @ direction, abs=5e-4)


def test_only_the_nearest_contacts_are_taken(robot, rows_of):
    monitor, kinematics = CollisionMonitor(build_collision_model(robot)), Kinematics(robot)
    for positions in near_configurations(robot, 10):
        kinematics.update(positions)
        monitor.update(positions)
        everything, least = rows_of(monitor, kinematics.spatial, 100)
        some, some_least = rows_of(monitor, kinematics.spatial, 2)
        assert len(some) == min(2, len(everything))
        assert some_least.max() == pytest.approx(np.sort(least)[-len(some) :].max())


def test_far_from_everything_there_is_nothing_to_keep(robot, rows_of):
    monitor = CollisionMonitor(build_collision_model(robot))
    monitor.update(robot.configurations["ready"])
    rates, least = rows_of(monitor, np.zeros((6, robot.dof)), 16)
    assert rates.shape == (0, robot.dof)
    assert least.shape == (0,)
    assert monitor.nearest.pair == ""


def test_a_pair_of_an_unknown_geom_is_named(tmp_path):
    shutil.copytree(robot_path("gen3_2f85"), tmp_path / "robot")
    path = tmp_path / "robot" / "robot.yaml"
    entries = yaml.safe_load(path.read_text())
    entries["collision"]["add_pairs"] = [["base_link_capsule", ["elbow"]]]
    path.write_text(yaml.safe_dump(entries))
    with pytest.raises(RobotFileError, match="'elbow'"):
        build_collision_model(load_robot(tmp_path / "robot"))


def box_robot(tmp_path, **box):
    shutil.copytree(robot_path("gen3_2f85"), tmp_path / "robot")
    path = tmp_path / "robot" / "robot.yaml"
    entries = yaml.safe_load(path.read_text())
    entries["collision"]["environment"].append({"name": "box", "type": "box", **box})
    path.write_text(yaml.safe_dump(entries))
    return load_robot(tmp_path / "robot")


def force(rig, offset, cycles=600, lead=4.0):
    """Stream chunks along a straight line into something; smallest clearance over the run, tails included."""
    start, orientation = rig.tool()
    direction = np.array(offset)
    tail = CollisionMonitor(build_collision_model(rig.robot))
    clearance = np.inf
    begun = rig.time
    for cycle in range(cycles):
        if cycle % 30 == 0:
            times = rig.time - 0.1 + 0.1 * np.arange(1, 17) - begun
            rig.sequence += 1
            rig.send(
                start + np.clip(times / lead, 0.0, 1.0)[:, None] * direction,
                orientations=np.tile(orientation, (16, 1)),
                stamp=rig.time - 0.1,
            )
        command = rig.step()
        clearance = min(clearance, rig.controller._collision.clearance)
        if cycle % 5 == 0:
            tail.update(command.plan.positions[2])
            clearance = min(clearance, tail.clearance)
    return clearance


@pytest.mark.parametrize(
    ("offset", "lead", "pair", "solver"),
    [
        ((0.0, 0.0, -0.45), 1.0, "table", "osqp"),
        ((0.0, 0.0, -0.45), 1.0, "table", "daqp"),
        ((0.1, 0.1, -0.45), 2.0, "table", "osqp"),
        ((-0.55, 0.0, -0.1), 2.0, "capsule", "osqp"),
        ((-0.55, 0.0, -0.1), 2.0, "capsule", "daqp"),
    ],
)
def test_forced_into_the_table_and_itself_distances_are_kept(make_rig, offset, lead, pair, solver):
    """Half a millimetre below the safe distance is allowed; without the rows these runs collide."""
    rig = make_rig(**{"qp.solver": solver, "intake.max_position_jump": 1.0})
    assert force(rig, offset, cycles=800, lead=lead) > -0.0005
    status = rig.controller.status()
    assert pair in status.minimum_distance_pair
    assert status.minimum_distance < 0.08
    assert status.qp_failures == 0
    # It stands there quietly: no chatter between the task and the rows. (A new chunk every 30 cycles begins where the
    # arm is, which shakes it by 0.012 rad/s in one cycle.)
    velocities = np.array([command.velocities for command in rig.commands[-100:]])
    changes = np.abs(np.diff(velocities, axis=0)).max(axis=1)
    assert np.percentile(changes, 95) < 0.015
    assert np.median(changes) < 0.002


def test_without_the_pairs_the_same_run_goes_through_the_table(make_rig, monkeypatch):
    """The test above can fail."""
    monkeypatch.setattr(CollisionMonitor, "rows", lambda *_: 0)
    rig = make_rig(**{"intake.max_position_jump": 1.0})
    assert force(rig, (0.0, 0.0, -0.45), lead=1.0) < -0.05


def test_an_obstacle_of_the_environment_is_kept_away_from(tmp_path, make_rig):
    robot = box_robot(tmp_path, position=[0.42, 0.25, 0.15], half_size=[0.06, 0.03, 0.15])
    rig = make_rig(on=robot, **{"intake.max_position_jump": 1.0})
    assert force(rig, (0.0, 0.3, -0.1), lead=2.0) > -0.0005
    assert "box" in rig.controller.status().minimum_distance_pair


def inside_the_margin(robot, depth):
    """A configuration with the fingers ``depth`` above the table, found by going there without the rows."""
    monitor, kinematics = CollisionMonitor(build_collision_model(robot)), Kinematics(robot)
    positions = robot.configurations["ready"].copy()
    for _ in range(500):
        monitor.update(positions)
        if monitor.nearest.distance < depth:
            return positions
        kinematics.update(positions)
        positions += np.linalg.pinv(kinematics.jacobian) @ np.array([0, 0, -0.001, 0, 0, 0])
    raise AssertionError("not reached")


@pytest.mark.parametrize("depth", [0.001, -0.004])
def test_started_inside_a_margin_it_recovers_outward_without_a_jump(make_rig, robot, depth):
    start = inside_the_margin(robot, depth)
    rig = make_rig(start)
    before = rig.controller.status().minimum_distance
    assert before < depth
    rig.send(np.tile(rig.tool()[0], (16, 1)))
    speeds = []
    for _ in range(200):
        command = rig.step()
        distance = rig.controller.status().minimum_distance
        assert distance > before - 1e-5
        speeds.append(np.abs(command.velocities - command.plan.start_velocity).max())
    assert distance > 0.0025
    assert max(speeds) <= 5.0 * 0.005 * 1.0001
    assert rig.controller.status().qp_failures == 0
