"""One contract for all planners: OMPL's; MoveIt's on a stand-in for moveit_py, and on MoveIt where it is installed.

The stand-in has what docs/interfaces.md says of moveit_py, and no more. It plans for itself, from nothing but the
messages that it was given: what our side does not tell it, its paths run into.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import Pose
from shape_msgs.msg import SolidPrimitive
from std_msgs.msg import Header

from gr2_wbc.collision import CollisionMonitor
from gr2_wbc.collision_model import build_collision_model
from gr2_wbc.environment import Environment, SceneObject, Shape, pose_of
from gr2_wbc.moveit_planner import MoveItPlanner, MoveItSession, open_session, read_configuration
from gr2_wbc.moveit_scene import attached_object, collision_object
from gr2_wbc.planning import CheckedPlanner, OmplPlanner, PlanningConfig, PlanningFailed, Trouble
from gr2_wbc.robot import Robot

NAMES = ("joint_7", "joint_1", "joint_2", "joint_3", "joint_4", "joint_5", "joint_6")  # MoveIt's own order
CONFIGURATION = Path(__file__).resolve().parents[2] / "gr2_bringup" / "config" / "moveit.yaml"


class CollisionObject:
    """Fields of moveit_msgs/CollisionObject."""

    def __init__(self) -> None:
        self.header, self.pose, self.id, self.operation = Header(), Pose(), "", b"\x00"
        self.primitives: list[Any] = []
        self.primitive_poses: list[Pose] = []
        self.meshes: list[Any] = []
        self.mesh_poses: list[Pose] = []
        self.planes: list[Any] = []
        self.plane_poses: list[Pose] = []


class AttachedCollisionObject:
    """Fields of moveit_msgs/AttachedCollisionObject."""

    def __init__(self) -> None:
        self.link_name, self.object, self.touch_links = "", CollisionObject(), []


def se3(pose: Pose) -> Any:
    place, turn = pose.position, pose.orientation
    return pose_of("", (place.x, place.y, place.z), (turn.x, turn.y, turn.z, turn.w))


class MoveIt:
    """MoveItPy, its planning scene monitor, its scene and its planning component in one."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self.objects: dict[str, CollisionObject] = {}
        self.attached: dict[str, AttachedCollisionObject] = {}
        self.current_state = SimpleNamespace(update=lambda: None)
        self.locked = False
        self.start: Any = None
        self.goal: Any = None
        self.spoil: Callable[[np.ndarray], np.ndarray] = lambda path: path
        self.give_up = False

    def get_planning_component(self, group: str) -> MoveIt:
        assert group == "manipulator"
        return self

    def get_robot_model(self) -> str:
        return "model"

    def get_planning_scene_monitor(self) -> MoveIt:
        return self

    @contextmanager
    def read_write(self) -> Iterator[MoveIt]:
        self.locked = True
        yield self
        self.locked = False

    def remove_all_collision_objects(self) -> None:
        assert self.locked
        self.objects, self.attached = {}, {}

    def apply_collision_object(self, message: CollisionObject) -> None:
        assert self.locked
        assert message.operation == b"\x00"
        assert message.header.frame_id == self.robot.base_frame
        self.objects[message.id] = message

    def process_attached_collision_object(self, message: AttachedCollisionObject) -> None:
        assert self.locked
        self.attached[message.object.id] = message

    def set_start_state(self, robot_state: Any) -> None:
        self.start = robot_state

    def set_goal_state(self, robot_state: Any) -> None:
        self.goal = robot_state

    def environment(self) -> Environment:
        """What the messages say."""
        made = Environment()
        for message in self.objects.values():
            made = made.add(self.read(message, None))
        for held in self.attached.values():
            touch = frozenset(held.touch_links) & frozenset(
                self.robot.arm.links
            )  # MoveIt ignores what it does not know
            made = made.add(self.read(held.object, held.link_name, touch))
        return made

    @staticmethod
    def read(message: CollisionObject, link: str | None, touch: frozenset[str] = frozenset()) -> SceneObject:
        shapes = []
        for primitive, pose in zip(message.primitives, message.primitive_poses, strict=True):
            d = list(primitive.dimensions)
            if primitive.type == SolidPrimitive.BOX:
                shapes.append(Shape("box", tuple(0.5 * v for v in d), se3(pose)))
            elif primitive.type == SolidPrimitive.SPHERE:
                shapes.append(Shape("sphere", tuple(d), se3(pose)))
            else:
                shapes.append(Shape("cylinder", (d[1], 0.5 * d[0]), se3(pose)))
        for plane in message.planes:
            a, b, c, offset = plane.coef
            assert (a, b) == (0.0, 0.0), "this stand-in knows level planes"
            shapes.append(Shape("plane", placement=pose_of("", (0.0, 0.0, -offset / c), (0.0, 0.0, 0.0, 1.0))))
        for mesh, pose in zip(message.meshes, message.mesh_poses, strict=True):
            vertices = np.array([[v.x, v.y, v.z] for v in mesh.vertices])
            shapes.append(Shape("mesh", placement=se3(pose), vertices=vertices))
        return SceneObject(message.id, tuple(shapes), se3(message.pose), link=link, touch=touch)

    def plan(self, single_plan_parameters: Any) -> Any:
        assert single_plan_parameters.planning_time > 0.0
        if self.give_up:
            return None
        ends = []
        for state in (self.start, self.goal):
            assert state.updated
            positions = np.array([state.joint_positions[name] for name in self.robot.joint_names])
            assert np.abs(positions).max() <= np.pi + 1e-9, "beyond a turn"
            ends.append(positions)
        planner = OmplPlanner(self.robot.limits, build_collision_model(self.robot, self.environment()))
        path = self.spoil(planner.plan(*ends))
        order = [self.robot.joint_names.index(name) for name in NAMES]
        points = [SimpleNamespace(positions=row[order].tolist()) for row in path]
        told = SimpleNamespace(joint_trajectory=SimpleNamespace(joint_names=list(NAMES), points=points))
        return SimpleNamespace(trajectory=SimpleNamespace(get_robot_trajectory_msg=lambda: told))


