"""The teacher's skills with fixtures: drawers, doors and sliding lids by their handles, hinged lids, buttons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gr2_sim import gripper
from gr2_sim.cell import FixtureData
from gr2_sim.motion import Waypoint, pointing_down
from gr2_sim.moves import (
    ANY_ANGLE,
    APPROACH,
    CLOSED,
    FINGER_HALF_THICKNESS,
    FINGER_HALF_WIDTH,
    FINGER_TIP,
    MODERATE,
    OPEN,
    SLOW,
    TRAVEL,
    Plan,
    above,
    approach,
    retreat,
)
from gr2_sim.situation import Situation, wrapped
from gr2_sim.success import opened_at, rotation, shut_at

BEYOND = {"slide": 0.022, "hinge": 0.14}
"""How far [m or rad] past the point that counts as open a part is moved."""
ENOUGH = {"slide": 0.010, "hinge": 0.05}
"""How far past it that the hand may leave [m or rad]."""
ARC_STEP = 0.15
"""Angle [rad] between waypoints along an arc."""


def open_it(s: Situation) -> Plan:
    """Open the moving part that the task is about, by its handle or its knob."""
    fixture = s.cell.fixture_of(s.task.target)
    goal = min(opened_at(s.cell, s.task) + BEYOND[_type(fixture)], fixture.measures["travel"])
    now = float(s.now.joints[s.task.target])
    if "knob_x" in fixture.measures:
        return _move_lid(s, fixture, goal, now >= opened_at(s.cell, s.task) + ENOUGH["hinge"])
    if now >= min(opened_at(s.cell, s.task) + ENOUGH[_type(fixture)], goal):
        return retreat(s, CLOSED, OPEN)
    m = fixture.measures
    middle = 0.5 * (m["front"] + m["handle_x"] - m["handle_radius"])
    return _move_handle(s, fixture, middle, m["handle_x"] - m["handle_radius"] - FINGER_HALF_WIDTH, goal)


def close_it(s: Situation) -> Plan:
    """Close the moving part that the task is about: push its handle in from outside, or let its knob down."""
    fixture = s.cell.fixture_of(s.task.target)
    now, most = float(s.now.joints[s.task.target]), shut_at(s.cell, s.task)
    if "knob_x" in fixture.measures:
        return _move_lid(s, fixture, 0.0, now <= 0.6 * most)
    if now <= most - (0.008 if _type(fixture) == "slide" else 0.04):
        return retreat(s, CLOSED, OPEN)
    m = fixture.measures
    outside = m["handle_x"] + m["handle_radius"] + FINGER_HALF_THICKNESS
    return _move_handle(s, fixture, outside + 0.010, outside - 0.006, 0.0)


def _type(fixture: FixtureData) -> str:
    return fixture.slider.type if fixture.slider else "slide"


def _handle(s: Situation, fixture: FixtureData, x: float, joint: float) -> tuple[np.ndarray, float]:
    """A point x out in the handle's frame, with the joint at a position: in base_link (3,) [m], and its yaw [rad]."""
    m = fixture.measures
    position, quaternion = s.now.poses[fixture.name]
    point, turn = np.array([x, m.get("handle_y", 0.0), m["handle_z"]]), 0.0
    if _type(fixture) == "slide":
        point[0] += joint
    else:
        turn = m["turn"] * joint
        hinge = np.array([m["hinge_x"], m["hinge_y"]])
        cosine, sine = np.cos(turn), np.sin(turn)
        point[:2] = hinge + np.array([[cosine, -sine], [sine, cosine]]) @ (point[:2] - hinge)
    return position + rotation(quaternion) @ point, s.yaw(fixture.name) + turn


def _move_handle(s: Situation, fixture: FixtureData, start: float, contact: float, goal: float) -> Plan:
    """Go down at x = start of the handle's frame and move level, x = contact, until the joint is at its goal."""
    now = float(s.now.joints[s.task.target])
    first, along = _handle(s, fixture, start, now)
    yaw = s.nearest_yaw(along, np.pi / 2.0)
    down, height = pointing_down(yaw), float(first[2])
    steps = max(1, int(np.ceil(abs(goal - now) / ARC_STEP))) if _type(fixture) == "hinge" else 1
    moving = []
    for joint in np.linspace(now, goal, steps + 1)[1:]:
        point, turned = _handle(s, fixture, contact, float(joint))
        facing = pointing_down(yaw + float(wrapped(turned - along)))
        moving.append(Waypoint(point, facing, CLOSED, SLOW, 0.012, ANY_ANGLE))
    moving[-1] = replace(moving[-1], tolerance=0.002, angle_tolerance=0.05)
    offset = s.tool - first
    out = np.array([np.cos(along), np.sin(along)])
    ahead, aside = float(offset[:2] @ out), float(offset[0] * -out[1] + offset[1] * out[0])
    if offset[2] < 0.015 and abs(aside) < 0.03 and abs(ahead) < 0.024:
        return moving
    way = [] if above(s, first, yaw) else approach(s, first + [0, 0, APPROACH], yaw, CLOSED, TRAVEL)
    if way:
        way[-1] = replace(way[-1], dwell=max(0.0, gripper.closing_time(s.opening, 0.95) - 0.3))
    elif s.opening < 0.9 and s.motion.position[2] > height + 0.03:
        way = [Waypoint(s.motion.position, down, CLOSED, SLOW, 0.01, ANY_ANGLE, gripper.closing_time(s.opening, 0.95))]
    return [*way, Waypoint(first, down, CLOSED, MODERATE, 0.004, 0.05), *moving]


