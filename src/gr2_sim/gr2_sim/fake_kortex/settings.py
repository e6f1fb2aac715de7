"""What ros2_control is given: the controllers' YAML, and the limits that it takes from the URDF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import yaml

from gr2_sim.fake_kortex.command_limiter import CommandLimits
from gr2_sim.fake_kortex.gripper_controller import GripperControllerConfig
from gr2_sim.fake_kortex.tolerances import Constraints
from gr2_sim.fake_kortex.trajectory_controller import TrajectoryControllerConfig
from gr2_wbc.robot import Robot

Config = TypeVar("Config", TrajectoryControllerConfig, GripperControllerConfig)


class BadControllers(ValueError):
    """The controllers' file cannot be used; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Settings:
    """Of the controllers.

    Attributes:
        enforce_command_limits: of the controller manager.
        state_publish_rate: [Hz] of the trajectory controller's state.
        trajectory, gripper: parameters of the two controllers.
        action_monitor_rate: [Hz] at which the trajectory controller tells what has become of a goal.
    """

    enforce_command_limits: bool = False
    state_publish_rate: float = 50.0
    trajectory: TrajectoryControllerConfig = field(default_factory=TrajectoryControllerConfig)
    gripper: GripperControllerConfig = field(default_factory=GripperControllerConfig)
    action_monitor_rate: float = 20.0


def read_settings(path: Path) -> Settings:
    """Read a file as ros2_control is given it. What it does not say is as in Jazzy.

    Raises:
        BadControllers: it cannot be read, or a parameter has the wrong type.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BadControllers(f"controllers file {path}: {error}") from error
    sections = {name: _parameters(path, entries, name) for name in (*_CONTROLLERS, "controller_manager")}
    enforce = sections["controller_manager"].get("enforce_command_limits", False)
    if type(enforce) is not bool:
        raise BadControllers(f"controllers file {path}: enforce_command_limits is {enforce!r}, expected true or false")
    trajectory = sections["joint_trajectory_controller"]
    config = _config(path, TrajectoryControllerConfig, trajectory)
    return Settings(
        enforce,
        _number(path, trajectory, "state_publish_rate", 50.0, positive=True),
        replace(config, constraints=_constraints(path, trajectory)),
        _config(path, GripperControllerConfig, sections["robotiq_gripper_controller"]),
        _number(path, trajectory, "action_monitor_rate", 20.0, positive=True),
    )


_CONTROLLERS = ("joint_trajectory_controller", "robotiq_gripper_controller")


def _parameters(path: Path, entries: object, node: str) -> Mapping[str, object]:
    section = entries.get(node, {}) if isinstance(entries, dict) else None
    parameters = section.get("ros__parameters", {}) if isinstance(section, dict) else None
    if not isinstance(parameters, dict):
        raise BadControllers(f"controllers file {path}: {node} has no ros__parameters")
    return parameters


def _number(path: Path, parameters: Mapping[str, object], name: str, default: float, positive: bool = False) -> float:
    value = parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0.0 or (positive and value == 0.0):
        expected = "a positive number" if positive else "a number that is not negative"
        raise BadControllers(f"controllers file {path}: {name} is {value!r}, expected {expected}")
    return float(value)


def _constraints(path: Path, parameters: Mapping[str, object]) -> Constraints:
    given = parameters.get("constraints", {})
    if not isinstance(given, dict):
        raise BadControllers(f"controllers file {path}: constraints is {given!r}, expected a map")
    joints = {name: entry for name, entry in given.items() if isinstance(entry, dict)}
    return Constraints(
        goal_time=_number(path, given, "goal_time", 0.0),
        path={name: _number(path, entry, "trajectory", 0.0) for name, entry in joints.items()},
        goal={name: _number(path, entry, "goal", 0.0) for name, entry in joints.items()},
    )


def _config(path: Path, kind: type[Config], parameters: Mapping[str, object]) -> Config:
    given: dict[str, bool | float] = {}
    for one in fields(kind):
        if one.name not in parameters:
            continue
        value, default = parameters[one.name], getattr(kind(), one.name)
        if isinstance(default, Constraints):
            continue  # read below a name for each joint
        if isinstance(value, bool) != isinstance(default, bool) or not isinstance(value, (bool, int, float)):
            raise BadControllers(
                f"controllers file {path}: {one.name} is {value!r}, expected a {type(default).__name__}"
            )
        given[one.name] = type(default)(value)
    return kind(**given)  # type: ignore[arg-type]


def urdf_limits(robot: Robot) -> CommandLimits:
    """Limits that ros2_control takes from our description with ``hardware:=kortex``.

    Continuous joints have none there, not even of velocity: see :mod:`gr2_sim.fake_kortex.command_limiter`.
    """
    limits = robot.limits
    velocity = np.where(limits.continuous, np.inf, limits.velocity)
    return CommandLimits(limits.names, limits.lower.copy(), limits.upper.copy(), velocity)
