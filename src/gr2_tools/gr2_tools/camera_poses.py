"""Where the cameras of a recorded run stood: from its static transforms, or from the simulated cell it was made in."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

BASE = "base_link"
_OPTICAL = np.diag([1.0, -1.0, -1.0])  # MuJoCo's cameras look along -z, y up


class StaticTransforms:
    """The tree of /tf_static."""

    def __init__(self) -> None:
        self._edges: dict[str, dict[str, np.ndarray]] = {}

    def add(self, message: Any) -> None:
        """tf2_msgs/TFMessage."""
        for transform in message.transforms:
            parent, child = transform.header.frame_id.strip("/"), transform.child_frame_id.strip("/")
            t, q = transform.transform.translation, transform.transform.rotation
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = matrix_of(q.x, q.y, q.z, q.w), (t.x, t.y, t.z)
            self._edges.setdefault(parent, {})[child] = pose
            self._edges.setdefault(child, {})[parent] = np.linalg.inv(pose)

    def pose(self, frame: str, base: str = BASE) -> tuple[np.ndarray, np.ndarray] | None:
        """Position (3,) and rotation (3, 3) of a frame in the base; None if they are not connected."""
        seen, waiting = {base}, deque([(base, np.eye(4))])
        while waiting:
            here, pose = waiting.popleft()
            if here == frame.strip("/"):
                return pose[:3, 3], pose[:3, :3]
            for other, step in self._edges.get(here, {}).items():
                if other not in seen:
                    seen.add(other)
                    waiting.append((other, pose @ step))
        return None


def matrix_of(x: float, y: float, z: float, w: float) -> np.ndarray:
    """Rotation matrix (3, 3) of a quaternion."""
    n = x * x + y * y + z * z + w * w
    s = 2.0 / n if n > 0.0 else 0.0
    return np.array(
        [
            [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
            [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
            [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
        ]
    )


class SimulatedCameras:
    """The cameras of a simulated cell, also the one on the wrist.

    Args:
        scene: name of the cell.

    Raises:
        DataError: there is no such cell.
    """

    def __init__(self, scene: str) -> None:
        from gr2_sim.viewer_node import Mirror  # builds a physics model: only for bags that have a scene

        self.scene = scene
        self._mirror = Mirror(scene)

    def move(self, joints: dict[str, float]) -> None:
        """Put the arm's joints [rad]."""
        for name, position in joints.items():
            self._mirror.set_joint(name, position)
        self._mirror.refresh()

    def pose(self, camera: str) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) and rotation (3, 3) of a camera's optical frame in base_link."""
        data = self._mirror.data.camera(camera)
        return data.xpos.copy(), data.xmat.reshape(3, 3) @ _OPTICAL
