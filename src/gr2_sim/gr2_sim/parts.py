"""Parts that bodies are made of, as the data files name them.

Every part has `kind` and `material`, and may have `at` [m], `turn` (about z [rad]) or `euler` (about x, y, z, in
this order, of the body's axes [rad]), and `role`: `solid` (seen and touched, the default), `visual` or `collision`.
`contact` gives a part contact parameters of its own. Kinds and what they take, lengths in m:

* box: size (3,)                        * rounded_box: size (3,), radius
* cylinder: radius, height              * ellipsoid: radii (3,)
* bar: from, to (3,), radius            a capsule
* limb: from, to (3,), radius or [radius at from, radius at to], edge; looks only
* tube: radius, wall, height, sides     an upright tube: what is touched is a ring of boxes (looks: false, only that)
* ball: radius                          * lathe: profile [[radius, height], ...], sides; looks only
* hull: points [[x, y, z], ...]         * prism: outline [[x, y], ...] counter-clockwise, star-shaped, height; looks
* torus: radius, thickness; looks only

A material is a name of looks.yaml, or such a name and a finish: `red/glossy`, `blue/clear`, `steel/metal`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mujoco
import numpy as np

from gr2_sim.shapes import frame_along, lathe, limb_profile, prism, rounded_box, torus

VISUAL_GROUP = 2
SOLID_GROUP = 1
COLLISION_GROUP = 3

Part = Mapping[str, Any]


class DataError(ValueError):
    """A data file says something that cannot be built; the message names the file or part and what is wrong."""


class PartBuilder:
    """Adds parts to bodies of one specification, and the meshes they need to its assets.

    Args:
        spec: the specification to build into; materials must have been added to it.
        contact: contype and conaffinity of what is touched.
        contact_parameters: attributes of the geoms that are touched (friction, solref, ...).
    """

    def __init__(self, spec: mujoco.MjSpec, contact: tuple[int, int], **contact_parameters: Any) -> None:
        self.spec = spec
        self.contact = contact
        self.contact_parameters = contact_parameters
        self._builders: dict[str, Callable[[mujoco.MjsBody, Part], None]] = {
            "box": self._box,
            "rounded_box": self._rounded_box,
            "cylinder": self._cylinder,
            "ellipsoid": self._ellipsoid,
            "bar": self._bar,
            "limb": self._limb,
            "tube": self._tube,
            "ball": self._ball,
            "lathe": self._lathe,
            "hull": self._hull,
            "prism": self._prism,
            "torus": self._torus,
        }

    def add(self, body: mujoco.MjsBody, part: Part) -> None:
        """Add one part to a body.

        Raises:
            DataError: the kind is unknown or a field is missing.
        """
        build = self._builders.get(part.get("kind", ""))
        if build is None:
            raise DataError(
                f"body '{body.name}': unknown kind of part in {dict(part)}; known: {', '.join(self._builders)}"
            )
        try:
            build(body, part)
        except KeyError as missing:
            raise DataError(f"body '{body.name}': part {dict(part)} lacks {missing}") from None

    def _geom(self, body: mujoco.MjsBody, part: Part, role: str, **fields: Any) -> None:
        fields.setdefault("pos", np.asarray(part.get("at", (0.0, 0.0, 0.0)), dtype=float))
        if "turn" in part and "quat" not in fields:
            half = 0.5 * float(part["turn"])
            fields["quat"] = np.array([np.cos(half), 0.0, 0.0, np.sin(half)])
        if "euler" in part and "quat" not in fields:
            fields["quat"] = quaternion_of(part["euler"])
        group = {"solid": SOLID_GROUP, "visual": VISUAL_GROUP, "collision": COLLISION_GROUP}[role]
        geom = body.add_geom(group=group, mass=0.0, material=part["material"], **fields)
        if role == "visual":
            geom.contype, geom.conaffinity = 0, 0
        else:
            geom.contype, geom.conaffinity = self.contact
            for name, value in {**self.contact_parameters, **part.get("contact", {})}.items():
                setattr(geom, name, value)

    def _mesh_geom(self, body: mujoco.MjsBody, part: Part, **fields: Any) -> None:
        number = len(self.spec.meshes)
        mesh = self.spec.add_mesh(name=f"shape_{number}", inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX)
        for name in ("uservert", "userface"):
            if name in fields:
                setattr(mesh, name, np.asarray(fields.pop(name)).ravel().tolist())
        role = fields.pop("role", "visual")
        self._geom(body, part, role, type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh.name, **fields)

    def _box(self, body: mujoco.MjsBody, part: Part) -> None:
        size = np.asarray(part["size"], dtype=float) / 2.0
        self._geom(body, part, part.get("role", "solid"), type=mujoco.mjtGeom.mjGEOM_BOX, size=size)

    def _rounded_box(self, body: mujoco.MjsBody, part: Part) -> None:
        role = part.get("role", "solid")
        if role != "visual":
            size = np.asarray(part["size"], dtype=float) / 2.0
            self._geom(body, part, "collision", type=mujoco.mjtGeom.mjGEOM_BOX, size=size)
        if role != "collision":
            self._mesh_geom(body, part, uservert=rounded_box(np.asarray(part["size"]), float(part["radius"])))

    def _cylinder(self, body: mujoco.MjsBody, part: Part) -> None:
        size = np.array([part["radius"], part["height"] / 2.0, 0.0])
        self._geom(body, part, part.get("role", "solid"), type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=size)

    def _ellipsoid(self, body: mujoco.MjsBody, part: Part) -> None:
        size = np.asarray(part["radii"], dtype=float)
        self._geom(body, part, part.get("role", "solid"), type=mujoco.mjtGeom.mjGEOM_ELLIPSOID, size=size)

    def _bar(self, body: mujoco.MjsBody, part: Part) -> None:
        ends = np.array([*part["from"], *part["to"]], dtype=float)
        size = np.array([part["radius"], 0.0, 0.0])
        role = part.get("role", "solid")
        self._geom(body, part, role, type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=ends, size=size)

    def _limb(self, body: mujoco.MjsBody, part: Part) -> None:
        start, end = np.asarray(part["from"], dtype=float), np.asarray(part["to"], dtype=float)
        bottom, top = np.broadcast_to(np.asarray(part["radius"], dtype=float), (2,))
        edge = float(part.get("edge", 0.3 * min(bottom, top)))
        profile = limb_profile(float(np.linalg.norm(end - start)), bottom, top, edge)
        vertices, triangles = lathe(profile)
        quaternion = frame_along(start, end)
        self._mesh_geom(body, part, uservert=vertices, userface=triangles, pos=start, quat=quaternion)

    def _tube(self, body: mujoco.MjsBody, part: Part) -> None:
        radius, wall, height = float(part["radius"]), float(part["wall"]), float(part["height"])
        sides, centre = int(part["sides"]), np.asarray(part.get("at", (0.0, 0.0, 0.0)), dtype=float)
        inner, low, high = radius - wall, -height / 2.0, height / 2.0
        lip = wall / 3.0
        profile = [(inner, low), (radius, low), (radius, high - lip), (radius - lip, high), (inner + lip, high)]
        if part.get("looks", True):
            vertices, triangles = lathe(np.array([*profile, (inner, high - lip), (inner, low)]), sides=24)
            self._mesh_geom(body, part, uservert=vertices, userface=triangles)
        middle, half = radius - wall / 2.0, np.pi / sides
        size = np.array([wall / 2.0, radius * np.tan(half), height / 2.0])
        for side in range(sides):
            turn = 2.0 * half * side
            place = centre + middle * np.array([np.cos(turn), np.sin(turn), 0.0])
            quaternion = np.array([np.cos(turn / 2.0), 0.0, 0.0, np.sin(turn / 2.0)])
            self._geom(body, part, "collision", type=mujoco.mjtGeom.mjGEOM_BOX, size=size, pos=place, quat=quaternion)

    def _ball(self, body: mujoco.MjsBody, part: Part) -> None:
        size = np.array([part["radius"], 0.0, 0.0])
        self._geom(body, part, part.get("role", "solid"), type=mujoco.mjtGeom.mjGEOM_SPHERE, size=size)

    def _lathe(self, body: mujoco.MjsBody, part: Part) -> None:
        vertices, triangles = lathe(np.asarray(part["profile"]), sides=int(part.get("sides", 20)))
        self._mesh_geom(body, part, uservert=vertices, userface=triangles)

    def _hull(self, body: mujoco.MjsBody, part: Part) -> None:
        self._mesh_geom(body, part, uservert=np.asarray(part["points"]), role=part.get("role", "solid"))

    def _prism(self, body: mujoco.MjsBody, part: Part) -> None:
        vertices, triangles = prism(np.asarray(part["outline"]), float(part["height"]))
        self._mesh_geom(body, part, uservert=vertices, userface=triangles)

    def _torus(self, body: mujoco.MjsBody, part: Part) -> None:
        vertices, triangles = torus(float(part["radius"]), float(part["thickness"]))
        self._mesh_geom(body, part, uservert=vertices, userface=triangles)


def quaternion_of(euler: Sequence[float]) -> np.ndarray:
    """Quaternion (w x y z) of turns [rad] about the fixed axes x, then y, then z."""
    quaternion = np.array([1.0, 0.0, 0.0, 0.0])
    for axis, angle in enumerate(euler):
        step = np.zeros(4)
        step[0], step[1 + axis] = np.cos(0.5 * angle), np.sin(0.5 * angle)
        product = np.empty(4)
        mujoco.mju_mulQuat(product, step, quaternion)
        quaternion = product
    return quaternion
