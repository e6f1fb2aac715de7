"""The distance engine's model: the arm, what stands around it and what it holds, and the pairs that are monitored.

Exactly the monitored pairs are contact pairs, with the influence distance as margin: far pairs cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np
import pinocchio as pin

from gr2_wbc.environment import BOX, MESH, Environment, SceneObject, SceneRefused, Shape
from gr2_wbc.pair_selection import sample_configurations
from gr2_wbc.robot import CollisionPair, Robot, RobotFileError
from gr2_wbc.rotation import quaternion_of
from gr2_wbc.shapes import add_hull, box_corners

_KINDS = {
    "plane": mujoco.mjtGeom.mjGEOM_PLANE,
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "mesh": mujoco.mjtGeom.mjGEOM_MESH,
}
_PROBES = 200  # configurations in which a link must come free of an object once, to be kept away from it


@dataclass(frozen=True, eq=False)
class CollisionModel:
    """What :class:`gr2_wbc.collision.CollisionMonitor` needs of a robot and its surroundings.

    Attributes:
        model: MuJoCo model with the monitored pairs.
        joint_addresses: (n,) where each arm joint's position is in MuJoCo's ``qpos``.
        geom_names: names of the geoms, by MuJoCo's numbers.
        safe_distance: (geoms, geoms) distance [m] that is kept; symmetric, 0 where a pair is not monitored.
        moved_by: (geoms, n) 1 where a joint moves a geom, else 0.
        base: base_frame in MuJoCo's world; None where they coincide.
        version: of the environment.
        dropped: pairs "link|object" that no configuration of the arm brings apart; they are not monitored.
    """

    model: mujoco.MjModel
    joint_addresses: np.ndarray
    geom_names: tuple[str, ...]
    safe_distance: np.ndarray
    moved_by: np.ndarray
    base: pin.SE3 | None
    version: int = 0
    dropped: tuple[str, ...] = ()


def build_collision_model(robot: Robot, environment: Environment | None = None) -> CollisionModel:
    """Build the distance engine's model of a robot in an environment (None: that of its file).

    Raises:
        RobotFileError: a pair names a geom that the model lacks.
        SceneRefused: see :func:`check_environment`.
    """
    environment = robot.collision.environment if environment is None else environment
    spec = robot.arm.spec.copy()
    for geom in spec.geoms:
        geom.contype = geom.conaffinity = 0
    # One contact a pair, that of the smallest distance: more of them are found by tilting, and are no distances.
    spec.option.disableflags |= int(getattr(mujoco.mjtDisableBit, "mjDSBL_MULTICCD", 0))
    check_environment(robot, environment)
    links = {geom: frozenset((geom, link)) for geom, link in robot.arm.links.items()}
    base = robot.base_placement
    for item in environment:
        _add_object(spec, item, robot, base)
    pairs = [*robot.collision.pairs, *_object_pairs(robot, environment, links)]
    model = _with_pairs(spec, pairs, robot)
    names = tuple(model.geom(index).name for index in range(model.ngeom))
    addresses = np.array([model.joint(name).qposadr[0] for name in robot.joint_names])
    stuck = _never_apart(model, addresses, robot, pairs)
    if stuck:
        pairs = [pair for pair in pairs if (pair.first, pair.second) not in stuck]
        for element in list(spec.pairs):
            spec.delete(element)
        model = _with_pairs(spec, pairs, robot)
    number = {name: index for index, name in enumerate(names)}
    safe = np.zeros((model.ngeom, model.ngeom))
    for pair in pairs:
        i, j = number[pair.first], number[pair.second]
        safe[i, j] = safe[j, i] = pair.distance
    return CollisionModel(
        model=model,
        joint_addresses=addresses,
        geom_names=names,
        safe_distance=safe,
        moved_by=_joint_masks(model, robot.joint_names),
        base=None if base.isIdentity(1e-12) else base,
        version=environment.version,
        dropped=tuple(f"{first}|{second}" for first, second in sorted(stuck)),
    )


def _with_pairs(spec: mujoco.MjSpec, pairs: list[CollisionPair], robot: Robot) -> mujoco.MjModel:
    known = {geom.name for geom in spec.geoms}
    for pair in pairs:
        for name in (pair.first, pair.second):
            if name not in known:
                raise RobotFileError(f"{robot.arm.name} has no geom '{name}', named in a collision pair")
        margin = robot.collision.influence_distance
        spec.add_pair(geomname1=pair.first, geomname2=pair.second, margin=margin, condim=1)
    return spec.compile()


def check_environment(robot: Robot, environment: Environment) -> None:
    """Check that the objects fit the robot; cheap.

    Raises:
        SceneRefused: a name is taken by a link's shape, a frame or a name in touch or margins is unknown, or a margin
            is not below the influence distance.
    """
    spec = robot.collision
    geoms = set(robot.arm.links)
    known = geoms | set(robot.arm.links.values()) | {item.name for item in environment}
    for item in environment:
        for number in range(len(item.shapes)):
            if item.shape_name(number) in geoms:
                raise SceneRefused(f"'{item.name}' is the name of a link's shape; call the object something else")
        if item.link is not None and not robot.model.existFrame(item.link):
            raise SceneRefused(f"'{item.name}': {robot.robot_id} has no frame '{item.link}'")
        for other in sorted(item.touch | set(item.margins)):
            if other not in known:
                raise SceneRefused(f"'{item.name}': there is no link, shape or object '{other}'")
        for distance in (item.margin, *item.margins.values()):
            if distance is not None and not distance < spec.influence_distance:
                raise SceneRefused(
                    f"'{item.name}': margin {distance} m must be below {spec.influence_distance} m, "
                    "the robot's influence distance"
                )


def _add_object(spec: mujoco.MjSpec, item: SceneObject, robot: Robot, base: pin.SE3) -> None:
    body, place = spec.worldbody, base * item.pose
    if item.link is not None:
        joint, inner = robot.frame_on_joint(item.link)
        place = inner * item.pose
        if joint:
            body, origin = _body_of_joint(spec, robot, joint)
            place = origin * place
    for number, shape in enumerate(item.shapes):
        name = item.shape_name(number)
        pose = place * shape.placement
        placement = {"pos": pose.translation, "quat": quaternion_of(pose.rotation)[[3, 0, 1, 2]], "mass": 0.0}
        vertices = _corners(shape, item.link is not None)
        if vertices is not None:
            add_hull(spec, name, vertices)
            geom = body.add_geom(name=name, type=_KINDS[MESH], meshname=name, **placement)
        else:
            size = [1.0, 1.0, 0.1] if shape.kind == "plane" else [*shape.size, *[0.0] * (3 - len(shape.size))]
            geom = body.add_geom(name=name, type=_KINDS[shape.kind], size=size, **placement)
        geom.contype = geom.conaffinity = 0


def _corners(shape: Shape, held: bool) -> np.ndarray | None:
    """Corners of what is a hull to the engine: meshes and held boxes (see box_corners)."""
    if shape.kind == BOX and held:
        return box_corners(np.array(shape.size))
    return shape.vertices if shape.kind == MESH else None


def _body_of_joint(spec: mujoco.MjSpec, robot: Robot, joint: int) -> tuple[mujoco.MjsBody, pin.SE3]:
    """MuJoCo's body that a joint of pinocchio's model moves, and the joint's frame in it."""
    body = spec.joint(robot.model.names[joint]).parent
    compiled = spec.copy().compile()
    data = mujoco.MjData(compiled)
    for name in robot.joint_names:
        data.qpos[compiled.joint(name).qposadr[0]] = 0.0
    mujoco.mj_kinematics(compiled, data)
    frame = data.body(body.name)
    there = pin.SE3(frame.xmat.reshape(3, 3).copy(), frame.xpos.copy())
    kinematics = robot.model.createData()
    pin.forwardKinematics(robot.model, kinematics, np.zeros(robot.dof))
    return body, there.actInv(kinematics.oMi[joint])


