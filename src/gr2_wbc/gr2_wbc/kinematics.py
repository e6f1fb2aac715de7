"""Kinematics of the commanded state: tool pose, Jacobian, manipulability and its gradient.

This is read 200 times a second: what a cycle needs is computed once, and views into pinocchio's memory are kept.
"""

from __future__ import annotations

import numpy as np
import pinocchio as pin

from gr2_wbc import kernels
from gr2_wbc.robot import Robot

_REGULARISATION = 1e-12  # of the Gram matrix


class Kinematics:
    """Kinematics of one state at a time; everything is expressed in the robot's base frame.

    Attributes:
        position: (3,) of tool_frame [m].
        rotation: (3, 3) of tool_frame.
        jacobian: (6, n) of tool_frame: linear over angular velocity.
        spatial: (6, n) velocity of the point at the base frame's origin, over angular velocity. The memory is used
            again by the next update.
    """

    def __init__(self, robot: Robot) -> None:
        self._model = robot.model
        self._data = robot.model.createData()
        self._tool = robot.model.getFrameId(robot.tool_frame)
        pin.framesForwardKinematics(self._model, self._data, np.zeros(robot.dof))
        base = self._data.oMf[robot.model.getFrameId(robot.base_frame)]
        self._to_base = None if base.isIdentity(1e-12) else base.inverse()
        self._to_base_action = base.inverse().action
        self._turn_to_base = np.kron(np.eye(2), base.rotation.T)
        pose = self._data.oMf[self._tool]
        self._world_position, self._world_rotation, self._world_spatial = pose.translation, pose.rotation, self._data.J
        self._carrying = _carrying(robot.model, robot.model.frames[self._tool].parentJoint)
        self.position = np.zeros(3)
        self.rotation = np.eye(3)
        self.jacobian = np.zeros((6, robot.dof))
        self.spatial = np.zeros((6, robot.dof))

    def update(self, positions: np.ndarray) -> None:
        """Compute for joint positions (n,) [rad]."""
        model, data, tool = self._model, self._data, self._tool
        pin.computeJointJacobians(model, data, positions)
        pin.updateFramePlacement(model, data, tool)
        jacobian = pin.getFrameJacobian(model, data, tool, pin.LOCAL_WORLD_ALIGNED)
        if self._to_base is None:
            self.position, self.rotation = self._world_position.copy(), self._world_rotation.copy()
            self.spatial, self.jacobian = self._world_spatial, jacobian
            return
        self.position = self._to_base.act(self._world_position)
        self.rotation = self._to_base.rotation.dot(self._world_rotation)
        self.spatial = self._to_base_action.dot(self._world_spatial)
        self.jacobian = self._turn_to_base.dot(jacobian)

    def manipulability(self) -> float:
        """sqrt(det(J J^T)), 0 in a singular configuration. Shifting the reference point does not change it."""
        return kernels.manipulability(self.jacobian)

    def manipulability_gradient(self, manipulability: float) -> np.ndarray:
        """Gradient (n,) of the manipulability with respect to the joint positions.

        With the columns S_k = (v_k, w_k) of the tool's Jacobian shifted to the base, dS_k/dq_i = S_i x S_k for every
        joint i before k (the product of motions), and dm/dq_i = m sum_k b_k . dS_k/dq_i, where b_k are the columns of
        (S S^T)^-1 S.
        """
        gradient = np.empty(self.spatial.shape[1])
        kernels.manipulability_gradient(self.spatial, self._carrying, manipulability, _REGULARISATION, gradient)
        return gradient


def _carrying(model: pin.Model, last: int) -> np.ndarray:
    """Columns (k,) of the joints on the way to joint ``last``, which carries the tool; from the base on.

    One velocity per joint is presumed.
    """
    columns = [model.joints[joint].idx_v for joint in model.supports[last] if joint > 0]
    return np.array(columns, dtype=np.int64)
