"""The policies that a learned one is set beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gr2_policy.baselines import DT, HORIZON, make_nearest, make_random
from gr2_policy.data.episode import Episode
from gr2_policy.data.writer import DatasetWriter
from gr2_policy.policy import Observation, PolicyError

DOWN = np.array([1.0, 0.0, 0.0, 0.0])


def observation(position, colour: int, instruction: str = "open the drawer") -> Observation:  # type: ignore[no-untyped-def]
    image = np.full((32, 32, 3), colour, np.uint8)
    return Observation(
        0.0, instruction, {"head": image, "wrist": image}, np.array(position, float), DOWN, 0.0, np.zeros(7)
    )


def demonstration(instruction: str, colour: int, goes: float) -> Episode:
    """At rest at (0.4, 0, 0.3) in front of one colour; the chunk goes up by ``goes`` [m] in all."""
    n = 6
    pose = np.array([0.4, 0.0, 0.3, *DOWN, 0.0])
    chunk = np.tile(pose, (HORIZON, 1))
    chunk[:, 2] += goes * np.arange(1, HORIZON + 1) / HORIZON
    image = np.full((n, 32, 32, 3), colour, np.uint8)
    return Episode(
        instruction=instruction,
        task=instruction.replace(" ", "_"),
        seed=1,
        stamps=DT * np.arange(n),
        images={"head": image, "wrist": image},
        states=np.tile(pose, (n, 1)),
        actions=np.tile(chunk[0], (n, 1)),
        joints=np.zeros((n, 7)),
        chunks=np.tile(chunk, (n, 1, 1)),
        success_frame=n - 1,
        notes={},
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    writer = DatasetWriter(tmp_path / "demos", round(1.0 / DT), "gen3_2f85", None)
    names = [f"joint_{i + 1}" for i in range(7)]
    episodes = [
        demonstration("open the drawer", 50, 0.1),
        demonstration("open the drawer", 200, -0.1),
        demonstration("close the drawer", 50, 0.05),
    ]
    writer.append(episodes, names)
    return tmp_path / "demos"


def test_nearest_does_what_was_done_where_it_looked_alike(dataset: Path) -> None:
    policy = make_nearest(str(dataset))
    policy.reset("open the drawer")
    for colour, goes in ((60, 0.1), (190, -0.1)):
        chunk = policy.infer(observation((0.42, 0.1, 0.25), colour))
        np.testing.assert_allclose(chunk.positions[-1], [0.42, 0.1, 0.25 + goes], atol=1e-6)
    policy.reset("please close the drawer")  # the words decide among demonstrations, by likeness
    assert policy.infer(observation((0.4, 0.0, 0.3), 50)).positions[-1][2] == pytest.approx(0.35)


def test_nearest_says_what_it_lacks(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="dataset=FOLDER"):
        make_nearest()
    with pytest.raises(PolicyError, match="nothing"):
        make_nearest(str(tmp_path / "nothing"))
    assert make_nearest(str(dataset), episodes_per_task=1).model_id == "nearest-12-frames"


def test_random_wanders_within_its_speed_and_repeats_itself() -> None:
    policy = make_random(seed=3)
    walks = []
    for _ in range(2):
        policy.reset("lift the mug")
        walks.append([policy.infer(observation((0.4, 0.0, 0.3), 0)).positions for _ in range(5)])
    np.testing.assert_array_equal(walks[0], walks[1])
    steps = np.linalg.norm(np.diff(walks[0][0], axis=0), axis=1)
    np.testing.assert_allclose(steps, 0.01, atol=1e-9)
    assert np.ptp([walk[-1] for walk in walks[0]], axis=0).max() > 0.02
