"""A stream of observations gives what a batch of the same frames gives."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

import numpy as np
import pytest
import torch

from gr2_policy.model import geometry
from gr2_policy.model.config import ConfigError, ModelConfig, load_size
from gr2_policy.model.gr2 import GR2, Batch, WindowFull
from gr2_policy.model.streaming import Stream, StreamingConfig
from gr2_policy.model.text import TextEncoder
from gr2_policy.model.transforms import BadObservation, Normalization, Transforms
from gr2_policy.policy import ActionChunk, Observation

INSTRUCTION = "open the drawer"


@pytest.fixture
def config() -> ModelConfig:
    return load_size("nano", {"timesteps": 5})


@pytest.fixture
def transforms(config: ModelConfig) -> Transforms:
    return Transforms.of(config, Normalization.plain(8))


@pytest.fixture
def model(config: ModelConfig) -> GR2:
    torch.manual_seed(0)
    return GR2(config).eval()


def _observation(index: int, dt: float = 0.2) -> Observation:
    random = np.random.default_rng(index)
    return Observation(
        stamp=100.0 + dt * index,
        instruction=INSTRUCTION,
        images={view: random.integers(0, 255, (32, 32, 3)).astype(np.uint8) for view in ("head", "wrist")},
        tool_position=np.array([0.4, 0.0, 0.3]) + 0.01 * random.standard_normal(3),
        tool_orientation=geometry.exponential(np.array([3.0, 0.0, 0.1 * index])),
        gripper=float(index % 2),
        joint_positions=np.zeros(7),
    )


@torch.no_grad()
def _batch(model: GR2, text: TextEncoder, transforms: Transforms, window: Sequence[Observation]) -> ActionChunk:
    """The same, as training would see it: everything at once, without a cache."""
    tokens = torch.stack([model.tokenizer.encode(transforms.images(seen.images)) for seen in window])[None]
    states = torch.stack([transforms.state(o.tool_position, o.tool_orientation, o.gripper) for o in window])[None]
    features = model.features(Batch(text.encode([INSTRUCTION]), tokens, states))
    chunk = model.action_head.act(features[:, -1, model.layout.observed :])
    return transforms.chunk(chunk[0], window[-1].tool_position, window[-1].tool_orientation)


def _same(first: ActionChunk, second: ActionChunk) -> None:
    np.testing.assert_allclose(first.positions, second.positions, atol=1e-5)
    np.testing.assert_allclose(first.orientations, second.orientations, atol=1e-5)
    np.testing.assert_allclose(first.gripper, second.gripper, atol=1e-5)


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_stream_equals_batch(model: GR2, text: TextEncoder, transforms: Transforms, keep: int) -> None:
    stream = Stream(model, text, transforms, StreamingConfig(keep=keep))
    stream.reset(INSTRUCTION)
    observations = [_observation(index) for index in range(11)]
    begin, room = 0, model.config.timesteps - 1
    for index, observation in enumerate(observations):
        if index - begin == room:
            begin = index - keep
        _same(stream.step(observation), _batch(model, text, transforms, observations[begin : index + 1]))


@pytest.mark.parametrize("keep", [1, 2])
def test_windows_begun_in_time_change_nothing_and_spare_the_chunk(
    model: GR2, text: TextEncoder, transforms: Transforms, keep: int
) -> None:
    """Also with observations in between, which are forgotten, and after a new instruction."""
    tidied = Stream(model, text, transforms, StreamingConfig(keep=keep))
    plain = Stream(model, text, transforms, StreamingConfig(keep=keep))
    passed: list[int] = []
    original = model.trunk.forward

    def count(x: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        passed.append(x.shape[1])
        return original(x, *args, **kwargs)  # type: ignore[arg-type]

    for instruction in (INSTRUCTION, "close the drawer"):
        tidied.reset(instruction), plain.reset(instruction)
        for index in range(15):
            observation = _observation(index) if index < 8 else _observation(index + 8, dt=0.1)
            wanted = plain.step(observation)
            with patch.object(model.trunk, "forward", count):
                got = tidied.step(observation)
            assert passed.pop() == model.layout.timestep, index  # one frame, never the kept ones too
            _same(got, wanted)
            tidied.tidy()


def test_each_image_is_tokenised_once(model: GR2, text: TextEncoder, transforms: Transforms) -> None:
    stream = Stream(model, text, transforms)
    stream.reset(INSTRUCTION)
    with patch.object(model.tokenizer, "encode", wraps=model.tokenizer.encode) as encode:
        for index in range(9):
            stream.step(_observation(index))
    assert encode.call_count == 9


def test_observations_in_between_leave_no_trace(model: GR2, text: TextEncoder, transforms: Transforms) -> None:
    """At twice the rate of the frames: every second observation gets its chunk and is forgotten."""
    stream = Stream(model, text, transforms)
    stream.reset(INSTRUCTION)
    seen = [_observation(index, dt=0.1) for index in range(7)]
    chunks = [stream.step(observation) for observation in seen]
    _same(chunks[3], _batch(model, text, transforms, [seen[0], seen[2], seen[3]]))
    _same(chunks[4], _batch(model, text, transforms, [seen[0], seen[2], seen[4]]))


def test_a_long_pause_and_a_new_instruction_begin_a_new_history(
    model: GR2, text: TextEncoder, transforms: Transforms
) -> None:
    stream = Stream(model, text, transforms)
    stream.reset(INSTRUCTION)
    stream.step(_observation(0))
    alone = _batch(model, text, transforms, [_observation(20)])
    _same(stream.step(_observation(20)), alone)
    stream.step(_observation(21))
    stream.reset(INSTRUCTION)
    _same(stream.step(_observation(20)), alone)


def test_frames_too_far_apart_have_no_history_but_chunks_still_join(
    model: GR2, text: TextEncoder, transforms: Transforms
) -> None:
    """A model that takes half a second for a chunk, trained on frames 0.2 s apart, goes by what it sees now."""
    stream = Stream(model, text, transforms)
    stream.reset(INSTRUCTION)
    seen = [_observation(index, dt=0.5) for index in range(4)]
    for observation in seen:
        chunk = stream.step(observation)
        stream.tidy()
        _same(chunk, _batch(model, text, transforms, [observation]))
    following = stream.step(_observation(4, dt=0.5), delay=0.2)
    np.testing.assert_allclose(following.positions[:2], chunk.positions[5:7], atol=1e-6)
    usual = [_observation(index, dt=0.3) for index in range(2)]
    stream.reset(INSTRUCTION)
    stream.step(usual[0])
    _same(stream.step(usual[1]), _batch(model, text, transforms, usual))


def test_what_is_committed_comes_back(model: GR2, text: TextEncoder, transforms: Transforms) -> None:
    """With a delay of two steps, the next chunk begins with what the previous one will do meanwhile."""
    stream = Stream(model, text, transforms)
    stream.reset(INSTRUCTION)
    before = stream.step(_observation(0), delay=0.2)
    after = stream.step(_observation(1), delay=0.2)
    np.testing.assert_allclose(after.positions[:2], before.positions[2:4], atol=1e-6)
    np.testing.assert_allclose(after.gripper[:2], before.gripper[2:4], atol=1e-6)
    assert np.abs(after.positions[2:6] - before.positions[4:]).max() > 1e-4
    stream.reset(INSTRUCTION)
    stream.step(_observation(0))
    free = stream.step(_observation(1))
    assert np.abs(free.positions[:2] - before.positions[2:4]).max() > 1e-4


def test_imagination_beside_control(model: GR2, text: TextEncoder, transforms: Transforms) -> None:
    stream, undisturbed = Stream(model, text, transforms), Stream(model, text, transforms)
    for one in (stream, undisturbed):
        one.reset(INSTRUCTION)
    with pytest.raises(BadObservation, match="nothing was seen"):
        stream.imagine()
    for index in range(6):
        _same(stream.step(_observation(index)), undisturbed.step(_observation(index)))
        frames = stream.imagine()
        assert frames.shape == (1, 2, 32, 32, 3)
        assert frames.dtype == np.uint8
    stream.step(_observation(6))  # the fourth frame of the second window of five
    with pytest.raises(WindowFull, match="2 more frames"):
        stream.imagine(2)


def test_sampling_repeats_with_its_seed(model: GR2, text: TextEncoder, transforms: Transforms) -> None:
    def chunk(**options: object) -> np.ndarray:
        stream = Stream(model, text, transforms, StreamingConfig(**options))  # type: ignore[arg-type]
        stream.reset(INSTRUCTION)
        return stream.step(_observation(0)).positions

    assert np.array_equal(chunk(sample=True, seed=1), chunk(sample=True, seed=1))
    assert not np.array_equal(chunk(sample=True, seed=1), chunk(sample=True, seed=2))
    assert np.array_equal(chunk(seed=1), chunk(seed=2))


def test_what_cannot_be_used_is_refused(
    model: GR2, text: TextEncoder, transforms: Transforms, config: ModelConfig
) -> None:
    stream = Stream(model, text, transforms)
    with pytest.raises(BadObservation, match="no instruction"):
        stream.step(_observation(0))
    stream.reset(INSTRUCTION)
    stream.step(_observation(1))
    with pytest.raises(BadObservation, match="not newer"):
        stream.step(_observation(0))
    with pytest.raises(ConfigError, match="no action head"):
        Stream(GR2(config.for_pretraining()), text, transforms)
    with pytest.raises(ConfigError, match="window of 5"):
        Stream(model, text, transforms, StreamingConfig(keep=4))
