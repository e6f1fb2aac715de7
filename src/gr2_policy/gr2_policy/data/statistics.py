"""Statistics of features, as lerobot keeps them: per episode and over the whole dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_FRAMES_LOOKED_AT = 20  # of an episode, for the statistics of its images

Stats = dict[str, dict[str, np.ndarray]]


def of_numbers(array: np.ndarray) -> dict[str, np.ndarray]:
    """Of a feature (T,) or (T, n): each statistic has shape (n,), the count (1,)."""
    values = array.reshape(len(array), -1).astype(np.float64)
    found = {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([len(values)]),
    }
    return found | {name: np.quantile(values, share, axis=0) for name, share in QUANTILES.items()}


def of_images(frames: np.ndarray) -> dict[str, np.ndarray]:
    """Of images (T, h, w, 3) uint8: each channel's, scaled to 0 ... 1, shape (3, 1, 1); from some frames only."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _FRAMES_LOOKED_AT)).astype(int))
    values = frames[chosen].reshape(-1, 3) / 255.0
    found = of_numbers(values)
    count = np.array([len(chosen)])
    return {name: value.reshape(3, 1, 1) for name, value in found.items() if name != "count"} | {"count": count}


def merge(first: Stats, second: Stats) -> Stats:
    """Of both sets of frames together; quantiles, which cannot be merged, become their weighted means."""
    return {name: _merge_feature(first[name], second[name]) for name in first}


def _merge_feature(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    one, other = float(first["count"][0]), float(second["count"][0])
    share = other / (one + other)
    gap = second["mean"] - first["mean"]
    variance = (1 - share) * first["std"] ** 2 + share * second["std"] ** 2 + share * (1 - share) * gap**2
    merged = {
        "min": np.minimum(first["min"], second["min"]),
        "max": np.maximum(first["max"], second["max"]),
        "mean": first["mean"] + share * gap,
        "std": np.sqrt(variance),
        "count": first["count"] + second["count"],
    }
    return merged | {name: (1 - share) * first[name] + share * second[name] for name in QUANTILES}


def to_json(stats: Stats) -> dict[str, Any]:
    """Plain data for ``stats.json``."""
    return {name: {key: value.tolist() for key, value in found.items()} for name, found in stats.items()}


def from_json(data: Mapping[str, Any]) -> Stats:
    """The inverse of :func:`to_json`."""
    return {name: {key: np.asarray(value) for key, value in found.items()} for name, found in data.items()}
