"""The operator's console as a node: a process of its own, which looks at the stack ten times a second.

The main thread takes what has come, draws the 3-D view and packs frames; the web server has a thread and loop of its
own and only ever hands out the newest frame. See docs/console.md.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from gr2_policy.policy import available_policies
from gr2_sim.build import ROBOT
from gr2_sim.cell import Cell, available_scenes, load_cell
from gr2_sim.parts import COLLISION_GROUP, DataError
from gr2_sim.tasks import load_tasks
from gr2_sim.viewer_node import Mirror as CellMirror
from gr2_tools.console.controls import Controls
from gr2_tools.console.frames import Frames
from gr2_tools.console.gate import BadToken, Gate, is_loopback, new_token
from gr2_tools.console.geometry import ArmMirror, Mirror
from gr2_tools.console.graph import look_around
from gr2_tools.console.intake import Arrival, Intake
from gr2_tools.console.overview import Overview, seconds
from gr2_tools.console.pictures import Pictures
from gr2_tools.console.proximity import NearPair, Proximity
from gr2_tools.console.recording import Recording
from gr2_tools.console.scene_view import SceneView
from gr2_tools.console.server import ConsoleServer, PortTaken, Services
from gr2_tools.errors import BagError
from gr2_tools.parameters import Parameters
from gr2_tools.session import check_domain
from gr2_tools.signals import stop_on_signals
from gr2_wbc.robot import RobotFileError, UnknownRobot
from gr2_wbc.robots import load_robot

PORT = 8090
TOKEN_VARIABLE = "GR2_CONSOLE_TOKEN"
NICE = 5  # where the machine is too busy for all, the robot's nodes come first
GRAPH_PERIOD = 1.0  # [s]
PICTURES = {
    "/head_camera/image_raw": "head",
    "/imagination/head": "head_imagined",
    "/wrist_camera/image_raw": "wrist",
    "/imagination/wrist": "wrist_imagined",
}
GONE = 1.0  # [s] without the simulator's truth, its things are no longer shown


class Console:
    """Looks at the stack. :meth:`look` is called at the console's rate."""

    def __init__(self, node: Node, robot: str, scene: str) -> None:
        self.overview = Overview()
        self.pictures = Pictures(tuple(PICTURES.values()))
        self.frames = Frames()
        self.near: list[NearPair] = []
        self._node = node
        self._robot = load_robot(robot)
        self._proximity = Proximity(self._robot)
        self._intake = Intake(node)
        self._newest: dict[str, Arrival] = {}
        self._graph_due = 0.0
        self.extra: Callable[[], dict[str, Any]] = dict
        self.view: SceneView | None = None
        self.scene = ""
        self._builder: threading.Thread | None = None
        self._follow(scene)

    def _follow(self, scene: str) -> None:
        """Show another scene. Building it takes a second or two, so that has a thread of its own."""
        if scene == self.scene or (self._builder is not None and self._builder.is_alive()):
            return
        self.scene = scene
        self._builder = threading.Thread(target=self._build_view, args=(scene,), name="view")
        self._builder.start()

    def _build_view(self, scene: str) -> None:
        whole = self._robot.robot_id == ROBOT
        try:
            cell = load_cell(scene)
            mirror: Mirror = CellMirror(scene) if whole else ArmMirror(self._robot)
        except DataError as error:  # a bag of a scene that is not known here
            self.overview.log.add(time.time(), "warning", "console", f"3-D view: {error}")
            return
        self.overview.tasks = tasks_in(cell)
        before, self.view = self.view, SceneView(mirror, COLLISION_GROUP if whole else -1, self._robot.base_frame)
        if before is not None:
            before.stop()

    def close(self) -> None:
        """End the 3-D view."""
        if self._builder is not None:
            self._builder.join()
        if self.view is not None:
            self.view.stop()

    def look(self) -> None:
        """Take in what has come, and show it."""
        for arrival in self._intake.take():
            self._take(arrival)
        now = time.time()
        overview = self.overview
        if now >= self._graph_due:
            self._graph_due = now + GRAPH_PERIOD
            overview.graph = look_around(self._node)
        view = self.view
        watched = view is not None and view.watched
        if watched or self.frames.wanted:
            self._draw(now, view if watched else None)
        if self.frames.wanted:
            described, data = self.pictures.take(now)
            near = [[p.name, round(1e3 * p.distance, 1), round(1e3 * p.margin, 1)] for p in self.near]
            self.frames.put(overview.frame(now) | {"pictures": described, "near": near} | self.extra(), data)

    def _take(self, arrival: Arrival) -> None:
        name, received = arrival.topic.name, 1e-9 * arrival.received
        self.overview.arrived(name, arrival.stamp, received, 1e-9 * arrival.sent)
        self._newest[name] = arrival
        if name in PICTURES:
            self.pictures.put(PICTURES[name], arrival.stamp, received, arrival.message)
        elif name == "/wbc_status":
            self.overview.on_status(arrival.message(), received)
        elif name == "/trajectory_chunk":
            self.overview.on_chunk(arrival.message())
        elif name == "/instruction":
            self.overview.on_instruction(arrival.message().data, received)
        elif name == "/sim/outcome":
            self.overview.on_outcome(arrival.message(), received)
        elif name == "/imagination/surprise":
            self.overview.on_surprise(arrival.message())
        elif name == "/diagnostics":
            for status in arrival.message().status:
                level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
                values = {item.key: item.value for item in status.values}
                self.overview.on_diagnostics(status.name, level, status.message, values, received)

    def _message(self, topic: str, now: float, age: float = math.inf) -> Any:
        """The newest message of a topic; None if there is none, or it is older than this [s]."""
        arrival = self._newest.get(topic)
        return None if arrival is None or now - 1e-9 * arrival.received > age else arrival.message()

    def _draw(self, now: float, view: SceneView | None) -> None:
        joints = self._message("/joint_states", now)
        positions = {} if joints is None else dict(zip(joints.name, joints.position, strict=False))
        arm = [positions.get(name, math.nan) for name in self._robot.joint_names]
        known = all(math.isfinite(value) for value in arm)
        self.near = self._proximity.near(np.array(arm)) if known else []
        truth = self._message("/sim/truth", now, GONE)
        if truth is not None:
            self._follow(truth.scene)
        if view is None:
            return
        mirror = view.mirror
        for name, position in positions.items():
            mirror.set_joint(name, position)
        if truth is not None:
            for name, pose in zip(truth.names, truth.poses, strict=False):
                p, q = pose.position, pose.orientation
                position, quaternion = np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w])
                if np.isfinite(position).all() and 0.5 < np.linalg.norm(quaternion) < 2.0:
                    mirror.set_pose(name, position, quaternion)
            for name, position in zip(truth.joint_names, truth.joint_positions, strict=False):
                mirror.set_joint(name, position)
        mirror.refresh()
        view.show_cell(truth is not None)
        view.move()
        view.near(self.near)
        state = self._message("/robot_state", now)
        if state is not None:
            point = state.tool_pose.position
            tool = np.array([point.x, point.y, point.z])
            if np.isfinite(tool).all():
                view.trail(tool)
        self._draw_chunk(now, view)

    def _draw_chunk(self, now: float, view: SceneView) -> None:
        chunk, time_now = self.overview.active_chunk(now), self.overview.time()
        if chunk is None:
            view.chunk(None, 0, 0.0)
            return
        begin = seconds(chunk.header.stamp)
        elapsed = (time_now - begin) if time_now is not None else 0.0
        left = chunk.dt * chunk.horizon - elapsed
        status = self.overview.fresh_status(now)
        remaining = float(status.chunk_remaining) if status is not None else left
        points = np.asarray(chunk.positions, dtype=float).reshape(-1, 3)
        view.chunk(points, int(elapsed / chunk.dt), max(0.0, remaining))


