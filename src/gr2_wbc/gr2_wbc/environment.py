"""What stands around the robot and what it holds: objects of simple shapes, changed as a whole or not at all.

An :class:`Environment` never changes; each operation gives a new one or raises :class:`SceneRefused`. Poses of
standing objects are in the robot's base frame, those of attached ones in the frame that holds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pinocchio as pin

from gr2_wbc.rotation import matrix_of

PLANE, BOX, SPHERE, CYLINDER, CAPSULE, MESH = "plane", "box", "sphere", "cylinder", "capsule", "mesh"
# How many numbers the size of a shape has: half sizes; radius; radius and half length.
SIZES = {PLANE: 0, BOX: 3, SPHERE: 1, CYLINDER: 2, CAPSULE: 2, MESH: 0}
MOST_SHAPES = 128  # at once; each is compared with each link
MOST_VERTICES = 2000  # of a mesh
FARTHEST = 100.0  # [m] no object is further away or larger


class SceneRefused(ValueError):
    """A change of the environment was refused; nothing was changed. The message names the object and the reason."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A convex shape.

    Attributes:
        kind: one of :data:`SIZES`.
        size: [m] half sizes of a box; radius; radius and half length (of a capsule without its caps, along z).
        placement: in the object's frame; a plane's normal is its z axis.
        vertices: (v, 3) [m] of a mesh, which stands for its convex hull.
    """

    kind: str
    size: tuple[float, ...] = ()
    placement: pin.SE3 = field(default_factory=pin.SE3.Identity)
    vertices: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class SceneObject:
    """Something the robot must keep away from, or holds.

    Attributes:
        name: its id.
        shapes: what it consists of.
        pose: in the base frame, or in ``link`` where it is attached.
        margin: distance [m] kept from it; None: the robot's safe distance, or its attached distance.
        margins: distance [m] by the name of the other geom or object, before ``margin``.
        touch: geoms, links and objects that may touch it.
        link: the frame of the robot that holds it; None: it stands.
        fixed: it belongs to the robot's file and stays.
    """

    name: str
    shapes: tuple[Shape, ...]
    pose: pin.SE3 = field(default_factory=pin.SE3.Identity)
    margin: float | None = None
    margins: Mapping[str, float] = field(default_factory=dict)
    touch: frozenset[str] = frozenset()
    link: str | None = None
    fixed: bool = False

    def shape_name(self, number: int) -> str:
        """The name of a shape in pairs and reports: the object's, numbered where it has several."""
        return self.name if len(self.shapes) == 1 else f"{self.name}#{number}"


@dataclass(frozen=True, eq=False)
class Environment:
    """Objects by name, and a version that counts the changes."""

    objects: Mapping[str, SceneObject] = field(default_factory=dict)
    version: int = 0

    def __iter__(self) -> Iterator[SceneObject]:
        return iter(self.objects.values())

    def add(self, item: SceneObject) -> Environment:
        """Add an object, or replace the one of this name.

        Raises:
            SceneRefused: a number or name makes no sense, there are too many shapes, or the old one is fixed.
        """
        _check(item)
        if item.name in self.objects:
            self._free(item.name)
        changed = self._with(item)
        count = sum(len(each.shapes) for each in changed)
        if count > MOST_SHAPES:
            raise SceneRefused(f"'{item.name}': {count} shapes are too many, at most {MOST_SHAPES} are allowed")
        return changed

    def move(self, name: str, pose: pin.SE3) -> Environment:
        """Give a standing object another pose in the base frame.

        Raises:
            SceneRefused: it is unknown, fixed or attached, or the pose is not finite.
        """
        item = self._free(name)
        if item.link is not None:
            raise SceneRefused(f"'{name}' is attached to {item.link}; detach it first")
        _check_pose(name, pose)
        return self._with(replace(item, pose=pose))

    def remove(self, name: str) -> Environment:
        """Remove an object, standing or attached.

        Raises:
            SceneRefused: it is unknown or fixed.
        """
        self._free(name)
        return Environment({key: item for key, item in self.objects.items() if key != name}, self.version + 1)

    def clear(self) -> Environment:
        """Remove everything but the fixed objects."""
        return Environment({key: item for key, item in self.objects.items() if item.fixed}, self.version + 1)

    def attach(
        self, name: str, link: str, holder: pin.SE3, touch: frozenset[str] = frozenset(), margin: float | None = None
    ) -> Environment:
        """Let a frame of the robot hold an object that stands where it is.

        Args:
            link: the frame.
            holder: its pose in the base frame now.
            touch: geoms, links and objects that may touch the object while it is held.
            margin: distance [m] the held object keeps; None: the robot's attached distance.

        Raises:
            SceneRefused: the object is unknown, fixed, attached already, or a plane.
        """
        item = self._free(name)
        if item.link is not None:
            raise SceneRefused(f"'{name}' is attached to {item.link} already")
        held = replace(item, pose=holder.actInv(item.pose), link=link, touch=item.touch | touch, margin=margin)
        _check(held)
        return self._with(held)

    def detach(self, name: str, holder: pin.SE3) -> Environment:
        """Let an object stand where it is held; ``holder`` is the holding frame's pose in the base frame now.

        Raises:
            SceneRefused: the object is unknown or not attached.
        """
        item = self._free(name)
        if item.link is None:
            raise SceneRefused(f"'{name}' is not attached")
        return self._with(replace(item, pose=holder * item.pose, link=None, touch=frozenset(), margin=None))

    def _with(self, item: SceneObject) -> Environment:
        return Environment({**self.objects, item.name: item}, self.version + 1)

    def _free(self, name: str) -> SceneObject:
        item = self.objects.get(name)
        if item is None:
            known = ", ".join(f"'{key}'" for key in self.objects) or "nothing"
            raise SceneRefused(f"there is no object '{name}' (there is {known})")
        if item.fixed:
            raise SceneRefused(f"'{name}' belongs to the robot's file and stays")
        return item