class State:
    """moveit.core.robot_state.RobotState."""

    def __init__(self, model: str) -> None:
        assert model == "model"
        self.joint_positions: dict[str, float] = {}
        self.updated = False

    def update(self) -> None:
        self.updated = True


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """moveit_msgs, where ROS 2 has not brought it."""
    if importlib.util.find_spec("moveit_msgs") is None:
        package, module = ModuleType("moveit_msgs"), ModuleType("moveit_msgs.msg")
        module.CollisionObject, module.AttachedCollisionObject = CollisionObject, AttachedCollisionObject  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "moveit_msgs", package)
        monkeypatch.setitem(sys.modules, "moveit_msgs.msg", module)


@pytest.fixture
def moveit(robot: Robot, messages: None) -> MoveIt:
    return MoveIt(robot)


def session(moveit: MoveIt) -> MoveItSession:
    hand = ("left_finger_capsule", "right_finger_capsule", "palm_capsule")
    return MoveItSession(moveit, "manipulator", hand, lambda time: SimpleNamespace(planning_time=time), State)


Make = Callable[[Environment], CheckedPlanner]


@pytest.fixture(params=["ompl", "moveit_py stand-in", "moveit"])
def make(request: pytest.FixtureRequest, robot: Robot, moveit: MoveIt) -> Make:
    """Makes a planner of each kind in an environment."""
    if request.param == "moveit" and importlib.util.find_spec("moveit") is None:
        pytest.skip("MoveIt is not installed")
    opened = open_session(CONFIGURATION, robot) if request.param == "moveit" else session(moveit)

    def made(environment: Environment) -> CheckedPlanner:
        model = build_collision_model(robot, environment)
        if request.param == "ompl":
            return OmplPlanner(robot.limits, model)
        return MoveItPlanner(robot, model, environment, opened)

    return made


