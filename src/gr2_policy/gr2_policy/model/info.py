"""How large a model is, part by part, without allocating it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from gr2_policy.model.config import ModelConfig, load_size
from gr2_policy.model.gr2 import GR2
from gr2_policy.model.text import PARAMETERS


@dataclass(frozen=True)
class PartSize:
    """Parameters of one part.

    Attributes:
        name: of the part.
        trainable, frozen: number of parameters that the policy's training changes, and that it does not.
    """

    name: str
    trainable: int
    frozen: int


@dataclass(frozen=True)
class ModelInfo:
    """Sizes of a model.

    Attributes:
        config: what it is.
        parts: in the order of the data's way through the model.
    """

    config: ModelConfig
    parts: tuple[PartSize, ...]

    @property
    def trainable(self) -> int:
        """Parameters that the policy's training changes."""
        return sum(part.trainable for part in self.parts)

    @property
    def frozen(self) -> int:
        """Parameters of the tokenizer and the text encoder."""
        return sum(part.frozen for part in self.parts)

    @property
    def total(self) -> int:
        """All parameters."""
        return self.trainable + self.frozen


def count_parameters(module: nn.Module) -> int:
    """Numbers in the parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def info(size: str | ModelConfig) -> ModelInfo:
    """Sizes of a named size or of any configuration.

    Raises:
        ConfigError: there is no such size.
    """
    config = load_size(size) if isinstance(size, str) else size
    with torch.device("meta"):
        model = GR2(config)
    tokenizer = model.tokenizer
    codes = config.tokenizer.codebook_size * config.tokenizer.code_dim  # a buffer where they follow a moving average
    named = {"text resampler": model.text, "trunk": model.trunk}
    if config.action:
        named["action head"] = model.action_head
    trained = {name: count_parameters(module) for name, module in named.items()}
    everything = count_parameters(model) - count_parameters(tokenizer)
    trained["tokens and code logits"] = everything - sum(trained.values())
    parts = (
        PartSize(f"text encoder ({config.text.encoder})", 0, PARAMETERS[config.text.encoder]),
        PartSize("tokenizer encoder", 0, count_parameters(tokenizer.encoder)),
        PartSize("tokenizer codes", 0, codes),
        PartSize("tokenizer decoder", 0, count_parameters(tokenizer.decoder)),
        *(PartSize(name, count, 0) for name, count in trained.items()),
    )
    return ModelInfo(config, parts)
