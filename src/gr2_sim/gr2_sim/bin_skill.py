"""The teacher's bin picking: of all that lies in the right basket, the thing that can best be grasped from above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gr2_sim import gripper
from gr2_sim.motion import Waypoint, closing_yaw, pointing_down
from gr2_sim.moves import (
    CARRY,
    CLOSED,
    MODERATE,
    OPEN,
    RELEASE_ROOM,
    SLOW,
    Plan,
    above,
    approach,
    retreat,
    room,
    set_down,
)
from gr2_sim.situation import MOST_TURN, READY_YAW, Situation, wrapped
from gr2_sim.success import in_frame_of, inside_bin, rotation

SOURCE = "right_basket"
WIDEST = 0.076
"""Widest grasp [m]."""
FINGER_ROOM = 0.013
"""How far [m] beyond the object the middle of an open finger comes down."""
TIP_ROOM = 0.022
"""Least height [m] of the tool above the basket's floor."""
ANGLES = np.deg2rad(np.arange(0.0, 180.0, 15.0))


@dataclass(frozen=True)
class Grip:
    """A grasp from above: of what, where (3,) [m], closing axis [rad], width there [m], how good."""

    name: str
    point: np.ndarray
    yaw: float
    width: float
    score: float


def extent(s: Situation, name: str, direction: np.ndarray) -> float:
    """Half the size [m] of the box around an object along a direction (3,)."""
    matrix, half = rotation(s.now.poses[name][1]), s.cell.objects[name].half
    return float(np.abs(direction @ matrix) @ np.asarray(half if half is not None else (0.03,) * 3))


def pick_any(s: Situation) -> Plan:
    """Take the best thing out of the source and let it go in the target basket."""
    held = _in_hand(s)
    if not held:
        moved = any(_moved(s, name) for name in s.cell.objects)
        if moved:
            return retreat(s, s.motion.gripper, OPEN)
        return _take(s)
    grip = s.tool - s.position(held)
    low = extent(s, held, np.array([0.0, 0.0, 1.0]))
    spot = _spot(s, held)
    across = closing_yaw(s.motion.orientation)
    width = 2.0 * extent(s, held, np.array([np.cos(across), np.sin(across), 0.0]))
    floor = s.cell.fixtures[s.task.target].measures["floor"]
    place = np.array([spot[0], spot[1], floor + low + grip[2] + 0.008])
    return set_down(s, place, s.nearest_yaw(across, np.pi), gripper.opening_for_width(width + RELEASE_ROOM))


def _moved(s: Situation, name: str) -> bool:
    return inside_bin(s.cell, SOURCE, s.start, name) and inside_bin(s.cell, s.task.target, s.now, name)


def _in_hand(s: Situation) -> str:
    """What the closed hand holds; empty for nothing."""
    if s.motion.gripper < 0.5 or s.opening > 0.97:
        return ""
    near = [name for name in s.cell.objects if np.linalg.norm(s.tool - s.position(name)) < 0.05]
    if not near:
        return ""
    name = min(near, key=lambda n: float(np.linalg.norm(s.tool - s.position(n))))
    yaw = closing_yaw(s.motion.orientation)
    width = 2.0 * extent(s, name, np.array([np.cos(yaw), np.sin(yaw), 0.0]))
    raised = s.position(name)[2] - s.start.poses[name][0][2] > 0.02
    return name if raised or s.opening >= gripper.opening_for_width(width) - 0.03 else ""


