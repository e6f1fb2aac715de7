"""Moves that the teacher's skills share: to stay, approach, pick, set down. Each gives the waypoints that remain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gr2_sim import gripper
from gr2_sim.motion import ACCELERATION, Waypoint, closing_yaw, pointing_down
from gr2_sim.situation import Situation, wrapped

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
    style, still_opening = s.style, s.motion.gripper < s.opening - 0.1
    clear = _clear_of_hand(s)
    top = max(height, float(place[2])) + style.height
    if z < max(top - 0.03, clear) and np.hypot(x - place[0], y - place[1]) > 0.02:
        rise = Waypoint(
            np.array([x, y, z]), s.motion.orientation, min(opening, s.motion.gripper), FAST, 0.03, ANY_ANGLE
        )
        if clear > 0.0 and still_opening:
            way.append(replace(rise, tolerance=0.01, dwell=gripper.closing_time(s.opening, s.motion.gripper)))
        top = max(top, clear)
        way.append(replace(rise, position=np.array([x, y, top]), tolerance=min(0.03, max(0.005, top - clear))))
    across = np.array([place[0] - x, place[1] - y])
    if float(np.linalg.norm(across)) > 0.16:
        middle = 0.5 * across + style.detour * np.array([-across[1], across[0]]) / np.linalg.norm(across)
        way.append(
            Waypoint(np.array([x + middle[0], y + middle[1], top]), pointing_down(yaw), opening, FAST, 0.06, ANY_ANGLE)
        )
    over = np.array([place[0], place[1], max(top if way or z > top - 0.05 else z, place[2])])
    way.append(Waypoint(over, pointing_down(yaw), opening, FAST, 0.03, 0.2))
    hover = np.array([place[0] + style.hover[0], place[1] + style.hover[1], place[2]])
    way.append(Waypoint(hover, pointing_down(yaw), opening, FAST, 0.012, 0.08, style.hesitation))
    return way


def _clear_of_hand(s: Situation) -> float:
    """Height [m] of the tool from which on closing fingers miss what stands between them; 0 with nothing there."""
    if s.motion.gripper >= 0.5:
        return 0.0
    between = [name for name in s.things() if s.between_fingers(name)]
    tops = [s.position(name)[2] + s.cell.objects[name].rest_height for name in between]
    return max((float(top) + FINGER_TIP + 0.01 for top in tops), default=0.0)


def above(s: Situation, place: np.ndarray, yaw: float, reach: float = 0.13) -> bool:
    """Whether the commanded tool is within the funnel that leads straight down to a place."""
    offset = s.motion.position - place
    aside, height = float(np.hypot(offset[0], offset[1])), float(offset[2])
    turn = abs(float(wrapped(closing_yaw(s.motion.orientation) - yaw)))
    return -0.02 < height < reach and aside < 0.006 + 0.15 * max(0.0, height) and turn < 0.12


def release_opening(s: Situation, name: str) -> float:
    """Opening that lets an object go without spreading further than needed."""
    return gripper.opening_for_width(s.cell.objects[name].grasp.width + RELEASE_ROOM)


def pick(s: Situation, name: str, yaw: float | None = None) -> Plan:
    """To an object and close the hand on it, the closing axis at an angle [rad] or as the grasp has it; ends closed."""
    point = s.grasp_point(name)
    yaw = s.grasp_yaw(name) if yaw is None else yaw
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
    others = [(s.position(other)[:2], s.cell.objects[other].footprint) for other in s.things() if other != name]
    rooms = [room(spot, others) - own.footprint for spot in spots]
    free = [spot for spot, space in zip(spots, rooms, strict=True) if space > 0.03]
    if not free:
        return spots[int(np.argmax(rooms))]
    return min(free, key=lambda spot: float(np.linalg.norm(spot - here)))


def room(spot: np.ndarray, others: list[tuple[np.ndarray, float]]) -> float:
    """Distance [m] from a spot to the nearest of things given by place and size; 1 where there is none."""
    return min((float(np.linalg.norm(spot - place)) - size for place, size in others), default=1.0)
