"""CALVIN's traps, on a folder made as its documentation describes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gr2_policy.data.calvin import ANNOTATIONS, Calvin, quaternions
from gr2_policy.data.episode import BadEpisode


@pytest.fixture
def split(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for index in range(100, 112):
        observed, action = np.zeros(15), np.zeros(7)
        observed[:6] = [0.1, -0.2, 0.4 + 0.001 * index, 3.13 if index % 2 else -3.13, 0.1, 0.5]  # about half a turn
        observed[6], observed[7:14], observed[14] = 0.06, index, -1.0
        action[:6], action[6] = observed[:6], -1.0 if index > 105 else 1.0
        arrays = {"rgb_static": (200, 200, 3), "rgb_gripper": (84, 84, 3)}
        images = {key: random.integers(0, 256, shape, dtype=np.uint8) for key, shape in arrays.items()}
        np.savez(tmp_path / f"episode_{index:07d}.npz", robot_obs=observed, actions=action, **images)
    (tmp_path / "lang_annotations").mkdir()
    words = {
        "ann": ["lift the red block", "open the drawer"],
        "task": ["lift_red", "open"],
        "indx": [[100, 105], [104, 111]],
    }
    (tmp_path / ANNOTATIONS).write_text(json.dumps(words))
    return tmp_path


def test_sentences_become_episodes(split: Path) -> None:
    source = Calvin(split)
    assert len(source) == 2
    episode = source.read(1)
    episode.check()
    assert len(episode) == 8  # both ends are included
    assert (episode.instruction, episode.task) == ("open the drawer", "open")
    assert episode.images["wrist"].shape == (8, 84, 84, 3)
    np.testing.assert_array_equal(episode.actions[:, 7], [0, 0, 1, 1, 1, 1, 1, 1])  # -1 closes
    np.testing.assert_allclose(episode.states[:, 7], 0.25)
    turned = np.abs((episode.states[1:, 3:7] * episode.states[:-1, 3:7]).sum(axis=1))
    assert 2.0 * np.arccos(turned.min()) < 0.03  # no jump where the angle about x passes half a turn
    assert (np.einsum("ij,ij->i", episode.states[1:, 3:7], episode.states[:-1, 3:7]) > 0.0).all()


def test_angles_are_extrinsic() -> None:
    angles = np.random.default_rng(1).uniform(-3.1, 3.1, (50, 3))
    ours, theirs = quaternions(angles), Rotation.from_euler("xyz", angles).as_quat()
    np.testing.assert_allclose(np.abs((ours * theirs).sum(axis=1)), 1.0)


def test_damage_and_pickles_are_refused(split: Path) -> None:
    (split / "episode_0000102.npz").write_bytes(b"no zip")
    with pytest.raises(BadEpisode, match=r"episode_0000102\.npz"):
        Calvin(split).read(0)
    (split / ANNOTATIONS).rename(split / "lang_annotations/auto_lang_ann.npy")
    with pytest.raises(BadEpisode, match="is a pickle"):
        Calvin(split)
