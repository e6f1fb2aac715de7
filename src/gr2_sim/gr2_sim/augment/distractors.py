"""Things that were not there: training objects stood on the table where the tool never comes, seen by every camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np

from gr2_policy.data.episode import LABELS
from gr2_sim.augment.views import View
from gr2_sim.build import add_looks
from gr2_sim.cameras import Cameras
from gr2_sim.cell import ObjectData, base_cell, catalogue, named, read_yaml
from gr2_sim.parts import PartBuilder

ROBOT, TASK, OTHER = LABELS.index("robot"), LABELS.index("task"), LABELS.index("other")
ROOM = 0.11
"""Least distance [m] between a thing and the way of the tool."""
PASSES_AT = 0.28
"""Height [m] of the tool above which it may pass over a thing."""
REGION = ((0.22, 0.74), (-0.48, 0.48))
"""Of the table [m]."""
COVERED = 0.08
"""Largest share of a thing, over all frames, that the robot may cover: what is nearer cannot be told from a mask."""
_SPOTS = 80


@dataclass(frozen=True)
class Placed:
    """A thing and where it stands: x, y [m], yaw [rad]."""

    thing: ObjectData
    x: float
    y: float
    yaw: float


def choose(
    states: np.ndarray,
    labels: Mapping[str, np.ndarray],
    views: Mapping[str, View],
    most: int,
    keep_others: bool,
    random: np.random.Generator,
) -> list[Placed]:
    """Things and free places for them; fewer than `most` where there is no room.

    Args:
        states: (T, 8) tool poses.
        labels: view -> (T, h, w) what pixels show.
        views: the cameras; those that stand still say what is free.
        most: number wanted.
        keep_others: things beside the task stay.
        random: draws.
    """
    things = [
        thing
        for thing in catalogue().values()
        if thing.split == "train" and thing.footprint <= 0.05 and thing.group in ("", "bin")
        and thing.maker not in ("granule", "cap")
    ]  # fmt: skip
    low = states[states[:, 2] < PASSES_AT, :2]
    placed: list[Placed] = []
    for _ in range(_SPOTS):
        if len(placed) >= most:
            break
        thing = things[int(random.integers(len(things)))]
        x, y, yaw = (float(random.uniform(*limits)) for limits in (*REGION, (-np.pi, np.pi)))
        if len(low) and np.hypot(*(low - (x, y)).T).min() < ROOM + thing.footprint:
            continue
        if any(np.hypot(x - o.x, y - o.y) < thing.footprint + o.thing.footprint + 0.02 for o in placed):
            continue
        if any(thing.label == other.thing.label for other in placed):
            continue
        spot = Placed(thing, x, y, yaw)
        if all(_free(spot, labels[name], view, keep_others) for name, view in views.items() if view.still):
            placed.append(spot)
    return placed


def _free(spot: Placed, labels: np.ndarray, view: View, keep_others: bool) -> bool:
    """Whether a thing would cover nothing of the task, and the robot hardly covers it."""
    angles = np.linspace(0.0, 2.0 * np.pi, 8, endpoint=False)
    reach = spot.thing.footprint + 0.008
    ring = np.stack([spot.x + reach * np.cos(angles), spot.y + reach * np.sin(angles)], axis=1)
    points = np.concatenate([np.column_stack([ring, np.full(8, z)]) for z in (0.0, 2.0 * spot.thing.rest_height)])
    local = (points - view.origins[0]) @ view.turns[0]
    height, width = labels.shape[1:]
    focal = 0.5 * height / np.tan(0.5 * np.deg2rad(view.fovy))
    columns = np.floor(0.5 * width + focal * local[:, 0] / -local[:, 2]).astype(int)
    rows = np.floor(0.5 * height - focal * local[:, 1] / -local[:, 2]).astype(int)
    if (
        (local[:, 2] > 0.0).any()
        or rows.min() < 0
        or columns.min() < 0
        or rows.max() >= height
        or columns.max() >= width
    ):
        return False
    shown = labels[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    if (shown == TASK).any() or (keep_others and (shown == OTHER).any()):
        return False
    return float((shown == ROBOT).mean()) <= COVERED


class Layer:
    """Draws placed things alone, as cameras see them.

    Args:
        placed: what stands where.
        views: the cameras.
        sizes: view -> (height, width) [px].
        random: draws the light.
    """

    def __init__(
        self,
        placed: Sequence[Placed],
        views: Mapping[str, View],
        sizes: Mapping[str, tuple[int, int]],
        random: np.random.Generator,
    ) -> None:
        lights = read_yaml("looks.yaml")["lightings"]
        names = sorted(name for name, entry in lights.items() if entry["split"] == "train")
        cell = replace(
            base_cell("table"),
            objects={f"{index}": spot.thing for index, spot in enumerate(placed)},
            fixtures={},
            lighting=named(lights, names[int(random.integers(len(names)))]),
        )
        spec = mujoco.MjSpec()
        spec.stat.center, spec.stat.extent = (0.35, 0.0, 0.15), 1.0
        spec.visual.quality.shadowsize, spec.visual.quality.offsamples = 0, 0
        add_looks(spec, cell)
        looks = PartBuilder(spec, (0, 0))
        for index, spot in enumerate(placed):
            half = 0.5 * spot.yaw
            body = spec.worldbody.add_body(name=f"thing_{index}", pos=(spot.x, spot.y, spot.thing.rest_height))
            body.quat = (np.cos(half), 0.0, 0.0, np.sin(half))
            for part in spot.thing.parts:
                looks.add(body, part)
        for name, view in views.items():
            holder = spec.worldbody.add_body(name=name, mocap=True)
            holder.add_camera(name=name, fovy=view.fovy)
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._views = views
        self._cameras = {size: Cameras(self._model, size[1], size[0]) for size in set(sizes.values())}
        self._sizes = dict(sizes)
        self._kept: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def draw(self, name: str, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture (h, w, 3) uint8 of a view in a frame, and where there is anything in it (h, w)."""
        view = self._views[name]
        if name in self._kept:
            return self._kept[name]
        mocap = self._model.body(name).mocapid[0]
        self._data.mocap_pos[mocap] = view.origins[frame]
        mujoco.mju_mat2Quat(self._data.mocap_quat[mocap], np.ascontiguousarray(view.turns[frame]).ravel())
        mujoco.mj_forward(self._model, self._data)
        cameras = self._cameras[self._sizes[name]]
        drawn = cameras.render(self._data, name).copy(), cameras.geoms(self._data, name) >= 0
        if view.still:
            self._kept[name] = drawn
        return drawn

    def close(self) -> None:
        """Give the OpenGL contexts back."""
        for cameras in self._cameras.values():
            cameras.close()