def _take(s: Situation) -> Plan:
    """To the best grasp, close, rise."""
    grips = [g for name in s.cell.objects if inside_bin(s.cell, SOURCE, s.now, name) for g in _grips(s, name)]
    if not grips:
        return retreat(s, OPEN, OPEN)
    grip = max(grips, key=lambda g: g.score)
    down = pointing_down(grip.yaw)
    open_to = gripper.opening_for_width(min(0.085, grip.width + 2.0 * FINGER_ROOM))
    wait = gripper.closing_time(open_to, gripper.opening_for_width(grip.width)) + gripper.FORCE_SETTLE + 0.1
    close = Waypoint(grip.point, down, CLOSED, SLOW, 0.006, 0.06, wait)
    rise = Waypoint(np.array([grip.point[0], grip.point[1], CARRY]), down, CLOSED, MODERATE, 0.03)
    low = s.motion.position[2] - grip.point[2] < 0.006
    if low and above(s, grip.point, grip.yaw) and s.motion.gripper > 0.5:
        return [close, rise]
    way: Plan = []
    if not above(s, grip.point, grip.yaw):
        way = approach(s, grip.point + [0, 0, 0.09], grip.yaw, open_to, 0.15)
    elif s.opening > open_to + 0.1:
        way = [
            Waypoint(
                s.motion.position,
                s.motion.orientation,
                open_to,
                SLOW,
                0.01,
                9.0,
                gripper.closing_time(s.opening, open_to),
            )
        ]
    return [*way, Waypoint(grip.point, down, open_to, MODERATE, 0.003, 0.05), close, rise]


def _grips(s: Situation, name: str) -> list[Grip]:
    """Grasps of one object, with how much room the fingers have."""
    centre, up = s.position(name), np.array([0.0, 0.0, 1.0])
    top = float(centre[2]) + extent(s, name, up)
    measures = s.cell.fixtures[SOURCE].measures
    height = max(top - 0.020, measures["floor"] + TIP_ROOM)
    point = np.array([centre[0], centre[1], height])
    grips = []
    for angle in ANGLES:
        yaw = s.nearest_yaw(float(angle), np.pi)
        if abs(float(wrapped(yaw - READY_YAW))) > MOST_TURN:
            continue
        axis = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        width = 2.0 * extent(s, name, axis)
        if width > WIDEST:
            continue
        space = min(_space(s, name, point + sign * (width / 2 + FINGER_ROOM) * axis) for sign in (-1.0, 1.0))
        staying = 0.012 if np.hypot(*(s.motion.position[:2] - centre[:2])) < 0.03 else 0.0
        turn = abs(float(wrapped(yaw - closing_yaw(s.motion.orientation))))
        score = min(space, 0.015) + 0.25 * top - 0.15 * width + staying - 0.003 * turn
        grips.append(Grip(name, point, yaw, width, score))
    return grips


def _space(s: Situation, name: str, finger: np.ndarray) -> float:
    """Room [m] around a place where a finger comes down: to other things and to the basket's walls."""
    measures = s.cell.fixtures[SOURCE].measures
    x, y, _ = in_frame_of(s.now.poses[SOURCE], finger)
    least = min(measures["inner_x"] - abs(x), measures["inner_y"] - abs(y)) - 0.012
    for other in s.cell.objects:
        offset = s.position(other) - finger
        distance = float(np.hypot(offset[0], offset[1]))
        if other == name or distance > 0.12:
            continue
        if s.position(other)[2] + extent(s, other, np.array([0.0, 0.0, 1.0])) < finger[2] - 0.018:
            continue
        towards = np.array([offset[0], offset[1], 0.0]) / max(distance, 1e-6)
        least = min(least, distance - extent(s, other, towards) - 0.012)
    return least


def _spot(s: Situation, held: str) -> np.ndarray:
    """Where in the target basket there is most room (2,) [m]."""
    position, quaternion = s.now.poses[s.task.target]
    matrix = rotation(quaternion)
    there = [n for n in s.cell.objects if n != held and inside_bin(s.cell, s.task.target, s.now, n)]
    others = [(s.position(n)[:2], s.cell.objects[n].footprint) for n in there]
    spots = [(position + matrix @ np.array([x, y, 0.0]))[:2] for x in (0.0, -0.05, 0.05) for y in (0.0, -0.05, 0.05)]
    return max(spots, key=lambda spot: min(room(spot, others), 0.1))
