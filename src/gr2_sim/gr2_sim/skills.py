"""What the scripted teacher does: from one situation, the waypoints that remain until the task is done.

A skill keeps no memory of phases. It looks at where things and the hand are and derives what is left to do, so
that a missed grasp or an object that moved leads back to the phase that mends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from gr2_sim import gripper
from gr2_sim.motion import ACCELERATION, Waypoint, closing_yaw, pointing_down
from gr2_sim.situation import Situation, wrapped
from gr2_sim.success import in_frame_of, inside_bin, rotation
from gr2_sim.tasks import DIRECTIONS

OPEN, CLOSED = 0.0, 1.0
FAST, MODERATE, SLOW = 0.25, 0.15, 0.08
TRAVEL, CARRY = 0.16, 0.215
"""Heights [m] of the tool at which an empty or a loaded hand passes over everything on the table."""
APPROACH = 0.10
"""Height [m] above a grasp from which the hand goes straight down."""
RELEASE_ROOM = 0.024
"""How much [m] wider than the object the hand opens to let go, so that it touches nothing beside it."""
FINGER_TIP = 0.018
"""How far [m] the tips of the closed fingers reach beyond the tool frame."""
FINGER_HALF_WIDTH, FINGER_HALF_THICKNESS = 0.011, 0.014
"""Of a finger across the closing axis; of both closed fingers along it [m]."""

ANY_ANGLE = 9.0
"""Angle tolerance [rad] of a waypoint whose orientation does not matter."""

Plan = list[Waypoint]


def plan(s: Situation) -> Plan:
    """Waypoints from here to the end of the task; at least one."""
    foreign = s.in_hand()
    if foreign and foreign != s.task.object:
        return put_down(s, foreign)
    return SKILLS[s.task.family](s)


# ------------------------------------------------------------------------------------------------ shared moves


def stay(s: Situation, opening: float) -> Plan:
    """Come to rest and remain there."""
    speed = float(np.linalg.norm(s.motion.velocity))
    stop = s.motion.position + s.motion.velocity * (0.5 * speed / ACCELERATION)
    return [Waypoint(stop, s.motion.orientation, opening)]


def retreat(s: Situation, opening: float, final: float) -> Plan:
    """Straight up with one opening, then rest with another."""
    x, y, z = s.motion.position
    if z > TRAVEL - 0.01:
        return stay(s, final)
    return [Waypoint(np.array([x, y, TRAVEL]), s.motion.orientation, opening), *stay_at(s, TRAVEL, final)]


def stay_at(s: Situation, height: float, opening: float) -> Plan:
    """Rest above the present place."""
    x, y, _ = s.motion.position
    return [Waypoint(np.array([x, y, height]), s.motion.orientation, opening)]


def approach(s: Situation, place: np.ndarray, yaw: float, opening: float, height: float = TRAVEL) -> Plan:
    """Over a place at least at a height: straight up first where the hand is low, then across."""
    way: Plan = []
    x, y, z = s.motion.position
    top = max(height, float(place[2]))
    if z < top - 0.03 and np.hypot(x - place[0], y - place[1]) > 0.02:
        way.append(
            Waypoint(np.array([x, y, top]), s.motion.orientation, min(opening, s.motion.gripper), FAST, 0.03, ANY_ANGLE)
        )
    over = np.array([place[0], place[1], max(top if way or z > top - 0.05 else z, place[2])])
    way.append(Waypoint(over, pointing_down(yaw), opening, FAST, 0.03, 0.2))
    way.append(Waypoint(np.asarray(place, dtype=float), pointing_down(yaw), opening, FAST, 0.012, 0.08))
    return way


def above(s: Situation, place: np.ndarray, yaw: float, reach: float = 0.13) -> bool:
    """Whether the commanded tool is within the funnel that leads straight down to a place."""
    offset = s.motion.position - place
    aside, height = float(np.hypot(offset[0], offset[1])), float(offset[2])
    turn = abs(float(wrapped(closing_yaw(s.motion.orientation) - yaw)))
    return -0.02 < height < reach and aside < 0.006 + 0.15 * max(0.0, height) and turn < 0.12


def release_opening(s: Situation, name: str) -> float:
    """Opening that lets an object go without spreading further than needed."""
    return gripper.opening_for_width(s.cell.objects[name].grasp.width + RELEASE_ROOM)


def pick(s: Situation, name: str) -> Plan:
    """To an object and close the hand on it; ends with the hand closed."""
    point, yaw = s.grasp_point(name), s.grasp_yaw(name)
    contact = s.contact_opening(name)
    down = pointing_down(yaw)
    close = Waypoint(
        point, down, CLOSED, SLOW, 0.004, 0.05, gripper.closing_time(s.opening, contact) + gripper.FORCE_SETTLE
    )
    if above(s, point, yaw):
        low = s.motion.position[2] - point[2] < 0.005
        if low and s.around(name) and s.opening <= contact + 0.1:
            return [close]
        way: Plan = []
        if s.opening > 0.12:
            opening = Waypoint(s.motion.position, s.motion.orientation, OPEN, SLOW, 0.01, ANY_ANGLE)
            way.append(replace(opening, dwell=gripper.closing_time(s.opening, 0.1)))
    else:
        way = approach(s, point + np.array([0.0, 0.0, APPROACH]), yaw, OPEN)
        way[-1] = replace(way[-1], dwell=max(0.0, gripper.closing_time(s.opening, 0.1) - 0.3))
    close = replace(close, dwell=gripper.closing_time(OPEN, contact) + gripper.FORCE_SETTLE)
    return [*way, Waypoint(point, down, OPEN, MODERATE, 0.002, 0.04), close]


def set_down(s: Situation, place: np.ndarray, yaw: float, opening: float) -> Plan:
    """Carry what is held so that the tool comes to a place, let go there and rise."""
    down = pointing_down(yaw)
    higher = np.array([place[0], place[1], max(TRAVEL, place[2] + 0.08)])
    letting_go = gripper.closing_time(s.opening, opening) + 0.05
    rest = [Waypoint(place, down, opening, SLOW, 0.006, 0.05, letting_go), Waypoint(higher, down, opening)]
    if not above(s, place, yaw, reach=0.30):
        over = np.array([place[0], place[1], max(CARRY, place[2] + 0.02)])
        lowering = [Waypoint(place + [0, 0, 0.02], down, CLOSED, MODERATE, 0.008, 0.06)]
        return [*approach(s, over, yaw, CLOSED, CARRY), *lowering, Waypoint(place, down, CLOSED, SLOW), *rest]
    height = float(s.motion.position[2] - place[2])
    if np.linalg.norm(s.motion.position - place) < 0.004:
        return rest
    lowering = [Waypoint(place + [0, 0, 0.02], down, CLOSED, MODERATE, 0.008, 0.06)] if height > 0.03 else []
    return [*lowering, Waypoint(place, down, CLOSED, SLOW), *rest]


def put_down(s: Situation, name: str) -> Plan:
    """Put an object that is in the way of the task back on the table, here or at the nearest free place."""
    grip, own = s.tool - s.position(name), s.cell.objects[name]
    spot = _free_spot(s, name)
    place = np.array([spot[0] + grip[0], spot[1] + grip[1], own.rest_height + grip[2] + 0.002])
    return set_down(s, place, closing_yaw(s.motion.orientation), release_opening(s, name))


def _free_spot(s: Situation, name: str) -> np.ndarray:
    """Where on the table an object can be put (2,) [m]: the nearest place with room, else that with the most."""
    region, own, here = s.cell.region, s.cell.objects[name], s.position(name)[:2]
    spots = [np.array([x, y]) for x in np.linspace(*region.x, 7) for y in np.linspace(*region.y, 7)]
    if region.x[0] <= here[0] <= region.x[1] and region.y[0] <= here[1] <= region.y[1]:
        spots.append(here)
    others = [(s.position(other)[:2], s.cell.objects[other].footprint) for other in s.cell.objects if other != name]
    rooms = [_room(spot, others) - own.footprint for spot in spots]
    free = [spot for spot, room in zip(spots, rooms, strict=True) if room > 0.03]
    if not free:
        return spots[int(np.argmax(rooms))]
    return min(free, key=lambda spot: float(np.linalg.norm(spot - here)))


def _room(spot: np.ndarray, others: list[tuple[np.ndarray, float]]) -> float:
    return min((float(np.linalg.norm(spot - place)) - size for place, size in others), default=1.0)


# ------------------------------------------------------------------------------------------------------ skills


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
    inside = [n for n in s.cell.objects if n != name and inside_bin(s.cell, target, s.now, n)]
    others = [(s.position(n)[:2], s.cell.objects[n].footprint) for n in inside]
    size, corner = s.cell.objects[name].footprint, 0.036
    offsets = [(0.0, 0.0), (corner, corner), (-corner, -corner), (corner, -corner), (-corner, corner)]
    spots = [(pose[0] + rotation(pose[1]) @ np.array([*offset, 0.0]))[:2] for offset in offsets]
    best = max(range(len(spots)), key=lambda i: (min(_room(spots[i], others) - size, 0.0), -i))
    return spots[best], best == 0 and _room(spots[0], others) - size > 0.0


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
    turn = float(wrapped(4.0 * (s.yaw(target) - s.yaw(name)))) / 4.0
    present = closing_yaw(s.motion.orientation)
    yaw = s.nearest_yaw(present + turn, quarter)
    turn = float(wrapped(yaw - present))
    grip = s.tool - s.position(name)
    cosine, sine = np.cos(turn), np.sin(turn)
    aside = np.array([cosine * grip[0] - sine * grip[1], sine * grip[0] + cosine * grip[1]])
    x, y = s.position(target)[:2] + aside
    place = np.array([x, y, s.position(target)[2] + height + grip[2] + 0.003])
    return set_down(s, place, yaw, release_opening(s, name))


def open_drawer(s: Situation) -> Plan:
    """Hook the closed fingers behind the handle and pull."""
    cabinet = s.cell.fixture_with("handle_x")
    m, drawn = cabinet.measures, float(s.now.joints[s.task.target])
    least = float(s.task.condition["least"])
    if drawn >= least + 0.010:
        return retreat(s, CLOSED, OPEN)
    middle = 0.5 * (m["front"] + m["handle_x"] - m["handle_radius"])
    goal = m["handle_x"] - m["handle_radius"] - FINGER_HALF_WIDTH + min(least + 0.022, m["travel"])
    return _move_handle(s, middle + drawn, goal)


def close_drawer(s: Situation) -> Plan:
    """Push the handle in from outside with the closed fingers."""
    cabinet = s.cell.fixture_with("handle_x")
    m, drawn = cabinet.measures, float(s.now.joints[s.task.target])
    if drawn <= float(s.task.condition["most"]) - 0.008:
        return retreat(s, CLOSED, OPEN)
    outside = m["handle_x"] + m["handle_radius"] + FINGER_HALF_THICKNESS
    return _move_handle(s, outside + drawn + 0.010, outside - 0.006)


def _move_handle(s: Situation, start: float, goal: float) -> Plan:
    """Go down at x = start of the cabinet's frame and move level to x = goal."""
    cabinet = s.cell.fixture_with("handle_x")
    position, quaternion = s.now.poses[cabinet.name]
    turn, height = rotation(quaternion), cabinet.measures["handle_z"]
    first, last = (position + turn @ np.array([x, 0.0, height]) for x in (start, goal))
    yaw = s.nearest_yaw(s.yaw(cabinet.name), np.pi / 2.0)
    down = pointing_down(yaw)
    moving = Waypoint(last, down, CLOSED, SLOW, 0.002, 0.05)
    x, y, z = in_frame_of((position, quaternion), s.tool)
    if z < height + 0.015 and abs(y) < 0.03 and abs(x - start) < 0.022:
        return [moving]
    way = [] if above(s, first, yaw) else approach(s, first + [0, 0, APPROACH], yaw, CLOSED, TRAVEL)
    if way:
        way[-1] = replace(way[-1], dwell=max(0.0, gripper.closing_time(s.opening, 0.95) - 0.3))
    elif s.opening < 0.9 and s.motion.position[2] > height + 0.03:
        way = [Waypoint(s.motion.position, down, CLOSED, SLOW, 0.01, ANY_ANGLE, gripper.closing_time(s.opening, 0.95))]
    return [*way, Waypoint(first, down, CLOSED, MODERATE, 0.004, 0.05), moving]


