"""Who sees whom, by changing something and looking at what moves."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gr2_policy.model.gr2 import GR2, Batch, WindowFull
from gr2_policy.model.tokens import Kind, Layout, visible


def _moved(model: GR2, batch: Batch, **changes: torch.Tensor) -> torch.Tensor:
    """(T, timestep) bool: tokens whose features differ after the change."""
    with torch.no_grad():
        before = model.features(batch)
        after = model.features(dataclasses.replace(batch, **changes))
    return (before - after).abs().amax(dim=(0, 3)) > 1e-6


def _kinds(model: GR2) -> torch.Tensor:
    return model.layout.window_slots(1).kind


def test_layout_is_the_picture() -> None:
    layout = Layout(text=2, views=2, grid=3, state=1, actions=1)
    slots = layout.window_slots(2)
    assert len(slots) == 2 * layout.timestep == 24
    assert slots.kind[:12].tolist() == [Kind.TEXT] * 2 + [Kind.STATE] + [Kind.IMAGE] * 8 + [Kind.ACTION]
    assert slots.index[:12].tolist() == [0, 1, 0, 0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert slots.view[:12].tolist() == [0] * 7 + [1] * 4 + [0]
    assert slots.time.tolist() == [0] * 12 + [1] * 12
    assert visible(slots, slots).diagonal().all()


@pytest.mark.parametrize("time", [1, 2])
def test_a_change_never_moves_anything_earlier(model: GR2, batch: Batch, time: int) -> None:
    tokens, state = batch.tokens.clone(), batch.state.clone()  # type: ignore[union-attr]
    tokens[:, time] = (tokens[:, time] + 1) % 64
    state[:, time] += 1.0
    moved = _moved(model, batch, tokens=tokens, state=state)
    assert not moved[:time].any()
    assert moved[time:].any(dim=1).all()


def test_image_tokens_never_reach_the_action_before(model: GR2, batch: Batch) -> None:
    action = _kinds(model) == Kind.ACTION
    for time in (1, 2):
        tokens = batch.tokens.clone()
        tokens[:, time] = (tokens[:, time] + 1) % 64
        moved = _moved(model, batch, tokens=tokens)
        assert not moved[:time, action].any()
        assert moved[time:, action].all()


def test_a_token_moves_only_those_that_come_after_it(model: GR2, batch: Batch) -> None:
    """Token 5 of the head view at t = 1: same or larger index in both views, the action, and all of t = 2."""
    slots = model.layout.window_slots(1)
    tokens = batch.tokens.clone()
    tokens[:, 1, 0, 4] = (tokens[:, 1, 0, 4] + 1) % 64
    moved = _moved(model, batch, tokens=tokens)
    expected = ((slots.kind == Kind.IMAGE) & (slots.index >= 5)) | (slots.kind == Kind.ACTION)
    assert not moved[0].any()
    assert torch.equal(moved[1], expected)
    assert moved[2].all()


def test_a_state_reaches_the_action_but_not_its_own_frame(model: GR2, batch: Batch) -> None:
    kinds = _kinds(model)
    state = batch.state.clone()  # type: ignore[union-attr]
    state[:, 1] += 1.0
    moved = _moved(model, batch, state=state)
    assert not moved[0].any()
    assert torch.equal(moved[1], (kinds == Kind.STATE) | (kinds == Kind.ACTION))
    assert moved[2].all()


def test_an_action_query_moves_only_itself(model: GR2, batch: Batch) -> None:
    with torch.no_grad():
        before = model.features(batch)
        model.embedding.action_query += torch.randn(model.embedding.action_query.shape)
        after = model.features(batch)
    moved = (before - after).abs().amax(dim=(0, 1, 3)) > 1e-6
    assert torch.equal(moved, _kinds(model) == Kind.ACTION)


def test_instructions_do_not_mix_and_padding_does_not_count(model: GR2, batch: Batch) -> None:
    """The second instruction is shorter: what stands in its padding must not matter."""
    assert not batch.text.known[1].all()
    features = batch.text.features.clone()
    features[1][~batch.text.known[1]] = 9.0
    assert not _moved(model, batch, text=dataclasses.replace(batch.text, features=features)).any()


def test_too_long_a_window_is_refused(model: GR2, batch: Batch) -> None:
    tokens = torch.cat([batch.tokens, batch.tokens], dim=1)
    with pytest.raises(WindowFull, match="3 timesteps"):
        model(dataclasses.replace(batch, tokens=tokens))
    with pytest.raises(ValueError, match="views"):
        model(dataclasses.replace(batch, tokens=batch.tokens[:, :, :1]))
