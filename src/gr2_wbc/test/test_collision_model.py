"""The distance engine with objects: distances against coal, an independent library; pairs, margins, held objects."""

from __future__ import annotations

import coal
import numpy as np
import pinocchio as pin
import pytest

from gr2_wbc.collision import CollisionMonitor
from gr2_wbc.collision_model import build_collision_model, check_environment
from gr2_wbc.environment import Environment, SceneObject, SceneRefused, Shape, pose_of

CORNERS = np.random.default_rng(0).uniform(-0.06, 0.06, (20, 3))
SHAPES = {
    "box": Shape("box", (0.05, 0.08, 0.03)),
    "sphere": Shape("sphere", (0.06,)),
    "cylinder": Shape("cylinder", (0.04, 0.07)),
    "capsule": Shape("capsule", (0.04, 0.07)),
    "mesh": Shape("mesh", vertices=CORNERS),
    "plane": Shape("plane"),
}
FINGERS = frozenset(("left_finger_capsule", "right_finger_capsule", "palm_capsule", "bracelet_link_capsule"))


def independent(shape: Shape):
    """The same shape in coal."""
    if shape.kind == "box":
        return coal.Box(*(2.0 * np.array(shape.size)))
    if shape.kind == "sphere":
        return coal.Sphere(*shape.size)
    if shape.kind == "cylinder":
        return coal.Cylinder(shape.size[0], 2.0 * shape.size[1])
    if shape.kind == "capsule":
        return coal.Capsule(shape.size[0], 2.0 * shape.size[1])
    if shape.kind == "plane":
        return coal.Halfspace(np.array([0.0, 0.0, 1.0]), 0.0)
    body = coal.BVHModelOBBRSS()
    body.beginModel(0, len(shape.vertices))
    body.addVertices(shape.vertices)
    body.endModel()
    body.buildConvexHull(False, "Qt")
    return body.convex


def coal_distance(first, first_pose: pin.SE3, second, second_pose: pin.SE3) -> float:
    places = [coal.Transform3s(pose.rotation, pose.translation) for pose in (first_pose, second_pose)]
    return coal.distance(first, places[0], second, places[1], coal.DistanceRequest(), coal.DistanceResult())


def distance(monitor: CollisionMonitor, first: str, second: str) -> float:
    """Smallest distance that the monitor reports for a pair; infinite if it is not near."""
    found = [
        float(value)
        for (i, j), value in zip(monitor._data.contact.geom, monitor._data.contact.dist, strict=True)
        if {monitor._names[i], monitor._names[j]} == {first, second}
    ]
    return min(found, default=np.inf)


def random_pose(rng: np.random.Generator, centre: np.ndarray, spread: float) -> pin.SE3:
    return pin.SE3(pin.exp3(2.0 * rng.normal(size=3)), centre + spread * rng.normal(size=3))


@pytest.mark.parametrize("standing", SHAPES)
@pytest.mark.parametrize("held", ["box", "sphere", "cylinder", "capsule", "mesh"])
def test_distances_of_held_and_standing_objects_are_coals(robot, held, standing):
    rng, compared = np.random.default_rng(3), 0
    for _ in range(20):
        positions = robot.configurations["ready"] + rng.uniform(-0.5, 0.5, robot.dof)
        inner = random_pose(rng, np.zeros(3), 0.01)
        world = robot.frame_pose("tool_frame", positions) * inner
        there = random_pose(rng, world.translation, 0.1)
        environment = Environment().add(SceneObject("held", (SHAPES[held],), inner, link="tool_frame"))
        environment = environment.add(SceneObject("other", (SHAPES[standing],), there))
        monitor = CollisionMonitor(build_collision_model(robot, environment))
        monitor.update(positions)
        true = coal_distance(independent(SHAPES[held]), world, independent(SHAPES[standing]), there)
        if 1e-3 < true < 0.099:
            assert distance(monitor, "held", "other") == pytest.approx(true, abs=1e-6)
            compared += 1
        elif true > 0.101:
            assert distance(monitor, "held", "other") == np.inf
        elif true < 0.0:
            assert distance(monitor, "held", "other") < 1e-3
    assert compared >= 3


