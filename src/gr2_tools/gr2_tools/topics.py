"""The topics of the stack, which `gr2 record` takes by default."""

from __future__ import annotations

STACK_TOPICS: tuple[str, ...] = (
    "/clock",
    "/tf",
    "/tf_static",
    "/robot_description",
    "/joint_states",
    "/robot_state",
    "/instruction",
    "/trajectory_chunk",
    "/joint_commands",
    "/joint_trajectory_controller/joint_trajectory",
    "/gripper_command",
    "/wbc_status",
    "/e_stop",
    "/diagnostics",
    "/head_camera/image_raw",
    "/head_camera/camera_info",
    "/wrist_camera/image_raw",
    "/wrist_camera/camera_info",
    "/imagination/head",
    "/imagination/wrist",
    "/imagination/surprise",
    "/sim/truth",
    "/sim/outcome",
)
