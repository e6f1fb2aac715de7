"""Publishes like a small stack, once someone listens; prints what it sent (checksums by topic).

Arguments: seconds, then the topics to wait for (all of them if none).
"""

from __future__ import annotations

import json
import sys
import time
import zlib

import rclpy
from gr2_msgs.msg import RobotState
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

SECONDS, AWAITED = float(sys.argv[1]), sys.argv[2:]

rclpy.init()
node = rclpy.create_node("talker")
latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
publishers = {
    "/instruction": node.create_publisher(String, "/instruction", latched),
    "/robot_state": node.create_publisher(RobotState, "/robot_state", 50),
    "/joint_states": node.create_publisher(JointState, "/joint_states", qos_profile_sensor_data),
    "/head_camera/image_raw": node.create_publisher(Image, "/head_camera/image_raw", qos_profile_sensor_data),
}
sent: dict[str, list[int]] = {topic: [] for topic in publishers}


def publish(topic: str, message: object) -> None:
    data = serialize_message(message)
    sent[topic].append(zlib.crc32(data))
    publishers[topic].publish(data)


publish("/instruction", String(data="said before anyone listened"))
give_up = time.monotonic() + 10
while any(publishers[t].get_subscription_count() == 0 for t in AWAITED or publishers) and time.monotonic() < give_up:
    time.sleep(0.02)
time.sleep(0.3)
image = Image(height=128, width=128, encoding="rgb8", step=384)
image.data.frombytes(bytes(range(256)) * 192)
origin = time.monotonic()
for k in range(int(200 * SECONDS)):
    time.sleep(max(0.0, origin + k / 200 - time.monotonic()))
    publish("/joint_states", JointState(name=["a", "b"], position=[0.1 * k, 0.0]))
    if k % 4 == 0:
        publish("/robot_state", RobotState(gripper_opening=float(k), joint_names=["a"], joint_positions=[float(k)]))
    if k % 20 == 0:
        image.header.stamp.sec = k
        publish("/head_camera/image_raw", image)
for topic in ("/robot_state", "/instruction"):
    publishers[topic].wait_for_all_acked(Duration(seconds=2))
time.sleep(0.3)
print(json.dumps(sent))
rclpy.shutdown()
