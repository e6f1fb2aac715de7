"""Another table top, floor and wall behind what matters: drawn on the planes of the room, so the same in all views.

A texture lies on the table's plane, not on the picture: from frame to frame, and from camera to camera, a point of the
table keeps its colour however the camera moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from gr2_policy.data.episode import LABELS
from gr2_sim.augment.textures import Surface, draw_colour, draw_surface
from gr2_sim.augment.views import View, plane_hits

SURROUNDINGS, TABLE, ROBOT, TASK, OTHER = range(len(LABELS))
FLOOR_BELOW = (0.55, 0.95)
"""How far [m] the floor is below the table."""
FLOOR_ENDS = 4.0
"""Where the wall stands [m]."""
SHADES = (0.6, 1.3)
"""How dark shadows and how bright lights on the old table may make the new one."""
_FINER = 2
"""Samples across a pixel of cameras that stand still; those on the arm are so near that one is enough."""


@dataclass(frozen=True)
class Room:
    """What is behind the things: surfaces of table and floor, the floor's height [m], colours (3,) low and high up."""

    table: Surface
    floor: Surface
    floor_height: float
    horizon: np.ndarray
    zenith: np.ndarray


def draw_room(random: np.random.Generator) -> Room:
    """A room at random."""
    wall = draw_colour(random)
    return Room(
        table=draw_surface(random),
        floor=draw_surface(random, (1.0, 3.0)),
        floor_height=-float(random.uniform(*FLOOR_BELOW)),
        horizon=wall,
        zenith=np.clip(wall + random.normal(0.0, 20.0, 3), 0.0, 255.0),
    )


def behind(room: Room, view: View, frame: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """What a camera would see of a room without things: table everywhere, and no table; each (h, w, 3) 0 ... 255."""
    finer = _FINER if view.still else 1
    rays = view.rays(frame, finer * height, finer * width)
    origin = view.origins[frame]
    table, _ = plane_hits(origin, rays, 0.0)
    floor, distance = plane_hits(origin, rays, room.floor_height)
    level = rays[..., 2] / np.linalg.norm(rays, axis=-1)
    wall = room.horizon + np.clip(level, -0.2, 1.0)[..., None] * (room.zenith - room.horizon)
    near = np.isfinite(distance) & (np.linalg.norm(floor - origin[:2], axis=-1) < FLOOR_ENDS)
    surroundings = np.where(near[..., None], room.floor.at(floor), wall)
    table_picture, around = (
        picture.reshape(height, finer, width, finer, 3).mean(axis=(1, 3))
        for picture in (room.table.at(table), surroundings)
    )
    return table_picture, around


def shade(image: np.ndarray, where: np.ndarray, cells: int = 4) -> np.ndarray:
    """Light and shadow on part of a picture, (h, w) about 1, without its pattern.

    Args:
        image: (h, w, 3) uint8.
        where: (h, w) the part.
        cells: across the picture, over each of which is averaged.
    """
    if not where.any():
        return np.ones(where.shape)
    luminance = image.mean(axis=2)
    height, width = where.shape
    size = (cells, cells)
    total = _resized(np.where(where, luminance, 0.0), size)
    share = _resized(where.astype(float), size)
    middle = float(np.median(luminance[where]))
    coarse = np.where(share > 0.05, total / np.maximum(share, 1e-6), middle)
    return np.clip(_resized(coarse, (width, height)) / max(middle, 1.0), *SHADES)


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(values.astype(np.float32))
    method = Image.Resampling.BOX if size[0] < values.shape[1] else Image.Resampling.BILINEAR
    return np.asarray(picture.resize(size, method), dtype=float)


def replaced(image: np.ndarray, labels: np.ndarray, new: tuple[np.ndarray, np.ndarray], drop: np.ndarray) -> np.ndarray:
    """A picture with another background, (h, w, 3) uint8.

    Args:
        image: (h, w, 3) uint8.
        labels: (h, w) what its pixels show.
        new: what is behind, see behind.
        drop: (h, w) things that vanish; they stood on the table.
    """
    result = image.astype(float)
    table, around = labels == TABLE, labels == SURROUNDINGS
    under = table | drop
    result[under] = (new[0] * shade(image, table)[..., None])[under]
    result[around] = new[1][around]
    return np.clip(np.round(result), 0.0, 255.0).astype(np.uint8)