def tasks_in(cell: Cell) -> list[str]:
    """The plain instruction of every task that the things in a cell allow."""
    wanted = (t for t in load_tasks().values() if all(cell.has(name) for name in (t.object, t.target) if name))
    return list(dict.fromkeys(task.instructions[0] for task in wanted))


def address_of(host: str, port: int, token: str | None) -> str:
    """What to open in a browser."""
    name = {"0.0.0.0": os.uname().nodename, "::": os.uname().nodename}.get(host, host)
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def gate_for(host: str, given: str) -> Gate:
    """Loopback needs no token; beyond it there is always one, given or new.

    Raises:
        BadToken: the one given is too short.
    """
    return Gate(given or (None if is_loopback(host) else new_token()))


def run(node: Node, executor: SingleThreadedExecutor, stop: Callable[[], bool]) -> None:
    """Serve until told to stop.

    Raises:
        BagError: a parameter is of the wrong kind.
        BadToken, PortTaken, UnknownRobot, RobotFileError: what their names say.
    """
    read = Parameters(node)
    host, port = read.text("host", "127.0.0.1"), int(read.number("port", float(PORT)))
    period = 1.0 / max(1.0, min(read.number("rate", 10.0), 30.0))
    folder = Path(read.text("record_folder", "") or Path(os.environ.get("GR2_ROOT", ".")) / "runs")
    gate = gate_for(host, os.environ.get(TOKEN_VARIABLE, ""))
    console = Console(node, read.text("robot", ROBOT), read.text("scene", "table"))
    recording = Recording(folder.absolute())
    policies = available_policies()
    control = Controls(node, console.overview, recording, policies)
    console.extra = lambda: {
        "recording": recording.state,
        "policies": policies,
        "policy_name": control.policy,
        "tasks": console.overview.tasks,
        "scene": console.scene if console.view is not None else "",
        "scenes": available_scenes(),
    }
    services = Services(
        frame=console.frames.get,
        command=control.command,
        scene_port=lambda: console.view.port if console.view is not None else 0,
        scene_page=lambda: console.view.page() if console.view is not None else b"",
    )
    server = ConsoleServer(gate, services, host, port)
    shown = None if os.environ.get(TOKEN_VARIABLE) else gate.token
    node.get_logger().info(f"open {address_of(host, server.port, shown)}")
    if read.flag("open", False):
        threading.Thread(target=webbrowser.open, args=(address_of(host, server.port, gate.token),), daemon=True).start()
    try:
        due = time.monotonic()
        while not stop():
            console.look()
            due = max(due + period, time.monotonic())
            while (left := due - time.monotonic()) > 0.0 and not stop():
                executor.spin_once(timeout_sec=left)
    finally:
        server.stop()
        control.close()
        console.close()


def serve(args: list[str] | None) -> int:
    """Serve until a signal comes.

    Args:
        args: ROS arguments; None: those of the command line.

    Returns:
        Exit code: 0 ended by a signal, 2 a parameter or the ROS environment is unusable.
    """
    os.nice(NICE)
    code = 0
    context = Context()
    with stop_on_signals() as flag:
        try:
            check_domain()
            rclpy.init(args=args, context=context, signal_handler_options=SignalHandlerOptions.NO)
            node = Node("console", context=context, start_parameter_services=False)
            executor = SingleThreadedExecutor(context=context)
            executor.add_node(node)
            run(node, executor, flag.is_set)
        except (BagError, BadToken, PortTaken, UnknownRobot, RobotFileError, ParameterException) as error:
            print(f"console: {error}", file=sys.stderr)
            code = 2
        finally:
            rclpy.try_shutdown(context=context)
    return code


def main(args: list[str] | None = None) -> None:
    """Entry point of the executable ``console_node``."""
    sys.exit(serve(args))


if __name__ == "__main__":
    main()
