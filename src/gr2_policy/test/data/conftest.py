"""Small episodes with moving pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gr2_policy.data.episode import Episode


@pytest.fixture
def make_episode() -> Callable[..., Episode]:
    """Makes an episode that no other seed makes."""

    def make(seed: int, length: int = 12, instruction: str = "lift the mug", horizon: int = 4) -> Episode:
        rng = np.random.default_rng(seed)
        states = rng.normal(size=(length, 8))
        states[:, 3:7] /= np.linalg.norm(states[:, 3:7], axis=1, keepdims=True)
        actions = np.roll(states, -1, axis=0)
        images = {}
        for view, size in (("head", (32, 48)), ("wrist", (33, 31))):
            frames = np.tile(rng.integers(0, 256, (*size, 3), dtype=np.uint8), (length, 1, 1, 1))
            for index in range(length):
                frames[index, index : index + 5, index : index + 5] = rng.integers(0, 256, 3)
            images[view] = frames
        return Episode(
            instruction=instruction,
            task="lift_mug",
            seed=seed,
            stamps=10.0 + 0.1 * np.arange(length),
            images=images,
            states=states,
            actions=actions,
            joints=rng.normal(size=(length, 7)),
            chunks=rng.normal(size=(length, horizon, 8)) if horizon else None,
            success_frame=length - 2,
            notes={"disturbed": True, "attempt": 3},
        )

    return make