def _knob(s: Situation, fixture: FixtureData, joint: float) -> np.ndarray:
    """Centre (3,) [m] of a lid's knob with the joint at an angle [rad]."""
    m = fixture.measures
    position, quaternion = s.now.poses[fixture.name]
    out, up = m["knob_x"] - m["hinge_x"], m["knob_z"] - m["hinge_z"]
    cosine, sine = np.cos(joint), np.sin(joint)
    local = np.array([m["hinge_x"] + cosine * out - sine * up, 0.0, m["hinge_z"] + sine * out + cosine * up])
    return position + rotation(quaternion) @ local


def _move_lid(s: Situation, fixture: FixtureData, goal: float, done: bool) -> Plan:
    """Take the knob between the fingers, carry it along its arc and let go."""
    now, width = float(s.now.joints[s.task.target]), 2.0 * fixture.measures["knob_radius"]
    knob, contact = _knob(s, fixture, now), gripper.opening_for_width(width)
    free = gripper.opening_for_width(width + 0.030)
    near = bool(np.linalg.norm(s.tool - knob) < 0.022)
    if done:
        if not near or s.opening < free + 0.08:
            return retreat(s, free, OPEN)
        letting_go = gripper.closing_time(s.opening, free) + 0.05
        here = Waypoint(s.motion.position, s.motion.orientation, free, SLOW, 0.02, ANY_ANGLE, letting_go)
        return [here, *retreat(s, free, OPEN)]
    yaw = s.nearest_yaw(s.yaw(fixture.name) + np.pi / 2.0, np.pi)
    down = pointing_down(yaw)
    steps = max(1, int(np.ceil(abs(goal - now) / ARC_STEP)))
    arc = [
        Waypoint(_knob(s, fixture, float(q)), down, CLOSED, SLOW, 0.010, ANY_ANGLE)
        for q in np.linspace(now, goal, steps + 1)[1:]
    ]
    arc[-1] = replace(arc[-1], tolerance=0.002)
    if near and s.opening >= contact - 0.05:
        return arc
    close = Waypoint(
        knob, down, CLOSED, SLOW, 0.004, 0.05, gripper.closing_time(s.opening, contact) + gripper.FORCE_SETTLE
    )
    if near and s.motion.gripper > 0.5:
        return [close, *arc]
    way: Plan = [] if above(s, knob, yaw) else approach(s, knob + [0, 0, 0.08], yaw, OPEN)
    return [*way, Waypoint(knob, down, OPEN, MODERATE, 0.003, 0.05), close, *arc]


def press(s: Situation) -> Plan:
    """Press a button with the closed fingers, wait, and rise."""
    fixture = s.cell.fixture_of(s.task.target)
    if s.met_for >= s.task.hold + 0.25:
        return retreat(s, CLOSED, OPEN)
    m = fixture.measures
    position, quaternion = s.now.poses[fixture.name]
    x, y, _ = position + rotation(quaternion) @ np.array([m.get("press_x", 0.0), 0.0, 0.0])
    yaw = s.nearest_yaw(s.yaw(fixture.name), np.pi / 2.0)
    depth = m.get("push", 0.5 * (m["pressed"] + m["travel"]) + 0.001)
    bottom = np.array([x, y, m["top"] + FINGER_TIP - depth])
    way = [] if above(s, bottom, yaw) else approach(s, bottom + [0, 0, APPROACH], yaw, CLOSED, TRAVEL)
    down = pointing_down(yaw)
    pressing = Waypoint(bottom, down, CLOSED, SLOW, 0.002, 0.05, s.task.hold + 0.5)
    over = Waypoint(bottom + [0, 0, 0.03], down, CLOSED, MODERATE, 0.01, 0.08)
    rise = Waypoint(np.array([x, y, TRAVEL]), down, CLOSED)
    low = s.motion.position[2] < bottom[2] + 0.03
    return [*way, *([] if low and not way else [over]), pressing, rise]
