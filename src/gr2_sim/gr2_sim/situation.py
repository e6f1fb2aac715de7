"""What a teacher goes by: the scene, the hand, and questions about them that skills share."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from gr2_policy.policy import SceneTruth
from gr2_sim import gripper
from gr2_sim.cell import Cell
from gr2_sim.motion import Motion, closing_yaw
from gr2_sim.success import rotation
from gr2_sim.tasks import Task

HELD_ASIDE, HELD_HEIGHT = 0.022, 0.028
"""How far [m] the tool may be from an object's grasp point, level and upright, to be said to hold it."""
HELD_SLACK = (0.05, 0.14)
"""How much the opening may be below and above that of a held object."""
CLINGING = (0.15, 0.9)
"""Openings between which the closed hand must have something between its fingers."""
READY_YAW = np.pi / 2.0
MOST_TURN = np.deg2rad(100.0)
"""Grasps further turned than this from the ready configuration are not used: the wrist shall not wind up."""


@dataclass(frozen=True)
class Style:
    """How one demonstration differs from another, as people do.

    Attributes:
        pace: share of the usual speed.
        height: how much [m] higher the hand passes.
        detour: how far [m] the way across bulges to the left.
        hover: (2,) how far [m] from straight above a place the hand begins to go down; it corrects on the way.
        hesitation: time [s] it waits there.
    """

    pace: float = 1.0
    height: float = 0.0
    detour: float = 0.0
    hover: tuple[float, float] = (0.0, 0.0)
    hesitation: float = 0.0


PLAIN = Style()


def draw_style(scene: str, seed: int, instruction: str) -> Style:
    """The style of one episode: the same for the same scene, seed and instruction."""
    random = np.random.default_rng([seed, zlib.crc32(f"{scene}/{instruction}".encode())])
    angle, aside = random.uniform(-np.pi, np.pi), random.uniform(0.0, 0.010)
    return Style(
        pace=float(random.uniform(0.8, 1.0)),
        height=float(random.uniform(0.0, 0.03)),
        detour=float(random.uniform(-0.03, 0.03)),
        hover=(float(aside * np.cos(angle)), float(aside * np.sin(angle))),
        hesitation=float(max(0.0, random.uniform(-0.3, 0.2))),
    )


@dataclass(frozen=True)
class Situation:
    """One moment as the teacher sees it.

    Attributes:
        cell, task: what there is and what is to be done.
        start: the scene when the instruction was given.
        now: the scene.
        motion: the tool as it is commanded to be when what is decided now takes effect.
        tool: measured position (3,) [m].
        opening: measured gripper opening, 0 open ... 1 closed.
        met_for: longest time [s] for which the task's condition has been met without a break since the instruction.
        style: how it is to be done.
        tool_yaw: measured angle [rad] of the closing axis, of the same moment as `now`.
    """

    cell: Cell
    task: Task
    start: SceneTruth
    now: SceneTruth
    motion: Motion
    tool: np.ndarray
    opening: float
    met_for: float
    style: Style = PLAIN
    tool_yaw: float = READY_YAW

    def things(self) -> list[str]:
        """Names of the objects that are taken one by one: all but granules."""
        return [name for name in self.cell.objects if name not in self.cell.granules.names]

    def position(self, name: str) -> np.ndarray:
        """Present position (3,) of an object or fixture [m]."""
        return np.asarray(self.now.poses[name][0])

    def yaw(self, name: str) -> float:
        """Angle [rad] of an object's or fixture's x axis to base_link x (of its y axis less 90 deg if x is upright)."""
        matrix = rotation(self.now.poses[name][1])
        if abs(matrix[2, 0]) < 0.7:
            return float(np.arctan2(matrix[1, 0], matrix[0, 0]))
        return float(np.arctan2(matrix[1, 1], matrix[0, 1])) - np.pi / 2.0

    def grasp_point(self, name: str) -> np.ndarray:
        """Where the tool must be (3,) [m] to take an object."""
        return self.position(name) + np.array([0.0, 0.0, self.cell.objects[name].grasp.height])

    def contact_opening(self, name: str) -> float:
        """Gripper opening at which the pads touch an object."""
        return gripper.opening_for_width(self.cell.objects[name].grasp.width)

    def around(self, name: str) -> bool:
        """Whether the measured tool is where it takes this object."""
        offset = self.tool - self.grasp_point(name)
        return bool(np.hypot(offset[0], offset[1]) < HELD_ASIDE and abs(offset[2]) < HELD_HEIGHT)

    def between_fingers(self, name: str) -> bool:
        """Whether an object is beneath the tool or between its fingers, so that they would close on it."""
        offset = self.tool - self.position(name)
        return bool(np.hypot(offset[0], offset[1]) < HELD_ASIDE and offset[2] > -HELD_HEIGHT)

    def held(self, name: str) -> bool:
        """Whether the hand is closed on this object."""
        beyond = self.opening - self.contact_opening(name)
        return self.around(name) and -HELD_SLACK[0] <= beyond <= HELD_SLACK[1]

    def gripping(self, name: str) -> bool:
        """Whether the hand is closed on this object, whichever way up it is."""
        beyond = self.opening - self.contact_opening(name)
        near = np.linalg.norm(self.tool - self.position(name)) < abs(self.cell.objects[name].grasp.height) + HELD_ASIDE
        return bool(near) and -HELD_SLACK[0] <= beyond <= HELD_SLACK[1]

    def in_hand(self) -> str:
        """The object the hand is closed on, that of the task first; empty for none."""
        names = [self.task.object] if self.task.object in self.cell.objects else []
        held = next((name for name in [*names, *self.things()] if self.held(name)), "")
        return held or next((name for name in self.things() if self._clings(name)), "")

    def _clings(self, name: str) -> bool:
        """Whether an object that the closed hand did not take as it should hangs between the fingers all the same."""
        if self.motion.gripper < 0.5 or not CLINGING[0] < self.opening < CLINGING[1] or name in self.cell.seats:
            return False
        raised = self.position(name)[2] - self.cell.objects[name].rest_height
        offset = self.tool - self.position(name)
        return bool(raised > 0.06 and np.hypot(offset[0], offset[1]) < 0.02 and abs(offset[2]) < 0.05)

    def grasp_yaw(self, name: str) -> float:
        """Closing-axis angle [rad] of the grasp that needs the least turning."""
        grasp = self.cell.objects[name].grasp
        return self.nearest_yaw(self.yaw(name) + grasp.yaw, 2.0 * np.pi / grasp.turns)

    def nearest_yaw(self, yaw: float, period: float) -> float:
        """Of yaw + k * period the one nearest to the tool's own, among those the wrist should turn to [rad].

        The gripper is the same turned by half a turn, so a period of pi or less always leaves a choice.
        """
        period = min(period, np.pi)
        present = closing_yaw(self.motion.orientation)
        choices = yaw + period * np.arange(-8, 9)
        allowed = choices[np.abs(wrapped(choices - READY_YAW)) <= MOST_TURN]
        return float(allowed[np.argmin(np.abs(wrapped(allowed - present)))])


def wrapped(angle: np.ndarray | float) -> np.ndarray | float:
    """Angle(s) [rad] in (-pi, pi]."""
    return np.pi - np.mod(np.pi - np.asarray(angle), 2.0 * np.pi)
