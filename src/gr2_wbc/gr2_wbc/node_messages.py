"""Messages of the node to and from the controller's own types. Scalars are cast: ROS does not check them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from gr2_msgs.msg import RobotState, TrajectoryChunk, WbcStatus

from gr2_wbc.chunk import Chunk
from gr2_wbc.kinematics import Kinematics
from gr2_wbc.robot import Robot
from gr2_wbc.rotation import quaternion_of
from gr2_wbc.state import Measurement, Status
from gr2_wbc.timing import LATENESS_EDGES, CycleStats


def to_stamp(seconds: float) -> Time:
    """Seconds -> ROS time; times before 0 become 0."""
    whole, rest = divmod(max(round(seconds * 1e9), 0), 1_000_000_000)
    return Time(sec=int(whole), nanosec=int(rest))


def to_seconds(stamp: Time) -> float:
    """ROS time -> seconds."""
    return stamp.sec + 1e-9 * stamp.nanosec


def to_chunk(message: TrajectoryChunk) -> Chunk:
    """A chunk as received; nothing is checked yet."""
    return Chunk(
        stamp=to_seconds(message.header.stamp),
        sequence=message.sequence,
        session=message.session,
        instruction=message.instruction,
        model_id=message.model_id,
        dt=message.dt,
        positions=np.array(message.positions, dtype=float),
        orientations=np.array(message.orientations, dtype=float),
        gripper=np.array(message.gripper, dtype=float),
        frame_id=message.header.frame_id,
        horizon=message.horizon,
    )


def to_robot_state(
    measurement: Measurement, gripper_command: float, kinematics: Kinematics, robot: Robot
) -> RobotState:
    """What policies observe; ``kinematics`` is scratch space."""
    kinematics.update(measurement.positions)
    twist = (kinematics.jacobian @ measurement.velocities).tolist()
    message = RobotState()
    message.header.stamp = to_stamp(measurement.stamp)
    message.header.frame_id = robot.base_frame
    pose = message.tool_pose
    pose.position.x, pose.position.y, pose.position.z = kinematics.position.tolist()
    orientation = quaternion_of(kinematics.rotation).tolist()
    pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = orientation
    linear, angular = message.tool_twist.linear, message.tool_twist.angular
    linear.x, linear.y, linear.z, angular.x, angular.y, angular.z = twist
    message.gripper_closed = bool(gripper_command > 0.5 or measurement.gripper_opening > 0.5)
    message.gripper_opening = float(measurement.gripper_opening)
    message.joint_names = list(robot.joint_names)
    message.joint_positions = measurement.positions.tolist()
    message.joint_velocities = measurement.velocities.tolist()
    return message


def to_wbc_status(status: Status, stats: CycleStats, armed: bool, bad_messages: int, frame: str) -> WbcStatus:
    """The controller's status."""
    median, slow = stats.percentiles()
    message = WbcStatus()
    message.header.stamp = to_stamp(status.stamp)
    message.header.frame_id = frame
    message.state = int(status.state)
    message.state_name = status.state.name
    message.reason = status.reason
    message.armed = bool(armed)
    message.e_stop = bool(status.e_stop)
    message.session = status.session
    message.active_sequence = int(status.active_sequence)
    message.chunk_remaining = float(status.chunk_remaining)
    message.path_speed_scale = float(status.path_speed_scale)
    message.position_error = float(status.position_error)
    message.orientation_error = float(status.orientation_error)
    message.joint_tracking_error = float(status.joint_tracking_error)
    message.minimum_distance = float(status.minimum_distance)
    message.minimum_distance_pair = status.minimum_distance_pair
    message.active_constraints = int(status.active_constraints)
    message.manipulability = float(status.manipulability)
    message.cycles = int(status.cycles)
    message.missed_cycles = int(stats.missed)
    message.cycle_time_p50 = float(median)
    message.cycle_time_p99 = float(slow)
    message.lateness_edges = [float(edge) for edge in LATENESS_EDGES]
    message.lateness_histogram = [int(count) for count in stats.histogram]
    message.chunks_accepted = int(status.chunks_accepted)
    message.refusal_names = list(status.refusals)
    message.refusal_counts = [int(count) for count in status.refusals.values()]
    message.last_refusal = status.last_refusal
    message.qp_failures = int(status.qp_failures)
    message.bad_messages = int(bad_messages)
    message.scene_version = int(status.scene_version)
    message.motion = status.motion
    return message


def to_diagnostic(name: str, level: bytes, text: str, values: Mapping[str, object]) -> DiagnosticStatus:
    """One diagnostic status; ``level`` is one of DiagnosticStatus.OK, WARN, ERROR, STALE."""
    shown = {key: f"{value:.6g}" if isinstance(value, float) else str(value) for key, value in values.items()}
    status = DiagnosticStatus(level=level, name=name, message=text)
    status.values = [KeyValue(key=key, value=value) for key, value in shown.items()]
    return status
