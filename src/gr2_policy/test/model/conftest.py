"""A small model, data to learn by heart, and a text encoder that needs no weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import pytest
import torch

from gr2_policy.model.config import ModelConfig, load_size
from gr2_policy.model.gr2 import GR2, Batch
from gr2_policy.model.text import WIDTHS, TextFeatures, pad_features


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class HashedText:
    """Each word becomes a fixed random vector."""

    width = WIDTHS["minilm"]
    identity = "hashed-words"

    def encode(self, instructions: Sequence[str]) -> TextFeatures:
        return pad_features([torch.stack([self._word(word) for word in text.split()]) for text in instructions])

    def _word(self, word: str) -> torch.Tensor:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:6], "big")
        return torch.randn(self.width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def text() -> HashedText:
    return HashedText()


@pytest.fixture
def nano() -> ModelConfig:
    return load_size("nano")


@pytest.fixture
def model(nano: ModelConfig) -> GR2:
    """Untrained, in evaluation mode."""
    torch.manual_seed(0)
    model = GR2(nano).eval()
    torch.nn.init.normal_(
        model.embedding.code_correction.weight, std=0.5
    )  # zero at the beginning, so nothing would show
    return model


@pytest.fixture
def batch(nano: ModelConfig, text: HashedText) -> Batch:
    """Two windows of random tokens, states and actions."""
    assert nano.action is not None
    random = torch.Generator().manual_seed(1)
    shape = (2, nano.timesteps)
    tokenizer, horizon = nano.tokenizer, nano.action.horizon
    chunks = torch.randn(*shape, horizon, 7, generator=random)
    chunks[..., 6] = (chunks[..., 6] > 0).float()
    states = torch.randn(*shape, 10, generator=random)
    states[..., 9] = (states[..., 9] > 0).float()
    return Batch(
        text=text.encode(["put the red block into the bin", "open the drawer"]),
        tokens=torch.randint(tokenizer.codebook_size, (*shape, 2, tokenizer.tokens), generator=random),
        state=states,
        actions=chunks,
    )


def pictures(count: int, side: int, seed: int = 0) -> torch.Tensor:
    """(count, 3, side, side) within -1 ... 1: coarse coloured patches."""
    random = torch.Generator().manual_seed(seed)
    return (
        2.0
        * torch.rand(count, 3, 6, 6, generator=random)
        .repeat_interleave(-(-side // 6), 2)
        .repeat_interleave(-(-side // 6), 3)[..., :side, :side]
        - 1.0
    )


@pytest.fixture
def images(nano: ModelConfig) -> torch.Tensor:
    return pictures(8, nano.tokenizer.resolution)
