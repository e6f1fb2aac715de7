"""Smooth motion of the tool through waypoints, limited in speed and acceleration, from any state of motion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

STEP = 0.02
"""Time step [s] of the integration."""
ACCELERATION = 0.8
"""Of the tool [m/s^2]."""
SPIN = 0.8
"""Largest angular speed of the tool [rad/s]: just under that of one joint."""
SPIN_ACCELERATION = 3.0
"""[rad/s^2]."""
BRAKING_SHARE = 0.8
"""Share of the acceleration that the approach to a waypoint counts on."""


@dataclass(frozen=True)
class Waypoint:
    """Where the tool goes next.

    Attributes:
        position: (3,) [m], tool_frame in base_link.
        orientation: (4,) quaternion x y z w.
        gripper: commanded on the way and there, 0 open ... 1 closed.
        speed: largest speed [m/s].
        tolerance: the way goes on when the tool is this close [m].
        angle_tolerance: ... and turned this close [rad].
        dwell: time [s] to stay before the way goes on.
        spin: largest angular speed [rad/s].
    """

    position: np.ndarray
    orientation: np.ndarray
    gripper: float
    speed: float = 0.25
    tolerance: float = 0.002
    angle_tolerance: float = 0.03
    dwell: float = 0.0
    spin: float = SPIN


@dataclass(frozen=True)
class Motion:
    """State of motion of the tool: pose, velocity [m/s], angular velocity [rad/s], commanded gripper."""

    position: np.ndarray
    orientation: np.ndarray
    velocity: np.ndarray
    spin: np.ndarray
    gripper: float


def at_rest(position: np.ndarray, orientation: np.ndarray, gripper: float) -> Motion:
    """The tool standing still."""
    zero = np.zeros(3)
    return Motion(np.array(position, dtype=float), np.array(orientation, dtype=float), zero, zero, gripper)


def between(first: Motion, second: Motion, share: float) -> Motion:
    """The state a share (0 ... 1) of the way from one to the next."""
    return replace(
        first,
        position=(1.0 - share) * first.position + share * second.position,
        orientation=turned(first.orientation, share * turn_between(first.orientation, second.orientation)),
        velocity=(1.0 - share) * first.velocity + share * second.velocity,
        spin=(1.0 - share) * first.spin + share * second.spin,
    )


def follow(start: Motion, waypoints: Sequence[Waypoint], duration: float) -> list[Motion]:
    """Motion through the waypoints and rest at the last; one state every STEP, the first is the start."""
    states, state, waiting, index = [start], start, 0.0, 0
    for _ in range(round(duration / STEP)):
        target = waypoints[index]
        state = _advance(state, target)
        states.append(state)
        while index + 1 < len(waypoints) and _reached(state, waypoints[index]):
            waiting += STEP
            if waiting < waypoints[index].dwell:
                break
            waiting, index = 0.0, index + 1
    return states


def _reached(state: Motion, target: Waypoint) -> bool:
    if _length(target.position - state.position) > target.tolerance:
        return False
    return _length(turn_between(state.orientation, target.orientation)) <= target.angle_tolerance


def _advance(state: Motion, target: Waypoint) -> Motion:
    velocity = _towards(target.position - state.position, state.velocity, target.speed, ACCELERATION)
    turn = turn_between(state.orientation, target.orientation)
    spin = _towards(turn, state.spin, target.spin, SPIN_ACCELERATION)
    return replace(
        state,
        position=state.position + STEP * velocity,
        orientation=turned(state.orientation, STEP * spin),
        velocity=velocity,
        spin=spin,
        gripper=target.gripper,
    )


def _length(vector: np.ndarray) -> float:
    """Euclidean norm; for three numbers several times faster than numpy.linalg.norm."""
    return math.sqrt(float(vector @ vector))


def _towards(error: np.ndarray, velocity: np.ndarray, speed: float, acceleration: float) -> np.ndarray:
    """Next velocity of a point that shall come to rest `error` from here."""
    distance = _length(error)
    pace = min(speed, math.sqrt(2.0 * BRAKING_SHARE * acceleration * distance), distance / STEP)
    wanted = error * (pace / distance) if distance > 1e-9 else np.zeros(3)
    change = wanted - velocity
    size, most = _length(change), acceleration * STEP
    return wanted if size <= most else velocity + change * (most / size)


def multiply(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Product of quaternions x y z w: first after second."""
    ax, ay, az, aw = first.tolist()
    bx, by, bz, bw = second.tolist()
    return np.array(
        [
            aw * bx + bw * ax + ay * bz - az * by,
            aw * by + bw * ay + az * bx - ax * bz,
            aw * bz + bw * az + ax * by - ay * bx,
            aw * bw - ax * bx - ay * by - az * bz,
        ]
    )


def turn_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Rotation vector (3,) [rad], in base_link, that turns one orientation (x y z w) into the other, the short way."""
    difference = multiply(end, start * np.array([-1.0, -1.0, -1.0, 1.0]))
    if difference[3] < 0.0:
        difference = -difference
    sine = _length(difference[:3])
    if sine < 1e-9:
        return 2.0 * difference[:3]
    return difference[:3] * (2.0 * np.arctan2(sine, difference[3]) / sine)


def turned(orientation: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """An orientation (x y z w) turned by a rotation vector (3,) [rad] of base_link."""
    angle = _length(turn)
    if angle < 1e-12:
        return orientation
    step = np.append(turn * (np.sin(0.5 * angle) / angle), np.cos(0.5 * angle))
    result = multiply(step, orientation)
    return result / _length(result)


def pointing_down(yaw: float) -> np.ndarray:
    """Orientation (x y z w) of the tool pointing straight down, its closing axis at this angle [rad] to base_link x."""
    return np.array([np.cos(0.5 * yaw), np.sin(0.5 * yaw), 0.0, 0.0])


def closing_yaw(orientation: np.ndarray) -> float:
    """Angle [rad] of the closing axis (the tool's x) to base_link x, seen from above."""
    x, y, z, w = orientation
    return float(np.arctan2(2.0 * (x * y + z * w), 1.0 - 2.0 * (y * y + z * z)))
