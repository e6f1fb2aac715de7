"""What the tokenizer is trained on: pixels, edges, optionally features of a known network and a discriminator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from gr2_policy.model.config import TokenizerLossConfig
from gr2_policy.model.vqgan import Reconstruction

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""A distance (B,) between two batches of images (B, 3, H, W) within -1 ... 1, differentiable."""


class PerceptualWeightsError(ValueError):
    """The weights of a perceptual network cannot be used. The message names the file and the tensor."""


class VggPerceptual(nn.Module):
    """Distance of VGG-16 features, unit-normalised along the channels, at five depths.

    Args:
        weights: safetensors file with the convolutions under torchvision's names, ``features.0.weight`` and so on.

    Raises:
        PerceptualWeightsError: the file cannot be read or lacks a tensor.
    """

    _STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        try:
            tensors = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise PerceptualWeightsError(f"{weights} cannot be read: {error}") from error
        stages: list[nn.Module] = []
        channels, number = 3, 0
        for stage in self._STAGES:
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if stages else []
            for width in stage:
                layer = nn.Conv2d(channels, width, 3, padding=1)
                for part, target in layer.named_parameters():
                    name = f"features.{number}.{part}"
                    if name not in tensors or tensors[name].shape != target.shape:
                        raise PerceptualWeightsError(f"{weights} has no {name} of shape {tuple(target.shape)}")
                    target.data.copy_(tensors[name])
                layers += [layer, nn.ReLU()]
                channels, number = width, number + 2
            number += 1
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """As in :data:`Perceptual`."""
        both = (torch.cat([first, second]) * 0.5 + 0.5 - self.mean) / self.deviation
        total = first.new_zeros(len(first))
        for stage in self.stages:
            both = stage(both)
            one, other = functional.normalize(both, dim=1).chunk(2)
            total = total + (one - other).square().sum(dim=1).mean(dim=(1, 2))
        return total


class Discriminator(nn.Sequential):
    """Patch discriminator: images (B, 3, H, W) to one verdict per patch (B, 1, h, w), larger for real ones."""

    def __init__(self, width: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for factor, stride in ((2, 2), (4, 1)):
            before, after = width * factor // 2, width * factor
            layers += [nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=False)]
            layers += [nn.GroupNorm(1, after), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(4 * width, 1, 4, padding=1))


def edge_distance(first: Tensor, second: Tensor) -> Tensor:
    """Mean absolute difference of horizontal and vertical image gradients at three scales, a scalar."""
    difference = first - second
    total = difference.new_zeros(())
    for _ in range(3):
        total = total + (difference[..., 1:] - difference[..., :-1]).abs().mean()
        total = total + (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
        difference = functional.avg_pool2d(difference, 2)
    return total / 6.0


@dataclass(frozen=True)
class TokenizerLosses:
    """The loss to minimise and what it is made of (unweighted, detached)."""

    total: Tensor
    parts: dict[str, float]


class TokenizerLoss(nn.Module):
    """All of the tokenizer's losses; owns the discriminator.

    Args:
        config: weights and times.
        perceptual: a perceptual distance, where there are weights for one.
    """

    def __init__(self, config: TokenizerLossConfig, perceptual: Perceptual | None = None) -> None:
        super().__init__()
        self.config = config
        self.perceptual = perceptual
        self.critic = Discriminator(config.discriminator_width) if config.adversarial_from >= 0 else None

    def adversarial(self, step: int) -> bool:
        """Whether the discriminator takes part at this step."""
        return self.critic is not None and step >= self.config.adversarial_from

    def generator(
        self, images: Tensor, output: Reconstruction, step: int, last_layer: Tensor, weight: Tensor | None = None
    ) -> TokenizerLosses:
        """Loss of the tokenizer.

        Args:
            images: (B, 3, H, W) what went in.
            output: what came out.
            step: of the training.
            last_layer: weight of the decoder's last convolution; balances the discriminator against the rest.
            weight: (B, 1, H, W) importance of each pixel, e.g. larger for what moves; None: all alike.
        """
        config, quantised = self.config, output.quantised
        difference = (output.images - images).abs()
        pixels = difference.mean() if weight is None else (difference * weight).sum() / (3.0 * weight.sum())
        parts = {"reconstruction": pixels, "edges": edge_distance(output.images, images)}
        if self.perceptual is not None:
            parts["perceptual"] = self.perceptual(output.images, images).mean()
        appearance = sum((getattr(config, name) * value for name, value in parts.items()), pixels.new_zeros(()))
        total = appearance + config.commitment * quantised.commitment + config.codebook * quantised.codebook
        parts |= {"commitment": quantised.commitment, "codebook": quantised.codebook}
        if self.critic is not None and self.adversarial(step):
            verdict = -self.critic(output.images).mean()
            total = total + config.adversarial * _balance(appearance, verdict, last_layer) * verdict
            parts["adversarial"] = verdict
        return TokenizerLosses(total, {name: float(value.detach()) for name, value in parts.items()})

    def discriminator(self, images: Tensor, output: Reconstruction) -> Tensor:
        """Hinge loss of the discriminator, a scalar."""
        if self.critic is None:
            raise ValueError("this loss has no discriminator: tokenizer_loss.adversarial_from is negative")
        real, fake = self.critic(images), self.critic(output.images.detach())
        return 0.5 * (functional.relu(1.0 - real).mean() + functional.relu(1.0 + fake).mean())


def _balance(appearance: Tensor, verdict: Tensor, last_layer: Tensor) -> Tensor:
    """Factor that makes the discriminator pull at the last layer as hard as the rest does (Esser 2021, eq. 7)."""
    (rest,) = torch.autograd.grad(appearance, last_layer, retain_graph=True)
    (critic,) = torch.autograd.grad(verdict, last_layer, retain_graph=True)
    return (rest.norm() / (critic.norm() + 1e-4)).clamp(max=1e4).detach()