@pytest.mark.parametrize("kind", SHAPES)
def test_distances_between_links_and_objects_are_coals(robot, kind):
    """Over random configurations, for every link that is near."""
    rng, compared = np.random.default_rng(4), 0
    there = pose_of("x", (0.4, 0.1, 0.3)) if kind != "plane" else pose_of("x", (0.0, 0.0, 0.2))
    monitor = CollisionMonitor(
        build_collision_model(robot, Environment().add(SceneObject("x", (SHAPES[kind],), there)))
    )
    sizes = {geom.name: np.array(geom.size) for geom in monitor_geoms(monitor)}
    for _ in range(500):
        monitor.update(rng.uniform(-2.2, 2.2, robot.dof))
        for name in robot.collision.environment_geoms:
            geom = monitor._data.geom(name)
            capsule = coal.Capsule(sizes[name][0], 2.0 * sizes[name][1])
            place = pin.SE3(geom.xmat.reshape(3, 3).copy(), geom.xpos.copy())
            true = coal_distance(capsule, place, independent(SHAPES[kind]), there)
            if 1e-3 < true < 0.099:
                assert distance(monitor, name, "x") == pytest.approx(true, abs=1e-6)
                compared += 1
    assert compared > 20


def monitor_geoms(monitor: CollisionMonitor):
    return [monitor._model.geom(index) for index in range(monitor._model.ngeom)]


def monitored(model) -> set[frozenset[str]]:
    return {
        frozenset((model.geom_names[i], model.geom_names[j]))
        for i, j in zip(model.model.pair_geom1, model.model.pair_geom2, strict=True)
    }


def test_a_held_object_takes_the_place_of_the_hand(robot):
    """No pair with what is rigid with it, pairs with every other link and with what stands."""
    ready = robot.configurations["ready"]
    holder = robot.frame_pose("tool_frame", ready)
    cube = SceneObject("cube", (Shape("box", (0.02, 0.02, 0.02)),), holder)
    loose = robot.collision.environment.add(cube)
    held = loose.attach("cube", "tool_frame", holder)
    before, after = (monitored(build_collision_model(robot, each)) for each in (loose, held))
    with_links = {next(iter(pair - {"cube"})) for pair in after if "cube" in pair}
    assert FINGERS & with_links == set()
    assert {"table", "base_link_capsule", "forearm_link_capsule"} <= with_links
    assert frozenset(("palm_capsule", "cube")) in before
    # It moves with the tool.
    monitor = CollisionMonitor(build_collision_model(robot, held))
    elsewhere = ready + np.array([0.7, 0.1, 0.2, -0.1, 0.3, 0.2, 0.5])
    for positions in (ready, elsewhere):
        monitor.update(positions)
        assert np.allclose(monitor._data.geom("cube").xpos, robot.tool_pose(positions)[0], atol=1e-9)


def test_distances_are_chosen_by_pair_object_and_robot(robot):
    shape = (Shape("sphere", (0.02,)),)
    environment = (
        robot.collision.environment.add(SceneObject("plain", shape))
        .add(SceneObject("wide", shape, margin=0.05))
        .add(SceneObject("mixed", shape, margin=0.05, margins={"palm_capsule": 0.001, "bracelet_link": 0.002}))
        .add(SceneObject("soft", shape, touch=frozenset({"forearm_link"})))
        .add(SceneObject("held", shape, link="tool_frame", margins={"table": 0.004}))
    )
    model = build_collision_model(robot, environment)
    number = {name: index for index, name in enumerate(model.geom_names)}

    def kept(first: str, second: str) -> float:
        return float(model.safe_distance[number[first], number[second]])

    assert kept("palm_capsule", "plain") == robot.collision.safe_distance
    assert kept("palm_capsule", "wide") == 0.05
    assert kept("palm_capsule", "mixed") == 0.001
    assert kept("bracelet_link_capsule", "mixed") == 0.002
    assert kept("forearm_link_capsule", "mixed") == 0.05
    assert frozenset(("forearm_link_capsule", "soft")) not in monitored(model)
    assert kept("left_finger_capsule", "table") == 0.003  # from robot.yaml
    assert kept("held", "table") == 0.004
    assert kept("held", "plain") == robot.collision.attached_distance


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (SceneObject("palm_capsule", (Shape("sphere", (0.1,)),)), "'palm_capsule'"),
        (SceneObject("x", (Shape("sphere", (0.1,)),), link="nose"), "no frame 'nose'"),
        (SceneObject("x", (Shape("sphere", (0.1,)),), touch=frozenset({"thumb"})), "'thumb'"),
        (SceneObject("x", (Shape("sphere", (0.1,)),), margins={"thumb": 0.01}), "'thumb'"),
        (SceneObject("x", (Shape("sphere", (0.1,)),), margin=0.1), "below 0.1 m"),
    ],
)
def test_what_does_not_fit_the_robot_is_refused(robot, item, words):
    with pytest.raises(SceneRefused, match=words):
        check_environment(robot, robot.collision.environment.add(item))


