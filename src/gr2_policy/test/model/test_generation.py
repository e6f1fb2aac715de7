"""Cached inference against the whole window at once, and what is drawn."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gr2_policy.model.gr2 import GR2, Batch, WindowFull
from gr2_policy.model.trunk import CacheFull, KVCache


def _part(batch: Batch, begin: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
    assert batch.state is not None
    return batch.tokens[:, begin:end], batch.state[:, begin:end]


@torch.no_grad()
def _uncached(model: GR2, batch: Batch, frames: int) -> torch.Tensor:
    """Greedy generation of the last frames, everything computed anew for every token."""
    tokens = batch.tokens.clone()
    layout, begin = model.layout, tokens.shape[1] - frames
    tokens[:, begin:] = 0
    for time in range(begin, tokens.shape[1]):
        for index in range(layout.grid):
            # the states of imagined frames are unknown
            state = model.embedding.state
            known = torch.arange(tokens.shape[1]).expand(2, -1) < begin
            original = state.forward
            state.forward = lambda given, _, known=known, original=original: original(given, known)  # type: ignore[method-assign]
            try:
                hidden = model.features(dataclasses.replace(batch, tokens=tokens))
            finally:
                state.forward = original  # type: ignore[method-assign]
            images = hidden[:, time, layout.text + layout.state : layout.observed]
            images = images.unflatten(1, (layout.views, layout.grid + 1))
            tokens[:, time, :, index] = model.code_out(images[:, :, index]).argmax(dim=-1)
    return tokens[:, begin:]


@pytest.mark.parametrize("frames", [1, 2])
def test_cached_generation_equals_uncached(model: GR2, batch: Batch, frames: int) -> None:
    context = model.begin(batch.text)
    seen = batch.tokens.shape[1] - frames
    model.observe(context, *_part(batch, 0, seen))
    assert torch.equal(model.imagine(context, frames), _uncached(model, batch, frames))


def test_frame_by_frame_equals_the_whole_window(model: GR2, batch: Batch) -> None:
    with torch.no_grad():
        whole = model.features(batch)[:, :, model.layout.observed :]
    context, together = model.begin(batch.text), model.begin(batch.text)
    for time in range(batch.tokens.shape[1]):
        queries = model.observe(context, *_part(batch, time, time + 1))
        torch.testing.assert_close(queries, whole[:, time], atol=1e-5, rtol=1e-4)
    last = model.observe(together, *_part(batch, 0, batch.tokens.shape[1]))
    torch.testing.assert_close(last, whole[:, -1], atol=1e-5, rtol=1e-4)
    assert context.starts == together.starts
    assert context.cache.length == together.cache.length == len(context.slots)


def test_imagination_leaves_no_trace(model: GR2, batch: Batch) -> None:
    context, undisturbed = model.begin(batch.text), model.begin(batch.text)
    for one in (context, undisturbed):
        model.observe(one, *_part(batch, 0, 1))
    first = model.imagine(context, 2)
    assert torch.equal(model.imagine(context, 2), first)
    chunk = model.act(context, *_part(batch, 1, 2))
    assert torch.equal(chunk, model.act(undisturbed, *_part(batch, 1, 2)))


def test_rewinding_is_forgetting(model: GR2, batch: Batch) -> None:
    context, fresh = model.begin(batch.text), model.begin(batch.text)
    model.observe(context, *_part(batch, 0, 3))
    context.rewind(1)
    model.observe(fresh, *_part(batch, 0, 1))
    assert torch.equal(
        model.act(context, *_part(batch, 2, 3)).isfinite(), model.act(fresh, *_part(batch, 2, 3)).isfinite()
    )
    torch.testing.assert_close(model.imagine(context), model.imagine(fresh))
    context.rewind(1), fresh.rewind(1)
    torch.testing.assert_close(model.act(context, *_part(batch, 2, 3)), model.act(fresh, *_part(batch, 2, 3)))


def test_draws_repeat_with_their_seed(model: GR2, batch: Batch) -> None:
    context = model.begin(batch.text)
    model.observe(context, *_part(batch, 0, 1))

    def frame(seed: int) -> torch.Tensor:
        return model.imagine(context, 1, temperature=1.0, top_k=20, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(frame(3), frame(3))
    assert not torch.equal(frame(3), frame(4))

    def chunk(seed: int | None) -> torch.Tensor:
        context.rewind(1)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return model.act(context, *_part(batch, 1, 2), sample=seed is not None, generator=generator)

    assert torch.equal(chunk(3), chunk(3))
    assert not torch.equal(chunk(3), chunk(4))
    assert torch.equal(chunk(None), chunk(None))


def test_top_one_is_greedy(model: GR2, batch: Batch) -> None:
    context = model.begin(batch.text)
    model.observe(context, *_part(batch, 0, 1))
    assert torch.equal(model.imagine(context, 1, temperature=1.0, top_k=1), model.imagine(context, 1))


def test_a_full_window_is_refused(model: GR2, batch: Batch) -> None:
    context = model.begin(batch.text)
    model.observe(context, *_part(batch, 0, 3))
    with pytest.raises(WindowFull, match="after 3 into a window of 3"):
        model.observe(context, *_part(batch, 0, 1))
    with pytest.raises(WindowFull):
        model.imagine(context)


def test_a_full_cache_is_refused(model: GR2) -> None:
    cache = KVCache(model.config.trunk, batch=1, capacity=4)
    with pytest.raises(CacheFull, match="5 tokens"):
        model.trunk(torch.zeros(1, 5, model.config.trunk.width), None, cache)
    with pytest.raises(ValueError, match="cannot be cut"):
        cache.truncate(3)
