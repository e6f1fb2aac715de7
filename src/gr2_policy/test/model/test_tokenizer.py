from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from gr2_policy.model.codebook import Codebook, codebook_use
from gr2_policy.model.config import ModelConfig, TokenizerConfig, TokenizerLossConfig, load_size
from gr2_policy.model.losses import PerceptualWeightsError, TokenizerLoss, VggPerceptual, edge_distance
from gr2_policy.model.vqgan import VqGan, flip_rate


@pytest.fixture
def tokenizer(nano: ModelConfig) -> VqGan:
    torch.manual_seed(0)
    return VqGan(nano.tokenizer).freeze()


def _unit(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return functional.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_shapes_and_range(tokenizer: VqGan, images: torch.Tensor) -> None:
    config = tokenizer.config
    tokens = tokenizer.encode(images)
    assert tokens.shape == (8, config.tokens)
    assert tokens.dtype == torch.int64
    assert int(tokens.min()) >= 0
    assert int(tokens.max()) < config.codebook_size
    decoded = tokenizer.decode(tokens)
    assert decoded.shape == images.shape
    assert float(decoded.abs().max()) <= 1.0


@pytest.mark.parametrize(("stem", "levels", "downsampling"), [(1, 4, 8), (2, 3, 8), (4, 2, 8), (2, 4, 16), (4, 3, 16)])
def test_every_stem_reaches_its_grid(stem: int, levels: int, downsampling: int) -> None:
    config = TokenizerConfig(
        resolution=32,
        stem=stem,
        encoder_widths=(8,) * levels,
        encoder_kernels=(3,) * (levels - 1) + (1,),
        encoder_blocks=(1,) * levels,
        decoder_widths=(8,) * levels,
        decoder_blocks=(1,) * levels,
    )
    assert config.downsampling == downsampling
    vqgan = VqGan(config)
    output = vqgan(torch.zeros(2, 3, 32, 32), quantise=False)
    assert output.images.shape == (2, 3, 32, 32)
    assert output.quantised.indices.shape == (2 * (32 // downsampling) ** 2,)


@pytest.mark.parametrize("size", ["nano", "mini"])
def test_receptive_field_is_what_the_configuration_says(size: str) -> None:
    config = load_size(size).tokenizer
    encoder = VqGan(config).double().encoder
    image = torch.randn(1, 3, config.resolution, config.resolution, dtype=torch.float64, requires_grad=True)
    middle = config.grid // 2
    encoder(image)[0, :, middle, middle].square().sum().backward()
    assert image.grad is not None
    touched = (image.grad[0].abs().amax(dim=0) > 0).nonzero()
    extent = touched.amax(dim=0) - touched.amin(dim=0) + 1
    assert extent.tolist() == [config.receptive_field] * 2


def test_unchanged_surroundings_never_flip_a_token(tokenizer: VqGan, images: torch.Tensor) -> None:
    """A hand moves in one corner; no token more than a patch away may change."""
    second = images.clone()
    second[:, :, :8, :8] = -second[:, :, :8, :8]
    calm = flip_rate(tokenizer, images, second, neighbourhood=1)
    assert calm.unchanged > 0
    assert calm.rate == 0.0
    everything = flip_rate(tokenizer, images, images)
    assert everything == dataclasses.replace(everything, rate=0.0, unchanged=8 * 16)
    assert flip_rate(tokenizer, images, -images).unchanged == 0


def test_flip_rate_counts_flips(tokenizer: VqGan, images: torch.Tensor) -> None:
    shift = {"by": 0}

    def fake(frames: torch.Tensor) -> torch.Tensor:
        tokens = torch.zeros(len(frames), 16, dtype=torch.int64)
        tokens[:, :4] = shift["by"]
        shift["by"] += 1
        return tokens

    tokenizer.encode = fake  # type: ignore[method-assign]
    assert flip_rate(tokenizer, images, images).rate == pytest.approx(0.25)


def test_tokens_do_not_depend_on_autocast(tokenizer: VqGan, images: torch.Tensor) -> None:
    plain = tokenizer.encode(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tokenizer.encode(images), plain)


def test_identity_follows_what_makes_tokens(nano: ModelConfig, tokenizer: VqGan) -> None:
    before = tokenizer.identity()
    with torch.no_grad():
        next(tokenizer.decoder.parameters()).add_(1.0)
    assert tokenizer.identity() == before
    with torch.no_grad():
        next(tokenizer.encoder.parameters()).view(-1)[0].add_(1e-6)
    assert tokenizer.identity() != before


def test_usage_and_perplexity() -> None:
    even = codebook_use(torch.arange(8).repeat(3), 8)
    assert even.usage == 1.0
    assert even.perplexity == pytest.approx(8.0)
    one = codebook_use(torch.zeros(10, dtype=torch.int64), 8)
    assert one.usage == 1 / 8
    assert one.perplexity == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["ema", "gradient"])
def test_codebook_is_drawn_from_the_data_after_the_warm_up(nano: ModelConfig, kind: str) -> None:
    """All data lies near one direction: random codes would share a handful, drawn ones are used alike."""
    torch.manual_seed(0)
    codebook = Codebook(dataclasses.replace(nano.tokenizer, codebook=kind)).train()
    data = functional.normalize(torch.tensor([1.0] + [0.0] * 7) + 0.05 * torch.randn(512, 8), dim=1)
    warm = codebook(data, quantise=False)
    assert torch.equal(warm.vectors, data)
    assert float(warm.commitment) == 0.0
    assert not codebook.ready
    before = codebook_use(warm.indices, 64)
    after = codebook_use(codebook(data).indices, 64)
    assert codebook.ready
    assert before.perplexity < 12
    assert after.perplexity > 40


def test_fewer_vectors_than_codes_still_make_a_codebook(nano: ModelConfig) -> None:
    codebook = Codebook(nano.tokenizer).train()
    codebook(_unit(10, 8))
    assert codebook.ready
    assert codebook.codes.isfinite().all()
    assert torch.allclose(codebook.codes.norm(dim=1), torch.ones(64))


@pytest.mark.parametrize("kind", ["ema", "gradient"])
def test_dead_codes_are_revived(nano: ModelConfig, kind: str) -> None:
    torch.manual_seed(0)
    codebook = Codebook(dataclasses.replace(nano.tokenizer, codebook=kind, ema_decay=0.5)).train()
    codebook(_unit(256, 8))
    with torch.no_grad():
        codebook.codes[10:] = codebook.codes[0]  # 54 codes that nothing can be nearest to first
    data = _unit(256, 8, seed=1)
    assert codebook_use(codebook.nearest(data), 64).usage < 0.2
    for _ in range(12):
        codebook(data)
    assert codebook_use(codebook.nearest(data), 64).usage > 0.7


def test_evaluation_changes_nothing(nano: ModelConfig) -> None:
    codebook = Codebook(nano.tokenizer).eval()
    before = {name: value.clone() for name, value in codebook.state_dict().items()}
    codebook(_unit(256, 8))
    assert all(torch.equal(value, before[name]) for name, value in codebook.state_dict().items())


def test_gradient_passes_straight_through(nano: ModelConfig) -> None:
    vectors = _unit(32, 8).requires_grad_()
    quantised = Codebook(nano.tokenizer).eval()(vectors)
    quantised.vectors.sum().backward()
    assert vectors.grad is not None
    assert torch.equal(vectors.grad, torch.ones_like(vectors))
    assert float(quantised.commitment.detach()) > 0.0


def test_discriminator_joins_at_its_step_and_learns(nano: ModelConfig, images: torch.Tensor) -> None:
    torch.manual_seed(0)
    tokenizer = VqGan(nano.tokenizer)
    losses = TokenizerLoss(TokenizerLossConfig(adversarial_from=5, discriminator_width=8))
    last = tokenizer.decoder[-2].weight
    output = tokenizer(images)
    assert "adversarial" not in losses.generator(images, output, 4, last).parts
    assert not losses.adversarial(4)
    assert losses.adversarial(5)
    joined = losses.generator(images, output, 5, last)
    assert "adversarial" in joined.parts
    joined.total.backward()
    assert last.grad is not None
    assert last.grad.isfinite().all()
    assert losses.critic is not None
    optimiser = torch.optim.Adam(losses.critic.parameters(), 1e-3)
    course = []
    for _ in range(20):
        loss = losses.discriminator(images, output)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        course.append(float(loss.detach()))
    assert course[-1] < 0.7 * course[0]
    with pytest.raises(ValueError, match="no discriminator"):
        TokenizerLoss(TokenizerLossConfig()).discriminator(images, output)


def test_importance_weights_and_perceptual_distance_count(nano: ModelConfig, images: torch.Tensor) -> None:
    torch.manual_seed(0)
    tokenizer = VqGan(nano.tokenizer).eval()
    output, last = tokenizer(images), tokenizer.decoder[-2].weight
    plain = TokenizerLoss(TokenizerLossConfig())
    weight = torch.zeros(8, 1, 32, 32)
    weight[:, :, 8:16, 8:16] = 2.0
    expected = (output.images - images)[..., 8:16, 8:16].abs().mean()
    weighted = plain.generator(images, output, 0, last, weight).parts["reconstruction"]
    assert weighted == pytest.approx(float(expected.detach()), rel=1e-5)
    extra = TokenizerLoss(TokenizerLossConfig(), perceptual=lambda first, second: torch.full((len(first),), 3.0))
    parts = extra.generator(images, output, 0, last)
    assert parts.parts["perceptual"] == 3.0
    assert float((parts.total - plain.generator(images, output, 0, last).total).detach()) == pytest.approx(
        3.0, rel=1e-4
    )
    assert float(edge_distance(images, images)) == 0.0


def test_perceptual_weights_are_checked(tmp_path: Path) -> None:
    with pytest.raises(PerceptualWeightsError, match=r"none\.safetensors"):
        VggPerceptual(tmp_path / "none.safetensors")
    poor = tmp_path / "poor.safetensors"
    save_file({"features.0.weight": torch.zeros(64, 3, 3, 3)}, poor)
    with pytest.raises(PerceptualWeightsError, match=r"features\.0\.bias"):
        VggPerceptual(poor)


def test_perceptual_distance_looks_at_features(tmp_path: Path) -> None:
    """With random weights: zero for equal images, grows with the difference, pulls at the images, learns nothing."""
    torch.manual_seed(0)
    tensors, channels, number = {}, 3, 0
    for stage in VggPerceptual._STAGES:
        for width in stage:
            tensors[f"features.{number}.weight"] = torch.randn(width, channels, 3, 3) * (2.0 / (9 * channels)) ** 0.5
            tensors[f"features.{number}.bias"] = torch.zeros(width)
            channels, number = width, number + 2
        number += 1
    path = tmp_path / "vgg16.safetensors"
    save_file(tensors, path)
    perceptual = VggPerceptual(path)
    assert number == 31  # torchvision's numbering: the last convolution is features.28
    images = 2.0 * torch.rand(2, 3, 32, 32) - 1.0
    noise = torch.randn_like(images)
    near, far = perceptual(images, images + 0.05 * noise), perceptual(images, images + 0.5 * noise)
    assert near.shape == (2,)
    assert torch.equal(perceptual(images, images), torch.zeros(2))
    assert (near > 0.0).all()
    assert (far > 3.0 * near).all()
    first = images.clone().requires_grad_()
    perceptual(first, images + 0.5 * noise).sum().backward()
    assert first.grad is not None
    assert first.grad.isfinite().all()
    assert first.grad.abs().sum() > 0.0
    assert all(parameter.grad is None for parameter in perceptual.parameters())
