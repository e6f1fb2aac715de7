"""Films and Rerun files of small synthetic runs."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from gr2_msgs.msg import SceneTruth, Surprise, TrajectoryChunk, WbcStatus
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String

from gr2_tools import film, rerun_export
from gr2_tools.bag_writer import BagWriter
from gr2_tools.camera_poses import SimulatedCameras, StaticTransforms, matrix_of
from gr2_tools.errors import BagError
from gr2_tools.film_layout import AHEAD, CAMERA, HEIGHT, WIDTH
from gr2_tools.msgdefs import find_definition
from gr2_tools.projection import Pinhole
from gr2_tools.rerun_export import RerunMissing
from gr2_tools.topics import STACK_TOPICS
from gr2_wbc.robots import load_robot

START = 1_700_000_000_000_000_000
ROBOT = load_robot("gen3_2f85")
LAYOUT = Path(__file__).resolve().parents[3] / "docs" / "foxglove_layout.json"


def image(shade: int) -> Image:
    message = Image(height=64, width=64, encoding="rgb8", step=192)
    message.data.frombytes(bytes([shade]) * (64 * 64 * 3))
    return message


def write_run(path: Path, seconds: float = 1.0, imagined: bool = True) -> Path:
    """A bag of a run that stands still: grey pictures, a chunk from the tool upwards, TRACKING."""
    writer = BagWriter(path)
    kinds = {
        "/head_camera/image_raw": Image,
        "/wrist_camera/image_raw": Image,
        "/head_camera/camera_info": CameraInfo,
        "/imagination/head": Image,
        "/imagination/surprise": Surprise,
        "/joint_states": JointState,
        "/wbc_status": WbcStatus,
        "/trajectory_chunk": TrajectoryChunk,
        "/sim/truth": SceneTruth,
        "/instruction": String,
    }
    topics = {
        name: writer.add_topic(name, find_definition(f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"))
        for name, kind in kinds.items()
    }
    tool, _ = ROBOT.tool_pose(ROBOT.configurations["ready"])
    points = [tool + (0.0, 0.0, 0.02 * i) for i in range(10)]

    def put(name: str, tick: int, message: object) -> None:
        if hasattr(message, "header"):
            message.header.stamp.sec, message.header.stamp.nanosec = tick // 10, tick % 10 * 100_000_000
        writer.write(topics[name], START + tick * 100_000_000, serialize_message(message))

    put("/instruction", 0, String(data="lift the mug"))
    for tick in range(round(seconds * 10)):
        put("/head_camera/image_raw", tick, image(90))
        put("/wrist_camera/image_raw", tick, image(120))
        info = CameraInfo(width=64, height=64, k=[78.0, 0.0, 32.0, 0.0, 78.0, 32.0, 0.0, 0.0, 1.0])
        info.header.frame_id = "head_camera_optical_frame"
        put("/head_camera/camera_info", tick, info)
        if imagined:
            put("/imagination/head", tick, image(200))
            put("/imagination/surprise", tick, Surprise(camera="head", score=float(tick), settled=True))
        put("/joint_states", tick, JointState(name=list(ROBOT.joint_names), position=ROBOT.configurations["ready"]))
        put("/sim/truth", tick, SceneTruth(scene="table"))
        status = WbcStatus(state_name="TRACKING", reason="following", active_sequence=tick, chunk_remaining=0.9)
        chunk = TrajectoryChunk(sequence=tick, horizon=10, dt=0.1, model_id="m", positions=np.concatenate(points))
        put("/trajectory_chunk", tick, chunk)
        put("/wbc_status", tick, status)
    writer.close()
    return path


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_film_shows_cameras_imagination_chunk_and_state(tmp_path: Path) -> None:
    bag = write_run(tmp_path / "run")
    notes = film.make_film(bag, tmp_path / "out.mp4", 10.0, 0.0, 0.0)
    frames = decoded(tmp_path / "out.mp4")
    assert notes == []
    assert not (tmp_path / "out.mp4.partial").exists()
    assert len(frames) == 10
    last = frames[-1].astype(int)
    assert last.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(last[CAMERA - 40, 40] - 90).max() < 12, "the head camera"
    assert np.abs(last[CAMERA - 40, CAMERA + 40] - 120).max() < 12, "the wrist camera"
    assert np.abs(last[150, 2 * CAMERA + 160] - 200).max() < 12, "what was imagined"
    head = last[:CAMERA, :CAMERA]
    drawn = np.abs(head - np.array(AHEAD)).max(axis=2) < 60
    assert drawn.sum() > 100, "the chunk"
    assert abs(int(last[CAMERA + 30, 24][1]) - 125) < 40, "the state, green"


def test_parts_of_a_run_can_be_filmed(tmp_path: Path) -> None:
    bag = write_run(tmp_path / "run", seconds=2.0, imagined=False)
    film.make_film(bag, tmp_path / "out.mp4", 20.0, 0.5, 0.5)
    assert len(decoded(tmp_path / "out.mp4")) in (10, 11)


def test_failures_are_sentences_and_leave_nothing(tmp_path: Path, bag: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(BagError, match="nothing to film"):
        film.make_film(bag, tmp_path / "out.mp4", 10.0, 0.0, 0.0)
    run = write_run(tmp_path / "run", 0.3)
    with pytest.raises(BagError, match="only"):
        film.make_film(run, tmp_path / "out.mp4", 10.0, 60.0, 0.0)
    call = SimpleNamespace(bag=run, film=tmp_path / "none" / "out.mp4", rate=10, start=0.0, duration=0.0)
    assert film.run(call) == 1  # type: ignore[arg-type]
    call.film = tmp_path / "out.avi"
    assert film.run(call) == 2  # type: ignore[arg-type]
    errors = capsys.readouterr().err
    assert "cannot write" in errors
    assert "films are .mp4" in errors
    assert "Traceback" not in errors
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag", "run"]


def test_projection() -> None:
    matrix = np.array([[100.0, 0.0, 50.0], [0.0, 100.0, 40.0], [0.0, 0.0, 1.0]])
    camera = Pinhole(matrix, 100, 80, np.array([0.0, 0.0, 1.0]), np.diag([1.0, -1.0, -1.0]))  # looks down
    seen = camera.project(np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.4, 0.0], [0.0, 0.0, 2.0]]))
    assert seen[:3] == pytest.approx(np.array([[0.5, 0.5], [1.0, 0.5], [0.5, 0.0]]))
    assert np.isnan(seen[3]).all(), "behind it"


def test_simulated_cameras_see_the_tool() -> None:
    cameras = SimulatedCameras("table")
    cameras.move(dict(zip(ROBOT.joint_names, ROBOT.configurations["ready"], strict=True)))
    tool, _ = ROBOT.tool_pose(ROBOT.configurations["ready"])
    matrix = np.array([[1.2, 0.0, 0.5], [0.0, 1.2, 0.5], [0.0, 0.0, 1.0]])
    for name in ("head", "wrist"):
        position, rotation = cameras.pose(name)
        assert np.linalg.det(rotation) == pytest.approx(1.0)
        seen = Pinhole(matrix, 1, 1, position, rotation).project(tool[None])[0]
        assert np.all((seen > 0.0) & (seen < 1.0)), name


def test_static_transforms_are_chained_both_ways() -> None:
    def step(parent: str, child: str, x: float, turn: float = 0.0) -> SimpleNamespace:
        message = TransformStamped()
        message.header.frame_id, message.child_frame_id = parent, child
        message.transform.translation.x = x
        message.transform.rotation.z, message.transform.rotation.w = float(np.sin(turn / 2)), float(np.cos(turn / 2))
        return SimpleNamespace(transforms=[message])

    tree = StaticTransforms()
    tree.add(step("world", "base_link", 1.0))
    tree.add(step("world", "/mount", 3.0, np.pi / 2))
    tree.add(step("mount", "optical", 0.5))
    found = tree.pose("optical")
    assert found is not None
    assert found[0] == pytest.approx([2.0, 0.5, 0.0])
    assert found[1] == pytest.approx(matrix_of(0.0, 0.0, np.sin(np.pi / 4), np.cos(np.pi / 4)))
    assert tree.pose("elsewhere") is None


def test_without_rerun_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(rerun_export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RerunMissing, match=r"pip install 'rerun-sdk"):
        rerun_export.load_rerun()
    assert rerun_export.export_and_tell(tmp_path / "run", tmp_path / "out.rrd") == 2
    assert "pip install" in capsys.readouterr().err
    assert not (tmp_path / "out.rrd").exists()


def test_rerun_file_is_verified_by_rerun(tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed (optional)")
    assert rerun_export.export_and_tell(write_run(tmp_path / "run"), tmp_path / "out.rrd") == 0
    checked = subprocess.run(
        [sys.executable, "-m", "rerun_cli", "rrd", "verify", str(tmp_path / "out.rrd")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "verified without error" in checked.stdout + checked.stderr


def test_rerun_gets_every_topic_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for rerun: what is logged, and that the file has its name only in the end."""
    logged: list[str] = []

    class Stream:
        def __init__(self, *_: object, **__: object) -> None: ...
        def save(self, path: str) -> None:
            assert path.endswith(".rrd.partial")

        def log(self, entity: str, *_: object, **__: object) -> None:
            logged.append(entity)

        def set_time(self, *_: object, **__: object) -> None: ...
        def flush(self) -> None: ...
        def disconnect(self) -> None: ...

    class Anything:
        RecordingStream = Stream
        ViewCoordinates = SimpleNamespace(RIGHT_HAND_Z_UP=0)

        def __getattr__(self, name: str) -> object:
            return lambda *_, **__: name

    monkeypatch.setattr(rerun_export, "load_rerun", Anything)
    assert rerun_export.export(write_run(tmp_path / "run"), tmp_path / "out.rrd") == []
    assert (tmp_path / "out.rrd").exists()
    wanted = {"cameras/head", "cameras/wrist", "imagination/head", "world/chunk", "joints/joint_1", "surprise/head"}
    assert wanted <= set(logged)
    assert {"controller/position_error", "events"} <= set(logged)


@pytest.mark.skipif(not LAYOUT.exists(), reason="only in a checkout")
def test_foxglove_layout_names_what_our_bags_hold() -> None:
    layout = json.loads(LAYOUT.read_text())
    panels = layout["configById"]
    placed = set(re.findall(r'"([A-Za-z]+![a-z_]+)"', json.dumps(layout["layout"])))
    assert placed == set(panels)
    kinds = {"wbc_status": WbcStatus, "imagination/surprise": Surprise, "instruction": String}
    for text in re.findall(r'"(?:value|imageTopic|calibrationTopic|topicPath)": "(/[^"\\]+)', json.dumps(panels)):
        topic, _, rest = text.partition(".")
        topic = topic.split("{")[0]
        assert topic in STACK_TOPICS, text
        kind = kinds.get(topic.strip("/"))
        field = rest.split("[")[0].split(".")[0]
        assert kind is None or not field or field in kind.get_fields_and_field_types(), text
