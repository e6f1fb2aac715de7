"""Between ROS messages and the plain types of the runtime.

Only attributes of the messages are used, so nothing of ROS is imported until a message has to be made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gr2_policy.policy import ActionChunk, Observation, Policy, SceneTruth
from gr2_policy.runtime.image import from_message
from gr2_policy.runtime.observation_buffer import StateSample
from gr2_policy.runtime.surprise import Surprise


def seconds(stamp: Any) -> float:
    """builtin_interfaces/Time as seconds."""
    return float(stamp.sec) + float(stamp.nanosec) * 1e-9


def time_message(stamp: float) -> Any:
    """Seconds as builtin_interfaces/Time, rounded to the nanosecond."""
    from builtin_interfaces.msg import Time

    nanoseconds = round(stamp * 1e9)
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def image(message: Any, expected_size: tuple[int, int] | None) -> tuple[float, np.ndarray]:
    """Stamp [s] and (height, width, 3) uint8 RGB of a sensor_msgs/Image or CompressedImage.

    Raises:
        BadImage: see :func:`gr2_policy.runtime.image.from_message`.
    """
    return seconds(message.header.stamp), from_message(message, expected_size)


def robot_state(message: Any) -> StateSample:
    """A gr2_msgs/RobotState.

    Raises:
        ValueError: non-finite numbers or a quaternion that is none.
    """
    position, orientation = pose(message.tool_pose)
    joints = np.array(message.joint_positions, dtype=float)
    opening = float(message.gripper_opening)
    if not np.all(np.isfinite(joints)) or not np.isfinite(opening):
        raise ValueError("joint positions or gripper opening are not finite")
    return StateSample(seconds(message.header.stamp), position, orientation, opening, joints)


def pose(message: Any) -> tuple[np.ndarray, np.ndarray]:
    """Position (3,) [m] and unit quaternion (4,) x y z w of a geometry_msgs/Pose.

    Raises:
        ValueError: non-finite numbers or a quaternion that is none.
    """
    position = np.array([message.position.x, message.position.y, message.position.z], dtype=float)
    q = message.orientation
    orientation = np.array([q.x, q.y, q.z, q.w], dtype=float)
    if not np.all(np.isfinite(position)) or not np.all(np.isfinite(orientation)):
        raise ValueError("pose is not finite")
    norm = float(np.linalg.norm(orientation))
    if abs(norm - 1.0) > 1e-3:
        raise ValueError(f"quaternion has norm {norm:.4f}, expected 1")
    return position, orientation / norm


def scene_truth(message: Any) -> SceneTruth:
    """A gr2_msgs/SceneTruth.

    Raises:
        ValueError: lists of different lengths or poses that are none.
    """
    if len(message.names) != len(message.poses):
        raise ValueError(f"{len(message.names)} names but {len(message.poses)} poses")
    if len(message.joint_names) != len(message.joint_positions):
        raise ValueError(f"{len(message.joint_names)} joint names but {len(message.joint_positions)} positions")
    return SceneTruth(
        stamp=seconds(message.header.stamp),
        scene=message.scene,
        seed=int(message.seed),
        episode=int(message.episode),
        poses={name: pose(item) for name, item in zip(message.names, message.poses, strict=True)},
        joints={n: float(p) for n, p in zip(message.joint_names, message.joint_positions, strict=True)},
    )


def chunk_message(chunk: ActionChunk, observation: Observation, session: str, sequence: int, model_id: str) -> Any:
    """A gr2_msgs/TrajectoryChunk in base_link, stamped with the time of its observation."""
    from gr2_msgs.msg import TrajectoryChunk

    message = TrajectoryChunk()
    message.header.stamp = time_message(observation.stamp)
    message.header.frame_id = "base_link"
    message.sequence = int(sequence)
    message.session = session
    message.instruction = observation.instruction
    message.model_id = str(model_id)
    message.dt = float(chunk.dt)
    message.horizon = len(chunk.positions)
    message.positions = np.ascontiguousarray(chunk.positions, dtype=float).ravel().tolist()
    message.orientations = np.ascontiguousarray(chunk.orientations, dtype=float).ravel().tolist()
    message.gripper = np.clip(chunk.gripper, 0.0, 1.0).astype(float).tolist()
    return message


def withdrawal(stamp: Any, policy: Policy, session: str, sequence: int) -> Any:
    """A chunk without poses: come to rest along the path, then hold."""
    from gr2_msgs.msg import TrajectoryChunk

    message = TrajectoryChunk()
    message.header.stamp = stamp
    message.header.frame_id = "base_link"
    message.sequence = int(sequence)
    message.session = session
    message.model_id = str(policy.model_id)
    message.dt = float(policy.chunk_dt)
    return message


def image_message(image: np.ndarray, stamp: float, frame_id: str) -> Any:
    """A sensor_msgs/Image of (height, width, 3) uint8 RGB."""
    from sensor_msgs.msg import Image

    height, width = image.shape[:2]
    message = Image(height=int(height), width=int(width), encoding="rgb8", step=3 * int(width))
    message.header.stamp = time_message(stamp)
    message.header.frame_id = frame_id
    message.data.frombytes(np.ascontiguousarray(image).tobytes())
    return message


def surprise_message(surprise: Surprise, frame_id: str) -> Any:
    """A gr2_msgs/Surprise."""
    from gr2_msgs.msg import Surprise as Message

    message = Message(camera=surprise.camera, settled=bool(surprise.settled))
    message.header.stamp = time_message(surprise.stamp)
    message.header.frame_id = frame_id
    for name in ("horizon", "token_distance", "pixel_distance", "token_score", "pixel_score", "score"):
        setattr(message, name, float(getattr(surprise, name)))
    return message


def diagnostic_message(
    stamp: Any, name: str, hardware: str, level: bytes, text: str, values: Mapping[str, object]
) -> Any:
    """A diagnostic_msgs/DiagnosticArray with one status."""
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    message = DiagnosticArray()
    message.header.stamp = stamp
    message.status.append(DiagnosticStatus(level=level, name=name, message=text, hardware_id=hardware, values=pairs))
    return message
