"""Gazebo under ``ros2 launch``: what is asked for, what is refused. Skipped where there is no ``launch``."""

from __future__ import annotations

from pathlib import Path

import pytest

from gr2_bringup import stack

pytest.importorskip("launch_ros", reason="no launch_ros on this machine (pip has none)")
from gr2_bringup import gazebo

VALUES = stack.defaults(stack.SIMULATION) | {"simulator": "gazebo", "policy": "gr2"}


def test_nothing_is_added_to_our_own_simulator() -> None:
    assert gazebo.actions(VALUES | {"simulator": "mujoco"}) == []


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gazebo.shutil, "which", lambda name: None)
    monkeypatch.setattr(gazebo, "_installed", lambda name: name != "ros_gz_sim")
    with pytest.raises(stack.BadArgument, match=r"the command gz, the package ros_gz_sim\. .*apt install"):
        gazebo.actions(VALUES)


def test_teacher_and_another_speed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gazebo, "require", lambda: None)
    with pytest.raises(stack.BadArgument, match="truth"):
        gazebo.actions(VALUES | {"policy": "teacher"})
    with pytest.raises(stack.BadArgument, match="real_time_factor is 2"):
        gazebo.actions(VALUES | {"real_time_factor": 2.0})


def test_all_of_it_is_made_from_the_scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("xacro", reason="xacro is not installed")
    package = Path(__file__).resolve().parents[1]
    monkeypatch.setattr(gazebo, "require", lambda: None)
    monkeypatch.setattr(gazebo.stack, "share_folder", lambda: package)
    monkeypatch.setattr(gazebo, "get_package_share_directory", lambda name: str(tmp_path / name))
    monkeypatch.setattr(gazebo.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    made = gazebo.actions(VALUES | {"seed": 3})
    assert len(made) == 5 + len(gazebo.CONTROLLERS)
    world = (tmp_path / "table.sdf").read_text()
    assert world != (package / "worlds" / "table.sdf").read_text()
    assert "head_camera" in world
