"""Bundled robot descriptions: one folder a robot, holding its MJCF and ``robot.yaml``."""

from __future__ import annotations

from pathlib import Path

from gr2_wbc.robot import Robot, UnknownRobot
from gr2_wbc.robot_file import read_robot

__all__ = ["available_robots", "load_robot", "robot_path"]

_FOLDER = Path(__file__).resolve().parent


def available_robots() -> list[str]:
    """Names of the bundled robots, sorted."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/robot.yaml"))


def robot_path(name: str) -> Path:
    """Folder of a bundled robot.

    Raises:
        UnknownRobot: no robot of this name is bundled.
    """
    folder = _FOLDER / name
    if name not in available_robots():
        raise UnknownRobot(f"no robot named '{name}' is bundled (known: {', '.join(available_robots())})")
    return folder


def load_robot(name: str | Path, description: str | None = None) -> Robot:
    """Load a bundled robot by name, or any robot by the path of its YAML or of a folder that holds a ``robot.yaml``.

    Args:
        name: see above.
        description: a URDF as text (what ``/robot_description`` carries), instead of the model that the YAML names.

    Raises:
        UnknownRobot: neither a bundled name nor such a file or folder.
        RobotFileError: the description is not usable; names the file and the entry.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or (path / "robot.yaml").is_file():
        return read_robot(path, description)
    return read_robot(robot_path(str(name)), description)
