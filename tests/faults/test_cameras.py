"""F1: cameras that stop or freeze. The policy names them and plans no more; the arm comes to rest; both recover."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from gr2_bringup import stack

INSTRUCTION = "put the red block in the bin"
SHAKE = 0.2  # [rad/s] of the simulated arm
PATIENCE = 30.0  # [s] for what comes within a second or two of simulation
RUN_OUT = 1.0 + 1.6 + 1.5 + 0.5  # [s] until a camera is missed, a chunk, a slowed one past its end, braking


class Lens:
    """Stands between a camera and the policy, and can stop or freeze."""

    def __init__(self, node, source: str, target: str) -> None:  # type: ignore[no-untyped-def]
        self.fault = ""
        self._last: Image | None = None
        self._out = node.create_publisher(Image, target, qos_profile_sensor_data)
        node.create_subscription(Image, source, self._pass, qos_profile_sensor_data)

    def _pass(self, message: Image) -> None:
        if not self.fault or self._last is None:
            self._last = message
        if self.fault != "stopped":
            self._out.publish(self._last)


@pytest.fixture(scope="module")
def filmed(start_shared) -> Iterator[tuple]:  # type: ignore[no-untyped-def, type-arg]
    """A stack whose cameras the test holds in its hands."""
    size = {"image_width": 128, "image_height": 128}
    values = stack.defaults(stack.SIMULATION) | {"policy": "teacher", "seed": 3} | size
    held = tuple((f"/{name}_camera/image_raw", f"/lens/{name}") for name in ("head", "wrist"))
    nodes = [replace(n, remappings=held) if n.name == "sim" else n for n in stack.simulation(values)]
    running = start_shared(nodes=nodes)
    lenses = {target: Lens(running.director.node, target, source) for source, target in held}
    return running.ready(), {"head": lenses["/lens/head"], "wrist": lenses["/lens/wrist"]}


@pytest.mark.parametrize(
    ("fault", "camera"),
    [
        ("stopped", "head"),
        ("frozen", "wrist"),
        pytest.param("stopped", "wrist", marks=pytest.mark.slow),
        pytest.param("frozen", "head", marks=pytest.mark.slow),
    ],
)
def test_a_camera_that_fails_is_named_and_the_arm_comes_to_rest(filmed, camera, fault, report, measures):  # type: ignore[no-untyped-def]
    running, lenses = filmed
    running.director.reset_scene(seed=3)
    running.director.spin(1.5)
    running.director.say(INSTRUCTION)
    running.wait(running.moving, PATIENCE, "the arm does not move")
    log = running.folder / "log" / "policy.log"
    known = len(log.read_text())
    failed = time.monotonic()
    lenses[camera].fault = fault
    try:
        running.wait(
            lambda: f"/{camera}_camera/image_raw: no usable image" in log.read_text()[known:],
            PATIENCE,
            "camera not named",
        )
        running.wait(lambda: running.states[-1][1] == "HOLDING", PATIENCE, "the controller does not hold")
        running.wait(running.at_rest, PATIENCE, "the arm does not rest")
        stopped = measures.halt(running, failed)
        measures.assert_within_limits(running, failed, slack=SHAKE)
        assert stopped.time < RUN_OUT
        what = "no more images" if fault == "stopped" else "the same image again and again"
        report.add(f"F1 {camera} camera: {what}", "named; the chunk is run out, HOLDING", stopped)
    finally:
        lenses[camera].fault = ""
    running.wait(running.moving, PATIENCE, "the arm does not go on when the camera is back")


@pytest.mark.slow
@pytest.mark.parametrize("camera", ["head", "wrist"])
def test_missing_camera_is_named_and_nothing_moves(filmed, camera, measures):  # type: ignore[no-untyped-def]
    running, lenses = filmed
    running.director.say("")
    log = running.folder / "log" / "policy.log"
    known = len(log.read_text())
    lenses[camera].fault = "stopped"
    try:
        running.director.reset_scene(seed=3)
        running.wait(
            lambda: f"/{camera}_camera/image_raw: no usable image" in log.read_text()[known:],
            PATIENCE,
            "camera not named",
        )
        running.wait(running.at_rest, PATIENCE, "the arm does not rest")
        before = running.motion[-1][2]
        running.director.say("press the red button")
        running.director.spin(2.0)
        assert abs(running.motion[-1][2] - before).max() < 2e-3
    finally:
        lenses[camera].fault = ""
        running.director.say("")
