"""A cell with a gripper in it, whatever carries that: the scene laid out, ground truth, images."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from gr2_policy.policy import SceneTruth
from gr2_sim import gripper
from gr2_sim.build import GRIPPER, KNUCKLE_JOINT
from gr2_sim.cameras import Cameras
from gr2_sim.cell import Cell, load_cell
from gr2_sim.labels import labels_of_geoms
from gr2_sim.layout import Layout, lay_out
from gr2_sim.tasks import Task, find_task

KEPT_MODELS = 6
"""Compiled models that a stage keeps: to compile one takes longer than to lay a scene anew."""


class Stage:
    """One cell, running; subclasses add what carries the gripper.

    Args:
        scene: name of the scene.
        timestep: of the physics [s].

    Raises:
        DataError: unknown scene, or a data file is wrong.
    """

    actor = ""
    """Root body of what acts."""

    def __init__(self, scene: str, timestep: float) -> None:
        self._timestep = timestep
        self._models: dict[str, mujoco.MjModel] = {}
        self.task = ""
        self.seed = 0
        self.episode = 0
        self._cameras: Cameras | None = None
        self._labels: tuple[str, np.ndarray] | None = None
        self._load(scene)

    def _build(self, cell: Cell) -> mujoco.MjModel:
        """The model of a cell and of what acts in it."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------- life

    def _load(self, scene: str) -> None:
        self.cell = load_cell(scene)
        self.model = self._model()
        self.data = mujoco.MjData(self.model)
        model = self.model
        self.timestep = float(model.opt.timestep)
        self._slider_qpos: Mapping[str, int] = {
            f.slider.joint: int(model.joint(f.slider.joint).qposadr[0]) for f in self.cell.fixtures.values() if f.slider
        }
        self._grip_ctrl = model.actuator(GRIPPER + "gripper").id
        self._knuckle = model.joint(GRIPPER + KNUCKLE_JOINT)
        self._tool = model.site("tool_frame").id
        self._bodies = {name: model.body(name).id for name in (*self.cell.objects, *self.cell.fixtures)}
        names = [model.body(i).name for i in range(model.nbody)]
        owner = [names[model.body_rootid[i]] for i in range(model.nbody)]
        self._geom_owner = np.array([owner[body] for body in model.geom_bodyid])
        self._labels = None
        if self._cameras is not None:
            self._cameras.close()
            self._cameras = None

    def _model(self) -> mujoco.MjModel:
        """The cell's model; the last few are kept."""
        name = self.cell.name
        model = self._models.pop(name, None) or self._build(self.cell)
        self._models[name] = model
        while len(self._models) > KEPT_MODELS:
            del self._models[next(iter(self._models))]
        return model

    def _lay(self, task: str, seed: int, scene: str, time: float | None) -> Task | None:
        """Lay the scene anew; see World.reset. Poses are not brought up to date yet."""
        chosen = find_task(task) if task else None
        cell = load_cell(scene) if scene else self.cell
        if chosen and not scene and not all(cell.has(name) for name in (chosen.object, chosen.target) if name):
            cell = load_cell(chosen.scene)
        layout = lay_out(cell, chosen, seed)
        if cell is not self.cell:
            self._load(cell.name)
        clock = self.time if time is None else time
        mujoco.mj_resetData(self.model, self.data)
        self.data.time = clock
        self._place(layout)
        self._grip_goal = 0.0
        self._grip_reference = 0.0
        self.task, self.seed = task, seed
        self.episode += 1
        return chosen

    def _place(self, layout: Layout) -> None:
        data, model = self.data, self.model
        for name, (x, y, yaw) in layout.fixtures.items():
            mocap = model.body(name).mocapid[0]
            data.mocap_pos[mocap] = (x, y, 0.0)
            data.mocap_quat[mocap] = (np.cos(yaw / 2.0), 0.0, 0.0, np.sin(yaw / 2.0))
        for name, (x, y, yaw) in layout.objects.items():
            start = model.joint(name).qposadr[0]
            height = layout.heights.get(name, self.cell.objects[name].rest_height)
            data.qpos[start : start + 7] = (x, y, height, np.cos(yaw / 2.0), 0.0, 0.0, np.sin(yaw / 2.0))
        for joint, value in layout.joints.items():
            data.qpos[self._slider_qpos[joint]] = value

    def set_joint(self, joint: str, position: float) -> None:
        """Put a moving part of a fixture somewhere [m or rad], at rest.

        Raises:
            KeyError: the scene has no such joint.
        """
        self.data.qpos[self._slider_qpos[joint]] = position
        self.data.qvel[self.model.joint(joint).dofadr[0]] = 0.0
        mujoco.mj_forward(self.model, self.data)

    # ---------------------------------------------------------------------------------------- running

    def command_gripper(self, opening: float) -> None:
        """Open or close the gripper: 0 open ... 1 closed.

        Raises:
            ValueError: not a number from 0 to 1.
        """
        if not 0.0 <= opening <= 1.0:
            raise ValueError(f"gripper command {opening} is not within 0 (open) ... 1 (closed)")
        self._grip_goal = float(opening) * gripper.CLOSED_ANGLE

    def _move_fingers(self) -> None:
        """One time step of the gripper's set point towards what was commanded."""
        change = gripper.SPEED * self.timestep
        self._grip_reference += min(max(self._grip_goal - self._grip_reference, -change), change)
        self.data.ctrl[self._grip_ctrl] = self._grip_reference

    # ---------------------------------------------------------------------------------------- reading

    @property
    def time(self) -> float:
        """Simulation time [s]; never runs back, not at a reset either, unless told so."""
        return float(self.data.time)

    @property
    def knuckle(self) -> tuple[float, float]:
        """Position [rad], 0 open ... 0.8 closed, and velocity [rad/s] of the gripper's joint."""
        return float(self.data.qpos[self._knuckle.qposadr[0]]), float(self.data.qvel[self._knuckle.dofadr[0]])

    @property
    def gripper_opening(self) -> float:
        """Measured: 0 open ... 1 closed."""
        return min(max(self.knuckle[0] / gripper.CLOSED_ANGLE, 0.0), 1.0)

    def tool_pose(self) -> tuple[np.ndarray, np.ndarray]:
        """Measured pose of tool_frame in base_link: position (3,) [m], quaternion (4,) x y z w."""
        self.refresh()
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, self.data.site_xmat[self._tool])
        return self.data.site_xpos[self._tool].copy(), np.roll(quaternion, -1)

    def truth(self) -> SceneTruth:
        """Ground truth of this moment: objects and fixtures in base_link, and moving parts."""
        self.refresh()
        data = self.data
        poses = {name: (data.xpos[i].copy(), np.roll(data.xquat[i], -1)) for name, i in self._bodies.items()}
        joints = {joint: float(data.qpos[address]) for joint, address in self._slider_qpos.items()}
        return SceneTruth(self.time, self.cell.name, self.seed, self.episode, poses, joints)

    def touched(self) -> frozenset[str]:
        """Names of the objects and fixtures that what acts touches."""
        geoms = self.data.contact.geom
        if len(geoms) == 0:
            return frozenset()
        owners = self._geom_owner[geoms]
        first, second = owners[:, 0], owners[:, 1]
        robot = self.actor
        met = set(second[first == robot]) | set(first[second == robot])
        return frozenset(str(name) for name in met if name in self._bodies)

    def refresh(self) -> None:
        """Bring poses up to the present joint positions (a step leaves those from its beginning)."""
        mujoco.mj_kinematics(self.model, self.data)

    def refresh_view(self) -> None:
        """Bring poses, cameras and lights up to the present joint positions."""
        self.refresh()
        mujoco.mj_camlight(self.model, self.data)

    def render(self, camera: str, width: int = 256, height: int = 256) -> np.ndarray:
        """Image of a camera, (height, width, 3) uint8 RGB.

        Raises:
            RenderingUnavailable: no OpenGL here.
        """
        cameras = self._cameras_of(width, height)
        self.refresh_view()
        return cameras.render(self.data, camera)

    def labels(self, camera: str, width: int = 256, height: int = 256) -> np.ndarray:
        """What the pixels of a camera show, (height, width) uint8, see gr2_policy.data.episode.LABELS.

        Raises:
            RenderingUnavailable: no OpenGL here.
        """
        cameras = self._cameras_of(width, height)
        if self._labels is None or self._labels[0] != self.task:
            task = find_task(self.task) if self.task else None
            self._labels = self.task, labels_of_geoms(self.model, self.cell, task, self.actor)
        self.refresh_view()
        return self._labels[1][cameras.geoms(self.data, camera)]

    def _cameras_of(self, width: int, height: int) -> Cameras:
        if self._cameras is None or self._cameras.size != (height, width):
            if self._cameras is not None:
                self._cameras.close()
            self._cameras = Cameras(self.model, width, height)
        return self._cameras

    def close(self) -> None:
        """Give the OpenGL context back, where images were drawn."""
        if self._cameras is not None:
            self._cameras.close()
            self._cameras = None
