"""What a policy is: the protocol between the real-time runtime and any model, script or user code.

A policy is found by name through the entry-point group ``gr2.policies``; the entry point is a factory
``make_policy(**options) -> Policy``. The runtime calls :meth:`Policy.reset` once per instruction and then
:meth:`Policy.infer` for each observation at the replanning rate, always from one and the same thread. What a policy can
do beyond that (:class:`WarmsUp`, :class:`Commits`, :class:`Imagines`) the runtime finds out from its methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        delay: time from the stamp until the chunk will take over [s], as the runtime has measured it; what the chunk
            before does until then will happen whatever the policy says. 0: unknown.
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
    delay: float = 0.0


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
    """A policy behind the runtime. One that everybody should know something about has an attribute ``notice``, too.

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


@dataclass(frozen=True)
class WarmUp:
    """How long a policy took before anything depended on it.

    Attributes:
        first: its first inference [s].
        steady: median of the ones after it [s].
        imagination: one imagined instant [s]; 0 if none was asked for.
        processor: what a later inference and an imagined instant took of the processor [s], whatever else ran on it;
            None where that is not what they take, as on a GPU.
    """

    first: float
    steady: float
    imagination: float = 0.0
    processor: tuple[float, float] | None = None


@runtime_checkable
class WarmsUp(Protocol):
    """A policy whose first inferences are slower than later ones."""

    def warm_up(self, observation: Observation, imagine: bool) -> WarmUp:
        """Infer, and imagine if asked to, from observations of this shape, and forget it. Same thread as ``infer``."""


@runtime_checkable
class Commits(Protocol):
    """A policy whose chunks go on from the chunk before, see :attr:`Observation.delay`."""

    def discard(self) -> None:
        """The last chunk is not being followed: the next one is not bound by it. Same thread as ``infer``."""


@runtime_checkable
class Tidies(Protocol):
    """A policy that has something to do between two chunks, while nobody waits for it."""

    def tidy(self) -> None:
        """Do it. Same thread as ``infer``, after the chunk has been handed out."""


@dataclass(frozen=True)
class Frame:
    """All cameras at one instant, as an imagining policy sees or foresees them.

    Attributes:
        stamp: the instant [s].
        tokens: camera name -> (n,) integer image tokens.
        images: camera name -> (h, w, 3) uint8 RGB, at the policy's own resolution.
    """

    stamp: float
    tokens: Mapping[str, np.ndarray]
    images: Mapping[str, np.ndarray]


@runtime_checkable
class Imagines(Protocol):
    """A policy that can say what the cameras will see.

    Attributes:
        frame_dt: how far ahead it imagines [s].
    """

    frame_dt: float

    def fork(self) -> object:
        """What it has seen so far, set aside; the fork before is used up by this. Same thread as ``infer``.

        Raises:
            PolicyError: nothing was seen yet.
        """

    def imagine(self, fork: object, between: Callable[[], None]) -> Frame:
        """The next instant after a fork. On another thread, beside ``infer``.

        Args:
            fork: the newest one.
            between: called between short steps, to wait or, by raising, to give up.
        """

    def look(self, observation: Observation) -> Frame:
        """An observation as imagination would have it. On the thread of ``imagine``.

        Raises:
            PolicyError: the observation cannot be used.
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
