"""Figures and pictures of a training run: means over steps, TensorBoard, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class Sums:
    """Means of figures."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, figures: dict[str, Tensor]) -> None:
        """Of one step: scalars by name."""
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, torch.zeros(())) + value.detach().float().cpu()
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Of all that was added."""
        return {name: float(value) / self._counts[name] for name, value in self._sums.items()}


class Curves:
    """Figures and pictures for TensorBoard, and the pictures as files.

    Args:
        folder: of the run.
        main: whether this process is the one that writes figures.
    """

    def __init__(self, folder: Path, main: bool) -> None:
        self._folder = folder
        self._writer = None
        if main:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "curves"))

    def __enter__(self) -> Curves:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, step: int, figures: dict[str, float]) -> None:
        """A point of each curve."""
        if self._writer is not None:
            for name, value in figures.items():
                self._writer.add_scalar(name, value, step)

    def show(self, step: int, pictures: dict[str, np.ndarray]) -> None:
        """Pictures (height, width, 3) uint8; a file holds the last one of each name."""
        from PIL import Image

        for name, picture in pictures.items():
            if self._writer is not None:
                self._writer.add_image(name, picture, step, dataformats="HWC")
            aside = self._folder / f".{name}.png"
            Image.fromarray(picture).save(aside, format="PNG")
            aside.replace(self._folder / f"{name}.png")
