"""An episode becomes a recording: a demonstration can then be replayed, looked at in a viewer, or fed to a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion
from gr2_msgs.msg import RobotState, TrajectoryChunk
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, String

from gr2_policy.data.episode import Episode
from gr2_tools.bag_to_episodes import CHUNK, GRIPPER, INSTRUCTION, STATE
from gr2_tools.bag_writer import BagWriter
from gr2_tools.msgdefs import find_definition


def write_bag(path: Path, episode: Episode, joint_names: tuple[str, ...], period: float) -> Path:
    """Write an episode as a rosbag2, with the topics and stamps of the running stack.

    Args:
        path: folder to create.
        episode: what is written.
        joint_names: of its joints.
        period: time between its frames [s].

    Raises:
        BagExists, BagWriteError: see :class:`gr2_tools.bag_writer.BagWriter`.
    """
    writer = BagWriter(path)
    kinds = {INSTRUCTION: "std_msgs/msg/String", STATE: "gr2_msgs/msg/RobotState", GRIPPER: "std_msgs/msg/Float64"}
    kinds |= {f"/{view}_camera/image_raw": "sensor_msgs/msg/Image" for view in episode.images}
    if episode.chunks is not None:
        kinds[CHUNK] = "gr2_msgs/msg/TrajectoryChunk"
    topics = {topic: writer.add_topic(topic, find_definition(kind)) for topic, kind in kinds.items()}

    def put(topic: str, stamp: float, message: Any) -> None:
        writer.write(topics[topic], round(stamp * 1e9), serialize_message(message))

    put(INSTRUCTION, float(episode.stamps[0]), String(data=episode.instruction))
    for frame, stamp in enumerate(episode.stamps.tolist()):
        for view, images in episode.images.items():
            put(f"/{view}_camera/image_raw", stamp, _image(images[frame], stamp, f"{view}_camera_optical_frame"))
        joints = episode.joints[frame] if episode.joints.shape[1] else np.zeros(0)
        put(STATE, stamp, _state(episode.states[frame], joints, joint_names, stamp))
        put(GRIPPER, stamp, Float64(data=float(episode.actions[frame, 7])))
        if episode.chunks is not None:
            put(CHUNK, stamp, _chunk(episode, frame, stamp, period))
    # where the last action led, so that the recording says as much as the episode
    last = float(episode.stamps[-1]) + period
    put(STATE, last, _state(episode.actions[-1], episode.joints[-1], joint_names, last))
    for view, images in episode.images.items():
        put(f"/{view}_camera/image_raw", last, _image(images[-1], last, f"{view}_camera_optical_frame"))
    return writer.close()


def _time(stamp: float) -> Time:
    nanoseconds = round(stamp * 1e9)
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def _image(pixels: np.ndarray, stamp: float, frame_id: str) -> Image:
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=pixels.tobytes())
    message.header.stamp, message.header.frame_id = _time(stamp), frame_id
    return message


def _state(pose: np.ndarray, joints: np.ndarray, names: tuple[str, ...], stamp: float) -> RobotState:
    numbers = [float(value) for value in pose]
    message = RobotState(
        tool_pose=Pose(position=_point(numbers[:3]), orientation=_quaternion(numbers[3:7])),
        gripper_closed=numbers[7] > 0.5,
        gripper_opening=numbers[7],
        joint_names=list(names),
        joint_positions=[float(value) for value in joints],
        joint_velocities=[0.0] * len(joints),
    )
    message.header.stamp, message.header.frame_id = _time(stamp), "base_link"
    return message


def _chunk(episode: Episode, frame: int, stamp: float, period: float) -> TrajectoryChunk:
    assert episode.chunks is not None
    poses = episode.chunks[frame].astype(float)
    message = TrajectoryChunk(
        sequence=frame + 1,
        instruction=episode.instruction,
        model_id=str(episode.notes.get("demonstrator", "dataset")),
        dt=period,
        horizon=len(poses),
        positions=poses[:, :3].ravel().tolist(),
        orientations=poses[:, 3:7].ravel().tolist(),
        gripper=poses[:, 7].clip(0.0, 1.0).tolist(),
    )
    message.header.stamp, message.header.frame_id = _time(stamp), "base_link"
    return message


def _point(numbers: list[float]) -> Point:
    return Point(x=numbers[0], y=numbers[1], z=numbers[2])


def _quaternion(numbers: list[float]) -> Quaternion:
    return Quaternion(x=numbers[0], y=numbers[1], z=numbers[2], w=numbers[3])
