"""Meshes made of numbers: rounded boxes and bodies of revolution, for everything that should look smooth."""

from __future__ import annotations

import itertools

import numpy as np


def rounded_box(size: np.ndarray, radius: float, steps: int = 3) -> np.ndarray:
    """Points whose convex hull is a box with rounded edges and corners.

    Args:
        size: (3,) full edge lengths [m].
        radius: of the edges [m], at most half the smallest edge.
        steps: points along each quarter turn.

    Returns:
        (8 * steps * steps, 3) points [m].
    """
    angles = np.linspace(0.0, np.pi / 2.0, steps)
    latitude, longitude = (grid.ravel() for grid in np.meshgrid(angles, angles))
    octant = np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=1
    )
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    core = np.asarray(size, dtype=float) / 2.0 - radius
    return np.concatenate([sign * (core + radius * octant) for sign in signs])


def lathe(profile: np.ndarray, sides: int = 22) -> tuple[np.ndarray, np.ndarray]:
    """Body of revolution about z.

    Args:
        profile: (n, 2) radius and height [m] from bottom to top; radius 0 closes an end.
        sides: facets around.

    Returns:
        vertices (m, 3) [m] and triangles (f, 3), counter-clockwise seen from outside.
    """
    profile = np.asarray(profile, dtype=float)
    turn = np.linspace(0.0, 2.0 * np.pi, sides, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    vertices: list[np.ndarray] = []
    rings: list[np.ndarray] = []
    for radius, height in profile:
        first = sum(len(v) for v in vertices)
        if radius <= 0.0:
            vertices.append(np.array([[0.0, 0.0, height]]))
            rings.append(np.full(sides, first))
        else:
            vertices.append(np.column_stack([radius * circle, np.full(sides, height)]))
            rings.append(first + np.arange(sides))
    triangles = []
    for low, high in itertools.pairwise(rings):
        low_next, high_next = np.roll(low, -1), np.roll(high, -1)
        for a, b, c, d in zip(low, low_next, high_next, high, strict=True):
            if a != b:
                triangles.append((a, b, c))
            if c != d:
                triangles.append((a, c, d))
    return np.concatenate(vertices), np.array(triangles)


def limb_profile(length: float, bottom: float, top: float, edge: float) -> np.ndarray:
    """Profile of a (tapered) cylinder of this length [m] with rounded rims; bottom, top, edge are radii [m]."""
    quarter = np.linspace(0.0, np.pi / 2.0, 4)
    low = [(bottom - edge + edge * np.sin(a), edge - edge * np.cos(a)) for a in quarter]
    high = [(top - edge + edge * np.cos(a), length - edge + edge * np.sin(a)) for a in quarter]
    return np.array([(0.0, 0.0), *low, *high, (0.0, length)])


def frame_along(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Quaternion (w x y z) that turns z into the direction from start to end."""
    direction = np.asarray(end, dtype=float) - np.asarray(start, dtype=float)
    direction = direction / np.linalg.norm(direction)
    quaternion = np.array([1.0 + direction[2], -direction[1], direction[0], 0.0])
    if np.linalg.norm(quaternion) < 1e-6:
        return np.array([0.0, 1.0, 0.0, 0.0])
    return quaternion / np.linalg.norm(quaternion)


def prism(outline: np.ndarray, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Upright prism about the origin over a star-shaped outline.

    Args:
        outline: (n, 2) counter-clockwise, seen in full from the origin [m].
        height: [m].

    Returns:
        vertices (2 * n + 2, 3) [m] and triangles.
    """
    outline, half = np.asarray(outline, dtype=float), height / 2.0
    n = len(outline)
    low, high = (np.column_stack([outline, np.full(n, z)]) for z in (-half, half))
    vertices = np.concatenate([low, high, [[0.0, 0.0, -half], [0.0, 0.0, half]]])
    triangles = []
    for a in range(n):
        b = (a + 1) % n
        triangles += [(a, b, n + b), (a, n + b, n + a), (2 * n, b, a), (2 * n + 1, n + a, n + b)]
    return vertices, np.array(triangles)


def torus(radius: float, thickness: float, around: int = 20, across: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Torus about z: radius of its middle line and of the tube [m]; vertices (m, 3) and triangles."""
    turn = np.linspace(0.0, 2.0 * np.pi, around, endpoint=False)
    tube = np.linspace(0.0, 2.0 * np.pi, across, endpoint=False)
    distance, height = radius + thickness * np.cos(tube), thickness * np.sin(tube)
    vertices = np.concatenate([np.column_stack([distance * np.cos(t), distance * np.sin(t), height]) for t in turn])
    triangles = []
    for i in range(around):
        for j in range(across):
            a, b = i * across + j, ((i + 1) % around) * across + j
            c, d = ((i + 1) % around) * across + (j + 1) % across, i * across + (j + 1) % across
            triangles += [(a, b, c), (a, c, d)]
    return vertices, np.array(triangles)
