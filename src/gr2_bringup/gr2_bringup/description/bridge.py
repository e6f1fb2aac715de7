"""What ros_gz_bridge carries from Gazebo to ROS: the clock, the cameras, the joints of the fixtures.

Commands and joint states of the robot need no bridge: ros2_control runs inside Gazebo and speaks ROS itself.
"""

from __future__ import annotations

import yaml

from gr2_bringup.description.cell_model import CellModel

HEADING = "# Written by python -m gr2_bringup.description. Do not edit.\n"


def bridge(cell: CellModel) -> str:
    """The YAML that ``ros_gz_bridge parameter_bridge`` takes as its parameter config_file."""
    entries = [_entry("/clock", "rosgraph_msgs/msg/Clock", "gz.msgs.Clock")]
    for camera in cell.cameras:
        name = f"/{camera.name}_camera"
        entries.append(_entry(f"{name}/image_raw", "sensor_msgs/msg/Image", "gz.msgs.Image"))
        entries.append(_entry(f"{name}/camera_info", "sensor_msgs/msg/CameraInfo", "gz.msgs.CameraInfo"))
    for name, bodies in cell.things.items():
        if len(bodies) > 1:
            entries.append(_entry(joint_states_topic(name), "sensor_msgs/msg/JointState", "gz.msgs.Model"))
    return HEADING + yaml.safe_dump(entries, sort_keys=False)


def joint_states_topic(fixture: str) -> str:
    """Topic with the joints of a fixture, of the same name in Gazebo and in ROS."""
    return f"/sim/{fixture}/joint_states"


def _entry(topic: str, ros_type: str, gz_type: str) -> dict[str, str]:
    return {
        "ros_topic_name": topic,
        "gz_topic_name": topic,
        "ros_type_name": ros_type,
        "gz_type_name": gz_type,
        "direction": "GZ_TO_ROS",
    }
