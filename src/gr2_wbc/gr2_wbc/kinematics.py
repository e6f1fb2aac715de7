"""Kinematics of the commanded state: tool pose, Jacobian, manipulability and its gradient."""

from __future__ import annotations

import math

import numpy as np
import pinocchio as pin

from gr2_wbc.robot import Robot


class Kinematics:
    """Kinematics of one state at a time; everything is expressed in the robot's base frame.

    Attributes:
        position: (3,) of tool_frame [m].
        rotation: (3, 3) of tool_frame.
        jacobian: (6, n) of tool_frame: linear over angular velocity.
        spatial: (6, n) velocity of the point at the base frame's origin, over angular velocity.
    """

    def __init__(self, robot: Robot) -> None:
        self._model = robot.model
        self._data = robot.model.createData()
        self._tool = robot.model.getFrameId(robot.tool_frame)
        pin.framesForwardKinematics(self._model, self._data, np.zeros(robot.dof))
        base = self._data.oMf[robot.model.getFrameId(robot.base_frame)]
        self._to_base = None if base.isIdentity(1e-12) else base.inverse()
        self.position = np.zeros(3)
        self.rotation = np.eye(3)
        self.jacobian = np.zeros((6, robot.dof))
        self.spatial = np.zeros((6, robot.dof))

    def update(self, positions: np.ndarray) -> None:
        """Compute for joint positions (n,) [rad]."""
        pin.computeJointJacobians(self._model, self._data, positions)
        pose = pin.updateFramePlacement(self._model, self._data, self._tool)
        spatial = self._data.J
        if self._to_base is not None:
            pose = self._to_base * pose
            spatial = self._to_base.action @ spatial
        self.position = pose.translation.copy()
        self.rotation = pose.rotation.copy()
        self.spatial = spatial
        self.jacobian = spatial.copy()
        self.jacobian[:3] -= _skew(self.position) @ spatial[3:]

    def manipulability(self) -> float:
        """sqrt(det(J J^T)), 0 in a singular configuration. Shifting the reference point does not change it."""
        return math.sqrt(max(float(np.linalg.det(self.jacobian @ self.jacobian.T)), 0.0))

    def manipulability_gradient(self, manipulability: float) -> np.ndarray:
        """Gradient (n,) of the manipulability with respect to the joint positions of a serial chain.

        With the spatial columns S_k = (v_k, w_k), dS_k/dq_i = S_i x S_k for i before k, and
        dm/dq_i = m trace(dS/dq_i pinv(S)). The triple products collapse into sums over k > i.
        """
        spatial = self.spatial
        gram = spatial @ spatial.T
        inverse = np.linalg.solve(gram + 1e-12 * np.trace(gram) * np.eye(6), spatial)
        v, w = spatial[:3].T, spatial[3:].T
        a, b = inverse[:3].T, inverse[3:].T
        on_w = _cross(v, a) + _cross(w, b)
        on_v = _cross(w, a)
        later_w = np.cumsum(on_w[::-1], axis=0)[::-1] - on_w
        later_v = np.cumsum(on_v[::-1], axis=0)[::-1] - on_v
        return manipulability * (np.sum(w * later_w, axis=1) + np.sum(v * later_v, axis=1))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise cross product, (n, 3) each; several times faster than the general one."""
    return a[:, [1, 2, 0]] * b[:, [2, 0, 1]] - a[:, [2, 0, 1]] * b[:, [1, 2, 0]]


def _skew(vector: np.ndarray) -> np.ndarray:
    x, y, z = vector.tolist()
    return np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))
