"""Success conditions: physical facts about the scene, compared with what it was when the instruction was given.

Kinds (parameters in data/tasks.yaml): lifted, inside, pushed, stacked, uncapped, capped, opened, closed, pressed,
poured, moved_any. Nothing here knows
how a task is done. `touched` are the names of the objects that the robot touches: a placed or stacked object must
have been let go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gr2_policy.policy import SceneTruth
from gr2_sim.cell import Cell
from gr2_sim.parts import DataError
from gr2_sim.tasks import DIRECTIONS, Task

RESTING = 0.012
"""How much [m] the height of something that still lies where it lay may change."""
SEATED = 0.006
"""How far [m] a cap on its container may be from its place, beside and above."""
UPRIGHT = 0.95
"""Least cosine of the angle between an object's z and the vertical for it to stand upright."""


@dataclass(frozen=True)
class View:
    """What a condition looks at: the scene now and at the start, and what the robot touches."""

    cell: Cell
    task: Task
    start: SceneTruth
    now: SceneTruth
    touched: frozenset[str]

    def position(self, name: str) -> np.ndarray:
        """Present position (3,) [m]."""
        return np.asarray(self.now.poses[name][0])

    def moved(self, name: str) -> np.ndarray:
        """(3,) [m] since the start."""
        return self.position(name) - np.asarray(self.start.poses[name][0])

    def fixture(self, name: str) -> Mapping[str, float]:
        """Measures of a fixture."""
        return self.cell.fixtures[name].measures


def in_frame_of(pose: tuple[np.ndarray, np.ndarray], point: np.ndarray) -> np.ndarray:
    """A point (3,) of base_link in the frame with this pose (position, quaternion x y z w)."""
    return rotation(pose[1]).T @ (np.asarray(point) - pose[0])


def rotation(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) of a unit quaternion x y z w."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def inside_bin(cell: Cell, bin_name: str, truth: SceneTruth, name: str) -> bool:
    """Whether an object's centre is within the walls of a bin and below its rim."""
    measures = cell.fixtures[bin_name].measures
    x, y, z = in_frame_of(truth.poses[bin_name], truth.poses[name][0])
    if "radius" in measures:
        within = np.hypot(x, y) < measures["radius"]
    else:
        half = measures["inner_half"]
        within = abs(x) < measures.get("inner_x", half) and abs(y) < measures.get("inner_y", half)
    return bool(within and 0.0 < z < measures["rim"])


def cap_gap(cell: Cell, truth: SceneTruth, cap: str, container: str) -> tuple[float, float, bool]:
    """How far a cap is beside and above where it sits [m], in the container's frame; whether the container stands."""
    pose = truth.poses[container]
    x, y, z = in_frame_of(pose, truth.poses[cap][0])
    seat = cell.objects[container].measures["neck_top"] + cell.objects[cap].measures["under"]
    return float(np.hypot(x, y)), float(z - seat), bool(rotation(pose[1])[2, 2] >= UPRIGHT)


def poured_share(cell: Cell, truth: SceneTruth, target: str) -> float:
    """Share of the granules that are in a fixture."""
    names = cell.granules.names
    return sum(inside_bin(cell, target, truth, name) for name in names) / len(names) if names else 0.0


def opened_at(cell: Cell, task: Task) -> float:
    """Joint position from which on a task's moving part counts as open [m or rad]."""
    return float(task.condition.get("least", cell.fixture_of(task.target).measures.get("open", np.inf)))


def shut_at(cell: Cell, task: Task) -> float:
    """Joint position up to which a task's moving part counts as shut [m or rad]."""
    return float(task.condition.get("most", cell.fixture_of(task.target).measures.get("shut", -np.inf)))


def _lifted(view: View, height: float) -> tuple[bool, str]:
    rise = float(view.moved(view.task.object)[2])
    return rise >= height, f"{view.task.object} is {rise:.3f} m above where it was, {height:.3f} m asked for"


def _inside(view: View) -> tuple[bool, str]:
    thing, target = view.task.object, view.task.target
    inside, held = inside_bin(view.cell, target, view.now, thing), thing in view.touched
    where = "inside" if inside else "not inside"
    return inside and not held, f"{thing} is {where} the {target}" + (" and still held" if held else "")


def _pushed(view: View, distance: float, sideways: float) -> tuple[bool, str]:
    direction = np.array([*DIRECTIONS[view.task.direction], 0.0])
    moved = view.moved(view.task.object)
    along = float(moved @ direction)
    aside = float(np.linalg.norm((moved - along * direction)[:2]))
    upright = rotation(view.now.poses[view.task.object][1])[2, 2]
    lies = abs(float(moved[2])) <= RESTING and upright >= UPRIGHT
    text = f"{view.task.object} went {along:.3f} m {view.task.direction} and {aside:.3f} m aside"
    text += f", at least {distance:.3f} m and at most {sideways:.3f} m asked for"
    return along >= distance and aside <= sideways and lies, text + ("" if lies else "; it does not lie flat")