def pose_of(name: str, position: object, orientation: object = (0.0, 0.0, 0.0, 1.0)) -> pin.SE3:
    """A pose from position (3,) [m] and quaternion x y z w of norm 1.

    Raises:
        SceneRefused: a length is wrong, a number not finite, or the norm is not 1 within 1e-3.
    """
    try:
        place, turn = np.array(position, dtype=float), np.array(orientation, dtype=float)
    except (TypeError, ValueError) as error:
        raise SceneRefused(f"'{name}': position and orientation must be numbers: {error}") from error
    if place.shape != (3,) or turn.shape != (4,):
        raise SceneRefused(f"'{name}': position and orientation need 3 and 4 numbers, got {place.size} and {turn.size}")
    for what, values in (("position", place), ("orientation", turn)):
        if not np.isfinite(values).all():
            raise SceneRefused(f"'{name}': {what} {values.tolist()} is not finite")
    with np.errstate(over="ignore"):
        norm = float(np.linalg.norm(turn))
    if not abs(norm - 1.0) <= 1e-3:
        raise SceneRefused(f"'{name}': orientation has norm {norm:.6g}, expected 1")
    return pin.SE3(matrix_of(turn / norm), place)


def _check(item: SceneObject) -> None:
    name = item.name
    if not name or "|" in name or "#" in name:
        raise SceneRefused(f"'{name}' is no name for an object: it must not be empty or contain | or #")
    if not item.shapes:
        raise SceneRefused(f"'{name}' has no shape")
    if item.margin is not None and not np.isfinite(item.margin):
        raise SceneRefused(f"'{name}': margin {item.margin} m is not finite")
    for other, distance in item.margins.items():
        if not np.isfinite(distance):
            raise SceneRefused(f"'{name}': margin {distance} m from {other} is not finite")
    _check_pose(name, item.pose)
    for shape in item.shapes:
        _check_shape(name, shape)
        if item.link is not None and shape.kind == PLANE:
            raise SceneRefused(f"'{name}': a plane cannot be attached")


def _check_shape(name: str, shape: Shape) -> None:
    if shape.kind not in SIZES:
        raise SceneRefused(f"'{name}': shape '{shape.kind}' is none of {', '.join(SIZES)}")
    if len(shape.size) != SIZES[shape.kind]:
        raise SceneRefused(f"'{name}': a {shape.kind} has {SIZES[shape.kind]} sizes, got {len(shape.size)}")
    for size in shape.size:
        if not 0.0 < size <= FARTHEST:
            raise SceneRefused(f"'{name}': sizes {list(shape.size)} m of the {shape.kind} must lie in 0 ... {FARTHEST}")
    _check_pose(name, shape.placement)
    if shape.kind == MESH:
        points = shape.vertices
        if points is None or points.ndim != 2 or points.shape[1] != 3 or not 4 <= len(points) <= MOST_VERTICES:
            raise SceneRefused(f"'{name}': a mesh needs 4 ... {MOST_VERTICES} vertices of 3 coordinates")
        if not np.isfinite(points).all() or np.abs(points).max() > FARTHEST:
            raise SceneRefused(f"'{name}': a vertex is not finite or beyond {FARTHEST} m")
        spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
        if spread[2] < 1e-4:
            raise SceneRefused(f"'{name}': the vertices of the mesh lie in a plane")


def _check_pose(name: str, pose: pin.SE3) -> None:
    if not np.isfinite(pose.homogeneous).all() or np.abs(pose.translation).max() > FARTHEST:
        raise SceneRefused(f"'{name}': position {pose.translation.tolist()} m is not finite or beyond {FARTHEST} m")
