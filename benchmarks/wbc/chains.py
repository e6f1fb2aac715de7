"""How the cycle grows with joints and pairs, on generated arms: chains of hinges among boxes."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pinocchio as pin
import yaml
from benchmarks.wbc.cycle import WARM_UP, settled_memory
from benchmarks.wbc.scene import Loop, Motion

from gr2_wbc.environment import SceneObject, Shape
from gr2_wbc.robot import CollisionPair, Robot
from gr2_wbc.robots import load_robot

JOINTS = (6, 7, 9, 14, 30)
PAIRS = (0, 10, 25, 50, 100, 200, 400)
_REACH = 1.2  # [m]
_HALF_SIZE = (0.03, 0.04, 0.05)  # [m] of a box
_AXES = ("0 0 1", "0 1 0", "1 0 0", "0 1 0")


def growth(cycles: int, joints: tuple[int, ...] = JOINTS, pairs: tuple[int, ...] = PAIRS) -> dict[str, Any]:
    """Cycle times by number of joints (50 pairs) and by number of pairs (7 joints), with manipulability."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            "joints": {str(count): _measure(chain(folder, count, 50), cycles) for count in joints},
            "pairs": {str(count): _measure(chain(folder, 7, count), cycles) for count in pairs},
        }


def chain(folder: Path, joints: int, pairs: int) -> Robot:
    """An arm of so many hinges, 1.2 m long, kept away from boxes around it by so many pairs."""
    home = folder / f"chain{joints}"
    if not home.exists():
        home.mkdir()
        (home / "arm.xml").write_text(_mjcf(joints))
        (home / "robot.yaml").write_text(yaml.safe_dump(_entries(joints)))
    robot = load_robot(home)
    # The outermost links first; each box costs its place in the engine only.
    links = [f"link_{index}_capsule" for index in range(joints, max(joints - 10, 1), -1)]
    boxes = [f"box_{index}" for index in range(-(-pairs // len(links)))]
    environment = robot.collision.environment
    for name, place in zip(boxes, _places(robot, len(boxes)), strict=True):
        environment = environment.add(SceneObject(name, (Shape("box", _HALF_SIZE),), pin.SE3(np.eye(3), place)))
    named = islice(product(boxes, links), pairs)
    collision = replace(
        robot.collision,
        environment=environment,
        environment_geoms=(),
        pairs=tuple(CollisionPair(link, box, 0.01) for box, link in named),
    )
    return replace(robot, collision=collision)


def _places(robot: Robot, count: int) -> list[np.ndarray]:
    """Places of boxes around the bent arm, some of them near, none touching."""
    model = robot.arm.spec.copy().compile()
    data = mujoco.MjData(model)
    data.qpos[:] = robot.configurations["ready"]
    mujoco.mj_kinematics(model, data)
    rng, places = np.random.default_rng(0), []
    middle = data.geom_xpos.mean(axis=0)
    free = float(model.geom_size[:, 1].max()) + 0.03 + float(np.linalg.norm(_HALF_SIZE)) + 0.02
    while len(places) < count:
        place = middle + rng.uniform(-0.5, 0.5, 3)
        if np.linalg.norm(data.geom_xpos - place, axis=1).min() > free:
            places.append(place)
    return places


def _measure(robot: Robot, cycles: int) -> dict[str, Any]:
    home, _ = robot.tool_pose(robot.configurations["ready"])
    loop = Loop(robot, manipulability=True, motion=_circle(home))
    with settled_memory():
        loop.run(WARM_UP)
        loop.forget()
        loop.run(cycles)
    return loop.times.figures() | {"pairs": int(loop.controller._collision._model.npair), "rows_max": max(loop.rows)}


def _circle(home: np.ndarray) -> Motion:
    return lambda seconds: home + 0.06 * np.array([np.sin(seconds), 1.0 - np.cos(seconds), 0.5 * np.sin(2.0 * seconds)])


def _mjcf(joints: int) -> str:
    length, text = _REACH / joints, ""
    for index in range(1, joints + 1):
        axis = _AXES[(index - 1) % len(_AXES)]
        text += (
            f'<body name="link_{index}" pos="0 0 {length if index > 1 else 0.2}">'
            f'<inertial pos="0 0 {length / 2}" mass="0.5" diaginertia="0.01 0.01 0.01"/>'
            f'<joint name="joint_{index}" type="hinge" axis="{axis}"/>'
            f'<geom name="link_{index}_capsule" type="capsule" fromto="0 0 0 0 0 {length}" size="0.03"/>'
        )
    text += f'<site name="tool" pos="0 0 {length}"/>' + "</body>" * joints
    return (
        '<mujoco model="chain"><compiler angle="radian" autolimits="true"/><worldbody><body name="base_link">'
        f"{text}</body></worldbody></mujoco>"
    )


def _entries(joints: int) -> dict[str, Any]:
    """The arm bent into an arc, so that the tool can move in every direction."""
    bent = [0.0 if index % 2 == 0 else (1.2 + 0.1 * index / joints) * 4.0 / joints for index in range(joints)]
    return {
        "robot_id": f"chain{joints}",
        "model": "arm.xml",
        "base_frame": "base_link",
        "tool_frame": "tool",
        "joints": [
            {"name": f"joint_{index}", "velocity": 1.5, "acceleration": 8.0, "position": [-2.8, 2.8]}
            for index in range(1, joints + 1)
        ],
        "tool_limits": {"linear": 0.5, "angular": 2.0},
        "configurations": {"ready": bent},
        "collision": {"influence_distance": 0.1, "safe_distance": 0.01, "self_pairs": [], "environment_geoms": []},
    }