@pytest.fixture
def walled(robot: Robot) -> Environment:
    wall = SceneObject("wall", (Shape("box", (0.25, 0.01, 0.5)),), pose_of("wall", (0.4, 0.25, 0.5)))
    return robot.collision.environment.add(wall)


@pytest.fixture
def beyond(robot: Robot) -> np.ndarray:
    goal = robot.configurations["ready"].copy()
    goal[0] -= 1.5
    return goal


def assert_free(robot: Robot, environment: Environment, path: np.ndarray) -> None:
    monitor = CollisionMonitor(build_collision_model(robot, environment))
    for first, second in pairwise(path):
        for u in np.linspace(0.0, 1.0, 60):
            monitor.update(first + u * (second - first))
            assert monitor.clearance > -1e-6, monitor.nearest.pair


# ------------------------------------------------------------------------------------------------ the contract


def test_a_path_leads_around_what_stands_in_the_way(
    make: Make, robot: Robot, walled: Environment, beyond: np.ndarray
) -> None:
    ready = robot.configurations["ready"]
    path = make(walled).plan(ready, beyond)
    assert np.array_equal(path[0], ready)
    assert np.allclose(robot.limits.difference(path[-1], beyond), 0.0, atol=1e-9)
    assert len(path) > 2
    assert_free(robot, walled, path)


def test_a_start_in_another_turn_stays_there(make: Make, robot: Robot, walled: Environment, beyond: np.ndarray) -> None:
    start = robot.configurations["ready"].copy()
    start[0] += 2.0 * np.pi
    start[6] -= 4.0 * np.pi
    path = make(walled).plan(start, beyond)
    assert np.array_equal(path[0], start)
    assert np.abs(np.diff(path, axis=0)).max() < np.pi + 1e-9
    assert np.allclose(robot.limits.difference(path[-1], beyond), 0.0, atol=1e-9)
    assert_free(robot, walled, path)


def test_what_is_held_is_honoured(make: Make, robot: Robot, walled: Environment, beyond: np.ndarray) -> None:
    rod = SceneObject(
        "rod",
        (Shape("cylinder", (0.01, 0.1)),),
        pose_of("rod", (0.0, 0.0, 0.0), (0.7071067811865476, 0.0, 0.0, 0.7071067811865476)),
        touch=frozenset({"left_finger_capsule", "right_finger_capsule", "palm_capsule"}),
        link="tool_frame",
    )
    held = walled.add(rod)
    path = make(held).plan(robot.configurations["ready"], beyond)
    assert_free(robot, held, path)


def test_failures_have_the_same_names(make: Make, robot: Robot, walled: Environment, beyond: np.ndarray) -> None:
    ready = robot.configurations["ready"]
    planner = make(walled)
    inside = ready.copy()
    inside[1] = 1.6
    outside = ready.copy()
    outside[1] = 2.5
    for goal, trouble in (
        (inside, Trouble.GOAL_IN_COLLISION),
        (outside, Trouble.GOAL_OUTSIDE_LIMITS),
        (ready * np.nan, Trouble.BAD_GOAL),
    ):
        with pytest.raises(PlanningFailed) as failed:
            planner.plan(ready, goal)
        assert failed.value.trouble is trouble


# ----------------------------------------------------------------------------------------- MoveIt's side alone


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path[[0, -1]], "not free when looked at closely"),
        (lambda path: path + 0.01, "begins elsewhere"),
        (lambda path: path[:1], "found no path"),
    ],
)
def test_what_moveit_answers_is_looked_at(
    robot: Robot, moveit: MoveIt, walled: Environment, beyond: np.ndarray, spoil: Any, words: str
) -> None:
    moveit.spoil = spoil
    planner = MoveItPlanner(robot, build_collision_model(robot, walled), walled, session(moveit))
    with pytest.raises(PlanningFailed, match=words):
        planner.plan(robot.configurations["ready"], beyond)


