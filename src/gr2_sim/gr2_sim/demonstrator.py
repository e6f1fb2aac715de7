"""Records what a policy does as episodes of a dataset: what it saw, what it was told, what it decided.

While it is carried out, a demonstration may be disturbed: the tool is led aside by a few centimetres for a while, and
what is recorded is how the demonstrator comes back from there. Policies learned from undisturbed demonstrations alone
do not know what to do after their first small error (Laskey et al. 2017, "DART").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gr2_policy.data.episode import Episode as Demonstration
from gr2_policy.policy import ActionChunk, Observation, Policy
from gr2_sim.rollout import Episode, Rollout, RolloutConfig
from gr2_sim.settings import check_training
from gr2_sim.world import World

CAMERAS = ("head", "wrist")
FRAME_PERIOD = 0.1
"""Time [s] between frames: that between the poses of a chunk."""
DISTURBED = 0.25
"""Share of the demonstrations that begin with the arm pushed aside."""
_DELAY = 0.09
"""From an observation to its chunk being used [s]: just below the period, so that every frame gets a chunk."""


@dataclass(frozen=True)
class Disturbance:
    """How demonstrations are disturbed.

    Attributes:
        share: of the episodes that are disturbed at all.
        distance: standard deviation of each component of the way aside [m].
        shortest, longest: time [s] that one way aside, or back, lasts.
    """

    share: float = 0.6
    distance: float = 0.015
    shortest: float = 0.3
    longest: float = 1.5

    def __post_init__(self) -> None:
        if not (0.0 <= self.share <= 1.0 and self.distance >= 0.0 and 0.0 < self.shortest <= self.longest):
            raise ValueError(f"a disturbance needs 0 <= share <= 1, distance >= 0, 0 < shortest <= longest; got {self}")


class Recorder:
    """A policy's stand-in: asks it, keeps its answers, hands out disturbed ones. See gr2_policy.policy.Policy.

    Args:
        policy: the demonstrator.
        disturbance: of what it hands out.
        seed: of the disturbance.
    """

    def __init__(self, policy: Policy, disturbance: Disturbance, seed: int) -> None:
        self.policy = policy
        self.model_id, self.robot_id, self.action_space = policy.model_id, policy.robot_id, policy.action_space
        self.chunk_dt, self.normalization_hash = policy.chunk_dt, policy.normalization_hash
        self.privileged, self.history = policy.privileged, policy.history
        self.frames: list[tuple[Observation, ActionChunk]] = []
        self._disturbance = disturbance
        self._random = np.random.default_rng(seed)
        self.disturbed = bool(self._random.random() < disturbance.share)
        self._aside = np.zeros(3)
        self._goal = np.zeros(3)
        self._until = -np.inf

    def reset(self, instruction: str) -> None:
        """See Policy."""
        self.policy.reset(instruction)

    def infer(self, observation: Observation) -> ActionChunk:
        """See Policy."""
        chunk = self.policy.infer(observation)
        self.frames.append((observation, chunk))
        if not self.disturbed:
            return chunk
        if observation.stamp >= self._until:
            goes = self._random.random() < 0.5
            self._goal = self._random.normal(size=3) * self._disturbance.distance * goes
            self._until = observation.stamp + self._random.uniform(
                self._disturbance.shortest, self._disturbance.longest
            )
        reached = np.minimum(np.arange(1, len(chunk.positions) + 1) * chunk.dt / self._disturbance.shortest, 1.0)
        offsets = self._aside + reached[:, None] * (self._goal - self._aside)
        self._aside = offsets[0]
        return ActionChunk(chunk.dt, chunk.positions + offsets, chunk.orientations, chunk.gripper)


class Demonstrator:
    """Records demonstrations in one world.

    Args:
        world: the cell.
        policy: the demonstrator; its chunks have FRAME_PERIOD between poses.
        size: edge of the square images [px].
        disturbance: see Disturbance.
        time_limit: of an episode [s].
        settle: time recorded after success [s].
        masks: record what the pixels show, too.
    """

    def __init__(
        self,
        world: World,
        policy: Policy,
        size: int = 128,
        disturbance: Disturbance | None = None,
        time_limit: float = 30.0,
        settle: float = 0.5,
        masks: bool = False,
    ) -> None:
        if abs(policy.chunk_dt - FRAME_PERIOD) > 1e-9:
            raise ValueError(f"poses of a chunk are {policy.chunk_dt} s apart, frames {FRAME_PERIOD} s")
        self._world, self._policy, self._size, self._masks = world, policy, size, masks
        self._disturbance = disturbance or Disturbance()
        self._config = RolloutConfig(
            replan_period=FRAME_PERIOD,
            policy_delay=_DELAY,
            time_limit=time_limit,
            settle=settle,
            images=CAMERAS,
            disturbed=DISTURBED,
            width=size,
            height=size,
        )

    def record(self, task: str, seed: int, instruction: str, scene: str = "") -> tuple[Demonstration, Episode]:
        """One demonstration, successful or not, the same for the same arguments, and how it went.

        Raises:
            HeldOut: something in the scene or the instruction is held out from training.
            what gr2_sim.rollout.Rollout.run raises.
        """
        recorder = Recorder(self._policy, self._disturbance, seed)
        masks: dict[str, list[np.ndarray]] = {camera: [] for camera in CAMERAS if self._masks}

        def look(observation: Observation, chunk: ActionChunk) -> None:
            for camera, labels in masks.items():
                labels.append(self._world.labels(camera, self._size, self._size))

        episode = Rollout(self._world, recorder, self._config, look).run(task, seed, instruction, scene)
        check_training(self._world.cell, instruction)
        demonstration = to_demonstration(recorder, episode)
        return replace(demonstration, masks={camera: np.stack(labels) for camera, labels in masks.items()}), episode


def to_demonstration(recorder: Recorder, episode: Episode) -> Demonstration:
    """What a recorder kept of an episode, in a dataset's form."""
    seen, chunks = zip(*recorder.frames, strict=True)
    stamps = np.array([observation.stamp for observation in seen])
    answers = np.stack([np.column_stack([c.positions, c.orientations, c.gripper]) for c in chunks])
    success = -1
    if episode.success:
        success = min(int(np.searchsorted(stamps - stamps[0], episode.duration)), len(stamps) - 1)
    return Demonstration(
        instruction=episode.instruction,
        task=episode.task,
        seed=episode.seed,
        stamps=stamps,
        images={name: np.stack([o.images[name] for o in seen]) for name in seen[0].images},
        states=np.stack([np.array([*o.tool_position, *o.tool_orientation, o.gripper]) for o in seen]),
        actions=answers[:, 0],
        joints=np.stack([o.joint_positions for o in seen]),
        chunks=answers,
        success_frame=success,
        notes={
            "demonstrator": recorder.model_id,
            "disturbed": recorder.disturbed,
            "chunks_refused": episode.refused,
            "detail": episode.detail,
        },
    )
