"""The trunk: a causal transformer shaped like GPT-2, and the cache that lets it go on where it stopped."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gr2_policy.model.config import TrunkConfig
from gr2_policy.model.layers import Block, initialise


class CacheFull(RuntimeError):
    """More tokens were appended to a cache than it was made for. The message gives the numbers."""


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
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.length = 0

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
        """The part that belongs to one layer."""
        return CachedLayer(self, index)


class CachedLayer:
    """One layer's view of a :class:`KVCache`."""

    def __init__(self, cache: KVCache, index: int) -> None:
        self._cache = cache
        self._index = index

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """As in :class:`gr2_policy.model.layers.LayerCache`."""
        cache, start = self._cache, self._cache.length
        end = start + keys.shape[2]
        cache.keys[self._index, :, :, start:end] = keys
        cache.values[self._index, :, :, start:end] = values
        seen_keys, seen_values = cache.keys[self._index, :, :, :end], cache.values[self._index, :, :, :end]
        return seen_keys.to(keys.dtype), seen_values.to(values.dtype)


class Trunk(nn.Module):
    """The blocks and the norm after them."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        initialise(self, config.init_gain, config.layers)

    def forward(self, x: Tensor, mask: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Embedded tokens to features.

        Args:
            x: (B, n, width) new tokens.
            mask: (n, cached + n) True where a new token may look; None: everywhere.
            cache: what came before; the new tokens are appended to it.

        Raises:
            CacheFull: the cache has no room for them.
        """
        if cache is not None and cache.length + x.shape[1] > cache.capacity:
            raise CacheFull(f"{x.shape[1]} tokens do not fit after {cache.length} into a cache of {cache.capacity}")
        for index, block in enumerate(self.blocks):
            x = block(x, mask, cache.layer(index) if cache is not None else None)
        if cache is not None:
            cache.length += x.shape[1]
        return self.norm(x)
