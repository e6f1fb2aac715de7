"""Garbage on every subscribed topic: one line that names it, a counter, and an arm that stays where it is."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from gr2_msgs.msg import RobotState, SceneTruth, TrajectoryChunk
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, Float64, String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

NAN = float("nan")
STRANGER = """
import time, rclpy
from geometry_msgs.msg import Twist
from std_msgs.msg import Bool, Int32, String
rclpy.init()
node = rclpy.create_node("stranger")
topics = {"/trajectory_chunk": String, "/instruction": Int32, "/e_stop": Twist, "/gripper_command": Bool}
publishers = [node.create_publisher(kind, topic, 10) for topic, kind in topics.items()]
for _ in range(30):
    for publisher in publishers:
        publisher.publish(publisher.msg_type())
    time.sleep(0.1)
rclpy.shutdown()
"""
JOINTS = [f"joint_{i}" for i in range(1, 8)]


def chunk(running, **change):  # type: ignore[no-untyped-def]
    message = TrajectoryChunk()
    message.header.stamp = running.director.node.get_clock().now().to_msg()
    message.header.frame_id = "base_link"
    message.sequence, message.dt, message.horizon = 10**6, 0.1, 2
    message.session = running.director.status.session
    message.positions = [0.4, 0.0, 0.3] * 2
    message.orientations = [1.0, 0.0, 0.0, 0.0] * 2
    message.gripper = [0.0, 0.0]
    for name, value in change.items():
        setattr(message, name, value)
    return message


def point(positions: list[float], velocities: list[float], seconds: int) -> JointTrajectoryPoint:
    made = JointTrajectoryPoint(positions=positions, velocities=velocities)
    made.time_from_start.sec = seconds
    return made


def command(names: list[str], *points: JointTrajectoryPoint) -> JointTrajectory:
    return JointTrajectory(joint_names=names, points=list(points))


def picture(**change) -> Image:  # type: ignore[no-untyped-def]
    message = Image(height=4, width=4, encoding="rgb8", step=12)
    message.data.frombytes(bytes(48))
    for name, value in change.items():
        setattr(message, name, value)
    return message


def garbage(running):  # type: ignore[no-untyped-def]
    """(topic, type, QoS, messages) for every topic that a node of the stack subscribes to."""
    reliable, sensor = QoSProfile(depth=10), qos_profile_sensor_data
    still = [0.0] * 7
    return [
        ("/trajectory_chunk", TrajectoryChunk, reliable, [
            chunk(running, positions=[NAN] * 6),
            chunk(running, positions=[0.4, 0.0, 0.3]),
            chunk(running, orientations=[0.0] * 8),
            chunk(running, dt=NAN),
            chunk(running, dt=-1.0),
            chunk(running, horizon=2**32 - 1),
            chunk(running, session="mine", positions=[0.4, 0.2, 0.3] * 2),
            chunk(running, positions=[4.0, 4.0, 4.0] * 2),
            chunk(running, gripper=[NAN, NAN]),
            TrajectoryChunk(),
        ]),
        ("/joint_states", JointState, sensor, [
            JointState(name=JOINTS, position=[NAN] * 7, velocity=still),
            JointState(name=JOINTS, position=[1.0] * 3),
            JointState(name=["elbow"], position=[1.0], velocity=[0.0]),
            JointState(),
        ]),
        ("/e_stop", Bool, reliable, [Bool(data=False)]),
        ("/robot_state", RobotState, reliable, [RobotState()]),
        ("/sim/truth", SceneTruth, reliable, [SceneTruth(names=["red_block"])]),
        ("/head_camera/image_raw", Image, sensor, [
            picture(), picture(encoding="yuv"), picture(width=0), picture(height=2**31),
        ]),
        ("/wrist_camera/image_raw", Image, sensor, [picture(step=1), Image()]),
        ("/instruction", String, reliable, [
            String(data="x" * 5000), String(data="fly to the moon"), String(data="\x07"),
        ]),
        ("/joint_commands", JointTrajectory, reliable, [
            command(JOINTS, point([NAN] * 7, still, 1)),
            command(JOINTS, point([2.0] * 3, still, 1)),
            command(["a", "b"], point([1.0, 1.0], [0.0, 0.0], 1)),
            command(JOINTS, point([2.0] * 7, still, 1), point([2.0] * 7, still, 1)),
            JointTrajectory(),
        ]),
        ("/gripper_command", Float64, reliable, [Float64(data=NAN), Float64(data=1e9), Float64(data=-3.0)]),
    ]  # fmt: skip


def test_garbage_on_every_topic_changes_nothing(start) -> None:  # type: ignore[no-untyped-def]
    running = start().ready()
    running.wait(running.at_rest, 30.0, "the arm does not rest")
    before = running.motion[-1][2]
    node = running.director.node
    publishers = [(node.create_publisher(kind, topic, qos), items) for topic, kind, qos, items in garbage(running)]
    # A process may not use one topic with two types, so the wrong types come from another one.
    stranger = subprocess.Popen([sys.executable, "-c", STRANGER], env=running.env)
    running.director.spin(1.0)
    for _ in range(5):
        for publisher, items in publishers:
            for item in items:
                publisher.publish(item)
                running.director.spin(0.02)  # of what comes at once, a reader that keeps the newest sees only that
    running.director.spin(1.0)
    assert all(child.process.poll() is None for child in running.supervisor.children), running.logs()
    assert np.abs(running.motion[-1][2] - before).max() < 2e-3, "the arm has moved"
    status = running.director.status
    refused = dict(zip(status.refusal_names, status.refusal_counts, strict=True))
    assert sum(refused.values()) >= 8, refused
    assert sum(1 for count in refused.values() if count) >= 4, refused
    assert status.bad_messages >= 3
    logs = running.logs()
    for name in (
        "/head_camera/image_raw",
        "/wrist_camera/image_raw",
        "/joint_states",
        "/joint_commands",
        "/instruction",
    ):
        assert name in logs, f"nothing was said about {name}\n{logs}"
    for publisher, _ in publishers:
        node.destroy_publisher(publisher)
    assert stranger.wait(60) == 0
    running.director.say("press the red button")
    running.wait(
        lambda: running.director.outcome is not None and running.director.outcome.success, 120.0, "not done afterwards"
    )
