"""The transformer block that everything here is made of, and the initialisation they share."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class LayerCache(Protocol):
    """Where one attention layer keeps the keys and values of tokens it has seen."""

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store those of new tokens (B, heads, n, d) and return all so far (B, heads, length + n, d)."""


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention (B, heads, n, d), with the fused kernel of PyTorch where that is the faster one.

    It is not for bfloat16 on a processor while gradients are wanted: there its forward pass takes several times as long
    as what is written out here.
    """
    if not (query.requires_grad and query.device.type == "cpu" and query.dtype == torch.bfloat16):
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores + torch.zeros(mask.shape, dtype=scores.dtype).masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1, dtype=scores.dtype) @ value


class SelfAttention(nn.Module):
    """Multi-head self-attention with an optional key-value cache."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, cache: LayerCache | None = None, last: int | None = None
    ) -> Tensor:
        """New tokens attend to cached and new ones.

        Args:
            x: (B, n, width).
            mask: (n, length + n) True where they may; None: everywhere.
            cache: of the tokens before.
            last: number of the last tokens that a result is wanted of; None: of all.

        Returns:
            (B, last or n, width).
        """
        batch, count, width = x.shape
        shape = (batch, count, 3, self.heads, width // self.heads)
        query, key, value = self.qkv(x).view(shape).permute(2, 0, 3, 1, 4)
        if cache is not None:
            key, value = cache.extend(key, value)
        if last is not None:
            query, mask = query[:, :, -last:], mask[-last:] if mask is not None else None
        mixed = attend(query, key, value, mask)
        return self.out(mixed.transpose(1, 2).reshape(batch, -1, width))


class CrossAttention(nn.Module):
    """Queries attend to a memory of the same width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, known: Tensor) -> Tensor:
        """x (B, n, width), memory (B, m, width), known (B, m) True where the memory counts -> (B, n, width)."""
        batch, count, width = x.shape
        head = width // self.heads
        query = self.query(x).view(batch, count, self.heads, head).transpose(1, 2)
        key, value = self.key_value(memory).view(batch, -1, 2, self.heads, head).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=known[:, None, None, :])
        return self.out(mixed.transpose(1, 2).reshape(batch, count, width))


class FeedForward(nn.Sequential):
    """Two linear layers with four times the width between them."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class Block(nn.Module):
    """One pre-norm transformer block: 12 width^2 + 13 width parameters, as in GPT-2."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, cache: LayerCache | None = None, last: int | None = None
    ) -> Tensor:
        """(B, n, width) -> (B, last or n, width); all arguments as in :class:`SelfAttention`."""
        added = self.dropout(self.attention(self.attention_norm(x), mask, cache, last))
        x = added + (x if last is None else x[:, -last:])
        return x + self.dropout(self.feed_forward(self.forward_norm(x)))


def initialise(module: nn.Module, gain: float, depth: int = 0) -> None:
    """Normal weights with deviation gain / sqrt(fan in), zero biases.

    Args:
        depth: number of residual blocks inside; what each adds to the residual stream starts 1/sqrt(2 depth) as large.
    """
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):
            deviation = gain / part.in_features**0.5
            if depth and name.endswith(("attention.out", "feed_forward.2")):
                deviation /= (2 * depth) ** 0.5
            nn.init.normal_(part.weight, std=deviation)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def line_positions(length: int, width: int) -> Tensor:
    """Fixed sin-cos positions (length, width) of a sequence, entries within -1 ... 1; the width is even."""
    rates = 1.0 / 100.0 ** (torch.arange(width // 2, device="cpu") / (width // 2))
    angles = torch.arange(length, device="cpu")[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def grid_positions(side: int, width: int) -> Tensor:
    """Fixed 2-D sin-cos positions (side * side, width) of a square grid in row-major order; width a multiple of 4."""
    line = line_positions(side, width // 2)
    rows = line[:, None, :].expand(side, side, -1)
    columns = line[None, :, :].expand(side, side, -1)
    return torch.cat([rows, columns], dim=2).reshape(side * side, width)