def test_a_pair_that_no_motion_brings_apart_is_dropped_and_told(robot):
    """A plinth that the shoulder stands in; everything else is kept away from it."""
    plinth = SceneObject("plinth", (Shape("cylinder", (0.1, 0.1)),), pose_of("plinth", (0.0, 0.0, 0.15)))
    model = build_collision_model(robot, robot.collision.environment.add(plinth))
    assert "shoulder_link_capsule|plinth" in model.dropped
    assert frozenset(("shoulder_link_capsule", "plinth")) not in monitored(model)
    assert frozenset(("palm_capsule", "plinth")) in monitored(model)


def test_an_object_beside_a_moving_arm_causes_no_jump_and_is_moved_out_of(make_rig, robot):
    """It appears 5 mm from a finger (15 mm are to be kept) of an arm at 0.1 m/s towards it."""
    rig = make_rig(**{"intake.max_position_jump": 1.0})
    rig.send(rig.line((0.0, 0.15, 0.0)))
    rig.step(150)
    finger = CollisionMonitor(build_collision_model(robot))
    finger.update(rig.positions)
    points = [point for name in ("left_finger_capsule", "right_finger_capsule") for point in tips(finger, name)]
    front = max(points, key=lambda point: point[1])
    at = front + np.array([0.0, 0.0125 + 0.005 + 0.03, 0.0])
    wall = SceneObject("ball", (Shape("sphere", (0.03,)),), pose_of("ball", at))
    environment = robot.collision.environment.add(wall)
    rig.controller.use_collision(build_collision_model(robot, environment))
    assert rig.controller.scene_version == environment.version
    changes, distances = [], []
    for _ in range(300):
        command = rig.step()
        changes.append(np.abs(command.plan.velocities[0] - command.plan.start_velocity).max())
        distances.append(rig.controller.status().minimum_distance)
    assert max(changes) <= 5.0 * 0.005 * 1.0001  # the acceleration limit
    assert min(distances) > 0.0005  # it had 5 mm to stop in
    assert distances[-1] > 0.0145
    speeds = np.diff(distances) / 0.005
    assert speeds.max() < 0.06  # outward no faster than the recovery speed
    assert rig.controller.status().qp_failures == 0


def tips(monitor: CollisionMonitor, name: str) -> list[np.ndarray]:
    geom, half = monitor._data.geom(name), float(monitor._model.geom(name).size[1])
    return [geom.xpos + sign * half * geom.xmat.reshape(3, 3)[:, 2] for sign in (-1.0, 1.0)]


def test_a_cube_is_lifted_off_the_table_and_kept_out_of_a_wall(make_rig, robot):
    """Held, it touches the table at first; the fingers' own distances still hold."""
    rig = make_rig(**{"intake.max_position_jump": 1.0, "reference.max_overtime": 3.0})
    start = rig.tool()[0]
    rig.stream(lambda t: start + np.array([0.0, 0.0, -0.28 * min(t / 2.0, 1.0)]), 3.0)
    place = rig.tool()[0]
    assert place[2] < 0.025
    half = float(place[2])
    environment = robot.collision.environment.add(
        SceneObject("cube", (Shape("box", (0.06, 0.02, half)),), pose_of("cube", place))
    ).add(SceneObject("wall", (Shape("box", (0.01, 0.2, 0.08)),), pose_of("wall", (0.6, 0.0, 0.08))))
    environment = environment.attach("cube", "tool_frame", robot.frame_pose("tool_frame", rig.positions))
    rig.controller.use_collision(build_collision_model(robot, environment))
    rig.stream(lambda t: place + np.array([0.0, 0.0, 0.1 * min(t, 1.0)]), 2.0)
    assert rig.tool()[0][2] > place[2] + 0.09
    lifted, least = rig.tool()[0], []
    watch = CollisionMonitor(build_collision_model(robot, environment))

    def look():
        watch.update(rig.positions)
        least.append(distance(watch, "cube", "wall"))

    rig.stream(lambda t: lifted + np.array([0.25 * min(t / 2.0, 1.0), 0.0, 0.0]), 4.0, each=look)
    assert min(least) > robot.collision.attached_distance - 0.0005
    assert min(least) < 0.02  # it came that near
