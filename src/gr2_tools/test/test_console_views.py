"""Pictures, shapes and near pairs of the console, and its recorder and policy switch with stand-ins."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from lifecycle_msgs.msg import State, Transition
from PIL import Image

from gr2_sim.cell import load_cell
from gr2_sim.parts import COLLISION_GROUP
from gr2_sim.viewer_node import Mirror
from gr2_tools.console import scene_view
from gr2_tools.console.console_node import address_of, gate_for, tasks_in
from gr2_tools.console.geometry import ArmMirror, bodies
from gr2_tools.console.pictures import Pictures, jpeg
from gr2_tools.console.policy_switch import PolicySwitch, SwitchFailed
from gr2_tools.console.proximity import Proximity
from gr2_tools.console.recording import Recording, RecordingError
from gr2_wbc.robots import load_robot

ROBOT = load_robot("gen3_2f85")


def test_pictures_are_encoded_once_and_only_on_demand() -> None:
    pictures = Pictures(("head", "wrist"))
    asked = []

    def message() -> SimpleNamespace:
        asked.append(1)
        return SimpleNamespace(data=bytes(12 * 8 * 3), height=8, width=12, step=36, encoding="rgb8")

    pictures.put("head", 5_000_000_000, 10.0, message)
    assert asked == []
    described, data = pictures.take(10.5)
    assert pictures.take(10.6)[1] == data
    assert asked == [1]
    assert (described[0]["stamp"], described[0]["age"], described[0]["size"]) == (5.0, 0.5, len(data))
    assert described[1]["size"] == 0
    assert Image.open(io.BytesIO(data)).size == (12, 8)


def test_unreadable_picture_says_why() -> None:
    pictures = Pictures(("head",))
    bad = SimpleNamespace(data=b"", height=8, width=12, step=36, encoding="bayer_rggb8")
    pictures.put("head", 0, 0.0, lambda: bad)
    described, data = pictures.take(0.0)
    assert data == b""
    assert "bayer_rggb8" in described[0]["problem"]


def test_large_pictures_are_reduced() -> None:
    assert max(Image.open(io.BytesIO(jpeg(np.zeros((720, 1280, 3), np.uint8)))).size) <= 480


def test_cell_has_the_arm_and_its_things_in_colour() -> None:
    found = {body.name: body for body in bodies(Mirror("table").model, COLLISION_GROUP, "base_link")}
    assert found["forearm_link"].robot
    assert found["gripper/palm"].robot
    assert not found["red_block"].robot
    red = np.asarray(found["red_block"].mesh.visual.face_colors).mean(axis=0)  # type: ignore[union-attr]
    assert red[0] > 2 * red[1]
    size = found["red_block"].mesh.extents
    assert np.all((size > 0.02) & (size < 0.1))


def test_any_arm_can_be_shown_by_its_capsules() -> None:
    mirror = ArmMirror(ROBOT)
    assert all(body.robot for body in bodies(mirror.model, -1, "base_link"))
    tool = mirror.model.site("tool_frame").id
    for name, position in zip(ROBOT.joint_names, ROBOT.configurations["ready"], strict=True):
        mirror.set_joint(name, position)
    mirror.set_joint("unknown", 1.0)
    mirror.refresh()
    assert mirror.data.site_xpos[tool] == pytest.approx(ROBOT.tool_pose(ROBOT.configurations["ready"])[0], abs=1e-6)


def test_near_pairs_agree_with_the_distance_engine() -> None:
    proximity = Proximity(ROBOT)
    assert proximity.near(ROBOT.configurations["ready"]) == []
    low = ROBOT.configurations["ready"].copy()
    low[1] += 0.45  # lean forward, until the fingers are near the table
    pairs = proximity.near(low)
    assert pairs
    assert all("table" in pair.name for pair in pairs)
    assert [pair.margin for pair in pairs] == sorted(pair.margin for pair in pairs)
    for pair in pairs:
        assert np.linalg.norm(pair.end - pair.start) == pytest.approx(abs(pair.distance), abs=1e-6)
        assert pair.margin < pair.distance


def test_scene_page_is_fit_for_a_sandbox() -> None:
    """The page of this version of viser takes the patch; whether it works, the whole-system test sees."""
    view = scene_view.SceneView(Mirror("table"), COLLISION_GROUP, "base_link")
    try:
        assert scene_view.SANDBOX.encode() in view.page()
        assert view.port > 0
        assert not view.watched
        assert view._server.request_share_url() is None
        view.chunk(np.zeros((3, 3)), 1, 0.5)
        view.chunk(None, 0, 0.0)
        view.trail(np.zeros(3))
        view.trail(np.full(3, 0.1))
        view.near([])
    finally:
        view.stop()


def test_tasks_are_those_of_the_cell() -> None:
    offered = tasks_in(load_cell("table"))
    assert "put the red block in the bin" in offered
    assert len(offered) == len(set(offered))


def test_addresses_and_gates() -> None:
    assert gate_for("127.0.0.1", "").token is None
    assert gate_for("0.0.0.0", "").token is not None
    assert gate_for("127.0.0.1", "x" * 20).token == "x" * 20
    assert address_of("127.0.0.1", 8090, None) == "http://127.0.0.1:8090/"
    assert address_of("::1", 8090, "t") == "http://[::1]:8090/?token=t"
    assert "0.0.0.0" not in address_of("0.0.0.0", 8090, None)


def test_recording_says_why_it_did_not_work(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "runs")
    assert recording.state["running"] is False
    with pytest.raises(RecordingError, match="nothing is being recorded"):
        recording.end()
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(RecordingError, match="cannot make"):
        Recording(blocked / "runs").begin(False)


class FakePolicyNode:
    """A lifecycle node with one policy that loads."""

    def __init__(self, good: str) -> None:
        self.good, self.policy, self.state, self.refusals = good, good, State.PRIMARY_STATE_ACTIVE, 1

    def create_client(self, kind: type, name: str) -> str:
        return name.rsplit("/", 1)[1]

    def call(self, client: str, request: object, timeout: float) -> SimpleNamespace:
        if client == "get_parameters":
            return SimpleNamespace(values=[SimpleNamespace(string_value=self.policy)])
        if client == "set_parameters":
            self.policy = request.parameters[0].value.string_value  # type: ignore[attr-defined]
            return SimpleNamespace(results=[SimpleNamespace(successful=True, reason="")])
        if client == "get_state":
            return SimpleNamespace(current_state=SimpleNamespace(id=self.state))
        return SimpleNamespace(success=self._change(request.transition.id))  # type: ignore[attr-defined]

    def _change(self, transition: int) -> bool:
        inactive, active, none = (
            State.PRIMARY_STATE_INACTIVE,
            State.PRIMARY_STATE_ACTIVE,
            State.PRIMARY_STATE_UNCONFIGURED,
        )
        after = {
            (active, Transition.TRANSITION_DEACTIVATE): inactive,
            (inactive, Transition.TRANSITION_CLEANUP): none,
            (none, Transition.TRANSITION_CONFIGURE): inactive if self.policy != "broken" else None,
            (inactive, Transition.TRANSITION_ACTIVATE): active,
        }.get((self.state, transition))
        if after == active and self.refusals:  # the handshake has not been answered yet
            self.refusals -= 1
            return False
        if after is None:
            return False
        self.state = after
        return True


def test_policy_is_switched_by_its_life_cycle() -> None:
    node = FakePolicyNode("teacher")
    PolicySwitch(node, node.call).switch("gr2")  # type: ignore[arg-type]
    assert (node.policy, node.state) == ("gr2", State.PRIMARY_STATE_ACTIVE)


def test_a_policy_that_does_not_load_brings_the_former_back() -> None:
    node = FakePolicyNode("teacher")
    with pytest.raises(SwitchFailed, match=r"'broken' cannot be loaded.*'teacher' runs again"):
        PolicySwitch(node, node.call).switch("broken")  # type: ignore[arg-type]
    assert (node.policy, node.state) == ("teacher", State.PRIMARY_STATE_ACTIVE)
