"""Each part, and the whole, can learn one batch by heart; gradients go where they should and nowhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from torch import nn

from gr2_policy.model.action_head import ActionHead, BadPrefix
from gr2_policy.model.config import LossConfig, ModelConfig, TokenizerLossConfig
from gr2_policy.model.gr2 import GR2, Batch, WeightsMismatch, new_in_finetuning
from gr2_policy.model.losses import TokenizerLoss
from gr2_policy.model.vqgan import VqGan


def _optimiser(parameters: Iterable[nn.Parameter], rate: float = 2e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam([parameter for parameter in parameters if parameter.requires_grad], rate)


def _train_tokenizer(config: ModelConfig, images: torch.Tensor, steps: int) -> VqGan:
    torch.manual_seed(0)
    tokenizer, losses = VqGan(config.tokenizer), TokenizerLoss(TokenizerLossConfig())
    optimiser = _optimiser(tokenizer.parameters())
    for step in range(steps):
        output = tokenizer(images, quantise=step >= config.tokenizer.warmup_steps)
        loss = losses.generator(images, output, step, tokenizer.decoder[-2].weight).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return tokenizer.freeze()


def _train(model: GR2, batch: Batch, steps: int) -> None:
    torch.manual_seed(0)
    optimiser = _optimiser(model.parameters())
    model.train()
    for _ in range(steps):
        loss = model(batch).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_tokenizer_learns_images_by_heart(nano: ModelConfig, images: torch.Tensor, codebook: str) -> None:
    config = dataclasses.replace(nano, tokenizer=dataclasses.replace(nano.tokenizer, codebook=codebook))
    tokenizer = _train_tokenizer(config, images, 120)
    error = (tokenizer.decode(tokenizer.encode(images)) - images).abs().mean()
    assert error < 0.35 * (images - images.mean(dim=(0, 2, 3), keepdim=True)).abs().mean()


def test_video_is_learned_by_heart(nano: ModelConfig, batch: Batch) -> None:
    """In pre-training: one view, no state, no action."""
    torch.manual_seed(0)
    model = GR2(nano.for_pretraining())
    video = Batch(batch.text, batch.tokens[:, :, :1])
    _train(model, video, 60)
    context = model.begin(batch.text)
    model.observe(context, video.tokens[:, :1])
    assert torch.equal(model.imagine(context, 2), video.tokens[:, 1:])


def test_actions_are_learned_by_heart(nano: ModelConfig, batch: Batch) -> None:
    """By the head alone, from given queries, with z = 0 and any committed prefix."""
    assert nano.action is not None
    assert batch.actions is not None
    torch.manual_seed(0)
    head = ActionHead(nano.action, 16, 0.8)
    actions, queries = batch.actions.flatten(0, 1), torch.randn(6, 1, 16)
    optimiser = _optimiser(head.parameters(), 3e-3)
    for _ in range(450):
        losses, _ = head.loss(queries, actions, LossConfig(gripper=0.5))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
    head.eval()
    spread = actions[..., :6].abs().mean()
    for committed in (0, nano.action.max_prefix):
        chunk = head.act(queries, actions[:, :committed] if committed else None)
        assert (chunk[..., :6] - actions[..., :6]).abs().mean() < 0.25 * spread
        assert ((chunk[..., 6] > 0.5) == (actions[..., 6] > 0.5)).float().mean() > 0.95
        assert torch.equal(chunk[:, :committed], actions[:, :committed])


def test_the_committed_prefix_decides_what_follows(nano: ModelConfig) -> None:
    """Two demonstrations with the same query: only the prefix tells them apart."""
    assert nano.action is not None
    torch.manual_seed(0)
    head = ActionHead(nano.action, 16, 0.8)
    actions = torch.ones(2, nano.action.horizon, 7)
    actions[1, :, :6] = -1.0
    actions[1, :, 6] = 0.0
    queries = torch.zeros(2, 1, 16)
    optimiser = _optimiser(head.parameters(), 3e-3)
    for _ in range(300):
        loss = head.loss(queries, actions, LossConfig(kl=1.0))[0].total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    chunk = head.eval().act(queries, actions[:, :2])
    assert (chunk[:, :, :6] - actions[:, :, :6]).abs().mean() < 0.25
    assert torch.equal(chunk[:, :, :6].sign(), actions[:, :, :6].sign())
    assert (head.act(queries)[0] - head.act(queries)[1]).abs().max() < 1e-6
    with pytest.raises(BadPrefix, match="4 steps"):
        head.act(queries, actions[:, :4])


def test_the_whole_learns_by_heart(nano: ModelConfig, batch: Batch, images: torch.Tensor) -> None:
    """From pixels: what was shown is imagined, and what was done is done again."""
    assert batch.actions is not None
    assert batch.state is not None
    tokenizer = _train_tokenizer(nano, images, 60)
    shown = torch.arange(12).reshape(2, 3, 2) % 8
    tokens = tokenizer.encode(images)[shown]
    batch = dataclasses.replace(batch, tokens=tokens)
    model = GR2(nano, tokenizer)
    _train(model, batch, 220)
    context = model.begin(batch.text)
    chunk = model.act(context, tokens[:, :1], batch.state[:, :1])
    wanted = batch.actions[:, 0]
    assert (chunk[..., :6] - wanted[..., :6]).abs().mean() < 0.35 * wanted[..., :6].abs().mean()
    assert torch.equal(model.imagine(context, 2), tokens[:, 1:])
    picture = tokenizer.decode(model.imagine(context, 1)[:, 0, 0])
    assert torch.equal(picture, tokenizer.decode(tokens[:, 1, 0]))


def test_gradients_go_everywhere_but_into_the_frozen_parts(nano: ModelConfig, batch: Batch) -> None:
    torch.manual_seed(0)
    model = GR2(dataclasses.replace(nano, state_dropout=0.3)).train()
    for _ in range(8):  # so that states are withheld and prefixes committed in some of them
        model(batch).total.backward()
    for name, parameter in model.named_parameters():
        if name.startswith("tokenizer."):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
    assert not model.tokenizer.training


def test_each_loss_reaches_its_own_part(nano: ModelConfig, batch: Batch) -> None:
    torch.manual_seed(0)
    model = GR2(nano)
    model(dataclasses.replace(batch, actions=None)).total.backward()
    assert model.embedding.action_query.grad is None or not model.embedding.action_query.grad.any()
    assert model.code_out.weight.grad is not None
    assert all(parameter.grad is None for parameter in model.action_head.parameters())


def test_both_losses_are_taken_in_tandem(nano: ModelConfig, batch: Batch) -> None:
    def total(**weights: float) -> float:
        torch.manual_seed(0)
        model = GR2(dataclasses.replace(nano, loss=LossConfig(**weights)))
        return float(model(batch).total.detach())

    video, action = total(video=1.0, pose=0.0, gripper=0.0, kl=0.0), total(video=0.0)
    assert total(video=1.0) == pytest.approx(video + action, rel=1e-5)
    assert video > 1.0
    assert action > 0.1


def test_what_lies_beyond_the_end_of_a_demonstration_does_not_count(nano: ModelConfig, batch: Batch) -> None:
    assert batch.actions is not None
    torch.manual_seed(0)
    model = GR2(nano).eval()
    known = torch.ones(batch.actions.shape[:3], dtype=torch.bool)
    known[..., 5:] = False

    def pose(actions: torch.Tensor) -> float:
        torch.manual_seed(3)
        head, queries = model.action_head, torch.zeros(6, 1, nano.trunk.width)
        head.encode = lambda chunk: (torch.zeros(6, 8), torch.full((6, 8), -9.0))  # type: ignore[method-assign]
        return float(head.loss(queries, actions.flatten(0, 1), LossConfig(), known.flatten(0, 1))[0].pose.detach())

    beyond = batch.actions.clone()
    beyond[:, :, 5:, :6] += 7.0
    assert pose(beyond) == pose(batch.actions)


def test_free_bits_cost_nothing(nano: ModelConfig, batch: Batch) -> None:
    assert nano.action is not None
    assert batch.actions is not None
    torch.manual_seed(0)
    head = ActionHead(nano.action, 16, 0.8)
    actions, queries = batch.actions.flatten(0, 1), torch.randn(6, 1, 16)
    losses, _ = head.loss(queries, actions, LossConfig(pose=0.0, gripper=0.0, kl=1.0, free_bits=100.0))
    losses.total.backward()
    assert float(losses.total.detach()) == pytest.approx(100.0 * nano.action.latent)
    assert head.to_posterior.weight.grad is None or not head.to_posterior.weight.grad.any()


def test_training_repeats_with_its_seed(nano: ModelConfig, batch: Batch) -> None:
    def weights() -> np.ndarray:
        torch.manual_seed(5)
        model = GR2(nano)
        _train(model, batch, 3)
        return torch.cat([value.flatten() for value in model.weights().values()]).numpy()

    np.testing.assert_array_equal(weights(), weights())


def test_pretrained_weights_go_into_the_finetuning_model(nano: ModelConfig) -> None:
    torch.manual_seed(0)
    pretrained, model = GR2(nano.for_pretraining()), GR2(nano)
    new = model.load_pretrained(pretrained.weights())
    assert {name.removeprefix("embedding.").split(".")[0] for name in new} == {
        "state",
        "action_query",
        "action_head",
        "view",
    }
    assert new == new_in_finetuning(model)
    assert "embedding.view.wrist" in new
    assert "embedding.view.head" not in new
    own = model.weights()
    assert set(own) == set(pretrained.weights()) | new
    assert all(torch.equal(own[name], value) for name, value in pretrained.weights().items())


def test_weights_that_do_not_fit_are_named(nano: ModelConfig) -> None:
    model = GR2(nano)
    weights = GR2(nano.for_pretraining()).weights()
    with pytest.raises(WeightsMismatch, match="action_head"):
        model.load_weights(weights)
    without = {name: value for name, value in weights.items() if name != "code_out.bias"}
    with pytest.raises(WeightsMismatch, match=r"code_out\.bias"):
        model.load_pretrained(without)
    with pytest.raises(WeightsMismatch, match="surprise"):
        model.load_pretrained({**weights, "surprise": torch.zeros(1)})
    with pytest.raises(WeightsMismatch, match="float64"):
        model.load_pretrained({**weights, "code_out.bias": weights["code_out.bias"].double()})
