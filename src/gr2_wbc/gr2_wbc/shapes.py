"""Collision shapes of a URDF's links: its primitives as they are, its meshes as convex hulls or fitted capsules.

A hull is exact for convex links and needs an iterative distance; a capsule is cheap and smooth, and larger than its
link. ``hull`` is the default; a link whose capsule adds little is better a capsule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
import pinocchio as pin
from scipy.optimize import minimize
from scipy.spatial import ConvexHull

from gr2_wbc import cache
from gr2_wbc.rotation import quaternion_of

HULL, CAPSULE, NONE = "hull", "capsule", "none"
_KINDS = {
    "Sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "Cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "Capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
}


class ShapeError(ValueError):
    """A link's collision geometry cannot be used. The message names the geometry."""


@dataclass(frozen=True, eq=False)
class LinkShape:
    """One shape of a link.

    Attributes:
        name: the link's, numbered where it has several shapes.
        link: the link it belongs to.
        joint: number of the model's joint that moves it.
        kind: MuJoCo's geom type.
        size: (3,) MuJoCo's sizes [m]; zeros for a mesh.
        placement: in the joint's frame.
        vertices: (v, 3) of a hull [m]; None for primitives.
    """

    name: str
    link: str
    joint: int
    kind: int
    size: np.ndarray
    placement: pin.SE3
    vertices: np.ndarray | None = None

    def add_to(self, spec: mujoco.MjSpec, body: mujoco.MjsBody) -> None:
        """Add this shape to a specification."""
        placement = {
            "name": self.name,
            "type": self.kind,
            "pos": self.placement.translation,
            "quat": quaternion_of(self.placement.rotation)[[3, 0, 1, 2]],
            "mass": 0.0,
        }
        if self.vertices is None:
            body.add_geom(size=self.size, **placement)
            return
        add_hull(spec, self.name, self.vertices)
        body.add_geom(meshname=self.name, **placement)


def add_hull(spec: mujoco.MjSpec, name: str, vertices: np.ndarray) -> None:
    """Add a convex mesh [m] under this name. Its frame is kept as it is given."""
    mesh = spec.add_mesh(name=name, uservert=vertices.ravel())
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX


def box_corners(half_size: np.ndarray) -> np.ndarray:
    """Corners (8, 3) [m] of a box.

    Boxes that move are hulls to the distance engine: its test of two boxes tells contacts, not distances, and misses
    edges and corners that come close.
    """
    signs = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    return signs * half_size


def shapes_of(model: pin.Model, geometry: pin.GeometryModel, choices: Mapping[str, str]) -> list[LinkShape]:
    """The shapes of a reduced model's links.

    Args:
        choices: ``hull``, ``capsule`` or ``none`` (no shape at all) by link; the entry ``default`` is for the others.

    Raises:
        ShapeError: an unknown choice, or a geometry that is none of mesh, box, sphere, cylinder and capsule.
    """
    links = [model.frames[item.parentFrame].name for item in geometry.geometryObjects]
    links = [_link_name(item.name, link) for item, link in zip(geometry.geometryObjects, links, strict=True)]
    for link, choice in choices.items():
        if choice not in (HULL, CAPSULE, NONE):
            raise ShapeError(f"shapes: '{choice}' for {link} is none of {HULL}, {CAPSULE}, {NONE}")
        if link != "default" and link not in links:
            raise ShapeError(f"shapes: no link '{link}' has collision geometry; these have: {', '.join(links)}")
    shapes = []
    for item, link in zip(geometry.geometryObjects, links, strict=True):
        choice = choices.get(link, choices.get("default", HULL))
        if choice == NONE:
            continue
        name = link if links.count(link) == 1 else item.name
        shapes.append(_shape(name, link, item, choice))
    return shapes


def _link_name(item: str, link: str) -> str:
    """The link that a geometry belongs to: pinocchio names it <link>_<number>; locked links become fixed frames."""
    head, _, number = item.rpartition("_")
    return head if number.isdigit() and head else link


