"""Objects and motions to configurations through the node, over real DDS."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="no ROS on this machine")
pytest.importorskip("gr2_msgs.msg", reason="gr2_msgs has not been built")

from domain_coordinator import domain_id  # noqa: E402
from gr2_msgs.msg import CollisionObject, PlanningScene  # noqa: E402
from gr2_msgs.srv import ApplyPlanningScene, MoveTo  # noqa: E402
from shape_msgs.msg import SolidPrimitive  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402
from wbc_bench import ROBOT, Bench  # noqa: E402

from gr2_wbc.collision import CollisionMonitor  # noqa: E402
from gr2_wbc.collision_model import build_collision_model  # noqa: E402
from gr2_wbc.node_surroundings import changed  # noqa: E402

HELD_UP = 80  # cycles that a virtual machine may miss within a second or two; a way planned in the loop takes 200
WALL = {"size": (0.5, 0.02, 1.0), "at": (0.4, 0.25, 0.5)}


def box(name, size, at, frame="base_link", **changes):
    item = CollisionObject(id=name)
    item.header.frame_id = frame
    item.pose.position.x, item.pose.position.y, item.pose.position.z = at
    item.primitives = [SolidPrimitive(type=SolidPrimitive.BOX, dimensions=list(size))]
    for key, value in changes.items():
        setattr(item, key, value)
    return item


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Iterator[Bench]:
    with domain_id() as domain:
        made = Bench(domain, tmp_path_factory.mktemp("surroundings"))
        made.apply = made.node.create_client(ApplyPlanningScene, "/wbc/apply_planning_scene")
        made.move = made.node.create_client(MoveTo, "/wbc/move_to")
        made.scene = made.node.create_publisher(PlanningScene, "/planning_scene", 10)
        # The robot's thread may be held up while the arm is fast.
        made.start("realtime_priority:=50", "safety.tracking_error:=1.0")
        made.until(made.in_state("HOLDING"), "HOLDING")
        yield made
        code, log = made.stop(), made.log.read_text()
        made.close()
        assert code == 0, log
        assert "Traceback" not in log


@pytest.fixture
def running(bench) -> Bench:
    """The bench at 'ready' in its own scene, holding, whatever the test before has left."""
    bench.recover()
    if bench.status.motion:
        bench.call(bench.move, MoveTo.Request(cancel=True))
    bench.until(bench.in_state("HOLDING"), "HOLDING")
    assert apply(bench, clear=True).success
    if np.abs(bench.positions - ROBOT.configurations["ready"]).max() > 0.01:
        assert bench.call(bench.move, MoveTo.Request(name="ready", speed=1.0)).accepted
        bench.until(lambda: bench.status.reason == "'ready' is reached", "ready", 60.0)
    return bench


def apply(bench, *objects, clear=False, wait=True):
    answer = bench.call(
        bench.apply, ApplyPlanningScene.Request(scene=PlanningScene(objects=list(objects), clear=clear))
    )
    if answer.success and wait:
        bench.until(lambda: bench.status.scene_version >= answer.version, "the scene is in force")
    return answer


def test_it_moves_around_an_obstacle_and_policies_wait(running):
    """No cycle is missed while the way is planned, and the distance is kept all along it."""
    assert apply(running, box("wall", **WALL)).success
    session = running.activate().session
    goal = ROBOT.configurations["ready"].copy()
    goal[0] -= 1.5
    before, refused = running.status.missed_cycles, running.refused("moving")
    answer = running.call(
        running.move,
        MoveTo.Request(joint_names=list(ROBOT.joint_names[::-1]), positions=goal[::-1].tolist(), speed=1.0),
    )
    assert answer.accepted, answer.message
    running.until(running.in_state("TRACKING"), "TRACKING")
    if "SCHED_FIFO, priority" in running.log.read_text():  # otherwise other processes make cycles late
        assert running.status.missed_cycles <= before + HELD_UP
    assert running.status.reason == "moving to the given configuration"
    assert running.status.motion == "moving to the given configuration"
    running.send_chunk(session, (0.05, 0.0, 0.0))
    running.until(lambda: running.refused("moving") > refused, "the refusal of a chunk")
    assert "moving to" in running.status.last_refusal
    second = running.call(running.move, MoveTo.Request(name="home"))
    assert not second.accepted
    assert "cancel that first" in second.message
    scene = changed(
        ROBOT.collision.environment, PlanningScene(objects=[box("wall", **WALL)]), ROBOT, np.zeros(ROBOT.dof)
    )
    monitor, least = CollisionMonitor(build_collision_model(ROBOT, scene)), np.inf

    def watch() -> bool:
        nonlocal least
        monitor.update(running.positions)
        least = min(least, monitor.clearance)
        return running.in_state("HOLDING")()

    running.until(watch, "the end of the motion", 60.0)
    assert running.status.reason == "the given configuration is reached"
    assert running.status.motion == ""
    assert least > -0.0005
    running.until(lambda: np.abs(running.positions - goal).max() < 0.005, "the robot at the goal")


def test_a_motion_is_cancelled_along_its_way_and_the_e_stop_ends_one(running):
    assert running.call(running.move, MoveTo.Request(name="home")).accepted
    running.until(running.in_state("TRACKING"), "TRACKING")
    running.spin(0.5)
    assert running.call(running.move, MoveTo.Request(cancel=True)).accepted
    running.until(running.in_state("HOLDING"), "HOLDING")
    assert "given up" in running.status.reason
    assert not running.call(running.move, MoveTo.Request(cancel=True)).accepted
    assert running.call(running.move, MoveTo.Request(name="home")).accepted
    running.until(running.in_state("TRACKING"), "TRACKING")
    running.e_stop.publish(Bool(data=True))
    running.until(running.in_state("STOPPED"), "STOPPED")
    running.until(lambda: running.status.motion == "", "the end of the motion")
    refused = running.call(running.move, MoveTo.Request(name="home"))
    assert not refused.accepted
    assert "STOPPED" in refused.message
    running.until(lambda: not running.robot.velocities.any(), "rest")
    running.recover()
    running.spin(0.5)
    assert running.in_state("HOLDING")()  # the motion does not go on by itself


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "nowhere"}, "no configuration 'nowhere' (known: ready, home)"),
        ({"joint_names": ["joint_1"], "positions": [0.0]}, "joint_2"),
        (
            {"joint_names": list(ROBOT.joint_names), "positions": [0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]},
            "joint_2 = 3.0 rad",
        ),
        ({"joint_names": list(ROBOT.joint_names), "positions": [float("nan")] * 7}, "joint_1 = nan"),
        ({"name": "home", "speed": 1.5}, "speed 1.5"),
        ({"name": "home", "speed": float("nan")}, "speed nan"),
    ],
)
def test_motions_that_make_no_sense_are_refused(running, fields, words):
    answer = running.call(running.move, MoveTo.Request(**fields))
    assert not answer.accepted
    assert words in answer.message


def test_without_a_way_the_reason_is_told_and_policies_may_go_on(running):
    assert apply(running, box("cage", (0.3, 0.3, 0.3), tuple(ROBOT.tool_pose(ROBOT.configurations["home"])[0]))).success
    assert running.call(running.move, MoveTo.Request(name="home")).accepted
    running.until(lambda: "no motion to 'home'" in running.status.reason, "the failure")
    assert "goal_in_collision" in running.status.reason
    assert "cage" in running.status.reason
    assert running.status.motion == ""


def test_an_object_that_appears_is_told_from_the_topic_and_moved_out_of(running):
    place = ROBOT.tool_pose(ROBOT.configurations["ready"])[0]
    message = PlanningScene(objects=[box("block", (0.04, 0.04, 0.04), (place[0], place[1], place[2] - 0.025))])
    version = running.status.scene_version
    running.scene.publish(message)
    running.until(lambda: running.status.scene_version > version, "the scene is in force")
    running.until(lambda: "block" in running.status.minimum_distance_pair, "the nearest pair")
    running.until(lambda: running.status.minimum_distance > 0.0145, "moved out")


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (box("b", (0.1, 0.1, 0.1), (0.0, 0.0, 1.0), frame="camera"), "no frame 'camera'"),
        (box("b", (0.1, 0.1, 0.1), (0.0, 0.0, 1.0), frame="bracelet_link"), "'bracelet_link' moves"),
        (box("b", (0.1, 0.0, 0.1), (0.0, 0.0, 1.0)), "box"),
        (box("b", (0.1, 0.1), (0.0, 0.0, 1.0)), "3 dimensions, got 2"),
        (box("b", (0.1, 0.1, 0.1), (0.0, float("inf"), 1.0)), "not finite"),
        (box("b", (0.1, 0.1, 0.1), (0.0, 0.0, 1.0), touch=["thumb"]), "'thumb'"),
        (box("b", (0.1, 0.1, 0.1), (0.0, 0.0, 1.0), use_margin=True, margin=0.5), "margin 0.5"),
        (box("palm_capsule", (0.1, 0.1, 0.1), (0.0, 0.0, 1.0)), "'palm_capsule'"),
        (box("table", (0.1, 0.1, 0.1), (0.0, 0.0, 1.0)), "'table' belongs to the robot"),
        (CollisionObject(id="cup", operation=CollisionObject.REMOVE), "no object 'cup'"),
        (CollisionObject(id="cup", operation=CollisionObject.ATTACH, attach_link="tool_frame"), "no object 'cup'"),
        (CollisionObject(id="cup", operation=9), "operation 9"),
    ],
)
def test_changes_that_make_no_sense_are_refused_as_a_whole(running, item, words):
    version = running.status.scene_version
    answer = apply(running, box("good", (0.1, 0.1, 0.1), (0.0, 1.0, 1.0)), item)
    assert not answer.success
    assert words in answer.message
    assert answer.version == version
    unknown = apply(running, CollisionObject(id="good", operation=CollisionObject.REMOVE))
    assert not unknown.success  # nothing was changed


def test_a_planning_process_that_dies_is_replaced_and_control_goes_on(running):
    """The arm stands, the scene stays, and the next motion is planned by another process."""
    assert apply(running, box("wall", **WALL)).success
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    if not children.exists():
        pytest.skip("the kernel does not list children")
    version = running.status.scene_version
    (worker,) = [int(child) for child in children.read_text().split()]
    os.kill(worker, signal.SIGKILL)
    running.until(lambda: "starting another" in running.log.read_text(), "another process")
    assert running.in_state("HOLDING")()
    assert running.status.scene_version == version
    assert running.call(running.move, MoveTo.Request(name="home", speed=1.0)).accepted
    running.until(lambda: running.status.reason == "'home' is reached", "home", 60.0)


def test_no_cycle_is_missed_while_the_scene_changes(running):
    """Twenty scenes of up to twenty boxes, built elsewhere and put in place between two cycles."""
    boxes = [box(f"box_{k}", (0.1, 0.1, 0.1), (0.6, -1.0 + 0.1 * k, 1.0)) for k in range(20)]
    before = running.status.missed_cycles
    for item in boxes:
        assert apply(running, item).success
    assert "SCHED_FIFO, priority" not in running.log.read_text() or running.status.missed_cycles <= before + HELD_UP
