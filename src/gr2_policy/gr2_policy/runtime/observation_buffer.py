"""Puts together what belongs to one instant: both images, the robot's state and, for the teacher, the truth.

An observation is complete only when nothing that arrives later could change it, so the same messages give the
same observations whether they come from a live robot or out of a bag.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from gr2_policy.policy import Observation, SceneTruth


@dataclass(frozen=True)
class StateSample:
    """The robot at one instant; fields as in :class:`gr2_policy.policy.Observation`."""

    stamp: float
    tool_position: np.ndarray
    tool_orientation: np.ndarray
    gripper: float
    joint_positions: np.ndarray


@dataclass(frozen=True)
class BufferConfig:
    """How far apart things may be and still count as one instant.

    Attributes:
        cameras: names; the first one sets the pace and the stamp of the observation.
        camera_tolerance: largest difference between the stamps of the images [s].
        state_tolerance: largest difference between image and robot state [s].
        truth_tolerance: largest difference between image and ground truth [s].
        needs_truth: whether an observation is complete without ground truth.
        history: how many earlier observations each one carries.
        length: how many messages of each kind are kept.
        jump: a stamp this far behind the newest one means that time was set back [s].
    """

    cameras: tuple[str, ...] = ("head", "wrist")
    camera_tolerance: float = 0.02
    state_tolerance: float = 0.05
    truth_tolerance: float = 0.002
    needs_truth: bool = False
    history: int = 0
    length: int = 64
    jump: float = 0.5


class ObservationBuffer:
    """Collects messages in any order and yields complete observations in the order of their stamps."""

    def __init__(self, config: BufferConfig) -> None:
        self.config = config
        self._images: dict[str, deque[tuple[float, np.ndarray]]] = {}
        self._states: deque[StateSample] = deque(maxlen=config.length)
        self._truths: deque[SceneTruth] = deque(maxlen=config.length)
        self._history: deque[Observation] = deque(maxlen=max(config.history, 1))
        self._last = -np.inf
        self.time_jumps = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything, e.g. after time was set back."""
        self._images = {camera: deque(maxlen=self.config.length) for camera in self.config.cameras}
        self._states.clear()
        self._truths.clear()
        self._history.clear()
        self._last = -np.inf

    def add_image(self, camera: str, stamp: float, image: np.ndarray) -> None:
        """One image, (height, width, 3) uint8 RGB, taken at ``stamp`` [s]."""
        self._watch_time(stamp)
        _insert(self._images[camera], (stamp, image), lambda item: item[0])

    def add_state(self, state: StateSample) -> None:
        """One state of the robot."""
        self._watch_time(state.stamp)
        _insert(self._states, state, lambda item: item.stamp)

    def add_truth(self, truth: SceneTruth) -> None:
        """Ground truth of one instant."""
        self._watch_time(truth.stamp)
        _insert(self._truths, truth, lambda item: item.stamp)

    def newest_image(self, camera: str) -> float | None:
        """Stamp of the newest image of this camera [s]; None before the first."""
        images = self._images[camera]
        return images[-1][0] if images else None

    def take(self, instruction: str) -> Iterator[Observation]:
        """Yield, oldest first, the observations that have become complete since the last call."""
        lead = self.config.cameras[0]
        for stamp, image in list(self._images[lead]):
            if stamp <= self._last:
                continue
            observation = self._complete(stamp, image, instruction)
            if observation is None:
                continue
            self._last = stamp
            history = tuple(self._history) if self.config.history else ()
            self._history.append(observation)
            yield replace(observation, history=history)

    def _complete(self, stamp: float, lead_image: np.ndarray, instruction: str) -> Observation | None:
        config = self.config
        images = {config.cameras[0]: lead_image}
        for camera in config.cameras[1:]:
            found = _settled(list(self._images[camera]), stamp, config.camera_tolerance, lambda item: item[0])
            if found is None:
                return None
            images[camera] = found[1]
        state = _settled(list(self._states), stamp, config.state_tolerance, lambda item: item.stamp)
        if state is None:
            return None
        truth = None
        if config.needs_truth:
            truth = _settled(list(self._truths), stamp, config.truth_tolerance, lambda item: item.stamp)
            if truth is None:
                return None
        return Observation(
            stamp=stamp,
            instruction=instruction,
            images=images,
            tool_position=state.tool_position,
            tool_orientation=state.tool_orientation,
            gripper=state.gripper,
            joint_positions=state.joint_positions,
            truth=truth,
        )

    def _watch_time(self, stamp: float) -> None:
        newest = max(
            [images[-1][0] for images in self._images.values() if images]
            + [self._states[-1].stamp if self._states else -np.inf],
            default=-np.inf,
        )
        if stamp < newest - self.config.jump:
            self.clear()
            self.time_jumps += 1


def _insert(items: deque, item: object, key) -> None:  # type: ignore[no-untyped-def]
    """Append in the order of stamps; messages that overtook each other are rare, so the search is from the end."""
    if not items or key(items[-1]) <= key(item):
        items.append(item)
        return
    ordered = sorted([*items, item], key=key)
    items.clear()
    items.extend(ordered)


def _settled(items: list, stamp: float, tolerance: float, key):  # type: ignore[no-untyped-def]
    """The item nearest to ``stamp`` within ``tolerance``, once no later one could be nearer; else None."""
    if not items or key(items[-1]) < stamp - 1e-9:
        return None
    nearest = min(items, key=lambda item: abs(key(item) - stamp))
    return nearest if abs(key(nearest) - stamp) <= tolerance else None
