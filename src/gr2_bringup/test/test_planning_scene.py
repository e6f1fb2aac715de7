"""MoveIt's planning scene arrives in the controller's environment: objects in, moved, attached, removed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose
from gr2_msgs.msg import PlanningScene
from shape_msgs.msg import SolidPrimitive
from std_msgs.msg import Header

from gr2_bringup.planning_scene import ADD, MOVE, REMOVE, SceneFollower
from gr2_wbc.environment import Environment
from gr2_wbc.node_surroundings import changed
from gr2_wbc.robots import load_robot

ROBOT = load_robot("gen3_2f85")
READY = ROBOT.configurations["ready"]


def item(
    name: str, operation: bytes = ADD, place: tuple[float, ...] = (0.4, 0.2, 0.1), frame: str = "base_link"
) -> Any:
    """The fields of moveit_msgs/CollisionObject; a ball."""
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = place
    ball = [SolidPrimitive(type=SolidPrimitive.SPHERE, dimensions=[0.03])] if operation == ADD else []
    return SimpleNamespace(
        header=Header(frame_id=frame), id=name, operation=operation, pose=pose, primitives=ball,
        primitive_poses=[Pose()] * len(ball), meshes=[], mesh_poses=[], planes=[],
    )  # fmt: skip


def held(name: str, operation: bytes = ADD, shapes: bool = True) -> Any:
    """The fields of moveit_msgs/AttachedCollisionObject, at the tool."""
    ball = item(name, operation, (0.0, 0.0, 0.0), "tool_frame")
    if not shapes:
        ball.primitives, ball.primitive_poses = [], []
    return SimpleNamespace(link_name="tool_frame", object=ball, touch_links=["left_finger", "right_finger", "nothing"])


def scene(*standing: Any, attached: tuple[Any, ...] = (), diff: bool = True) -> Any:
    """The fields of moveit_msgs/PlanningScene that are used."""
    state = SimpleNamespace(
        joint_state=SimpleNamespace(header=SimpleNamespace(stamp=Time())), attached_collision_objects=list(attached)
    )
    return SimpleNamespace(is_diff=diff, world=SimpleNamespace(collision_objects=list(standing)), robot_state=state)


class Following:
    """A follower and the controller's environment behind it."""

    def __init__(self) -> None:
        self.follower = SceneFollower(ROBOT)
        self.environment: Environment = ROBOT.collision.environment

    def show(self, message: Any) -> PlanningScene | None:
        change = self.follower.changes(message)
        if change is not None:
            self.environment = changed(self.environment, change, ROBOT, READY)
        return change

    @property
    def names(self) -> set[str]:
        return set(self.environment.objects) - {"table"}


@pytest.fixture
def following() -> Following:
    return Following()


def test_a_whole_scene_and_then_its_differences(following: Following) -> None:
    following.show(scene(item("a"), item("b", place=(0.5, 0.0, 0.2)), diff=False))
    assert following.names == {"a", "b"}
    assert following.environment.objects["b"].pose.translation == pytest.approx([0.5, 0.0, 0.2])
    following.show(scene(item("b", MOVE, (0.6, 0.1, 0.2))))
    assert following.environment.objects["b"].pose.translation == pytest.approx([0.6, 0.1, 0.2])
    following.show(scene(item("a", REMOVE)))
    assert following.names == {"b"}
    following.show(scene(item("c"), diff=False))
    assert following.names == {"c"}
    following.show(scene(item("", REMOVE)))
    assert following.names == set()


def test_attached_objects_are_held_and_may_touch_the_hand(following: Following) -> None:
    following.show(scene(item("mug"), diff=False))
    following.show(scene(attached=(held("mug"),)))
    mug = following.environment.objects["mug"]
    assert mug.link == "tool_frame"
    assert mug.touch == {ROBOT.arm.links["palm_capsule"]}
    assert np.allclose(mug.pose.translation, 0.0)
    following.show(scene(item("mug", place=(0.5, 0.1, 0.03)), attached=(held("mug", REMOVE),)))
    assert following.environment.objects["mug"].link is None
    assert following.environment.objects["mug"].pose.translation == pytest.approx([0.5, 0.1, 0.03])
    following.show(scene(attached=(held("mug"),)))
    following.show(scene(attached=(held("mug", REMOVE),)))
    assert following.names == set()
    following.show(scene(item("cup", place=(0.5, 0.1, 0.03))))
    following.show(scene(attached=(held("cup", shapes=False),)))
    assert following.environment.objects["cup"].link == "tool_frame"


def test_what_is_not_known_or_belongs_to_the_robot_is_passed_over(following: Following) -> None:
    assert following.show(scene(item("ghost", REMOVE), item("ghost", MOVE))) is None
    assert following.show(scene(item("table"))) is None
    assert following.follower.ignored == {"table"}
    assert following.show(scene(attached=(held("ghost", shapes=False), held("ghost", REMOVE)))) is None
    assert following.names == set()
