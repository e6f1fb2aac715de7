"""Follows MoveIt's planning scene: ``/monitored_planning_scene`` of move_group, to ``/wbc/apply_planning_scene``."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any

import rclpy
from gr2_msgs.msg import PlanningScene
from gr2_msgs.srv import ApplyPlanningScene
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from gr2_bringup.planning_scene import SceneFollower
from gr2_wbc.robots import load_robot
from gr2_wbc.stop_flag import StopFlag

SCENE_TOPIC, SERVICE = "/monitored_planning_scene", "/wbc/apply_planning_scene"


class PlanningSceneNode(Node):
    """The node `planning_scene`: one change after the other, in the order they came."""

    def __init__(self, kind: Any) -> None:
        super().__init__("planning_scene")
        self._follower = SceneFollower(load_robot(str(self.declare_parameter("robot", "gen3_2f85").value)))
        self._waiting: deque[PlanningScene] = deque()
        self._asked: Future | None = None
        self._told: set[str] = set()
        self._apply = self.create_client(ApplyPlanningScene, SERVICE)
        self.create_subscription(kind, SCENE_TOPIC, self._on_scene, QoSProfile(depth=100))
        self.create_timer(0.05, self._next)

    def _on_scene(self, message: Any) -> None:
        change = self._follower.changes(message)
        if change is not None:
            if change.clear:
                self._waiting.clear()
            self._waiting.append(change)
        for name in sorted(self._follower.ignored - self._told):
            self._told.add(name)
            self.get_logger().info(f"'{name}' belongs to the robot's file and stays as it is there")

    def _next(self) -> None:
        if self._asked is not None and self._asked.done():
            answer: Any = self._asked.result()
            if answer is not None and not answer.success:
                self.get_logger().error(f"{SERVICE}: {answer.message}; the controller's environment is not MoveIt's")
            self._asked = None
        if self._asked is None and self._waiting and self._apply.service_is_ready():
            self._asked = self._apply.call_async(ApplyPlanningScene.Request(scene=self._waiting.popleft()))


def main(args: list[str] | None = None) -> int:
    """Run the node. Returns the exit status: 2 where MoveIt's messages are not installed."""
    try:
        from moveit_msgs.msg import PlanningScene as MoveItScene
    except ImportError as error:
        print(f"planning_scene_node: {error}: apt install ros-jazzy-moveit, or planning_scene:=false", file=sys.stderr)
        return 2
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    ending = StopFlag.on_signals()
    node = PlanningSceneNode(MoveItScene)
    try:
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while rclpy.ok() and not ending.is_set():
            executor.spin_once(timeout_sec=0.1)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
