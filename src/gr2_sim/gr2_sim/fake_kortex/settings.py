"""What ros2_control is given: the controllers' YAML, and the limits that it takes from the URDF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar

import numpy as np
import yaml

from gr2_sim.fake_kortex.command_limiter import CommandLimits
from gr2_sim.fake_kortex.gripper_controller import GripperControllerConfig
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
    """

    enforce_command_limits: bool = False
    state_publish_rate: float = 50.0
    trajectory: TrajectoryControllerConfig = field(default_factory=TrajectoryControllerConfig)
    gripper: GripperControllerConfig = field(default_factory=GripperControllerConfig)


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
    rate = sections["joint_trajectory_controller"].get("state_publish_rate", 50.0)
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or rate <= 0.0:
        raise BadControllers(f"controllers file {path}: state_publish_rate is {rate!r}, expected a positive number")
    return Settings(
        enforce,
        float(rate),
        _config(path, TrajectoryControllerConfig, sections["joint_trajectory_controller"]),
        _config(path, GripperControllerConfig, sections["robotiq_gripper_controller"]),
    )


_CONTROLLERS = ("joint_trajectory_controller", "robotiq_gripper_controller")


def _parameters(path: Path, entries: object, node: str) -> Mapping[str, object]:
    section = entries.get(node, {}) if isinstance(entries, dict) else None
    parameters = section.get("ros__parameters", {}) if isinstance(section, dict) else None
    if not isinstance(parameters, dict):
        raise BadControllers(f"controllers file {path}: {node} has no ros__parameters")
    return parameters


def _config(path: Path, kind: type[Config], parameters: Mapping[str, object]) -> Config:
    given: dict[str, bool | float] = {}
    for one in fields(kind):
        if one.name not in parameters:
            continue
        value, default = parameters[one.name], getattr(kind(), one.name)
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
