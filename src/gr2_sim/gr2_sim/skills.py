"""What the scripted teacher does: from one situation, the waypoints that remain until the task is done.

A skill keeps no memory of phases. It looks at where things and the hand are and derives what is left to do, so
that a missed grasp or an object that moved leads back to the phase that mends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from gr2_sim import gripper
from gr2_sim.bin_skill import pick_any
from gr2_sim.fixture_skills import close_it, open_it, press
from gr2_sim.motion import Waypoint, closing_yaw, pointing_down
from gr2_sim.moves import (
    APPROACH,
    CARRY,
    CLOSED,
    FAST,
    FINGER_HALF_WIDTH,
    MODERATE,
    OPEN,
    SLOW,
    TRAVEL,
    Plan,
    above,
    approach,
    pick,
    put_down,
    release_opening,
    retreat,
    room,
    set_down,
    stay,
    stay_at,
)
from gr2_sim.situation import Situation, wrapped
from gr2_sim.success import in_frame_of, inside_bin, rotation
from gr2_sim.tasks import DIRECTIONS
from gr2_sim.vessel_skills import cap, pour, uncap

ALIGNED = 0.20
"""Angle [rad] up to which a face counts as in line: to mend less makes a block swing in the hand."""
LOADED_SPIN = 0.3
"""Angular speed [rad/s] at which a held block is turned: in a hand that turns faster it slips, and seems to be lost."""


def plan(s: Situation) -> Plan:
    """Waypoints from here to the end of the task; at least one."""
    foreign = "" if s.task.family == "bin_pick" else s.in_hand()
    if foreign and foreign != s.task.object:
        return put_down(s, foreign)
    pace = s.style.pace
    return [replace(waypoint, speed=pace * waypoint.speed) for waypoint in SKILLS[s.task.family](s)]


def lift(s: Situation) -> Plan:
    """Take the object and hold it well above where it was."""
    name = s.task.object
    rise = s.start.poses[name][0][2] + float(s.task.condition["height"]) + 0.06 + s.cell.objects[name].grasp.height
    if s.held(name):
        x, y, z = s.motion.position
        if z >= rise - 0.005:
            return stay(s, CLOSED)
        return [Waypoint(np.array([x, y, rise]), s.motion.orientation, CLOSED, MODERATE)]
    way = pick(s, name)
    x, y, _ = s.grasp_point(name)
    return [*way, Waypoint(np.array([x, y, rise]), way[-1].orientation, CLOSED, MODERATE)]


def place(s: Situation) -> Plan:
    """Take the object, carry it over the bin and let it go inside."""
    name, target = s.task.object, s.task.target
    if not s.held(name):
        if inside_bin(s.cell, target, s.now, name) or _falling(s, name, target):
            return retreat(s, release_opening(s, name), OPEN)
        way = pick(s, name)
        x, y, _ = s.grasp_point(name)
        return [*way, Waypoint(np.array([x, y, CARRY]), way[-1].orientation, CLOSED, FAST, 0.03)]
    spot, deep = _spot_in_bin(s, name, target)
    measures, own = s.cell.fixtures[target].measures, s.cell.objects[name]
    grip = s.tool - s.position(name)
    bottom = measures["floor"] + 0.015 if deep else measures["rim"] - 0.015
    place = np.array([spot[0] + grip[0], spot[1] + grip[1], bottom + own.rest_height + grip[2]])
    return set_down(s, place, closing_yaw(s.motion.orientation), release_opening(s, name))


def _falling(s: Situation, name: str, target: str) -> bool:
    """Whether an object is over the bin, let go but not yet in it."""
    x, y, z = in_frame_of(s.now.poses[target], s.position(name))
    measures = s.cell.fixtures[target].measures
    return max(abs(x), abs(y)) < measures["inner_half"] and z < measures["rim"] + 0.06


def _spot_in_bin(s: Situation, name: str, target: str) -> tuple[np.ndarray, bool]:
    """Where in the bin there is room (2,) [m], and whether the hand may reach deep down there."""
    pose = s.now.poses[target]
    inside = [n for n in s.things() if n != name and inside_bin(s.cell, target, s.now, n)]
    others = [(s.position(n)[:2], s.cell.objects[n].footprint) for n in inside]
    size = s.cell.objects[name].footprint
    corner = max(0.036, s.cell.fixtures[target].measures["inner_half"] - size - 0.002)
    offsets = [(0.0, 0.0), (corner, corner), (-corner, -corner), (corner, -corner), (-corner, corner)]
    spots = [(pose[0] + rotation(pose[1]) @ np.array([*offset, 0.0]))[:2] for offset in offsets]
    best = max(range(len(spots)), key=lambda i: (min(room(spots[i], others) - size, 0.0), -i))
    return spots[best], best == 0 and room(spots[0], others) - size > 0.0


def push(s: Situation) -> Plan:
    """Stand behind the object with two fingers side by side and push it."""
    name = s.task.object
    direction = np.array([*DIRECTIONS[s.task.direction], 0.0])
    goal = float(s.task.condition["distance"]) + 0.02
    here = s.position(name)
    to_go = goal - float((here - s.start.poses[name][0]) @ direction)
    beside = np.array([-direction[1], direction[0], 0.0])
    yaw = s.nearest_yaw(float(np.arctan2(beside[1], beside[0])), np.pi)
    down, fingers = pointing_down(yaw), gripper.opening_for_width(0.030)
    offset = here - s.tool
    gap, aside = float(offset @ direction), float(offset @ beside)
    flush = 0.5 * s.cell.objects[name].grasp.width + FINGER_HALF_WIDTH
    height = s.cell.objects[name].rest_height
    low = s.motion.position[2] < height + 0.01
    if to_go < 0.004:
        if low and 0.0 < gap < flush + 0.025:
            back = s.motion.position - (flush + 0.04 - gap) * direction
            return [Waypoint(back, s.motion.orientation, fingers, MODERATE, 0.01), *stay_at(s, TRAVEL, fingers)]
        return retreat(s, fingers, fingers)
    behind = here - (s.cell.objects[name].footprint + FINGER_HALF_WIDTH + 0.02) * direction
    behind = np.array([behind[0], behind[1], height])
    turn = abs(float(wrapped(closing_yaw(s.motion.orientation) - yaw)))
    far = max(0.0, gap - flush) + to_go + 0.004
    if low and 0.02 < gap < 0.10 and abs(aside) < 0.025 and turn < 0.12:
        end = s.tool + far * direction + aside * beside
        return [Waypoint(np.array([end[0], end[1], height]), down, fingers, SLOW)]
    start = [] if above(s, behind, yaw) else approach(s, behind + [0, 0, APPROACH], yaw, fingers)
    end = here + (to_go - flush) * direction
    pushing = Waypoint(np.array([end[0], end[1], height]), down, fingers, SLOW)
    return [*start, Waypoint(behind, down, fingers, MODERATE, 0.006, 0.08), pushing]


def stack(s: Situation) -> Plan:
    """Take the object and set it on the other, faces in line."""
    name, target = s.task.object, s.task.target
    height = s.cell.objects[name].rest_height + s.cell.objects[target].rest_height
    gap = s.position(name) - s.position(target)
    if not s.held(name):
        on_top = np.hypot(gap[0], gap[1]) < float(s.task.condition["offset"]) and abs(gap[2] - height) < 0.012
        if on_top:
            return retreat(s, release_opening(s, name), OPEN)
        way = pick(s, name)
        x, y, _ = s.grasp_point(name)
        return [*way, Waypoint(np.array([x, y, CARRY]), way[-1].orientation, CLOSED, FAST, 0.03)]
    quarter = np.pi / 2.0
    off = float(wrapped(4.0 * (s.yaw(target) - s.yaw(name)))) / 4.0
    present = closing_yaw(s.motion.orientation)
    yaw = s.nearest_yaw(s.tool_yaw + off, quarter) if abs(off) > ALIGNED else present
    turn = float(wrapped(yaw - s.tool_yaw))
    grip = s.tool - s.position(name)
    cosine, sine = np.cos(turn), np.sin(turn)
    aside = np.array([cosine * grip[0] - sine * grip[1], sine * grip[0] + cosine * grip[1]])
    x, y = s.position(target)[:2] + aside
    place = np.array([x, y, s.position(target)[2] + height + grip[2] + 0.003])
    return [replace(waypoint, spin=LOADED_SPIN) for waypoint in set_down(s, place, yaw, release_opening(s, name))]


SKILLS: Mapping[str, Callable[[Situation], Plan]] = {
    "lift": lift,
    "place": place,
    "lay": place,
    "push": push,
    "push_forward": push,
    "stack": stack,
    "uncap": uncap,
    "cap": cap,
    "open": open_it,
    "close": close_it,
    "swing_open": open_it,
    "swing_closed": close_it,
    "lift_open": open_it,
    "let_down": close_it,
    "press": press,
    "pour": pour,
    "bin_pick": pick_any,
}
