"""Parameters of the node: its own, and every scalar of the controller's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from gr2_wbc.config import ConfigError, ControllerConfig, flatten, override

Value = TypeVar("Value", str, bool, int)

# So often set that they go without their section.
ALIASES = {"safety.resync_on_jump": "resync_on_jump", "intake.require_handshake": "require_handshake"}


@dataclass(frozen=True)
class Parameters:
    """What the node was told.

    Attributes:
        robot: name of a bundled robot, or path of its YAML or of a folder with a robot.yaml.
        description_topic: the URDF is taken from this topic instead of the model that the YAML names; empty: it is not.
        armed: False, the default: dry run, nothing is sent.
        realtime_priority: SCHED_FIFO priority asked for; 0: nothing is asked of the system.
        realtime_core: processor core to run on; -1: the last one, where there are two or more; -2: any.
        config: the controller's.
    """

    robot: str
    description_topic: str
    armed: bool
    realtime_priority: int
    realtime_core: int
    config: ControllerConfig


def read_parameters(node: Node) -> Parameters:
    """Declare and read the parameters; they cannot be changed later.

    The configuration is its defaults, overridden by the YAML file that parameter ``config`` names, overridden by
    parameters ``<section>.<field>``.

    Raises:
        ConfigError: a parameter or an entry of the file is unknown, of the wrong type, or makes no sense.
    """
    config = ControllerConfig()
    path = str(_declare(node, "config", ""))
    if path:
        try:
            config = override(config, _flat(yaml.safe_load(Path(path).read_text(encoding="utf-8"))))
        except (OSError, yaml.YAMLError, ConfigError) as error:
            raise ConfigError(f"config file {path}: {error}") from error
    values = {name: _declare(node, ALIASES.get(name, name), value) for name, value in flatten(config).items()}
    return Parameters(
        robot=_typed(node, "robot", "gen3_2f85"),
        description_topic=_typed(node, "robot_description_topic", ""),
        armed=_typed(node, "armed", False),
        realtime_priority=_typed(node, "realtime_priority", 50),
        realtime_core=_typed(node, "realtime_core", -1),
        config=override(config, values),
    )


def _declare(node: Node, name: str, default: object) -> object:
    # dynamic_typing: a wrong type is then told by our own message, and 1 is accepted for 1.0.
    return node.declare_parameter(name, default, ParameterDescriptor(read_only=True, dynamic_typing=True)).value


def _typed(node: Node, name: str, default: Value) -> Value:
    value = _declare(node, name, default)
    if type(value) is not type(default):
        raise ConfigError(f"parameter {name} must be of type {type(default).__name__}, got {value!r}")
    return value


def _flat(entries: object) -> dict[str, object]:
    """``{section: {field: value}}`` -> ``{section.field: value}``."""
    if not isinstance(entries, dict):
        raise ConfigError("expected a mapping of sections and values")
    flat: dict[str, object] = {}
    for name, value in entries.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{inner}": item for inner, item in value.items()})
        else:
            flat[str(name)] = value
    return flat