def press(s: Situation) -> Plan:
    """Press the button with the closed fingers, wait, and rise."""
    button = s.cell.fixture_with("pressed")
    if s.met_for >= s.task.hold + 0.25:
        return retreat(s, CLOSED, OPEN)
    m = button.measures
    x, y, _ = s.position(button.name)
    yaw = s.nearest_yaw(s.yaw(button.name), np.pi / 2.0)
    depth = 0.5 * (m["pressed"] + m["travel"]) + 0.001
    bottom = np.array([x, y, m["top"] + FINGER_TIP - depth])
    way = [] if above(s, bottom, yaw) else approach(s, bottom + [0, 0, APPROACH], yaw, CLOSED, TRAVEL)
    down = pointing_down(yaw)
    pressing = Waypoint(bottom, down, CLOSED, SLOW, 0.002, 0.05, s.task.hold + 0.5)
    over = Waypoint(bottom + [0, 0, 0.03], down, CLOSED, MODERATE, 0.01, 0.08)
    rise = Waypoint(np.array([x, y, TRAVEL]), down, CLOSED)
    low = s.motion.position[2] < bottom[2] + 0.03
    return [*way, *([] if low and not way else [over]), pressing, rise]


SKILLS: Mapping[str, Callable[[Situation], Plan]] = {
    "lift": lift,
    "place": place,
    "push": push,
    "push_forward": push,
    "stack": stack,
    "open": open_drawer,
    "close": close_drawer,
    "press": press,
}
