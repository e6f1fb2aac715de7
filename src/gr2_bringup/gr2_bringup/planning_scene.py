"""MoveIt's planning scene as changes of the controller's environment: no ROS node here, messages in and out.

Standing objects are kept clear of, attached ones are held. What the robot's own file holds (the table) stays as it is.
"""

from __future__ import annotations

from typing import Any

from gr2_msgs.msg import CollisionObject, PlanningScene

from gr2_wbc.robot import Robot

ADD, REMOVE, APPEND, MOVE = b"\x00", b"\x01", b"\x02", b"\x03"
"""Operations of moveit_msgs/CollisionObject: the field is a byte, which Python has as bytes."""
HAND = ("palm", "left_finger", "right_finger", "left_crank", "right_crank", "left_outer_crank", "right_outer_crank")
"""Links of the hand in the URDF; the controller has them as one."""


class SceneFollower:
    """Turns moveit_msgs/PlanningScene, whole or as differences, into gr2_msgs/PlanningScene.

    Attributes:
        ignored: ids that belong to the robot's file.
    """

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._fixed = {item.name for item in robot.collision.environment if item.fixed}
        self._links = set(robot.arm.links.values())
        self._hand = robot.arm.links.get("palm_capsule", "")
        self._known: set[str] = set()
        self.ignored: set[str] = set()

    def changes(self, scene: Any) -> PlanningScene | None:
        """What the controller is to be told; None: nothing."""
        message = PlanningScene(clear=not scene.is_diff)
        message.header.stamp = scene.robot_state.joint_state.header.stamp
        if message.clear:
            self._known.clear()
        # What is let go first: the same message has it again as a standing object.
        attached = sorted(scene.robot_state.attached_collision_objects, key=lambda one: not _let_go(one))
        count = sum(map(_let_go, attached))
        for item in attached[:count]:
            message.objects += self._held(item)
        for item in scene.world.collision_objects:
            message.objects += self._standing(item)
        for item in attached[count:]:
            message.objects += self._held(item)
        return message if message.clear or message.objects else None

    def _standing(self, item: Any) -> list[CollisionObject]:
        operation = bytes(item.operation)
        if operation == REMOVE:
            gone = sorted(self._known) if not item.id else [item.id]
            return [self._removed(name) for name in gone if name in self._known]
        if item.id in self._fixed:
            self.ignored.add(item.id)
            return []
        if operation == MOVE:
            if item.id not in self._known:
                return []
            moved = CollisionObject(header=item.header, id=item.id, operation=CollisionObject.MOVE, pose=item.pose)
            return [moved]
        return [self._added(item)]  # APPEND to an object comes as the whole object in a monitored scene

    def _held(self, item: Any) -> list[CollisionObject]:
        name = item.object.id
        if _let_go(item):
            return [self._removed(name)] if name in self._known else []
        if name in self._fixed:
            self.ignored.add(name)
            return []
        touch = self._touching(item.touch_links)
        if not (item.object.primitives or item.object.meshes or item.object.planes):
            if name not in self._known:
                return []
            link = item.link_name
            return [CollisionObject(id=name, operation=CollisionObject.ATTACH, attach_link=link, touch=touch)]
        made = self._added(item.object)
        made.attach_link, made.touch = item.link_name, touch
        return [made]

    def _added(self, item: Any) -> CollisionObject:
        self._known.add(item.id)
        made = CollisionObject(header=item.header, id=item.id, operation=CollisionObject.ADD, pose=item.pose)
        made.primitives, made.primitive_poses = list(item.primitives), list(item.primitive_poses)
        made.meshes, made.mesh_poses, made.planes = list(item.meshes), list(item.mesh_poses), list(item.planes)
        return made

    def _removed(self, name: str) -> CollisionObject:
        self._known.discard(name)
        return CollisionObject(id=name, operation=CollisionObject.REMOVE)

    def _touching(self, links: list[str]) -> list[str]:
        """Names of links as the controller has them, the hand's as one; what it does not know is left out."""
        known = {self._hand if link in HAND else link for link in links}
        return sorted(known & self._links)


def _let_go(item: Any) -> bool:
    return bytes(item.object.operation) == REMOVE
