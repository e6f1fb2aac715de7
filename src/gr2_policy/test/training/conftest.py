"""Demonstrations and a tokenizer, small, for the tests of learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gr2_policy.data.episode import Episode
from gr2_policy.data.reader import Dataset
from gr2_policy.data.writer import DatasetWriter
from gr2_policy.model.vqgan import VqGan
from gr2_policy.training.recipe import load_recipe

CONFIG = load_recipe("nano").model_config()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dot that moves as the tool does."""
    folder = tmp_path_factory.mktemp("data") / "dots"
    random = np.random.default_rng(0)
    episodes = []
    for seed in range(6):
        length = 20 + seed
        path = np.cumsum(random.normal(size=(length, 3)) * 0.01, axis=0) + [0.4, 0.0, 0.3]
        states = np.column_stack([path, np.tile([0.0, 1.0, 0.0, 0.0], (length, 1)), np.arange(length) > 10])
        images = {}
        for view in ("head", "wrist"):
            frames = np.full((length, 32, 32, 3), 90 if view == "head" else 150, np.uint8)
            for index, (x, y, _) in enumerate(path):
                row, column = (int(v) for v in np.clip([(x - 0.3) * 150, y * 150 + 15], 0, 27))
                frames[index, row : row + 4, column : column + 4] = (230, 20, 20)
            images[view] = frames
        actions = np.vstack([states[1:], states[-1:]])
        episodes.append(
            Episode(
                "move the dot",
                f"task_{seed % 2}",
                seed,
                0.2 * np.arange(length),
                images,
                states,
                actions,
                np.zeros((length, 7)),
            )
        )
    writer = DatasetWriter(folder, 5, "gen3_2f85")
    writer.append(episodes)
    return Dataset(folder)


@pytest.fixture(scope="module")
def tokenizer() -> VqGan:
    torch.manual_seed(0)
    return VqGan(CONFIG.tokenizer).freeze()
