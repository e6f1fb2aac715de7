"""Between the simulator's values and ROS messages."""

from __future__ import annotations

import array

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Pose
from gr2_msgs.msg import SceneTruth as SceneTruthMessage
from gr2_msgs.msg import TaskOutcome
from sensor_msgs.msg import CameraInfo, Image
from trajectory_msgs.msg import JointTrajectory

from gr2_policy.policy import SceneTruth
from gr2_sim.cameras import intrinsics
from gr2_sim.referee import Outcome
from gr2_sim.trajectory_executor import TrajectoryRejected


def to_time(seconds: float) -> Time:
    """Time [s], rounded to microseconds (simulation time is a sum of time steps)."""
    micro = round(seconds * 1e6)
    return Time(sec=int(micro // 1_000_000), nanosec=int(micro % 1_000_000) * 1000)


def to_image(stamp: float, frame: str, pixels: np.ndarray) -> Image:
    """An (h, w, 3) uint8 RGB image."""
    height, width = pixels.shape[:2]
    message = Image(height=int(height), width=int(width), encoding="rgb8", is_bigendian=0, step=3 * int(width))
    message.header.stamp, message.header.frame_id = to_time(stamp), frame
    message.data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    return message


def to_camera_info(stamp: float, frame: str, fovy: float, width: int, height: int) -> CameraInfo:
    """Of a camera without distortion, with vertical field of view fovy [deg]."""
    f, cx, cy = intrinsics(fovy, width, height)
    message = CameraInfo(height=int(height), width=int(width), distortion_model="plumb_bob")
    message.header.stamp, message.header.frame_id = to_time(stamp), frame
    message.d = [0.0] * 5
    message.k = [f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def to_truth(truth: SceneTruth) -> SceneTruthMessage:
    """Ground truth."""
    message = SceneTruthMessage(scene=truth.scene, seed=int(truth.seed), episode=int(truth.episode))
    message.header.stamp, message.header.frame_id = to_time(truth.stamp), "base_link"
    message.names = list(truth.poses)
    message.poses = [_pose(position, quaternion) for position, quaternion in truth.poses.values()]
    message.joint_names = list(truth.joints)
    message.joint_positions = [float(value) for value in truth.joints.values()]
    return message


def _pose(position: np.ndarray, quaternion: np.ndarray) -> Pose:
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = (float(v) for v in position)
    q = pose.orientation
    q.x, q.y, q.z, q.w = (float(v) for v in quaternion)
    return pose


def to_outcome(outcome: Outcome) -> TaskOutcome:
    """What the referee sees."""
    message = TaskOutcome(
        episode=int(outcome.episode),
        task=outcome.task,
        instruction=outcome.instruction,
        success=bool(outcome.success),
        held=float(outcome.held),
        elapsed=float(outcome.elapsed),
        detail=outcome.detail,
    )
    message.header.stamp = to_time(outcome.stamp)
    return message


def to_diagnostics(stamp: float, name: str, warning: str, values: dict[str, str]) -> DiagnosticArray:
    """One status: OK, or WARN with the reason."""
    status = DiagnosticStatus(name=name, hardware_id="simulation", message=warning or "running")
    status.level = DiagnosticStatus.WARN if warning else DiagnosticStatus.OK
    status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
    message = DiagnosticArray(status=[status])
    message.header.stamp = to_time(stamp)
    return message


def to_doubles(values: np.ndarray) -> array.array:
    """A float64 array as messages take it fastest."""
    return array.array("d", np.asarray(values, dtype=float).tobytes())


def from_trajectory(message: JointTrajectory) -> tuple[float, list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Stamp [s], joint names, times (m,) [s], positions and velocities (m, n).

    Raises:
        TrajectoryRejected: points of different lengths.
    """
    points, n = message.points, len(message.joint_names)
    for what in ("positions", "velocities"):
        for number, point in enumerate(points):
            if len(getattr(point, what)) != n:
                length = len(getattr(point, what))
                raise TrajectoryRejected(f"point {number} has {length} {what} for {n} joints")
    times = np.array([p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in points])
    positions = np.array([p.positions for p in points], dtype=float).reshape(len(points), n)
    velocities = np.array([p.velocities for p in points], dtype=float).reshape(len(points), n)
    stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
    return stamp, list(message.joint_names), times, positions, velocities
