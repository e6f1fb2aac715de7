"""The node with a UR5, described on /robot_description as robot_state_publisher does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="no ROS on this machine")
pytest.importorskip("gr2_msgs.msg", reason="gr2_msgs has not been built")

from domain_coordinator import domain_id  # noqa: E402
from gr2_msgs.msg import RobotState, WbcStatus  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from gr2_wbc.arm_model import resolve  # noqa: E402
from gr2_wbc.robots import load_robot  # noqa: E402

FOLDER = Path(__file__).parent / "robots" / "ur5"


def test_a_robot_described_on_a_topic_is_taken_over(tmp_path):
    """Its YAML has no model; joint states come in an order of their own."""
    yaml = tmp_path / "mine.yaml"
    lines = [line for line in (FOLDER / "robot.yaml").read_text().splitlines() if not line.startswith("model:")]
    yaml.write_text("\n".join(lines))
    robot = load_robot(FOLDER)
    text = resolve("package://example-robot-data/robots/ur_description/urdf/ur5_robot.urdf", FOLDER).read_text()
    with domain_id() as domain:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=domain)
        node = rclpy.create_node("stand_in", context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_publisher(String, "/robot_description", latched).publish(String(data=text))
        joints = node.create_publisher(JointState, "/joint_states", qos_profile_sensor_data)
        states: list[str] = []
        tools: list[RobotState] = []
        node.create_subscription(WbcStatus, "/wbc_status", lambda message: states.append(message.state_name), 10)
        node.create_subscription(RobotState, "/robot_state", tools.append, 10)
        command = [sys.executable, "-m", "gr2_wbc.wbc_node", "--ros-args", "-p", f"robot:={yaml}"]
        command += ["-p", "robot_description_topic:=/robot_description", "-p", "realtime_priority:=0"]
        log = (tmp_path / "log").open("w")
        process = subprocess.Popen(
            command, env=os.environ | {"ROS_DOMAIN_ID": str(domain)}, stdout=log, stderr=subprocess.STDOUT
        )
        ready = robot.configurations["ready"]
        deadline = time.monotonic() + 40.0
        while not (tools and states[-1:] == ["HOLDING"]) and time.monotonic() < deadline:
            message = JointState(name=list(robot.joint_names[::-1]), position=ready[::-1].tolist(), velocity=[0.0] * 6)
            message.header.stamp = node.get_clock().now().to_msg()
            joints.publish(message)
            executor.spin_once(timeout_sec=0.01)
        process.terminate()
        code = process.wait(15.0)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
    shown = (tmp_path / "log").read_text()
    assert states[-1:] == ["HOLDING"], shown
    assert code == 0, shown
    place = tools[-1].tool_pose.position
    assert np.allclose([place.x, place.y, place.z], robot.tool_pose(ready)[0], atol=1e-9)
    assert list(tools[-1].joint_names) == list(robot.joint_names)
