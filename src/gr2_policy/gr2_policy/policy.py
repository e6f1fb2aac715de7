"""What a policy is: the protocol between the real-time runtime and any model, script or user code.

A policy is found by name through the entry-point group ``gr2.policies``; the entry point is a factory
``make_policy(**options) -> Policy``. The runtime calls :meth:`Policy.reset` once per instruction and then
:meth:`Policy.infer` for each observation at the replanning rate, always from one and the same thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

import numpy as np

ENTRY_POINT_GROUP = "gr2.policies"


class UnknownInstruction(ValueError):
    """The policy cannot follow this instruction. The message says what it could follow instead."""


class UnknownPolicy(ValueError):
    """No policy of this name is installed. The message lists those that are."""


class PolicyError(RuntimeError):
    """The policy cannot produce a chunk from this observation; the message says why."""


@dataclass(frozen=True)
class SceneTruth:
    """Ground truth of a simulated scene, for privileged policies (the scripted teacher) only.

    Attributes:
        stamp: simulation time [s], equal to the stamp of the observation it belongs to.
        scene: name of the scene.
        seed: seed it was laid out with.
        episode: counts resets since the simulator started.
        poses: object name -> (position (3,) [m], quaternion (4,) x y z w), in base_link.
        joints: fixture joint name -> position [m or rad].
    """

    stamp: float
    scene: str
    seed: int
    episode: int
    poses: Mapping[str, tuple[np.ndarray, np.ndarray]]
    joints: Mapping[str, float]


@dataclass(frozen=True)
class Observation:
    """What the robot sees and feels at one instant.

    Attributes:
        stamp: time of the images [s], ROS time.
        instruction: what to do, never empty.
        images: camera name (``head``, ``wrist``) -> (height, width, 3) uint8 RGB.
        tool_position: (3,) [m], tool_frame in base_link.
        tool_orientation: (4,) unit quaternion x y z w, tool_frame in base_link.
        gripper: measured opening, 0 open ... 1 closed.
        joint_positions: (n,) [rad], arm joints in the robot's order.
        history: earlier observations, oldest first, without a history of their own.
        truth: ground truth; None unless the policy is privileged.
    """

    stamp: float
    instruction: str
    images: Mapping[str, np.ndarray]
    tool_position: np.ndarray
    tool_orientation: np.ndarray
    gripper: float
    joint_positions: np.ndarray
    history: tuple[Observation, ...] = field(default=())
    truth: SceneTruth | None = None


@dataclass(frozen=True)
class ActionChunk:
    """Future tool poses; pose i holds at ``observation.stamp + (i + 1) * dt``.

    Attributes:
        dt: time between poses [s].
        positions: (k, 3) [m], tool_frame in base_link.
        orientations: (k, 4) unit quaternions x y z w, tool_frame in base_link.
        gripper: (k,) 0 open ... 1 closed.
    """

    dt: float
    positions: np.ndarray
    orientations: np.ndarray
    gripper: np.ndarray

    def __post_init__(self) -> None:
        k = len(self.positions)
        for name, value, shape in (
            ("positions", self.positions, (k, 3)),
            ("orientations", self.orientations, (k, 4)),
            ("gripper", self.gripper, (k,)),
        ):
            if np.shape(value) != shape:
                raise PolicyError(f"{name} of the chunk have shape {np.shape(value)}, expected {shape}")
            if not np.all(np.isfinite(value)):
                raise PolicyError(f"{name} of the chunk are not finite")
        if k == 0 or not self.dt > 0.0:
            raise PolicyError(f"a chunk needs at least one pose and dt > 0, got {k} poses and dt = {self.dt}")


@runtime_checkable
class Policy(Protocol):
    """A policy behind the runtime.

    Attributes:
        model_id: who computes the chunks, published with each of them.
        robot_id: the robot the policy was made for.
        action_space: name of the action space, checked in the activation handshake.
        chunk_dt: time between the poses of its chunks [s].
        normalization_hash: hash of the normalisation statistics it applies; empty for none.
        privileged: True if it needs :attr:`Observation.truth`.
        history: number of earlier observations it wants in :attr:`Observation.history`.
    """

    model_id: str
    robot_id: str
    action_space: str
    chunk_dt: float
    normalization_hash: str
    privileged: bool
    history: int

    def reset(self, instruction: str) -> None:
        """Begin a new instruction.

        Raises:
            UnknownInstruction: the policy cannot follow it.
        """

    def infer(self, observation: Observation) -> ActionChunk:
        """One chunk from one observation.

        Raises:
            PolicyError: no chunk can be made from this observation.
        """


def available_policies() -> list[str]:
    """Names of the installed policies, sorted."""
    return sorted({entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)})


def load_policy(name: str, **options: object) -> Policy:
    """Make the policy of this name.

    Raises:
        UnknownPolicy: none of this name is installed.
    """
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == name:
            return entry.load()(**options)
    known = ", ".join(available_policies()) or "none"
    raise UnknownPolicy(f"no policy named '{name}' is installed (installed: {known})")
