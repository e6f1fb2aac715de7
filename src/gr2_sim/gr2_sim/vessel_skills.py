"""The teacher's skills with containers: to take caps off, to put them on, and to pour."""

from __future__ import annotations

import numpy as np

from gr2_sim.motion import Waypoint, closing_yaw, multiply, pointing_down, turn_between
from gr2_sim.moves import (
    CARRY,
    CLOSED,
    FAST,
    MODERATE,
    OPEN,
    Plan,
    approach,
    pick,
    release_opening,
    retreat,
    set_down,
    stay,
)
from gr2_sim.situation import Situation
from gr2_sim.success import cap_gap, poured_share

POUR_TILT = np.deg2rad(104.0)
"""How far a vessel is tipped [rad]."""
POUR_HEIGHT = 0.130
"""Height [m] of the tool above the rim of what is poured into; the hand is level and needs room below."""
POUR_ASIDE = 0.034
"""How far [m] the tool is beyond the middle of what is poured into: the lip is on the hand's side."""
POUR_TOWARDS = np.array([0.0, 1.0])
"""Where the hand points when tipped, in base_link: to the left, which leaves the arm room."""
POUR_SLOWLY = 0.05


def uncap(s: Situation) -> Plan:
    """Take the cap and lift it well above its container."""
    name = s.task.object
    grasp = s.cell.objects[name].grasp.height
    rise = (
        float(s.position(s.task.target)[2])
        + s.cell.seat_height(name)
        + float(s.task.condition["distance"])
        + 0.03
        + grasp
    )
    if s.held(name):
        x, y, z = s.motion.position
        if z >= rise - 0.005:
            return stay(s, CLOSED)
        return [Waypoint(np.array([x, y, rise]), s.motion.orientation, CLOSED, MODERATE)]
    way = pick(s, name)
    x, y, _ = s.grasp_point(name)
    return [*way, Waypoint(np.array([x, y, rise]), way[-1].orientation, CLOSED, MODERATE)]


def cap(s: Situation) -> Plan:
    """Take the cap, hold it over the container and let it down on the neck."""
    name, container = s.task.object, s.task.target
    if not s.held(name):
        aside, above_seat, _ = cap_gap(s.cell, s.now, name, container)
        if aside < 0.006 and abs(above_seat) < 0.006:
            return retreat(s, release_opening(s, name), OPEN)
        way = pick(s, name)
        x, y, _ = s.grasp_point(name)
        return [*way, Waypoint(np.array([x, y, CARRY]), way[-1].orientation, CLOSED, FAST, 0.03)]
    seat = s.position(container) + np.array([0.0, 0.0, s.cell.seat_height(name)])
    grip = s.tool - s.position(name)
    place = np.array([seat[0] + grip[0], seat[1] + grip[1], seat[2] + grip[2] + 0.0015])
    return set_down(s, place, closing_yaw(s.motion.orientation), release_opening(s, name))


def pour(s: Situation) -> Plan:
    """Take the vessel, hold it over the target, tip it, and hold it upright again."""
    name, target = s.task.object, s.task.target
    axis_yaw = s.nearest_yaw(float(np.arctan2(-POUR_TOWARDS[0], POUR_TOWARDS[1])), np.pi)
    rim = s.cell.fixtures[target].measures["rim"]
    middle = s.position(target)
    over = np.array([*(middle[:2] + POUR_ASIDE * POUR_TOWARDS), rim + POUR_HEIGHT])
    upright = pointing_down(axis_yaw)
    done = s.met_for >= s.task.hold + 0.2 or poured_share(s.cell, s.now, target) > 0.95
    if not s.gripping(name):
        if done:
            return retreat(s, OPEN, OPEN)
        way = pick(s, name, axis_yaw)
        x, y, _ = s.grasp_point(name)
        return [*way, Waypoint(np.array([x, y, CARRY]), way[-1].orientation, CLOSED, MODERATE, 0.03)]
    lean = float(np.linalg.norm(turn_between(s.motion.orientation, upright)))
    if done:
        if lean > 0.05:
            return [Waypoint(s.motion.position, upright, CLOSED, MODERATE)]
        return stay(s, CLOSED)
    aside = np.linalg.norm(s.motion.position[:2] - over[:2])
    there = aside < 0.012 and abs(s.motion.position[2] - over[2]) < 0.02
    tipped = multiply(_about(axis_yaw), upright)
    tipping = [
        Waypoint(over, tipped, CLOSED, POUR_SLOWLY, 0.004, 0.05, 2.5),
        Waypoint(over, upright, CLOSED, POUR_SLOWLY),
    ]
    if there or lean > 0.3:
        return tipping
    return [
        *approach(s, over, axis_yaw, CLOSED, CARRY),
        Waypoint(over, upright, CLOSED, MODERATE, 0.004, 0.05),
        *tipping,
    ]


def _about(yaw: float) -> np.ndarray:
    """Turn (quaternion x y z w) about the closing axis at an angle [rad] that points the hand to POUR_TOWARDS."""
    axis = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    ahead = np.array([-axis[1], axis[0]])
    angle = POUR_TILT if float(ahead @ POUR_TOWARDS) > 0.0 else -POUR_TILT
    return np.append(axis * np.sin(0.5 * angle), np.cos(0.5 * angle))
