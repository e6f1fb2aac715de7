"""From what the robot sees and feels to what the model takes, and from what the model says to a chunk.

One set, used by training and by serving, saved in the checkpoint's card: the same observation gives the same tensors in
both, and the hash of all of it is what the activation handshake compares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gr2_policy.model import geometry
from gr2_policy.model.config import ConfigError, ModelConfig, to_dict
from gr2_policy.policy import ActionChunk

_SMALLEST_STEP = (1e-3, 1e-2)  # [m], [rad]: what hardly moves in the data is not blown up to unit size


class BadObservation(ValueError):
    """An observation cannot be turned into what the model takes. The message says what is wrong with it."""


@dataclass(frozen=True)
class Normalization:
    """Statistics of the data.

    Attributes:
        position_mean, position_scale: mean and standard deviation of the tool's position in base_link, 3 each [m].
        step_positions, step_rotations: for each step of a chunk the root mean square of one component of its
            displacement, horizon each [m], [rad]. There is no mean, so that no motion stays zero.
    """

    position_mean: tuple[float, ...]
    position_scale: tuple[float, ...]
    step_positions: tuple[float, ...]
    step_rotations: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.position_mean) != 3 or len(self.position_scale) != 3:
            raise ConfigError("normalization.position_mean and position_scale need 3 numbers each")
        if len(self.step_positions) != len(self.step_rotations):
            raise ConfigError("normalization.step_positions and step_rotations differ in length")
        scales = (*self.position_scale, *self.step_positions, *self.step_rotations)
        if not all(np.isfinite(scales)) or min(scales) <= 0.0 or not all(np.isfinite(self.position_mean)):
            raise ConfigError("normalization needs finite means and positive, finite scales")

    @staticmethod
    def fit(positions: np.ndarray, displacements: np.ndarray) -> Normalization:
        """From tool positions (n, 3) [m] and displacements (m, horizon, 6) of demonstrations."""
        squares = np.square(np.asarray(displacements, float)).reshape(*displacements.shape[:2], 2, 3)
        steps = np.sqrt(squares.mean(axis=(0, 3))).clip(_SMALLEST_STEP, None)
        scale = np.std(positions, axis=0).clip(_SMALLEST_STEP[0], None)
        return Normalization(
            position_mean=tuple(float(value) for value in np.mean(positions, axis=0)),
            position_scale=tuple(float(value) for value in scale),
            step_positions=tuple(float(value) for value in steps[:, 0]),
            step_rotations=tuple(float(value) for value in steps[:, 1]),
        )

    @staticmethod
    def plain(horizon: int) -> Normalization:
        """Round numbers for a model that has seen no data: a reach of half a metre, speeds of 0.1 m/s and 0.3 rad/s."""
        steps = [0.1 * (index + 1) for index in range(horizon)]
        return Normalization(
            position_mean=(0.45, 0.0, 0.25),
            position_scale=(0.15, 0.25, 0.15),
            step_positions=tuple(0.1 * step for step in steps),
            step_rotations=tuple(0.3 * step for step in steps),
        )


@dataclass(frozen=True)
class Transforms:
    """See the module's docstring.

    Attributes:
        views: cameras in the model's order.
        resolution: side of the images it takes [pixel].
        frame_dt: time between frames of its history [s].
        robot_id, action_space: what the data was recorded on.
        chunk_dt: time between poses of a chunk [s]; 0 without actions.
        gripper_closed_above: opening (0 open ... 1 closed) from which the gripper counts as closed. Small: fingers that
            hold a mug or a block stay at 0.3 or 0.45, and whether something is held is what the flag is to tell.
        normalization: statistics; None for a pre-training model, which has no states or actions.
    """

    views: tuple[str, ...]
    resolution: int
    frame_dt: float
    robot_id: str = ""
    action_space: str = ""
    chunk_dt: float = 0.0
    gripper_closed_above: float = 0.2
    normalization: Normalization | None = None

    @staticmethod
    def of(
        config: ModelConfig, normalization: Normalization | None = None, robot_id: str = "", action_space: str = ""
    ) -> Transforms:
        """Those that a model's configuration asks for."""
        return Transforms(
            views=config.views,
            resolution=config.tokenizer.resolution,
            frame_dt=config.frame_dt,
            robot_id=robot_id,
            action_space=action_space,
            chunk_dt=config.action.dt if config.action else 0.0,
            normalization=normalization,
        )

    def hash(self) -> str:
        """SHA-256 of everything here."""
        return hashlib.sha256(json.dumps(to_dict(self), sort_keys=True).encode()).hexdigest()

    # --- in ---

    def resize(self, image: np.ndarray) -> np.ndarray:
        """An image (height, width, 3) uint8 RGB, cut to its central square and resized: (resolution, resolution, 3).

        The result is uint8 again, so that images stored at this size are exactly what serving makes.

        Raises:
            BadObservation: it is not such an image.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise BadObservation(f"an image has shape {image.shape} and type {image.dtype}, expected (h, w, 3) uint8")
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        image = image[top : top + side, left : left + side]
        if side == self.resolution:
            return np.ascontiguousarray(image)
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
        size = (self.resolution, self.resolution)
        resized = functional.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
        return resized[0].permute(1, 2, 0).round().clamp(0.0, 255.0).to(torch.uint8).contiguous().numpy()

    def images(self, images: Mapping[str, np.ndarray]) -> Tensor:
        """One image of each view to (views, 3, resolution, resolution) within -1 ... 1.

        Raises:
            BadObservation: a view is missing or is no image.
        """
        missing = [view for view in self.views if view not in images]
        if missing:
            raise BadObservation(f"the observation has no image of {', '.join(missing)}")
        stacked = np.stack([self.resize(images[view]) for view in self.views])
        return pixels_to_tensor(stacked)

    def state(self, position: np.ndarray, orientation: np.ndarray, gripper: float) -> Tensor:
        """Tool pose in base_link (3,) [m], (4,) x y z w and the gripper's opening to (10,) float32.

        Raises:
            BadObservation: a number is not finite or the quaternion has no length.
        """
        statistics = self._statistics()
        length = float(np.linalg.norm(orientation))
        if not np.all(np.isfinite([*position, *orientation, gripper])) or length < 1e-6:
            raise BadObservation(f"the tool pose {list(position)} {list(orientation)} cannot be used")
        normalised = (np.asarray(position, float) - statistics.position_mean) / statistics.position_scale
        turned = geometry.rotation_6d(np.asarray(orientation, float) / length)
        closed = 1.0 if gripper > self.gripper_closed_above else 0.0
        return torch.from_numpy(np.concatenate([normalised, turned, [closed]])).float()

    def actions(self, chunk: ActionChunk, tool_position: np.ndarray, tool_orientation: np.ndarray) -> Tensor:
        """A chunk, or the beginning of one, seen from the current tool pose: (k, 7) float32, k <= horizon."""
        displacements = geometry.to_displacements(chunk.positions, chunk.orientations, tool_position, tool_orientation)
        scaled = displacements / self.step_scales()[: len(displacements)]
        actions = np.concatenate([scaled, np.asarray(chunk.gripper, float)[:, None]], axis=1)
        return torch.from_numpy(actions).float()

    # --- out ---

    def chunk(self, actions: Tensor, tool_position: np.ndarray, tool_orientation: np.ndarray) -> ActionChunk:
        """The inverse of :meth:`actions`."""
        numbers = actions.detach().to("cpu", torch.float64).numpy()
        displacements = numbers[:, :6] * self.step_scales()[: len(numbers)]
        positions, orientations = geometry.from_displacements(displacements, tool_position, tool_orientation)
        return ActionChunk(self.chunk_dt, positions, orientations, numbers[:, 6].clip(0.0, 1.0))

    def committed(self, previous: ActionChunk, age: float, delay: float, most: int) -> ActionChunk | None:
        """The beginning of the next chunk that the previous one has settled already.

        Args:
            previous: the chunk under way.
            age: time from its observation to the present one [s].
            delay: time from the present observation until the next chunk can take over [s].
            most: most steps that the model can be told.

        Returns:
            the poses at the next chunk's first steps that lie within the delay; None if there are none, or if the
            previous chunk ends before them.
        """
        dt = self.chunk_dt
        covered = int(np.floor((len(previous.positions) * previous.dt - age) / dt + 1e-6))
        steps = min(int(np.floor(delay / dt + 1e-6)), most, covered)
        if steps < 1 or age < 0.0:
            return None
        times = previous.dt * np.arange(1, len(previous.positions) + 1)
        wanted = age + dt * np.arange(1, steps + 1)
        positions, orientations = geometry.interpolate(times, previous.positions, previous.orientations, wanted)
        return ActionChunk(dt, positions, orientations, np.interp(wanted, times, previous.gripper))

    def step_scales(self) -> np.ndarray:
        """What displacements of each step are divided by, (horizon, 6) [m], [rad]."""
        statistics = self._statistics()
        return np.repeat(np.stack([statistics.step_positions, statistics.step_rotations], axis=1), 3, axis=1)

    def _statistics(self) -> Normalization:
        if self.normalization is None:
            raise BadObservation("these transforms belong to a pre-training model, which has no states or actions")
        return self.normalization


def pixels_to_tensor(images: np.ndarray) -> Tensor:
    """Images (..., h, w, 3) uint8 to (..., 3, h, w) float32 within -1 ... 1."""
    return torch.from_numpy(images).movedim(-1, -3).float() / 127.5 - 1.0


def tensor_to_pixels(images: Tensor) -> np.ndarray:
    """The inverse of :func:`pixels_to_tensor`, rounded."""
    pixels = ((images.detach().float() + 1.0) * 127.5).round().clamp(0.0, 255.0).to("cpu", torch.uint8)
    return np.ascontiguousarray(pixels.movedim(-3, -1).numpy())