def test_no_answer_is_no_path(robot: Robot, moveit: MoveIt, walled: Environment, beyond: np.ndarray) -> None:
    moveit.give_up = True
    planner = MoveItPlanner(robot, build_collision_model(robot, walled), walled, session(moveit))
    with pytest.raises(PlanningFailed, match="found no path within 5"):
        planner.plan(robot.configurations["ready"], beyond)


def test_the_scene_is_shown_as_a_whole_each_time(robot: Robot, moveit: MoveIt, walled: Environment) -> None:
    shown = session(moveit)
    shown.show(walled, robot)
    assert set(moveit.objects) == {"table", "wall"}
    shown.show(robot.collision.environment, robot)
    assert set(moveit.objects) == {"table"}


def test_every_shape_has_a_message_that_means_it(moveit: MoveIt) -> None:
    corners = np.array([[x, y, z] for x in (0.0, 0.1) for y in (0.0, 0.2) for z in (0.0, 0.3)])
    place = pose_of("", (0.1, 0.2, 0.3), (0.0, 0.0, 0.7071067811865476, 0.7071067811865476))
    shapes = (
        Shape("box", (0.1, 0.2, 0.3), place),
        Shape("sphere", (0.4,), place),
        Shape("cylinder", (0.05, 0.25), place),
        Shape("mesh", placement=place, vertices=corners),
    )
    message = collision_object(SceneObject("thing", shapes, place), "base_link")
    again = moveit.read(message, None)
    assert [shape.kind for shape in again.shapes] == ["box", "sphere", "cylinder", "mesh"]
    for ours, theirs in zip(shapes, again.shapes, strict=True):
        assert theirs.size == pytest.approx(ours.size)
        assert theirs.placement.isApprox(ours.placement)
    assert again.pose.isApprox(place)
    triangles = np.array([t.vertex_indices for t in message.meshes[0].triangles])
    assert len(triangles) == 12
    assert set(triangles.ravel()) == set(range(8))
    capsule = collision_object(SceneObject("c", (Shape("capsule", (0.05, 0.25), place),)), "base_link")
    assert [p.type for p in capsule.primitives] == [
        SolidPrimitive.CYLINDER,
        SolidPrimitive.SPHERE,
        SolidPrimitive.SPHERE,
    ]
    ends = [se3(pose).translation for pose in capsule.primitive_poses[1:]]
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(0.5)
    held = attached_object(SceneObject("h", (shapes[1],), place, link="tool_frame", touch=frozenset({"a"})), ("b",))
    assert (held.link_name, held.touch_links) == ("tool_frame", ["a", "b", "tool_frame"])
    with pytest.raises(ValueError, match="not attached"):
        attached_object(SceneObject("h", (shapes[1],), place))


def test_without_moveit_it_is_said_how_to_get_it(robot: Robot) -> None:
    if importlib.util.find_spec("moveit") is not None:
        pytest.skip("MoveIt is installed")
    with pytest.raises(PlanningFailed, match="ros-jazzy-moveit-py") as failed:
        open_session(CONFIGURATION, robot)
    assert failed.value.trouble is Trouble.NO_PLANNER


def test_configuration_is_read_with_its_descriptions(robot: Robot, tmp_path: Path) -> None:
    pytest.importorskip("xacro", reason="xacro comes with ROS 2 or requirements/test.txt")
    entries = read_configuration(CONFIGURATION)
    assert "<robot" in entries["robot_description"]
    assert 'name="manipulator"' in entries["robot_description_semantic"]
    assert "robot_description_arguments" not in entries
    assert set(entries["hand_links"]) <= {
        line.partition('name="')[2].partition('"')[0] for line in entries["robot_description"].split("<link ")
    } | set(entries["robot_description"].split('"'))
    for text, words in (("[]", "mapping"), ("robot_description: x.urdf", "x.urdf"), ("{}", "no robot_description")):
        (tmp_path / "m.yaml").write_text(text)
        with pytest.raises(PlanningFailed, match=words):
            read_configuration(tmp_path / "m.yaml")


def test_config_names_a_planner() -> None:
    assert PlanningConfig().backend == "ompl"
