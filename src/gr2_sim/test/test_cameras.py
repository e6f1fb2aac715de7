"""Pictures: the cameras see what they should."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gr2_sim import _gl, cameras, render
from gr2_sim.camera_thread import CameraThread, Snapshot
from gr2_sim.cameras import RenderingUnavailable, intrinsics
from gr2_sim.world import World

needs_gl = pytest.mark.skipif(not _gl.egl_found(), reason="no EGL on this machine")
COLOURS = {"red_block": 0, "green_block": 1, "blue_block": 2}


@needs_gl
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_head_camera_sees_the_objects(world: World, put: Callable, seed: int) -> None:
    world.reset(seed=seed, time=0.0)
    image = world.render("head", 256, 256)
    assert image.shape == (256, 256, 3)
    assert image.dtype == np.uint8
    for name in world.cell.objects:
        place = world.truth().poses[name][0]
        put(name, [0.0, 0.0, -5.0])
        changed = np.any(world.render("head", 256, 256) != image, axis=2)
        put(name, place)
        assert np.count_nonzero(changed) > 60, f"seed {seed}: {name} is hardly seen"


@needs_gl
def test_the_wrist_camera_looks_past_the_fingers(world: World, put: Callable) -> None:
    position, _ = world.tool_pose()
    before = world.render("wrist", 128, 128)
    put("red_block", position - [0.0, 0.0, 0.12])
    after = world.render("wrist", 128, 128)
    rows = np.nonzero(np.any(after != before, axis=(1, 2)))[0]
    assert len(rows) > 10
    assert rows.mean() > 64, "what is below the gripper is low in the picture"


@needs_gl
def test_pictures_are_repeatable(world: World) -> None:
    assert np.array_equal(world.render("head", 96, 64), world.render("head", 96, 64))
    assert world.render("head", 96, 64).shape == (64, 96, 3)


@needs_gl
def test_the_camera_thread_draws_what_the_world_draws(world: World) -> None:
    delivered, done = [], threading.Event()

    def deliver(stamp: float, images: dict[str, np.ndarray]) -> None:
        delivered.append((stamp, images))
        done.set()

    world.step(10)
    thread = CameraThread(["head", "wrist"], 64, 48, deliver)
    thread.start(Snapshot.of(world.model, world.data))
    assert done.wait(20.0)
    thread.stop()
    stamp, images = delivered[0]
    assert stamp == world.time
    assert set(images) == {"head", "wrist"}
    assert np.array_equal(images["head"], world.render("head", 64, 48))


def test_intrinsics() -> None:
    f, cx, cy = intrinsics(90.0, 640, 480)
    assert (f, cx, cy) == pytest.approx((240.0, 320.0, 240.0))


def test_without_egl_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr(cameras, "egl_found", lambda: False)
    monkeypatch.setenv("MUJOCO_GL", "disable")
    with pytest.raises(RenderingUnavailable, match="apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"):
        cameras.Cameras(world.model, 32, 32)


@needs_gl
def test_the_picture_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cell.png"
    assert render.main(["--out", str(out), "--size", "64", "--seed", "2"]) == 0
    assert Image.open(out).size == (2 * 64 + render.GUTTER, 64)
    assert render.main(["--out", str(tmp_path / "no" / "cell.png"), "--size", "32"]) == 1
    assert render.main(["--instruction", "sing"]) == 1
    assert "render: cannot follow 'sing'" in capsys.readouterr().err
