"""The trunk: a causal transformer shaped like GPT-2, and the cache that lets it go on where it stopped."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from gr2_policy.model.config import TrunkConfig
from gr2_policy.model.layers import Block, LayerCache, initialise


class CacheFull(RuntimeError):
    """More tokens were appended to a cache than it was made for. The message gives the numbers."""


class Cache(Protocol):
    """What a trunk needs of a memory of the tokens before."""

    def layer(self, index: int) -> LayerCache:
        """The part that belongs to one layer."""

    def begin(self, count: int) -> None:
        """So many tokens are about to be appended to every layer.

        Raises:
            CacheFull: there is no room for them.
        """

    def end(self, count: int) -> None:
        """They were."""


class KVCache:
    """Keys and values of the tokens seen so far, in memory that is allocated once.

    Args:
        config: of the trunk it serves.
        batch: sequences side by side.
        capacity: most tokens of a sequence.
    """

    def __init__(
        self,
        config: TrunkConfig,
        batch: int,
        capacity: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (config.layers, batch, config.heads, capacity, config.width // config.heads)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)
        self.length = 0
        self._layers = list(zip(self.keys, self.values, strict=True))

    @property
    def capacity(self) -> int:
        """Most tokens it can hold."""
        return int(self.keys.shape[3])

    def truncate(self, length: int) -> None:
        """Forget all tokens from ``length`` on; costs nothing."""
        if not 0 <= length <= self.length:
            raise ValueError(f"a cache of {self.length} tokens cannot be cut to {length}")
        self.length = length

    def layer(self, index: int) -> CachedLayer:
        """As in :class:`Cache`."""
        return CachedLayer(self, *self._layers[index])

    def begin(self, count: int) -> None:
        """As in :class:`Cache`."""
        if self.length + count > self.capacity:
            raise CacheFull(f"{count} tokens do not fit after {self.length} into a cache of {self.capacity}")

    def end(self, count: int) -> None:
        """As in :class:`Cache`."""
        self.length += count


class CachedLayer:
    """One layer's view of a :class:`KVCache`."""

    def __init__(self, cache: KVCache, keys: Tensor, values: Tensor) -> None:
        self._cache = cache
        self._keys, self._values = keys, values

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """As in :class:`gr2_policy.model.layers.LayerCache`."""
        start, count = self._cache.length, keys.shape[2]
        self._keys.narrow(2, start, count).copy_(keys)
        self._values.narrow(2, start, count).copy_(values)
        end = start + count
        return self._keys.narrow(2, 0, end).to(keys.dtype), self._values.narrow(2, 0, end).to(values.dtype)


class Trunk(nn.Module):
    """The blocks and the norm after them."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        initialise(self, config.init_gain, config.layers)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, cache: Cache | None = None, last: int | None = None
    ) -> Tensor:
        """Embedded tokens to features.

        Args:
            x: (B, n, width) new tokens.
            mask: (n, cached + n) True where a new token may look; None: everywhere.
            cache: what came before; the new tokens are appended to it.
            last: number of the last tokens whose features are wanted; the last block is spared the others.

        Returns:
            (B, last or n, width).

        Raises:
            CacheFull: the cache has no room for them.
        """
        count, final = x.shape[1], len(self.blocks) - 1
        if cache is not None:
            cache.begin(count)
        for index, block in enumerate(self.blocks):
            x = block(x, mask, cache.layer(index) if cache is not None else None, last if index == final else None)
        if cache is not None:
            cache.end(count)
        return self.norm(x)
