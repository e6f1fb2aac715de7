"""The tokenizer's training: crops of frames to reconstruction and codebook losses.

Most of a frame is table, and what matters is small, so crops are drawn where there is something: where a frame differs
from the middle of its episode's frames, or is strongly coloured. Crops are a quarter of the picture's area: the encoder
looks no further than a patch, so the same computer sees four times as many objects. The last tenth of the steps uses
whole frames, which the decoder's group norm will meet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gr2_policy.data.reader import Dataset
from gr2_policy.model.checkpoint import Origin, save_tokenizer
from gr2_policy.model.codebook import codebook_use
from gr2_policy.model.config import TokenizerLossConfig, to_dict
from gr2_policy.model.losses import Perceptual, TokenizerLoss
from gr2_policy.model.transforms import Transforms, pixels_to_tensor, tensor_to_pixels
from gr2_policy.model.vqgan import VqGan
from gr2_policy.training.stage import Part

_COLOURED = 58  # difference of the largest and smallest channel from which a pixel counts as strongly coloured
_MEMORY = 2_000_000_000  # bytes of frames that are kept: decoding a video again for every frame would be dear
_SIDE_BY_SIDE, _STAY = 8, 32  # so many episodes are drawn from for so many steps: a new one to decode every fourth step
_WHOLE_FROM = 0.9  # share of the steps after which whole frames are used


class TokenizerModule(nn.Module):
    """The tokenizer with its losses, as the loop calls it."""

    def __init__(self, tokenizer: VqGan, config: TokenizerLossConfig, perceptual: Perceptual | None = None) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.losses = TokenizerLoss(config, perceptual)

    def forward(self, images: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Images (B, 3, h, w) within -1 ... 1."""
        losses, tokenizer = self.losses, self.tokenizer
        output = tokenizer(images, quantise=step >= tokenizer.config.warmup_steps)
        adversarial = losses.adversarial(step)
        critic = list(losses.critic.parameters()) if losses.critic is not None else []
        for parameter in critic:  # the tokenizer's loss is not the critic's to reduce
            parameter.requires_grad_(False)
        last = tokenizer.decoder[-2].weight
        assert isinstance(last, Tensor)
        found = losses.generator(images, output, step, last, importance(images))
        for parameter in critic:
            parameter.requires_grad_(True)
        total = found.total
        parts = {name: torch.tensor(value) for name, value in found.parts.items()}
        if adversarial:
            verdict = losses.discriminator(images, output)
            parts["critic"] = verdict.detach()
            total = total + verdict
        elif critic:
            total = total + 0.0 * torch.stack([parameter.sum() for parameter in critic]).sum()
        use = codebook_use(output.quantised.indices.detach(), tokenizer.config.codebook_size)
        return total, parts | {"codes_used": torch.tensor(use.usage), "perplexity": torch.tensor(use.perplexity)}


def importance(images: Tensor) -> Tensor:
    """Weight of each pixel (B, 1, h, w): more where it is strongly coloured, and around there."""
    spread = images.amax(dim=1, keepdim=True) - images.amin(dim=1, keepdim=True)
    coloured = (spread > _COLOURED / 127.5).float()
    return functional.max_pool2d(1.0 + 6.0 * coloured, 5, stride=1, padding=2)