def _shape(name: str, link: str, item: pin.GeometryObject, choice: str) -> LinkShape:
    geometry, placement = item.geometry, item.placement
    kind = type(geometry).__name__
    if kind == "Box":
        corners = box_corners(np.array(geometry.halfSide, dtype=float))
        return LinkShape(name, link, item.parentJoint, mujoco.mjtGeom.mjGEOM_MESH, np.zeros(3), placement, corners)
    if kind in _KINDS:
        if kind == "Sphere":
            size = np.array([geometry.radius, 0.0, 0.0])
        else:
            size = np.array([geometry.radius, geometry.halfLength, 0.0])
        return LinkShape(name, link, item.parentJoint, _KINDS[kind], size, placement)
    if not hasattr(geometry, "vertices"):
        raise ShapeError(f"collision geometry '{item.name}' is a {kind}, which is not supported")
    points = np.asarray(geometry.vertices(), dtype=float)
    corners = points[ConvexHull(points).vertices]
    if choice == HULL:
        return LinkShape(name, link, item.parentJoint, mujoco.mjtGeom.mjGEOM_MESH, np.zeros(3), placement, corners)
    radius, half, inner = fit_capsule(corners)
    size = np.array([radius, half, 0.0])
    return LinkShape(name, link, item.parentJoint, mujoco.mjtGeom.mjGEOM_CAPSULE, size, placement * inner)


def fit_capsule(points: np.ndarray) -> tuple[float, float, pin.SE3]:
    """A small capsule around points (v, 3) [m]; found once, then cached.

    Returns:
        Radius and half length [m], and the capsule's placement (its axis is z).
    """
    key = f"capsule-{hashlib.sha256(b'1' + np.ascontiguousarray(points).tobytes()).hexdigest()[:32]}"
    line = cache.load(key, lambda entry: np.array([float(value) for value in entry]).reshape(6))
    if line is None:
        line = _best_line(points)
        cache.store(key, line.tolist())
    origin, axis = _line(line)
    _, radius, low, high = _volume(points, origin, axis)
    turn = pin.Quaternion.FromTwoVectors(np.array([0.0, 0.0, 1.0]), axis).matrix()
    return radius, 0.5 * (high - low), pin.SE3(turn, origin + 0.5 * (low + high) * axis)


def _best_line(points: np.ndarray) -> np.ndarray:
    """Axis (6,) of the smallest capsule found: a point and a direction."""
    middle = points.mean(axis=0)
    axes = np.linalg.svd(points - middle, full_matrices=False)[2]
    best: tuple[float, np.ndarray] | None = None
    for axis in axes:
        found = minimize(
            lambda x: _volume(points, *_line(x))[0],
            np.concatenate([middle, axis]),
            method="Nelder-Mead",
            options={"maxiter": 600, "xatol": 1e-4, "fatol": 1e-7},
        )
        if best is None or found.fun < best[0]:
            best = float(found.fun), found.x
    assert best is not None
    return best[1]


def _line(x: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(x, dtype=float)
    return x[:3], x[3:] / np.linalg.norm(x[3:])


def _volume(points: np.ndarray, origin: np.ndarray, axis: np.ndarray) -> tuple[float, float, float, float]:
    """Volume, radius, and ends along the axis of the smallest capsule on this line that holds all points."""
    along = (points - origin) @ axis
    across = np.linalg.norm(points - origin - along[:, None] * axis, axis=1)
    radius = float(across.max()) * (1.0 + 1e-9)
    cap = np.sqrt(np.maximum(radius**2 - across**2, 0.0))
    low, high = float(np.min(along + cap)), float(np.max(along - cap))
    if low > high:
        low = high = 0.5 * (low + high)
        radius = float(np.max(np.linalg.norm(points - origin - low * axis, axis=1))) * (1.0 + 1e-9)
    return np.pi * radius**2 * (high - low) + 4.0 / 3.0 * np.pi * radius**3, radius, low, high