def _stacked(view: View, offset: float) -> tuple[bool, str]:
    thing, target = view.task.object, view.task.target
    gap = view.position(thing) - view.position(target)
    height = view.cell.objects[thing].rest_height + view.cell.objects[target].rest_height
    aside, held = float(np.linalg.norm(gap[:2])), thing in view.touched
    on_top = aside <= offset and abs(float(gap[2]) - height) <= RESTING
    text = f"{thing} is {aside:.3f} m beside and {gap[2]:.3f} m above the {target}"
    text += f", at most {offset:.3f} m and {height:.3f} m asked for"
    return on_top and not held, text + ("; still held" if held else "")


def _uncapped(view: View, distance: float) -> tuple[bool, str]:
    cap, container = view.task.object, view.task.target
    aside, above, stands = cap_gap(view.cell, view.now, cap, container)
    off = float(np.hypot(aside, above))
    text = f"{cap} is {off:.3f} m from its place on the {container}, at least {distance:.3f} m asked for"
    return off >= distance and stands, text + ("" if stands else "; the container has fallen over")


def _capped(view: View) -> tuple[bool, str]:
    cap, container = view.task.object, view.task.target
    aside, above, stands = cap_gap(view.cell, view.now, cap, container)
    held = cap in view.touched
    level = rotation(view.now.poses[cap][1])[2, 2] >= UPRIGHT
    text = f"{cap} is {1e3 * aside:.1f} mm beside and {1e3 * above:.1f} mm above its place on the {container}"
    text += "; still held" if held else ""
    on = aside <= SEATED and abs(above) <= SEATED and level
    return on and stands and not held, text + ("" if stands else "; the container has fallen over")


def _moved_any(view: View) -> tuple[bool, str]:
    moved = [
        name
        for name in view.cell.objects
        if inside_bin(view.cell, view.task.target, view.now, name)
        and not inside_bin(view.cell, view.task.target, view.start, name)
    ]
    held = [name for name in moved if name in view.touched]
    text = f"{', '.join(moved) or 'nothing'} was moved to the {view.task.target}" + ("; still held" if held else "")
    return bool(moved) and not held, text


def _poured(view: View, share: float) -> tuple[bool, str]:
    reached = poured_share(view.cell, view.now, view.task.target)
    text = (
        f"{100 * reached:.0f} % of the granules are in the {view.task.target}, at least {100 * share:.0f} % asked for"
    )
    return reached >= share, text


def _opened(view: View, **_: float) -> tuple[bool, str]:
    position, least = float(view.now.joints[view.task.target]), opened_at(view.cell, view.task)
    unit = _unit(view)
    return position >= least, f"{view.task.target} is {position:.3f} {unit} open, at least {least:.3f} {unit} asked for"


def _closed(view: View, **_: float) -> tuple[bool, str]:
    position, most = float(view.now.joints[view.task.target]), shut_at(view.cell, view.task)
    unit = _unit(view)
    return position <= most, f"{view.task.target} is {position:.3f} {unit} open, at most {most:.3f} {unit} asked for"


def _unit(view: View) -> str:
    slider = view.cell.fixture_of(view.task.target).slider
    return "rad" if slider and slider.type == "hinge" else "m"


def _pressed(view: View) -> tuple[bool, str]:
    depth, least = float(view.now.joints[view.task.target]), view.cell.fixture_of(view.task.target).measures["pressed"]
    if _unit(view) == "rad":
        return depth >= least, f"{view.task.target} is tipped by {depth:.3f} rad, at least {least:.3f} rad asked for"
    text = f"{view.task.target} is pressed {1e3 * depth:.1f} mm, at least {1e3 * least:.1f} mm asked for"
    return depth >= least, text


CONDITIONS: Mapping[str, Callable[..., tuple[bool, str]]] = {
    "lifted": _lifted,
    "inside": _inside,
    "pushed": _pushed,
    "stacked": _stacked,
    "uncapped": _uncapped,
    "capped": _capped,
    "poured": _poured,
    "moved_any": _moved_any,
    "opened": _opened,
    "closed": _closed,
    "pressed": _pressed,
}


def check(view: View) -> tuple[bool, str]:
    """Whether the task's condition is met at this moment, and the figures in words.

    Raises:
        DataError: tasks.yaml names a condition that does not exist or lacks its parameters.
    """
    parameters: dict[str, Any] = dict(view.task.condition)
    kind = parameters.pop("kind")
    if kind not in CONDITIONS:
        raise DataError(f"tasks.yaml: task '{view.task.name}': unknown condition '{kind}'")
    return CONDITIONS[kind](view, **parameters)
