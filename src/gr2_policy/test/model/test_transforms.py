from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gr2_policy.model import geometry
from gr2_policy.model.config import ConfigError, ModelConfig, from_dict, to_dict
from gr2_policy.model.transforms import BadObservation, Normalization, Transforms, pixels_to_tensor, tensor_to_pixels
from gr2_policy.policy import ActionChunk

_POSE = (np.array([0.4, 0.1, 0.3]), geometry.exponential(np.array([3.0, 0.1, -0.2])))


@pytest.fixture
def transforms(nano: ModelConfig) -> Transforms:
    return Transforms.of(nano, Normalization.plain(8), "gen3_2f85", "tool_pose_base_link+gripper")


def _chunk(steps: int = 8, seed: int = 0, dt: float = 0.1) -> ActionChunk:
    random = np.random.default_rng(seed)
    wanted = np.concatenate(
        [0.1 * random.standard_normal((steps, 3)), 0.5 * random.standard_normal((steps, 3))], axis=1
    )
    positions, orientations = geometry.from_displacements(wanted, *_POSE)
    return ActionChunk(dt, positions, orientations, random.integers(0, 2, steps).astype(float))


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_a_chunk_survives_the_way_to_the_model_and_back(seed: int) -> None:
    transforms = Transforms(("head",), 32, 0.2, chunk_dt=0.1, normalization=Normalization.plain(8))
    chunk = _chunk(seed=seed)
    actions = transforms.actions(chunk, *_POSE)
    assert actions.shape == (8, 7)
    assert actions.dtype == torch.float32
    back = transforms.chunk(actions, *_POSE)
    np.testing.assert_allclose(back.positions, chunk.positions, atol=1e-6)
    assert np.all(np.abs(np.sum(back.orientations * chunk.orientations, axis=1)) > 1 - 1e-9)
    np.testing.assert_allclose(back.gripper, chunk.gripper)


def test_actions_do_not_depend_on_where_the_robot_stands(transforms: Transforms) -> None:
    """Move the tool and the chunk together: the model must be asked for the same."""
    chunk = _chunk()
    turn, shift = geometry.exponential(np.array([0.2, -0.5, 1.0])), np.array([0.3, -0.2, 0.1])
    moved = ActionChunk(
        chunk.dt,
        geometry.rotate(turn, chunk.positions) + shift,
        geometry.multiply(turn, chunk.orientations),
        chunk.gripper,
    )
    tool = (geometry.rotate(turn, _POSE[0]) + shift, geometry.multiply(turn, _POSE[1]))
    torch.testing.assert_close(
        transforms.actions(moved, *tool), transforms.actions(chunk, *_POSE), atol=1e-5, rtol=1e-5
    )


def test_state(transforms: Transforms) -> None:
    state = transforms.state(*_POSE, 0.7)
    assert state.shape == (10,)
    assert state[9] == 1.0
    assert transforms.state(_POSE[0], -_POSE[1], 0.1)[9] == 0.0
    assert transforms.state(_POSE[0], _POSE[1], 0.28)[9] == 1.0  # a mug between the fingers is closed enough
    torch.testing.assert_close(transforms.state(_POSE[0], -2.0 * _POSE[1], 0.7), state)  # the same attitude
    with pytest.raises(BadObservation, match="nan"):
        transforms.state(np.array([np.nan, 0.0, 0.0]), _POSE[1], 0.0)
    with pytest.raises(BadObservation, match="cannot be used"):
        transforms.state(_POSE[0], np.zeros(4), 0.0)


def test_images(transforms: Transforms) -> None:
    random = np.random.default_rng(0)
    images = {
        "wrist": np.full((64, 64, 3), 255, np.uint8),
        "head": random.integers(0, 255, (48, 64, 3)).astype(np.uint8),
    }
    tensor = transforms.images(images)
    assert tensor.shape == (2, 3, 32, 32)
    assert float(tensor[1].min()) == 1.0
    assert float(tensor.abs().max()) <= 1.0
    stored = transforms.resize(images["head"])
    assert stored.dtype == np.uint8
    assert torch.equal(transforms.images({**images, "head": stored})[0], tensor[0])  # trained on what is served
    np.testing.assert_array_equal(tensor_to_pixels(tensor)[0], stored)
    with pytest.raises(BadObservation, match="wrist"):
        transforms.images({"head": images["head"]})
    for bad in (images["head"].astype(float), images["head"][..., :1], np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(BadObservation, match="shape"):
            transforms.resize(bad)


def test_pixels_survive_the_way_there_and_back() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    np.testing.assert_array_equal(tensor_to_pixels(pixels_to_tensor(pixels)), pixels)


def test_only_what_lies_within_the_delay_is_committed(transforms: Transforms) -> None:
    chunk = _chunk()
    found = transforms.committed(chunk, age=0.2, delay=0.25, most=6)
    assert found is not None
    assert len(found.positions) == 2
    np.testing.assert_allclose(found.positions, chunk.positions[2:4], atol=1e-12)
    between = transforms.committed(chunk, age=0.15, delay=0.1, most=6)
    assert between is not None
    np.testing.assert_allclose(between.positions[0], chunk.positions[1:3].mean(axis=0), atol=1e-12)
    assert len(transforms.committed(chunk, 0.0, 5.0, 3).positions) == 3  # type: ignore[union-attr]
    assert len(transforms.committed(chunk, 0.6, 5.0, 6).positions) == 2  # type: ignore[union-attr]
    for age, delay in ((0.0, 0.09), (0.8, 1.0), (9.0, 1.0), (-0.1, 1.0)):
        assert transforms.committed(chunk, age, delay, 6) is None


def test_statistics_bring_data_to_unit_size() -> None:
    random = np.random.default_rng(0)
    steps = np.arange(1, 9)[:, None] * np.array([0.01, 0.01, 0.01, 0.1, 0.1, 0.1])
    displacements = random.standard_normal((500, 8, 6)) * steps
    positions = random.standard_normal((500, 3)) * [0.1, 0.2, 1e-9] + [0.4, 0.0, 0.3]
    found = Normalization.fit(positions, displacements)
    np.testing.assert_allclose(found.step_positions, 0.01 * np.arange(1, 9), rtol=0.1)
    np.testing.assert_allclose(found.step_rotations, 0.1 * np.arange(1, 9), rtol=0.1)
    assert found.position_scale[2] == 1e-3  # what does not move is not blown up


def test_hash_follows_every_number(transforms: Transforms) -> None:
    again = from_dict(Transforms, json.loads(json.dumps(to_dict(transforms))))
    assert again == transforms
    assert again.hash() == transforms.hash()
    assert transforms.normalization is not None
    nudged = dataclasses.replace(transforms.normalization, position_mean=(0.45, 0.0, 0.2500001))
    assert dataclasses.replace(transforms, normalization=nudged).hash() != transforms.hash()
    assert dataclasses.replace(transforms, frame_dt=0.3).hash() != transforms.hash()


@pytest.mark.parametrize(
    "changes",
    [
        {"position_mean": (0.0, 0.0)},
        {"position_scale": (1.0, 0.0, 1.0)},
        {"step_positions": (1.0,)},
        {"position_mean": (float("nan"), 0.0, 0.0)},
    ],
)
def test_bad_statistics_are_refused(changes: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ConfigError, match="normalization"):
        dataclasses.replace(Normalization.plain(8), **changes)


def test_a_pretraining_model_has_no_actions(nano: ModelConfig) -> None:
    with pytest.raises(BadObservation, match="pre-training"):
        Transforms.of(nano.for_pretraining()).actions(_chunk(), *_POSE)
