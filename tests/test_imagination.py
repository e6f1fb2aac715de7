"""The policy gr2 in the running stack: random weights move the arm inside every bound, and what it imagines is seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from gr2_msgs.msg import Surprise, TrajectoryChunk
from sensor_msgs.msg import Image

from gr2_bringup import stack

pytest.importorskip("torch")

IMAGE = 128  # [pixel]
FRAME_DT = 0.2  # [s] between the frames of the model
FASTEST = 0.8727  # [rad/s] joint speed limit


def nodes(**parameters: object) -> list[stack.Node]:
    """The stack with an untrained nano; ``parameters`` are its policy node's."""
    given = {"policy": "gr2", "untrained": "nano", "imagination_rate": 5.0, "seed": 3}
    size = {"image_width": IMAGE, "image_height": IMAGE}
    found = stack.simulation(stack.defaults(stack.SIMULATION) | size | given)
    return [
        replace(node, parameters={**node.parameters, **parameters}) if node.name == "policy" else node for node in found
    ]


def stamp(message) -> float:  # type: ignore[no-untyped-def]
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def test_untrained_model_runs_without_a_fault_and_imagines(start: Callable) -> None:
    running = start(nodes=nodes())
    node = running.director.node
    images: dict[str, list[Image]] = {"head": [], "wrist": []}
    surprises: list[Surprise] = []
    chunks: list[TrajectoryChunk] = []
    for camera, found in images.items():
        node.create_subscription(Image, f"/imagination/{camera}", found.append, 10)
    node.create_subscription(Surprise, "/imagination/surprise", surprises.append, 50)
    node.create_subscription(TrajectoryChunk, "/trajectory_chunk", chunks.append, 10)
    running.ready()
    running.director.say("open the drawer")
    running.wait(lambda: any(surprise.settled for surprise in surprises), 30.0, "surprise does not settle")
    running.wait(running.moving, 20.0, "the arm does not move")
    status = running.director.status
    refused = {name: int(count) for name, count in zip(status.refusal_names, status.refusal_counts, strict=True)}
    print(
        f"{len(chunks)} chunks, {len(images['head'])} imagined instants, {len(surprises)} surprises, "
        f"states {Counter(name for _, name in running.states)}, refused {refused}"
    )
    assert "STOPPED" not in [name for _, name in running.states]
    assert sum(refused.values()) == 0, status.last_refusal
    assert all(chunk.model_id.endswith("UNTRAINED-seed0") for chunk in chunks)
    assert np.abs([v for _, _, _, v in running.motion]).max() < FASTEST * 1.1

    seen = np.array([stamp(chunk) for chunk in chunks])
    for found in images.values():
        ahead = np.array([np.abs(stamp(image) - FRAME_DT - seen).min() for image in found])
        assert np.mean(ahead < 1e-4) > 0.8, "imagined frames are stamped with the time they predict"
    imagined = np.array([stamp(image) for image in images["head"]])
    assert all(np.abs(stamp(surprise) - imagined).min() < 1e-4 for surprise in surprises if surprise.camera == "head")
    assert {surprise.camera for surprise in surprises} == {"head", "wrist"}
    assert all(0.0 <= s.token_distance <= 1.0 and 0.0 <= s.pixel_distance <= 1.0 for s in surprises)


@pytest.mark.slow
def test_surprise_can_bring_the_arm_to_rest_until_a_new_instruction(start: Callable) -> None:
    """The threshold is so low that anything surprises, and nothing is ever calm."""
    running = start(nodes=nodes(surprise_action="hold", surprise_threshold=1e-6)).ready()
    running.director.say("open the drawer")
    running.wait(lambda: any(name == "TRACKING" for _, name in running.states), 20.0, "no chunk is followed")
    running.wait(lambda: running.states[-1][1] == "HOLDING", 30.0, "the controller does not hold")
    running.wait(running.at_rest, 5.0, "the arm does not rest")
    assert "holding until the world is as expected" in running.logs()
    before = len(running.states)
    running.director.say("press the red button")
    # the next surprise ends it soon, so it may be over when it is looked for
    again = lambda: any(name == "TRACKING" for _, name in running.states[before:])  # noqa: E731
    running.wait(again, 15.0, "a new instruction does not end the hold")
