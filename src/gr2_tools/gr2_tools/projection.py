"""Where points in space are in a camera's image. No ROS in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Pinhole:
    """A camera without distortion.

    Attributes:
        matrix: (3, 3) intrinsics [pixel], for an image of ``width`` x ``height``.
        width, height: [pixel].
        position: (3,) of its centre in base_link [m].
        rotation: (3, 3) optical frame (x right, y down, z ahead) to base_link.
    """

    matrix: np.ndarray
    width: int
    height: int
    position: np.ndarray
    rotation: np.ndarray

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 3) in base_link [m] -> (n, 2) in the image, from 0 ... 1 across it; nan behind the camera."""
        local = (np.asarray(points, dtype=float) - self.position) @ self.rotation
        ahead = local[:, 2] > 1e-3
        seen = np.full((len(local), 2), np.nan)
        pixels = local[ahead] @ self.matrix.T
        seen[ahead] = pixels[:, :2] / pixels[:, 2:] / (self.width, self.height)
        return seen


def pinhole(info: Any, position: np.ndarray, rotation: np.ndarray) -> Pinhole:
    """From a sensor_msgs/CameraInfo and the pose of its optical frame.

    Raises:
        ValueError: the calibration is empty.
    """
    matrix = np.array(info.k, dtype=float).reshape(3, 3)
    if matrix[0, 0] <= 0.0 or matrix[1, 1] <= 0.0:
        raise ValueError("the camera_info carries no calibration (k is zero)")
    return Pinhole(matrix, int(info.width), int(info.height), position, rotation)
