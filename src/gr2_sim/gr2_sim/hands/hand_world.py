"""A cell in which a hand acts: led by poses, touching by physics."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from gr2_policy.policy import ActionChunk
from gr2_sim.cell import Cell
from gr2_sim.hands.body import HAND, TARGET, TOOL, arm_poses, build_hand_model
from gr2_sim.hands.scenes import embodiment_of
from gr2_sim.motion import turn_between, turned
from gr2_sim.stage import Stage
from gr2_sim.world import FAST_TIMESTEP, SETTLING


@dataclass(frozen=True)
class ToolPose:
    """Where the tool is: position (3,) [m] and quaternion (4,) x y z w in base_link."""

    position: np.ndarray
    orientation: np.ndarray


class HandWorld(Stage):
    """One cell and a hand; scenes are variants of the setting `video` (scenes.py).

    Args:
        scene: name of the first one.
        timestep: of the physics [s].
    """

    actor = HAND

    def __init__(self, scene: str, timestep: float = FAST_TIMESTEP) -> None:
        super().__init__(scene, timestep)

    def _build(self, cell: Cell) -> mujoco.MjModel:
        return build_hand_model(cell, embodiment_of(cell.name), self._timestep)

    def _load(self, scene: str) -> None:
        super()._load(scene)
        model = self.model
        self.embodiment = embodiment_of(self.cell.name)
        self._target = int(model.body(TARGET).mocapid[0])
        self._arm = [int(model.body(name).mocapid[0]) for name in ("forearm", "upper_arm")]
        self._hand = model.body(HAND).id
        self._hand_qpos = int(model.joint(HAND).qposadr[0])

    def prepare(self, scene: str) -> None:
        """Bring in a scene and who acts there, without laying it.

        Raises:
            DataError: it is unknown.
        """
        if self.cell.name != scene:
            self._load(scene)

    def reset(self, task: str, seed: int, scene: str, start: ToolPose) -> None:
        """Lay the scene anew, the tool at a pose, at rest, open.

        Raises:
            DataError, UnknownTask, LayoutError: see World.reset.
        """
        self._lay(task, seed, scene, time=0.0)
        self._led = start
        position, quaternion = _mount(start)
        self.data.qpos[self._hand_qpos : self._hand_qpos + 7] = [*position, *quaternion]
        self._lead(start)
        mujoco.mj_forward(self.model, self.data)
        if self.cell.region.inside:
            for _ in range(round(SETTLING / self.timestep)):
                mujoco.mj_step(self.model, self.data)
            self.data.qvel[:] = 0.0
            self.data.time = 0.0
            mujoco.mj_forward(self.model, self.data)

    def follow(self, chunk: ActionChunk, duration: float) -> None:
        """Have the tool follow a chunk that begins now, for some time [s], at most the chunk's."""
        begin, data = self.data.time, self.data
        poses = [self._led, *map(ToolPose, chunk.positions, chunk.orientations)]
        for step in range(1, round(duration / self.timestep) + 1):
            place = step * self.timestep / chunk.dt
            index = min(int(place), len(poses) - 2)
            led = _between(poses[index], poses[index + 1], min(place - index, 1.0))
            self._lead(led)
            self.command_gripper(float(chunk.gripper[min(index, len(chunk.gripper) - 1)]))
            self._move_fingers()
            mujoco.mj_step(self.model, data)
        self._led = led
        data.time = begin + round(duration / self.timestep) * self.timestep

    def _lead(self, pose: ToolPose) -> None:
        position, quaternion = _mount(pose)
        self.data.mocap_pos[self._target], self.data.mocap_quat[self._target] = position, quaternion

    def refresh_view(self) -> None:
        """See Stage; the arm comes along too."""
        self.refresh()
        data = self.data
        wrist = data.xpos[self._hand] + data.xmat[self._hand].reshape(3, 3) @ self.embodiment.wrist
        poses = arm_poses(wrist, self.embodiment.shoulder, self.embodiment.lengths)
        for mocap, (position, quaternion) in zip(self._arm, poses, strict=True):
            data.mocap_pos[mocap], data.mocap_quat[mocap] = position, quaternion
        super().refresh_view()


def _mount(pose: ToolPose) -> tuple[np.ndarray, np.ndarray]:
    """Pose of the hand's body for one of the tool: position (3,) [m], quaternion w x y z."""
    quaternion = pose.orientation[[3, 0, 1, 2]]
    ahead = np.empty(3)
    mujoco.mju_rotVecQuat(ahead, np.array([0.0, 0.0, TOOL]), quaternion)
    return pose.position - ahead, quaternion


def _between(first: ToolPose, second: ToolPose, share: float) -> ToolPose:
    turn = turn_between(first.orientation, second.orientation)
    return ToolPose((1.0 - share) * first.position + share * second.position, turned(first.orientation, share * turn))
