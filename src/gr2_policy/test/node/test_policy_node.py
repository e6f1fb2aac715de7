"""Handshake, lifecycle, instructions, bad input, with a stand-in controller."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.srv import ChangeState, GetState
from PIL import Image
from std_msgs.msg import String

SIZE = 16  # [pixel] of the stand-in's images


def test_chunks_carry_what_the_contract_says(bench: Any) -> None:
    bench.latched.publish(String(data="said before the node began"))
    bench.start()
    bench.until(lambda: len(bench.chunks) >= 3, "no chunks")
    (request,) = bench.requests
    assert (request.robot_id, request.action_space, request.chunk_dt) == (
        "gen3_2f85",
        "tool_pose_base_link+gripper",
        0.1,
    )
    first, second = bench.chunks[:2]
    assert first.instruction == "said before the node began"
    assert (first.header.frame_id, first.session, first.model_id) == ("base_link", "session1", "straight")
    assert (first.sequence, second.sequence) == (1, 2)
    assert first.horizon == 4
    np.testing.assert_allclose(np.array(first.positions).reshape(4, 3)[:, 0], [0.41, 0.42, 0.43, 0.44])
    age = bench.node.get_clock().now().nanoseconds * 1e-9 - (
        bench.chunks[-1].header.stamp.sec + bench.chunks[-1].header.stamp.nanosec * 1e-9
    )
    assert 0.0 < age < 1.0


def test_instruction_of_a_volatile_publisher_counts_once(bench: Any) -> None:
    bench.start()
    bench.until(lambda: bench.volatile.get_subscription_count() > 0 and bool(bench.requests), "not up")
    bench.spin(0.5)
    assert bench.chunks == []
    bench.volatile.publish(String(data="  open   the drawer "))
    bench.until(lambda: bool(bench.chunks), "no chunks")
    bench.latched.publish(String(data="close the drawer"))
    bench.until(lambda: bench.chunks[-1].instruction == "close the drawer", "new instruction ignored")
    text = bench.log.read_text()
    assert text.count("instruction: open the drawer") == 1
    assert text.count("instruction: close the drawer") == 1


def test_empty_instruction_withdraws(bench: Any) -> None:
    bench.latched.publish(String(data="go"))
    bench.start()
    bench.until(lambda: len(bench.chunks) >= 2, "no chunks")
    bench.latched.publish(String(data=""))
    bench.until(lambda: bench.chunks[-1].horizon == 0, "no withdrawal")
    assert bench.chunks[-1].sequence == bench.chunks[-2].sequence + 1
    count = len(bench.chunks)
    bench.spin(0.5)
    assert len(bench.chunks) == count


def test_refused_policy_says_why_and_sends_nothing(bench: Any) -> None:
    bench.refuse = "chunk_dt of the policy is 0.1 s, of the controller 0.05 s"
    bench.latched.publish(String(data="go"))
    bench.start()
    bench.until(lambda: any(bench.refuse in p for p in bench.problems), "refusal not in /diagnostics")
    assert bench.refuse in bench.log.read_text()
    assert bench.chunks == []
    bench.refuse = ""
    bench.until(lambda: bool(bench.chunks), "does not ask again")


def test_unknown_instruction_is_reported(bench: Any) -> None:
    bench.latched.publish(String(data="fly"))
    bench.start()
    bench.until(lambda: any("cannot follow 'fly'" in p for p in bench.problems), "not in /diagnostics")
    assert "cannot follow 'fly'" in bench.log.read_text()
    assert all(chunk.horizon == 0 for chunk in bench.chunks)


def test_bug_in_a_policy_is_a_line_not_a_crash(bench: Any) -> None:
    bench.latched.publish(String(data="crash"))
    bench.start()
    bench.until(lambda: "RuntimeError: a bug in the policy" in bench.log.read_text(), "bug not reported")
    bench.latched.publish(String(data="go"))
    bench.until(lambda: bool(bench.chunks), "the node does not go on")


def test_missing_camera_and_wrong_size_are_named(bench: Any) -> None:
    bench.latched.publish(String(data="go"))
    bench.start()
    bench.until(lambda: bool(bench.chunks), "no chunks")
    bench.silent = {"wrist"}
    bench.until(lambda: "/wrist_camera/image_raw: no usable image" in bench.log.read_text(), "not named")
    bench.until(lambda: any("/wrist_camera/image_raw" in p for p in bench.problems), "not in /diagnostics")
    count = len(bench.chunks)
    bench.spin(0.5)
    assert len(bench.chunks) == count
    bench.silent = set()
    bench.until(lambda: len(bench.chunks) > count, "does not come back")
    bench.pixels = 8
    bench.until(lambda: f"size 8x8, expected {SIZE}x{SIZE}" in bench.log.read_text(), "wrong size not named")


def test_compressed_images_do_as_well_and_damaged_ones_are_named(bench: Any) -> None:
    file = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (90, 20, 200)).save(file, "JPEG")
    bench.compressed = file.getvalue()
    bench.latched.publish(String(data="go"))
    bench.start(compressed_images=True)
    bench.until(lambda: len(bench.chunks) >= 3, "no chunks")
    bench.compressed = file.getvalue()[:-200]
    bench.until(lambda: "the file is damaged" in bench.log.read_text(), "damaged files are not named")


def test_lifecycle_by_hand(bench: Any) -> None:
    bench.latched.publish(String(data="go"))
    bench.start(autostart=False)

    def change(transition: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition
        return bool(bench.call(ChangeState, "/policy/change_state", request).success)

    def state() -> str:
        return str(bench.call(GetState, "/policy/get_state", GetState.Request()).current_state.label)

    assert state() == "unconfigured"
    assert change(1)  # configure
    bench.until(lambda: bool(bench.requests), "no handshake")
    bench.spin(0.5)
    assert change(3)  # activate
    bench.until(lambda: bool(bench.chunks), "no chunks")
    assert change(4)  # deactivate
    assert state() == "inactive"
    count = len(bench.chunks)
    bench.spin(0.5)
    assert len(bench.chunks) <= count + 1
    assert state() == "inactive", "who deactivates the node by hand wants it to stay so"
    assert change(2)  # clean up
    assert state() == "unconfigured"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"policy": "nobody"}, "no policy named 'nobody' is installed"),
        ({"robot_id": "ur5"}, "made for robot 'gen3_2f85', this is 'ur5'"),
        ({"policy_options": "[colour=red]"}, "cannot be loaded"),
    ],
)
def test_impossible_policies_end_the_node_with_one_line(bench: Any, parameters: dict, words: str) -> None:
    bench.start(**parameters)
    assert bench.process is not None
    bench.until(lambda: bench.process.poll() is not None, "the node does not end")
    assert bench.process.returncode == 1
    assert words in bench.log.read_text()
