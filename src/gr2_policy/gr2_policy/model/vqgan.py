"""The image tokenizer: images to a grid of codes and back.

The encoder is made for stable tokens. It has no normalisation over the image and a receptive field of a few patches, so
a token only depends on what is near it; and it always runs in one precision, whatever surrounds it. What does not
change in the picture then does not change in the tokens (:func:`flip_rate` measures it). The decoder is free of this.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gr2_policy.model.codebook import Codebook, Quantised
from gr2_policy.model.config import TokenizerConfig, to_dict


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        x = functional.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias)
        return x.permute(0, 3, 1, 2)


class LocalBlock(nn.Module):
    """Residual block of the encoder: one convolution that looks around and one that does not.

    Where the kernel is 1 it is a feed-forward layer with the usual factor four between its two layers.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        hidden = channels if kernel > 1 else 4 * channels
        self.body = nn.Sequential(
            ChannelNorm(channels),
            nn.Conv2d(channels, hidden, kernel, padding=kernel // 2),
            nn.SiLU(),
            nn.Conv2d(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        return x + self.body(x)


class Encoder(nn.Sequential):
    """Images (B, 3, H, W) to unnormalised code vectors (B, code_dim, grid, grid)."""

    def __init__(self, config: TokenizerConfig) -> None:
        widths = config.encoder_widths
        layers: list[nn.Module] = [nn.PixelUnshuffle(config.stem), nn.Conv2d(3 * config.stem**2, widths[0], 1)]
        for level, (width, kernel) in enumerate(zip(widths, config.encoder_kernels, strict=True)):
            if level:
                layers += [nn.PixelUnshuffle(2), nn.Conv2d(4 * widths[level - 1], width, 1)]
            layers += [LocalBlock(width, kernel) for _ in range(config.encoder_blocks[level])]
        super().__init__(*layers, ChannelNorm(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], config.code_dim, 1))


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(next(groups for groups in (32, 16, 8, 4, 2, 1) if channels % groups == 0), channels)


class WideBlock(nn.Module):
    """Residual block of the decoder: two 3x3 convolutions under group norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _group_norm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            _group_norm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        return x + self.body(x)


class GridAttention(nn.Module):
    """Single-head self-attention between the places of a grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        query, key, value = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return x + self.out(mixed.transpose(1, 2).reshape(x.shape))


class Decoder(nn.Sequential):
    """Code vectors (B, code_dim, grid, grid) to images (B, 3, H, W)."""

    def __init__(self, config: TokenizerConfig) -> None:
        widths = config.decoder_widths
        layers: list[nn.Module] = [nn.Conv2d(config.code_dim, widths[0], 3, padding=1)]
        if config.decoder_attention:
            layers += [WideBlock(widths[0]), GridAttention(widths[0])]
        for level, (width, blocks) in enumerate(zip(widths, config.decoder_blocks, strict=True)):
            if level:
                layers += [nn.Upsample(scale_factor=2), nn.Conv2d(widths[level - 1], width, 3, padding=1)]
            layers += [WideBlock(width) for _ in range(blocks)]
        last = nn.Conv2d(widths[-1], 3 * config.stem**2, 3, padding=1)
        super().__init__(*layers, _group_norm(widths[-1]), nn.SiLU(), last, nn.PixelShuffle(config.stem))


@dataclass(frozen=True)
class Reconstruction:
    """What the tokenizer makes of images.

    Attributes:
        images: (B, 3, H, W).
        quantised: see :class:`gr2_policy.model.codebook.Quantised`; its indices in the order of the batch.
    """

    images: Tensor
    quantised: Quantised


class VqGan(nn.Module):
    """The tokenizer. Images are (B, 3, H, W) within -1 ... 1, tokens (B, grid * grid) int64 in row-major order."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.codebook = Codebook(config)
        self.decoder = Decoder(config)
        self._serving: nn.Module | None = None  # a copy of the encoder, to be served with

    def serve_in(self, dtype: torch.dtype) -> None:
        """Encode in another precision from now on; what this tokenizer is (:meth:`identity`) stays the same."""
        self._serving = copy.deepcopy(self.encoder).to(dtype)

    def forward(self, images: Tensor, quantise: bool = True) -> Reconstruction:
        """For training; ``quantise`` as in :class:`gr2_policy.model.codebook.Codebook`."""
        grid = functional.normalize(self.encoder(images).float(), dim=1)
        batch, width, height, _ = grid.shape
        quantised = self.codebook(grid.permute(0, 2, 3, 1).reshape(-1, width), quantise)
        codes = quantised.vectors.view(batch, height, -1, width).permute(0, 3, 1, 2)
        return Reconstruction(self._decode_grid(codes), quantised)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images to tokens, always in the precision of the weights, whatever autocast is on."""
        with torch.autocast(images.device.type, enabled=False):
            encoder = self._serving or self.encoder
            grid = encoder(images.to(next(encoder.parameters()).dtype))
            grid = functional.normalize(grid.to(next(self.encoder.parameters()).dtype), dim=1)
            vectors = grid.permute(0, 2, 3, 1).reshape(-1, grid.shape[1])
            return self.codebook.nearest(vectors).view(len(images), -1)

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens to images."""
        side = self.config.grid
        codes = self.codebook.lookup(tokens).view(-1, side, side, self.config.code_dim).permute(0, 3, 1, 2)
        return self._decode_grid(codes).float().clamp(-1.0, 1.0)

    def _decode_grid(self, codes: Tensor) -> Tensor:
        # a unit vector has small entries; bring them to unit variance for the first layer
        return self.decoder(codes * self.config.code_dim**0.5)

    def freeze(self) -> VqGan:
        """As every policy uses it: in evaluation mode, without gradients."""
        return self.eval().requires_grad_(False)

    def identity(self) -> str:
        """SHA-256 of all that turns pixels into tokens: configuration, encoder and codes (not the decoder)."""
        total = hashlib.sha256(json.dumps(to_dict(self.config), sort_keys=True).encode())
        tensors = {f"encoder.{name}": value for name, value in self.encoder.state_dict().items()}
        tensors["codes"] = self.codebook.codes
        for name in sorted(tensors):
            value = tensors[name].detach().to("cpu", torch.float32).contiguous()
            total.update(f"{name}{tuple(value.shape)}".encode() + value.numpy().tobytes())
        return total.hexdigest()


@dataclass(frozen=True)
class FlipRate:
    """Of the tokens whose pixels did not change, how many changed all the same.

    Attributes:
        rate: their share; 0.0 if nothing was unchanged.
        unchanged: number of tokens whose pixels did not change.
    """

    rate: float
    unchanged: int


def flip_rate(tokenizer: VqGan, first: Tensor, second: Tensor, neighbourhood: int = 0) -> FlipRate:
    """Compare the tokens of two sets of images (B, 3, H, W), e.g. of successive frames of a static camera.

    Args:
        neighbourhood: a patch counts as unchanged if it and this many patches around it are identical pixel by pixel.
    """
    patch = tokenizer.config.downsampling
    changed = (first != second).any(dim=1, keepdim=True).float()
    changed = functional.max_pool2d(changed, patch)
    if neighbourhood:
        changed = functional.max_pool2d(changed, 2 * neighbourhood + 1, stride=1, padding=neighbourhood)
    same = changed.flatten(1) == 0
    flipped = tokenizer.encode(first) != tokenizer.encode(second)
    unchanged = int(same.sum())
    return FlipRate(float((flipped & same).sum()) / max(unchanged, 1), unchanged)
