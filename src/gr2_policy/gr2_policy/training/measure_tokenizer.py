"""How well a tokenizer shows pictures that it did not learn from, and how steady its tokens are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gr2_policy.data.reader import Dataset
from gr2_policy.data.writer import DatasetError
from gr2_policy.model.checkpoint import load_tokenizer
from gr2_policy.model.codebook import codebook_use
from gr2_policy.model.transforms import Transforms, pixels_to_tensor
from gr2_policy.model.vqgan import VqGan

FRAMES = 1024
"""At most so many frames of each view are measured, spread evenly over the data."""
_BATCH = 16


def measure_tokenizer(folder: Path, data: Path, tasks: tuple[str, ...] = ()) -> dict[str, Any]:
    """Figures of a tokenizer, for each view.

    Args:
        folder: of its checkpoint.
        data: folder of a dataset; states and actions are not needed.
        tasks: only these; empty: all.

    Returns:
        for each view ``frames``; ``absolute``, the mean absolute difference of pixels, 0 ... 1; ``psnr_db``, the mean
        over frames of the peak signal-to-noise ratio; ``codes_used``, a share, and ``perplexity``; ``noise_flips``, the
        share of tokens that noise of at most one grey level changes.

    Raises:
        CheckpointError, DatasetError: what is given cannot be used.
    """
    tokenizer, _ = load_tokenizer(folder)
    return {view: _figures(tokenizer, frames) for view, frames in _frames(tokenizer, Dataset(data), tasks).items()}


def _frames(tokenizer: VqGan, dataset: Dataset, tasks: tuple[str, ...]) -> dict[str, np.ndarray]:
    """(n, side, side, 3) uint8 of each view."""
    numbers = [number for number, info in enumerate(dataset.episodes) if not tasks or info.task in tasks]
    if not numbers:
        of = f" of {', '.join(tasks)}" if tasks else ""
        raise DatasetError(f"{dataset.folder} has no episodes{of}")
    total = sum(dataset.episodes[number].length for number in numbers)
    step = max(-(-total // FRAMES), 1)
    transforms = Transforms(views=("any",), resolution=tokenizer.config.resolution, frame_dt=0.1)
    found: dict[str, list[np.ndarray]] = {}
    begun = 0
    for number in numbers:
        episode = dataset.read(number)
        for view, images in episode.images.items():
            found.setdefault(view, []).extend(transforms.resize(image) for image in images[-begun % step :: step])
        begun += dataset.episodes[number].length
    return {view: np.stack(images) for view, images in found.items()}


@torch.no_grad()
def _figures(tokenizer: VqGan, frames: np.ndarray) -> dict[str, float]:
    random = torch.Generator().manual_seed(0)
    tokens, flips, absolute, square = [], [], [], []
    for start in range(0, len(frames), _BATCH):
        images = pixels_to_tensor(frames[start : start + _BATCH])
        seen = tokenizer.encode(images)
        difference = (tokenizer.decode(seen) - images) / 2.0
        tokens.append(seen)
        flips.append((tokenizer.encode(_noisy(images, random)) != seen).float().mean(dim=1))
        absolute.append(difference.abs().mean(dim=(1, 2, 3)))
        square.append(difference.square().mean(dim=(1, 2, 3)))
    use = codebook_use(torch.cat(tokens), tokenizer.config.codebook_size)
    return {
        "frames": float(len(frames)),
        "absolute": float(torch.cat(absolute).mean()),
        "psnr_db": float((-10.0 * torch.cat(square).clamp(min=1e-10).log10()).mean()),
        "codes_used": use.usage,
        "perplexity": use.perplexity,
        "noise_flips": float(torch.cat(flips).mean()),
    }


def _noisy(images: Tensor, random: torch.Generator) -> Tensor:
    """Every channel of every pixel one grey level up, down, or as it is."""
    noise = torch.randint(-1, 2, images.shape, generator=random)
    return (images + noise / 127.5).clamp(-1.0, 1.0)
