"""A policy in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gr2_policy.policy import Observation, PolicyError
from gr2_policy.served import ServedPolicy, make_served

SERVER = """
import json, sys
inp, out = sys.stdin.buffer, sys.stdout
def say(**words): print(json.dumps(words), file=out, flush=True)
say(model_id="m", robot_id="r", action_space="a", chunk_dt=0.1, normalization_hash="", cameras=["head", "wrist"])
told = ""
for line in iter(inp.readline, b""):
    asked = json.loads(line)
    if "reset" in asked:
        told = asked["reset"]
        if told == "dance":
            say(error="dancing was not learned")
        elif told == "die":
            sys.exit(3)
        else:
            say()
        continue
    asked = asked["infer"]
    means = []
    for h, w in asked["images"].values():
        pixels = inp.read(h * w * 3)
        means.append(sum(pixels) / len(pixels))
    x, y, z = asked["tool_position"]
    say(positions=[[x + means[0], y + means[1], z]], orientations=[asked["tool_orientation"]], gripper=[len(told)])
"""


@pytest.fixture
def policy(tmp_path: Path) -> Iterator[ServedPolicy]:
    (tmp_path / "server.py").write_text(SERVER)
    made = make_served(f"{sys.executable} {tmp_path / 'server.py'}")
    yield made
    made.close()


def observation(**images: np.ndarray) -> Observation:
    return Observation(1.0, "x", images, np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 0.0, 1.0]), 0.0, np.zeros(7))


def test_pixels_and_numbers_go_there_and_a_chunk_comes_back(policy: ServedPolicy) -> None:
    assert (policy.model_id, policy.robot_id, policy.chunk_dt) == ("m", "r", 0.1)
    policy.reset("go")
    for value in (10, 20):
        head, wrist = np.full((4, 6, 3), value, np.uint8), np.full((2, 2, 3), 7, np.uint8)
        chunk = policy.infer(observation(wrist=wrist, head=head))
        np.testing.assert_allclose(chunk.positions, [[1.0 + value, 9.0, 3.0]])
        assert chunk.gripper.tolist() == [2.0]


def test_what_goes_wrong_is_named(policy: ServedPolicy, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="dancing was not learned"):
        policy.reset("dance")
    with pytest.raises(PolicyError, match="no image of wrist"):
        policy.infer(observation(head=np.zeros((2, 2, 3), np.uint8)))
    with pytest.raises(PolicyError, match="ended with code 3"):
        policy.reset("die")
    with pytest.raises(PolicyError, match="command=PROGRAM"):
        make_served()
    with pytest.raises(PolicyError, match="nowhere cannot be started"):
        make_served("/nowhere")
    with pytest.raises(PolicyError, match="does not say its robot_id"):
        make_served(f'{sys.executable} -c "print(\'{{\\"model_id\\": 1}}\')"')
    with pytest.raises(PolicyError, match="no JSON: b'hello"):
        make_served(f"{sys.executable} -c \"print('hello')\"")