class TokenizerStage:
    """See :class:`gr2_policy.training.stage.Stage`.

    Args:
        tokenizer: to be trained.
        losses: weights of its losses.
        datasets: whose frames are used, every view.
        weights: how often each is drawn from.
        steps: of the run.
        seed: of the order.
        crop: side of the crops [px].
        perceptual: a perceptual distance, where there are weights for one.
    """

    name = "tokenizer"

    def __init__(
        self,
        tokenizer: VqGan,
        losses: TokenizerLossConfig,
        datasets: list[Dataset],
        weights: list[float],
        steps: int,
        seed: int,
        crop: int = 64,
        perceptual: Perceptual | None = None,
    ) -> None:
        patch = tokenizer.config.downsampling
        if crop % patch or not patch <= crop <= tokenizer.config.resolution:
            raise ValueError(f"crop {crop} is not a multiple of {patch} up to {tokenizer.config.resolution}")
        self.module: nn.Module = TokenizerModule(tokenizer, losses, perceptual)
        self.tokenizer = tokenizer
        self._datasets, self._steps, self._seed, self._crop = datasets, steps, seed, crop
        self._weights = np.array(weights) / sum(weights)
        self._transforms = Transforms(views=("any",), resolution=tokenizer.config.resolution, frame_dt=0.1)
        self._kept: dict[tuple[int, int], dict[str, np.ndarray]] = {}
        self._bytes = 0
        self.identity = {
            "config": to_dict(tokenizer.config),
            "losses": to_dict(losses),
            "data": [str(dataset.folder) for dataset in datasets],
            "crop": crop,
        }

    def batch(self, step: int, indices: range, device: torch.device) -> Part:
        """See Stage."""
        whole = step >= _WHOLE_FROM * self._steps
        names, pictures = [], []
        for index in indices:
            random = np.random.default_rng((self._seed, step, index))
            source = int(random.choice(len(self._datasets), p=self._weights))
            # few episodes at a time, many frames of each: decoding a video for one frame would be dear
            block = np.random.default_rng((self._seed, step // _STAY, index % _SIDE_BY_SIDE))
            number = int(block.integers(len(self._datasets[source])))
            frames = self._frames(source, number)
            view = sorted(frames)[int(random.integers(len(frames)))]
            frame = int(random.integers(len(frames[view])))
            picture = frames[view][frame]
            pictures.append(picture if whole else self._cut(picture, random))
            names.append(f"frame {frame} of '{view}' in episode {number} of source {source}")
        return Part(step, tuple(names), pixels_to_tensor(np.stack(pictures)).to(device))

    def held_out(self, device: torch.device) -> dict[str, float]:
        """See Stage: nothing is."""
        del device
        return {}

    def _frames(self, source: int, number: int) -> dict[str, np.ndarray]:
        """The frames of an episode as the tokenizer sees them; as many episodes are kept as _MEMORY holds."""
        key = (source, number)
        if key not in self._kept:
            images = self._datasets[source].read(number).images
            made = {view: np.stack([self._transforms.resize(frame) for frame in images[view]]) for view in images}
            self._bytes += sum(frames.nbytes for frames in made.values())
            while self._kept and self._bytes > _MEMORY:
                dropped = self._kept.pop(next(iter(self._kept)))
                self._bytes -= sum(frames.nbytes for frames in dropped.values())
            self._kept[key] = made
        return self._kept[key]

    def _cut(self, picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
        side, crop = len(picture), self._crop
        top, left = random.integers(side - crop + 1, size=2)
        if random.random() < 0.75:
            spread = picture.max(axis=2).astype(int) - picture.min(axis=2)
            rows, columns = np.nonzero(spread > _COLOURED)
            if len(rows):
                pick = int(random.integers(len(rows)))
                shift = random.integers(crop // 8, crop - crop // 8, size=2)
                top = int(np.clip(rows[pick] - shift[0], 0, side - crop))
                left = int(np.clip(columns[pick] - shift[1], 0, side - crop))
        return picture[top : top + crop, left : left + crop]

    @torch.no_grad()
    def pictures(self, module: nn.Module, device: torch.device) -> dict[str, np.ndarray]:
        """Some frames, and below each what becomes of it."""
        del module
        tokenizer = self.tokenizer
        random = np.random.default_rng(self._seed)
        shown = []
        for _ in range(6):
            source = int(random.choice(len(self._datasets), p=self._weights))
            dataset = self._datasets[source]
            frames = self._frames(source, int(random.integers(len(dataset))))
            view = sorted(frames)[int(random.integers(len(frames)))]
            shown.append(frames[view][int(random.integers(len(frames[view])))])
        images = pixels_to_tensor(np.stack(shown)).to(device)
        again = tensor_to_pixels(tokenizer.decode(tokenizer.encode(images)))
        return {"reconstructed": np.concatenate([np.concatenate(shown, axis=1), np.concatenate(list(again), axis=1)])}

    def export(self, module: nn.Module, folder: Path, about: dict[str, Any]) -> None:
        """See Stage."""
        del module
        data = {"datasets": [dataset.folder.name for dataset in self._datasets]}
        save_tokenizer(folder, self.tokenizer, Origin(data=data, metrics=about))
