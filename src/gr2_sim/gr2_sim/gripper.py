"""Geometry of the gripper: a parallel linkage like that of the Robotiq 2F-85, fingers moving on an arc.

Each pad hangs on two parallel cranks, so it stays parallel to the other while it swings inwards and, by up to
13 mm, forwards. The figures agree with data/gripper.xml; a test compares them with the compiled model.
"""

from __future__ import annotations

import math

CLOSED_ANGLE = 0.8
"""Crank angle [rad] at which the pads meet; 0 is fully open."""

FORCE_SETTLE = 0.12
"""Time [s] from touching an object until the full force acts."""

SPEED = 1.5
"""Largest speed of the crank [rad/s]."""

_PIVOT = 0.0132
_CRANK = math.hypot(0.037, 0.044)
_OPEN_ANGLE = math.atan2(0.037, 0.044)
_PAD_INSET = 0.0075


def width_between_pads(opening: float) -> float:
    """Distance [m] between the pads at this opening (0 open ... 1 closed)."""
    angle = _OPEN_ANGLE - CLOSED_ANGLE * opening
    return 2.0 * (_PIVOT + _CRANK * math.sin(angle) - _PAD_INSET)


def opening_for_width(width: float) -> float:
    """Opening (0 open ... 1 closed) at which the pads are this far [m] apart, clipped to what the gripper can do."""
    sine = (width / 2.0 + _PAD_INSET - _PIVOT) / _CRANK
    opening = (_OPEN_ANGLE - math.asin(max(-1.0, min(1.0, sine)))) / CLOSED_ANGLE
    return max(0.0, min(1.0, opening))


def closing_time(start: float, end: float) -> float:
    """Time [s] to move from one opening (0 ... 1) to another."""
    return abs(end - start) * CLOSED_ANGLE / SPEED
