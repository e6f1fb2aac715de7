"""The calibration's check: it finds the camera that was moved, the slip, and the file that makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import yaml

from gr2_bringup.calibration import BadCalibration, errors, load, load_seen, problems
from gr2_bringup.cli import main
from gr2_sim.world import World
from gr2_wbc.robots import load_robot

ROBOT = load_robot("gen3_2f85")
FILE = Path(__file__).resolve().parents[1] / "config" / "calibration.yaml"
NOMINAL = yaml.safe_load(FILE.read_text())


def write(path: Path, entries: object) -> Path:
    path.write_text(yaml.safe_dump(entries))
    return path


def observations(name: str, count: int = 8, noise: float = 0.0) -> list[dict[str, Any]]:
    """What MuJoCo's own camera sees: a mark on the tool (head), a point on the table (wrist)."""
    world, random = World("table"), np.random.default_rng(3)
    made = []
    while len(made) < count:
        joints = ROBOT.configurations["ready"] + random.uniform(-0.25, 0.25, ROBOT.dof)
        world.data.qpos[world._arm_qpos] = joints
        world.refresh_view()
        camera = world.model.camera(name).id
        if name == "head":
            frame, point = "tool_frame", np.array([0.0, 0.0, 0.01])
        else:
            frame, point = "base_link", np.array([*random.uniform((0.35, -0.1), (0.5, 0.1)), 0.0])
        in_base = ROBOT.frame_pose(frame, joints).act(point)
        turned = world.data.cam_xmat[camera].reshape(3, 3).T @ (in_base - world.data.cam_xpos[camera])
        x, y, z = turned * [1.0, -1.0, -1.0]
        focal = 0.5 * 480 / np.tan(0.5 * np.radians(world.model.cam_fovy[camera]))
        pixel = np.array([320.0 + focal * x / z, 240.0 + focal * y / z]) + random.normal(0.0, noise or 1e-9, 2)
        if z > 0.0 and (pixel > 0.0).all() and (pixel < [640.0, 480.0]).all():
            made.append({"joints": joints.tolist(), "frame": frame, "point": point.tolist(), "pixel": pixel.tolist()})
    return made


@pytest.fixture(scope="module")
def seen() -> dict[str, list[dict[str, Any]]]:
    assert mujoco.mj_version() > 0
    return {"head": observations("head"), "wrist": observations("wrist")}


def test_the_file_that_ships_is_the_drawing(seen: dict, tmp_path: Path) -> None:
    cameras = load(FILE, ROBOT)
    assert problems(cameras, ROBOT) == []
    for name, found in load_seen(write(tmp_path / "seen.yaml", seen), ROBOT).items():
        assert errors(cameras[name], found, ROBOT).max() < 0.05


def test_a_moved_camera_is_found_and_small_noise_is_not(seen: dict, tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path / "seen.yaml", {"head": observations("head", noise=0.8), "wrist": seen["wrist"]})
    assert main(["calibration", str(FILE), "--seen", str(path)]) == 0
    assert "sound (head, wrist)" in capsys.readouterr().out
    moved = {**NOMINAL, "head": {**NOMINAL["head"], "position": [1.24, -0.43, 0.84]}}
    assert main(["calibration", str(write(tmp_path / "moved.yaml", moved)), "--seen", str(path)]) == 1
    assert "the camera has moved" in capsys.readouterr().err


def test_one_slip_is_named(seen: dict, tmp_path: Path, capsys: Any) -> None:
    slipped = [dict(one) for one in seen["wrist"]]
    slipped[5]["pixel"] = [10.0, 470.0]
    path = write(tmp_path / "seen.yaml", {"wrist": slipped})
    assert main(["calibration", str(FILE), "--seen", str(path)]) == 1
    assert "observation 5 is the worst" in capsys.readouterr().err
    path = write(tmp_path / "few.yaml", {"wrist": seen["wrist"][:3]})
    assert main(["calibration", str(FILE), "--seen", str(path)]) == 1
    assert "3 observations are too few" in capsys.readouterr().err


def test_a_camera_that_looks_away_is_named(tmp_path: Path, capsys: Any) -> None:
    away = {**NOMINAL, "head": {**NOMINAL["head"], "quaternion": [0.0, 0.0, 0.0, 1.0]}}
    assert main(["calibration", str(write(tmp_path / "away.yaml", away))]) == 1
    assert "head camera: with the arm in 'ready'" in capsys.readouterr().err


def test_distortion_bends_outwards_by_the_usual_formula() -> None:
    (camera,) = (load(FILE, ROBOT)["wrist"],)
    bent = type(camera)(
        camera.frame, camera.parent, np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), camera.size, camera.matrix,
        np.array([0.1, 0.0, 0.01, 0.0, 0.0]),
    )  # fmt: skip
    (pixel,) = bent.pixels(np.array([[0.2, 0.1, 1.0]]))
    square = 0.05
    x, y = 0.2 * (1 + 0.1 * square) + 2 * 0.01 * 0.02, 0.1 * (1 + 0.1 * square) + 0.01 * (square + 2 * 0.01)
    assert pixel == pytest.approx([320.0 + 627.84018 * x, 240.0 + 627.84018 * y])
    assert np.isnan(bent.pixels(np.array([[0.0, 0.0, -1.0]]))).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quaternion": [0.0, 0.0, 0.0, 2.0]}, "norm 2"),
        ({"position": [0.0, 0.0]}, "expected 3 finite"),
        ({"position": ["a", 0.0, 0.0]}, "holds no numbers"),
        ({"parent": "elbow"}, "'elbow', which is no frame"),
        ({"intrinsics": [5.0, 5.0, 320.0, 240.0]}, "do not fit"),
        ({"intrinsics": [600.0, 600.0, 900.0, 240.0]}, "principal point"),
        ({"distortion": [0.0] * 8}, "at most 5"),
        ({"frame": ""}, "frame_id"),
    ],
)
def test_entries_that_make_no_sense_are_named(tmp_path: Path, capsys: Any, change: dict, words: str) -> None:
    path = write(tmp_path / "bad.yaml", {"wrist": {**NOMINAL["wrist"], **change}})
    with pytest.raises(BadCalibration, match=words):
        load(path, ROBOT)
    assert main(["calibration", str(path)]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entries", "words"), [([], "cameras by name"), ({"left": {}}, "cameras are head, wrist"), ({}, "none")]
)
def test_files_that_are_none_are_named(tmp_path: Path, entries: object, words: str) -> None:
    with pytest.raises(BadCalibration, match=words):
        load(write(tmp_path / "bad.yaml", entries), ROBOT)
    with pytest.raises(BadCalibration, match="No such file"):
        load(tmp_path / "nothing.yaml", ROBOT)
    with pytest.raises(BadCalibration, match="list of observations"):
        load_seen(write(tmp_path / "seen.yaml", {"head": {}}), ROBOT)
