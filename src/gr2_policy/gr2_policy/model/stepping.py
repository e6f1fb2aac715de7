"""One step of generation: one more token of every view. Plainly, or with shapes that never change, as CUDA graphs need.

On a processor a step costs what its weights and the cache weigh, so the cache is read as far as it is filled. On a GPU
a step this small is over before the next kernel can be launched from Python: there the whole step is recorded once,
with the whole cache under a mask, and replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from gr2_policy.model.trunk import CacheFull, KVCache, Trunk

_ALIGN = 64  # tokens; fused attention wants masks whose rows are aligned


Step = Callable[[Tensor], Tensor]
"""Embedded tokens (B, n, width), which see all so far and each other, to logits (B, n, codes) in float32."""


class Stepper(Protocol):
    """Generates from where a cache stands, one frame at a time."""

    def begin(self, cache: KVCache) -> Step:
        """Go on from here."""

    def end(self, cache: KVCache) -> None:
        """What was generated is part of the cache from now on."""


class EagerStepper:
    """Step by step through the trunk.

    Args:
        trunk, code_out: of the model.
    """

    def __init__(self, trunk: Trunk, code_out: nn.Linear) -> None:
        self._modules = (trunk, code_out)  # no submodules: they belong to the model

    def begin(self, cache: KVCache) -> Step:
        """As in :class:`Stepper`."""
        trunk, code_out = self._modules

        def step(x: Tensor) -> Tensor:
            logits: Tensor = code_out(trunk(x, None, cache))
            return logits.float()

        return step

    def end(self, cache: KVCache) -> None:
        """As in :class:`Stepper`; nothing is left to do."""


class _StaticLayer:
    """As :class:`gr2_policy.model.trunk.CachedLayer`: writes at places that a tensor names, returns all there is."""

    def __init__(self, keys: Tensor, values: Tensor, places: Tensor) -> None:
        self._keys, self._values, self._places = keys, values, places

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self._keys.index_copy_(2, self._places, keys)
        self._values.index_copy_(2, self._places, values)
        return self._keys, self._values


class _StaticCache:
    """As :class:`gr2_policy.model.trunk.KVCache`, without a number that changes."""

    def __init__(self, keys: Tensor, values: Tensor, places: Tensor) -> None:
        self._layers = [_StaticLayer(key, value, places) for key, value in zip(keys, values, strict=True)]

    def layer(self, index: int) -> _StaticLayer:
        return self._layers[index]

    def begin(self, count: int) -> None:
        pass  # the stepper looks after the room

    def end(self, count: int) -> None:
        pass


class StaticStepper:
    """Steps of one shape, in one place of memory: :meth:`compute` can be recorded, or compiled, once for all.

    Args:
        trunk, code_out: of the model, on their device.
        tokens: of a step, one for each view.
        capacity: most tokens of a sequence.
        compiled: compile :meth:`compute`; the first step then takes a minute.
    """

    _keys: Tensor
    _values: Tensor
    _cache: _StaticCache
    _input: Tensor

    def __init__(self, trunk: Trunk, code_out: nn.Linear, tokens: int, capacity: int, compiled: bool = False) -> None:
        self._modules = (trunk, code_out)
        device = code_out.weight.device
        self._order = torch.arange(-(-capacity // _ALIGN) * _ALIGN, device=device)
        self._places = torch.zeros(tokens, device=device, dtype=torch.long)
        self._batch, self._first, self._steps = 0, 0, 0
        self._compute: Callable[[], Tensor] = self.compute
        if compiled:
            self._compute = torch.compile(self.compute, fullgraph=True, dynamic=False)

    def compute(self) -> Tensor:
        """One step on the buffers of this object: logits (B, tokens, codes), and the places move on."""
        trunk, code_out = self._modules
        mask = (self._order[None, :] <= self._places[-1]).expand(len(self._places), -1)
        hidden = trunk(self._input, mask, self._cache)
        self._places += len(self._places)
        logits: Tensor = code_out(hidden)
        return logits.float()

    def begin(self, cache: KVCache) -> Step:
        """As in :class:`Stepper`."""
        if cache.keys.shape[1] != self._batch:
            self._allocate(cache.keys.shape[1])
            self._prepare(cache)
        self._go_to(cache)
        return self._step

    def end(self, cache: KVCache) -> None:
        """As in :class:`Stepper`."""
        count = self._steps * len(self._places)
        begin, end = self._first, self._first + count
        cache.begin(count)
        cache.keys[..., begin:end, :] = self._keys[..., begin:end, :]
        cache.values[..., begin:end, :] = self._values[..., begin:end, :]
        cache.end(count)

    def _prepare(self, cache: KVCache) -> None:
        """Called when the buffers are new; for what is done once."""

    def _run(self) -> Tensor:
        return self._compute()

    def _allocate(self, batch: int) -> None:
        trunk, code_out = self._modules
        config, weight = trunk.config, code_out.weight
        shape = (config.layers, batch, config.heads, len(self._order), config.width // config.heads)
        # zeros: what is masked still takes part with weight zero, and zero times a stray infinity is none
        self._keys = torch.zeros(shape, device=weight.device, dtype=weight.dtype)
        self._values = torch.zeros_like(self._keys)
        self._cache = _StaticCache(self._keys, self._values, self._places)
        self._input = torch.zeros(batch, len(self._places), config.width, device=weight.device, dtype=weight.dtype)
        self._batch = batch

    def _go_to(self, cache: KVCache) -> None:
        length = cache.length
        self._keys[..., :length, :] = cache.keys[..., :length, :]
        self._values[..., :length, :] = cache.values[..., :length, :]
        self._places.copy_(length + torch.arange(len(self._places), device=self._places.device))
        self._first, self._steps = length, 0

    def _step(self, x: Tensor) -> Tensor:
        self._steps += 1
        end = self._first + self._steps * len(self._places)
        if end > len(self._order):
            raise CacheFull(f"{end} tokens do not fit into a cache of {len(self._order)}")
        self._input.copy_(x)
        return self._run()


class GraphStepper(StaticStepper):
    """Steps recorded as one CUDA graph, at the first frame. Arguments as in :class:`StaticStepper`."""

    _graph: torch.cuda.CUDAGraph
    _logits: Tensor

    def _prepare(self, cache: KVCache) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries and compilers set themselves up outside of the recording
            for _ in range(3):
                self._go_to(cache)
                self._compute()
        torch.cuda.current_stream().wait_stream(stream)
        self._go_to(cache)
        self._graph = torch.cuda.CUDAGraph()
        # other threads, which act meanwhile, are none of this recording's business
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._logits = self._compute()

    def _run(self) -> Tensor:
        self._graph.replay()
        return self._logits.clone()
