"""The node's part for what stands around the robot and for motions to configurations: topics, services, worker."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pinocchio as pin
from geometry_msgs.msg import Pose
from gr2_msgs.msg import CollisionObject, PlanningScene
from gr2_msgs.srv import ApplyPlanningScene, MoveTo
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from shape_msgs.msg import Plane, SolidPrimitive

from gr2_wbc.collision_model import check_environment
from gr2_wbc.config import ConfigError
from gr2_wbc.controller import Controller
from gr2_wbc.controller_motion import MotionRefused
from gr2_wbc.environment import Environment, SceneObject, SceneRefused, Shape, pose_of
from gr2_wbc.moves import Moves
from gr2_wbc.planning import PlanningConfig
from gr2_wbc.planning_worker import MotionReply, PlanningWorker, SceneReply, WorkerDied
from gr2_wbc.robot import Robot

RESTARTS = 3  # of a planning process that ends by itself
SCENE_TOPIC, SCENE_SERVICE, MOVE_SERVICE = "/planning_scene", "/wbc/apply_planning_scene", "/wbc/move_to"


class Surroundings:
    """Owns the environment, the planning worker and the motions; the node calls :meth:`update` once a cycle."""

    def __init__(self, node: Node, controller: Controller, reliable: QoSProfile) -> None:
        self._node = node
        self._controller = controller
        self._environment = controller.robot.collision.environment
        self._confirmed = self._environment
        self._now = 0.0
        self._told = ""
        self._restarts = 0
        self.moves = Moves(controller)
        self._planning = read_planning(node)
        self._worker = PlanningWorker(controller.robot.source, self._planning)
        node.create_subscription(PlanningScene, SCENE_TOPIC, self._on_scene, reliable)
        node.create_service(ApplyPlanningScene, SCENE_SERVICE, self._on_apply)
        node.create_service(MoveTo, MOVE_SERVICE, self._on_move)

    def update(self, now: float) -> None:
        """Take what the worker has finished, between two cycles, and go on with a motion."""
        self._now = now
        reply = self._worker.poll()
        if reply is not None:
            self._take(reply)
        self.moves.update(now, self._worker)
        if self.moves.last_failure != self._told:
            self._told = self.moves.last_failure
            if self._told:
                self._node.get_logger().error(f"{MOVE_SERVICE}: {self._told}")

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def _take(self, reply: SceneReply | MotionReply | WorkerDied) -> None:
        logger = self._node.get_logger()
        if isinstance(reply, MotionReply):
            self.moves.take(reply)
        elif isinstance(reply, WorkerDied):
            self.moves.worker_died()
            self._restart(reply.code)
        elif reply.model is None:
            logger.error(
                f"scene {reply.version} cannot be used: {reply.refusal}; scene {self._confirmed.version} stays"
            )
            if self._environment.version == reply.version:
                self._environment = replace(self._confirmed, version=reply.version)
        else:
            self._controller.use_collision(reply.model)
            if reply.version == self._environment.version:
                self._confirmed = self._environment
            for pair in reply.model.dropped:
                logger.warning(f"scene {reply.version}: {pair} touch in every configuration and are not kept apart")

    def _restart(self, code: int | None) -> None:
        self._restarts += 1
        if self._restarts > RESTARTS:
            self._node.get_logger().error(f"the planning process ended again (status {code}); no more is started")
            return
        self._node.get_logger().error(f"the planning process ended (status {code}); starting another")
        self._worker.close()
        self._worker = PlanningWorker(self._controller.robot.source, self._planning)
        self._worker.build(self._environment)

    @property
    def _gone(self) -> str:
        """Why nothing can be planned or built; empty: it can."""
        return "the planning process is gone; see the log, and start the node anew" if self._restarts > RESTARTS else ""

    # -- what comes in ---------------------------------------------------------------------------------------------

    def _on_scene(self, message: PlanningScene) -> None:
        try:
            self._apply(message)
        except SceneRefused as refused:
            self._node.get_logger().error(f"{SCENE_TOPIC}: refused: {refused}")

    def _on_apply(
        self, request: ApplyPlanningScene.Request, response: ApplyPlanningScene.Response
    ) -> ApplyPlanningScene.Response:
        try:
            self._apply(request.scene)
            response.success = True
        except SceneRefused as refused:
            response.success, response.message = False, str(refused)
        response.version = int(self._environment.version)
        return response

    def _apply(self, message: PlanningScene) -> None:
        if self._gone:
            raise SceneRefused(self._gone)
        environment = changed(self._environment, message, self._controller.robot, self._controller.commanded_positions)
        self._environment = environment
        self._worker.build(environment)

    def _on_move(self, request: MoveTo.Request, response: MoveTo.Response) -> MoveTo.Response:
        try:
            if request.cancel:
                self.moves.cancel()
            elif self._gone:
                raise MotionRefused(self._gone)
            else:
                name, goal = self.moves.goal_of(
                    request.name, list(request.joint_names), np.array(request.positions, dtype=float)
                )
                self.moves.request(name, goal, float(request.speed), self._now)
                self._told = self.moves.last_failure = ""
        except MotionRefused as refused:
            response.accepted, response.message = False, str(refused)
            return response
        response.accepted = True
        return response


def read_planning(node: Node) -> PlanningConfig:
    """The node's parameters ``planner`` (ompl or moveit) and ``moveit_config`` (a YAML file).

    Raises:
        ConfigError: MoveIt is asked for and is not installed, or has no configuration; or there is no such planner.
    """
    fixed = ParameterDescriptor(read_only=True)
    backend = str(node.declare_parameter("planner", "ompl", fixed).value)
    path = str(node.declare_parameter("moveit_config", "", fixed).value)
    if backend not in ("ompl", "moveit"):
        raise ConfigError(f"parameter planner is '{backend}'; it may be ompl or moveit")
    if backend == "moveit":
        if importlib.util.find_spec("moveit") is None:
            raise ConfigError("parameter planner is 'moveit', which is not installed: apt install ros-jazzy-moveit-py")
        if not Path(path).is_file():
            raise ConfigError(f"parameter moveit_config is '{path}'; planner moveit needs a YAML file there")
    return PlanningConfig(backend=backend, moveit=path)


def changed(environment: Environment, message: PlanningScene, robot: Robot, positions: np.ndarray) -> Environment:
    """The environment after the changes of a message, at joint positions (n,).

    Raises:
        SceneRefused: a change makes no sense; the message names the object.
    """
    if message.clear:
        environment = environment.clear()
    for item in message.objects:
        environment = _changed(environment, item, robot, positions)
    check_environment(robot, environment)
    return environment


def _changed(environment: Environment, item: CollisionObject, robot: Robot, positions: np.ndarray) -> Environment:
    name = str(item.id)
    if item.operation == CollisionObject.ADD:
        return environment.add(_object(item, robot, positions))
    if item.operation == CollisionObject.MOVE:
        return environment.move(name, _standing(name, item, robot) * _pose(name, item.pose))
    if item.operation == CollisionObject.REMOVE:
        return environment.remove(name)
    if item.operation == CollisionObject.ATTACH:
        margin = float(item.margin) if item.use_margin else None
        holder = _frame(name, item.attach_link, robot, positions)
        return environment.attach(name, item.attach_link, holder, frozenset(item.touch), margin)
    if item.operation == CollisionObject.DETACH:
        held = environment.objects.get(name)
        link = held.link if held is not None and held.link is not None else robot.base_frame
        return environment.detach(name, _frame(name, link, robot, positions))
    raise SceneRefused(f"'{name}': operation {item.operation} is none of ADD, MOVE, REMOVE, ATTACH, DETACH")


def _object(item: CollisionObject, robot: Robot, positions: np.ndarray) -> SceneObject:
    name, link = str(item.id), str(item.attach_link) or None
    pose = _pose(name, item.pose)
    if link is None:
        pose = _standing(name, item, robot) * pose
    elif item.header.frame_id != link:
        holder = _frame(name, link, robot, positions)
        pose = holder.actInv(_frame(name, item.header.frame_id or robot.base_frame, robot, positions)) * pose
    else:
        _frame(name, link, robot, positions)
    if len(item.margin_names) != len(item.margin_distances):
        raise SceneRefused(f"'{name}': {len(item.margin_names)} margin_names, {len(item.margin_distances)} distances")
    return SceneObject(
        name=name,
        shapes=tuple(_shapes(name, item)),
        pose=pose,
        margin=float(item.margin) if item.use_margin else None,
        margins={str(k): float(v) for k, v in zip(item.margin_names, item.margin_distances, strict=True)},
        touch=frozenset(str(other) for other in item.touch),
        link=link,
    )


def _shapes(name: str, item: CollisionObject) -> list[Shape]:
    shapes = []
    for poses, what, count in (
        (item.primitive_poses, "primitives", len(item.primitives)),
        (item.mesh_poses, "meshes", len(item.meshes)),
    ):
        if len(poses) not in (0, count):
            raise SceneRefused(f"'{name}': {count} {what} but {len(poses)} poses of them")
    for number, primitive in enumerate(item.primitives):
        place = _pose(name, item.primitive_poses[number]) if item.primitive_poses else pin.SE3.Identity()
        shapes.append(_primitive(name, primitive, place))
    for plane in item.planes:
        shapes.append(Shape("plane", placement=_plane(name, plane)))
    for number, mesh in enumerate(item.meshes):
        place = _pose(name, item.mesh_poses[number]) if item.mesh_poses else pin.SE3.Identity()
        vertices = np.array([[p.x, p.y, p.z] for p in mesh.vertices], dtype=float).reshape(-1, 3)
        shapes.append(Shape("mesh", placement=place, vertices=vertices))
    return shapes


def _primitive(name: str, primitive: SolidPrimitive, place: pin.SE3) -> Shape:
    sizes = [float(value) for value in primitive.dimensions]
    kinds = {
        SolidPrimitive.BOX: ("box", 3),
        SolidPrimitive.SPHERE: ("sphere", 1),
        SolidPrimitive.CYLINDER: ("cylinder", 2),
    }
    if primitive.type not in kinds:
        raise SceneRefused(f"'{name}': primitive type {primitive.type} is none of BOX, SPHERE, CYLINDER")
    kind, count = kinds[primitive.type]
    if len(sizes) != count:
        raise SceneRefused(f"'{name}': a {kind} has {count} dimensions, got {len(sizes)}")
    if kind == "box":
        return Shape(kind, tuple(0.5 * size for size in sizes), place)
    if kind == "sphere":
        return Shape(kind, (sizes[0],), place)
    height, radius = sizes[SolidPrimitive.CYLINDER_HEIGHT], sizes[SolidPrimitive.CYLINDER_RADIUS]
    return Shape(kind, (radius, 0.5 * height), place)


def _plane(name: str, plane: Plane) -> pin.SE3:
    numbers = np.array(plane.coef, dtype=float)
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(numbers[:3])) if np.isfinite(numbers).all() else 0.0
    if not 0.0 < length < np.inf:
        raise SceneRefused(f"'{name}': plane {numbers.tolist()} has no normal, or is not finite")
    normal = numbers[:3] / length
    turn = pin.Quaternion.FromTwoVectors(np.array([0.0, 0.0, 1.0]), normal).matrix()
    return pin.SE3(turn, -numbers[3] / length * normal)


def _pose(name: str, pose: Pose) -> pin.SE3:
    place, turn = pose.position, pose.orientation
    return pose_of(name, (place.x, place.y, place.z), (turn.x, turn.y, turn.z, turn.w))


def _standing(name: str, item: CollisionObject, robot: Robot) -> pin.SE3:
    """The frame of a standing object's pose, in the base frame."""
    frame = item.header.frame_id or robot.base_frame
    _frame(name, frame, robot, np.zeros(robot.dof))
    joint, placement = robot.frame_on_joint(frame)
    if joint:
        raise SceneRefused(f"'{name}': frame '{frame}' moves; objects stand in '{robot.base_frame}', or are attached")
    return robot.base_placement.actInv(placement)


def _frame(name: str, frame: str, robot: Robot, positions: np.ndarray) -> pin.SE3:
    """Pose of a frame of the robot in the base frame."""
    try:
        return robot.frame_pose(frame, positions)
    except KeyError:
        raise SceneRefused(f"'{name}': {robot.robot_id} has no frame '{frame}'") from None
