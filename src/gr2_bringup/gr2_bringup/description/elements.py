"""What URDF and SDFormat share: numbers as text, meshes as files, XML trees as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree

import numpy as np

from gr2_bringup.description.cell_model import Body, Pose, Shape

Element = ElementTree.Element


def text(values: float | Iterable[float]) -> str:
    """Numbers in ten digits, without negative zeros and without the dust of a rotation's rounding."""
    numbers = np.atleast_1d(np.asarray(values, dtype=float)).ravel()
    return " ".join(f"{0.0 if abs(v) < 5e-10 else v:.10g}" for v in numbers)


def colour(values: Iterable[float]) -> str:
    """Colour in four digits: MuJoCo keeps them in single precision."""
    return " ".join(f"{v:.4g}" for v in values)


def add(parent: Element, tag: str, content: str = "", **attributes: str) -> Element:
    """A new child with text and attributes."""
    child = ElementTree.SubElement(parent, tag, attributes)
    if content:
        child.text = content
    return child


def inertia_of(body: Body) -> dict[str, str]:
    """The six numbers of a body's inertia, by the names that both formats use."""
    axes = "xyz"
    return {f"i{axes[i]}{axes[j]}": f"{body.inertia[i, j]:.8e}" for i in range(3) for j in range(i, 3)}


def document(root: Element, heading: str) -> str:
    """An indented XML document with a comment on top."""
    ElementTree.indent(root, space="  ")
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0"?>\n<!-- {heading} -->\n{body}\n'


def mesh_groups(body: str, shapes: Sequence[Shape]) -> dict[str, list[Shape]]:
    """Meshes that are seen and that one file holds, by its name: those of one body and one material."""
    groups: dict[str, list[Shape]] = {}
    for shape in shapes:
        if shape.kind == "mesh" and shape.seen:
            name = f"{body}_{shape.material.replace('/', '_')}"
            groups.setdefault(name, []).append(shape)
    return groups


def touched_meshes(body: str, shapes: Sequence[Shape]) -> dict[str, Shape]:
    """Meshes that are touched, each a convex body with a file of its own, by its name."""
    solid = [shape for shape in shapes if shape.kind == "mesh" and shape.touched]
    return {f"{body}_touched_{number}": shape for number, shape in enumerate(solid)}


def wavefront(shapes: Sequence[Shape]) -> str:
    """Wavefront OBJ text of meshes, in the frame of their body, to a hundredth of a millimetre."""
    lines = ["# written by python -m gr2_bringup.description"]
    first = 1
    for shape in shapes:
        vertices, faces = np.asarray(shape.vertices), np.asarray(shape.faces)
        lines += ["v " + " ".join(f"{x:.5f}" for x in vertex) for vertex in np.round(vertices, 5) + 0.0]
        lines += ["f " + " ".join(str(first + int(i)) for i in face) for face in faces]
        first += len(vertices)
    return "\n".join(lines) + "\n"


def meshes(bodies: Mapping[str, Sequence[Shape]]) -> dict[str, str]:
    """All mesh files of some bodies, by file name."""
    files: dict[str, str] = {}
    for body, shapes in bodies.items():
        files |= {f"{name}.obj": wavefront(group) for name, group in mesh_groups(body, shapes).items()}
        files |= {f"{name}.obj": wavefront([shape]) for name, shape in touched_meshes(body, shapes).items()}
    return files


def pose_text(pose: Pose) -> str:
    """``x y z roll pitch yaw``, as SDFormat has it."""
    return f"{text(pose.position)} {text(pose.rpy())}"
