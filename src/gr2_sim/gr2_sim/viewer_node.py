"""A window that shows the cell as its topics tell it: a process of its own, so the physics pays nothing."""

from __future__ import annotations

import os
import sys
import time

import mujoco
import numpy as np
import rclpy
from gr2_msgs.msg import SceneTruth
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState

from gr2_sim.build import GRIPPER, build_model
from gr2_sim.cell import load_cell
from gr2_sim.parts import DataError

FRAME_PERIOD = 1.0 / 30.0  # [s]


class Mirror:
    """A copy of the cell that is posed, not simulated.

    Args:
        scene: name of the scene.

    Raises:
        DataError: there is no such scene.
    """

    def __init__(self, scene: str) -> None:
        self.model = build_model(load_cell(scene))
        self.data = mujoco.MjData(self.model)
        model = self.model
        self._coupled = [
            (
                int(model.jnt_qposadr[model.eq_obj1id[i]]),
                int(model.jnt_qposadr[model.eq_obj2id[i]]),
                model.eq_data[i, :5],
            )
            for i in range(model.neq)
            if model.eq_type[i] == mujoco.mjtEq.mjEQ_JOINT and model.eq_obj2id[i] >= 0
        ]
        self.refresh()

    def set_joint(self, name: str, position: float) -> None:
        """Put a joint of the arm, the gripper or a fixture at a position [rad or m]; unknown names are passed over."""
        for full in (name, GRIPPER + name):
            joint = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_JOINT, full)
            if joint >= 0 and np.isfinite(position):
                self.data.qpos[self.model.jnt_qposadr[joint]] = position
                return

    def set_pose(self, name: str, position: np.ndarray, quaternion: np.ndarray) -> None:
        """Put an object or fixture at a pose in base_link: (3,) [m], (4,) x y z w; unknown names are passed over."""
        body = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, name)
        if body < 0:
            return
        wxyz = np.roll(quaternion, 1)
        mocap = self.model.body_mocapid[body]
        joint = self.model.body_jntadr[body]
        if mocap >= 0:
            self.data.mocap_pos[mocap], self.data.mocap_quat[mocap] = position, wxyz
        elif joint >= 0 and self.model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE:
            start = self.model.jnt_qposadr[joint]
            self.data.qpos[start : start + 3], self.data.qpos[start + 3 : start + 7] = position, wxyz

    def refresh(self) -> None:
        """Bring everything that is drawn up to the joints and poses set."""
        for follower, leader, polynomial in self._coupled:
            self.data.qpos[follower] = np.polynomial.polynomial.polyval(self.data.qpos[leader], polynomial)
        mujoco.mj_forward(self.model, self.data)


class ViewerNode(Node):
    """Feeds a :class:`Mirror` from the simulator's topics."""

    def __init__(self) -> None:
        super().__init__("viewer")
        self.mirror = Mirror(str(self.declare_parameter("scene", "table").value))
        self.create_subscription(JointState, "/joint_states", self._on_joints, qos_profile_sensor_data)
        self.create_subscription(SceneTruth, "/sim/truth", self._on_truth, 10)

    def _on_joints(self, message: JointState) -> None:
        for name, position in zip(message.name, message.position, strict=False):
            self.mirror.set_joint(name, position)

    def _on_truth(self, message: SceneTruth) -> None:
        for name, pose in zip(message.names, message.poses, strict=False):
            p, q = pose.position, pose.orientation
            self.mirror.set_pose(name, np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w]))
        for name, position in zip(message.joint_names, message.joint_positions, strict=False):
            self.mirror.set_joint(name, position)


def show(node: ViewerNode) -> None:
    """Draw until the window is closed or ROS shuts down."""
    from mujoco import viewer

    executor = SingleThreadedExecutor()
    executor.add_node(node)
    mirror = node.mirror
    with viewer.launch_passive(mirror.model, mirror.data, show_left_ui=False, show_right_ui=False) as window:
        window.cam.lookat[:], window.cam.distance = (0.4, 0.0, 0.2), 1.7
        window.cam.azimuth, window.cam.elevation = 150.0, -25.0
        drawn = 0.0
        while window.is_running() and rclpy.ok():
            executor.spin_once(timeout_sec=FRAME_PERIOD / 2.0)
            if time.monotonic() - drawn >= FRAME_PERIOD:
                drawn = time.monotonic()
                with window.lock():
                    mirror.refresh()
                window.sync()


def main() -> int:
    """Run the node; 1 where no window can be opened."""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        print("viewer: no display (DISPLAY is not set), so there is no window", file=sys.stderr)
        return 1
    try:
        rclpy.init()
        show(ViewerNode())
    except DataError as error:
        print(f"viewer: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
