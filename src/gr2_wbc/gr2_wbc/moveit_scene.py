"""The environment as MoveIt's messages. moveit_msgs is imported where it is needed: PyPI has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pinocchio as pin
from geometry_msgs.msg import Point, Pose
from shape_msgs.msg import Mesh, MeshTriangle, Plane, SolidPrimitive

from gr2_wbc.environment import BOX, CAPSULE, CYLINDER, MESH, PLANE, SPHERE, SceneObject, Shape
from gr2_wbc.rotation import quaternion_of

ADD = b"\x00"  # CollisionObject.ADD: the field is a byte, which Python has as bytes


def collision_object(item: SceneObject, frame: str) -> Any:
    """A moveit_msgs/CollisionObject of an object, in this frame."""
    from moveit_msgs.msg import CollisionObject

    message = CollisionObject()
    message.header.frame_id = frame
    message.id = item.name
    message.operation = ADD
    message.pose = _pose(item.pose)
    for shape in item.shapes:
        _add(message, shape)
    return message


def attached_object(item: SceneObject, hand: tuple[str, ...] = ()) -> Any:
    """A moveit_msgs/AttachedCollisionObject of an object that the robot holds, and that these links may touch.

    Raises:
        ValueError: nothing holds it.
    """
    from moveit_msgs.msg import AttachedCollisionObject

    if item.link is None:
        raise ValueError(f"'{item.name}' is not attached")
    message = AttachedCollisionObject()
    message.link_name = item.link
    message.object = collision_object(item, item.link)
    message.touch_links = sorted({item.link, *item.touch, *hand})
    return message


def _add(message: Any, shape: Shape) -> None:
    if shape.kind == PLANE:
        normal = shape.placement.rotation[:, 2]
        message.planes.append(Plane(coef=[*normal.tolist(), float(-normal @ shape.placement.translation)]))
        message.plane_poses.append(_pose(pin.SE3.Identity()))
        return
    if shape.kind == MESH:
        assert shape.vertices is not None
        message.meshes.append(_hull(shape.vertices))
        message.mesh_poses.append(_pose(shape.placement))
        return
    for primitive, placement in _primitives(shape):
        message.primitives.append(primitive)
        message.primitive_poses.append(_pose(placement))


def _primitives(shape: Shape) -> list[tuple[SolidPrimitive, pin.SE3]]:
    """Of a convex shape; MoveIt has no capsules: a cylinder and two spheres."""
    size = [float(value) for value in shape.size]
    if shape.kind == BOX:
        sides = [2.0 * value for value in size]
        return [(SolidPrimitive(type=SolidPrimitive.BOX, dimensions=sides), shape.placement)]
    if shape.kind == SPHERE:
        return [(SolidPrimitive(type=SolidPrimitive.SPHERE, dimensions=size), shape.placement)]
    if shape.kind not in (CYLINDER, CAPSULE):
        raise ValueError(f"MoveIt has no shape '{shape.kind}'")
    radius, half = size
    made = [(SolidPrimitive(type=SolidPrimitive.CYLINDER, dimensions=[2.0 * half, radius]), shape.placement)]
    if shape.kind == CAPSULE:
        for end in (-half, half):
            place = shape.placement * pin.SE3(np.eye(3), np.array([0.0, 0.0, end]))
            made.append((SolidPrimitive(type=SolidPrimitive.SPHERE, dimensions=[radius]), place))
    return made


def _hull(vertices: np.ndarray) -> Mesh:
    """The convex hull of points (v, 3) [m]."""
    from scipy.spatial import ConvexHull

    mesh = Mesh(vertices=[Point(x=float(x), y=float(y), z=float(z)) for x, y, z in vertices])
    for corners in ConvexHull(vertices).simplices:
        mesh.triangles.append(MeshTriangle(vertex_indices=[int(corner) for corner in corners]))
    return mesh


def _pose(place: pin.SE3) -> Pose:
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = place.translation.tolist()
    turn = quaternion_of(place.rotation).tolist()
    pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = turn
    return pose