def _object_pairs(robot: Robot, environment: Environment, links: dict[str, frozenset[str]]) -> Iterator[CollisionPair]:
    """Pairs of links with objects, and of held objects with standing ones."""
    spec = robot.collision
    for item in environment:
        for number in range(len(item.shapes)):
            name = item.shape_name(number)
            if item.link is None:
                default = spec.safe_distance
                others = {geom: links[geom] for geom in spec.environment_geoms if geom in links}
            else:
                default = spec.attached_distance
                rigid = robot.geoms_fixed_to(item.link)
                others = {geom: names for geom, names in links.items() if geom not in rigid}
                for standing in environment:
                    if standing.link is None and item.name not in standing.touch:
                        keys = frozenset((standing.name,))
                        others |= {standing.shape_name(k): keys for k in range(len(standing.shapes))}
            for other, keys in others.items():
                if item.touch & (keys | {other}):
                    continue
                distance = _distance(robot, item, other, keys, default)
                yield CollisionPair(other, name, distance)


def _distance(robot: Robot, item: SceneObject, other: str, keys: frozenset[str], default: float) -> float:
    spec = robot.collision
    distance = spec.distances.get(frozenset((other, item.name)))
    if distance is None:
        named = [item.margins[key] for key in (other, *sorted(keys)) if key in item.margins]
        distance = named[0] if named else default if item.margin is None else item.margin
    return distance


def _never_apart(
    model: mujoco.MjModel, addresses: np.ndarray, robot: Robot, pairs: list[CollisionPair]
) -> set[tuple[str, str]]:
    """Pairs with objects that are closer than their distance in every sampled configuration.

    A base link and the table below it, for example: no motion helps, and each would be violated for ever.
    """
    own = len(robot.collision.pairs)
    left = {(pair.first, pair.second): pair.distance for pair in pairs[own:]}
    data = mujoco.MjData(model)
    names = [model.geom(index).name for index in range(model.ngeom)]
    for positions in sample_configurations(robot.limits, _PROBES):
        if not left:
            break
        data.qpos[addresses] = positions
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        near: dict[tuple[str, str], float] = {}
        for (i, j), distance in zip(data.contact.geom.tolist(), data.contact.dist.tolist(), strict=True):
            for key in ((names[i], names[j]), (names[j], names[i])):
                near[key] = min(near.get(key, np.inf), distance)
        left = {key: distance for key, distance in left.items() if near.get(key, np.inf) < distance}
    return set(left)


def _joint_masks(model: mujoco.MjModel, joint_names: tuple[str, ...]) -> np.ndarray:
    """(geoms, n): 1 where a joint moves a geom."""
    masks = np.zeros((model.ngeom, len(joint_names)))
    column = {model.joint(name).id: index for index, name in enumerate(joint_names)}
    for geom in range(model.ngeom):
        body = model.geom_bodyid[geom]
        while body > 0:
            first = model.body_jntadr[body]
            for joint in range(first, first + model.body_jntnum[body]):
                masks[geom, column[joint]] = 1.0
            body = model.body_parentid[body]
    return masks
