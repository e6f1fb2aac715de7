"""Whether hands act in a clip: a real palm detector on some of its frames, and whether what it finds moves.

The detector is MediaPipe's full-range palm model (Apache-2.0, 2016 anchors on 192 x 192 px), run by LiteRT; `gr2
curate fetch` takes it out of the package that carries it. Anchors: two on each cell of a 24 x 24 grid, six on each of a
12 x 12 grid, all of unit size; a box is an offset from its anchor's centre in pixels.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from gr2_policy.curation.settings import HandCheck

MODEL = "palm_detection_full.tflite"
SIDE = 192
_OVERLAP = 0.3


class DetectorUnavailable(RuntimeError):
    """The hand detector cannot be used. The message says what to do."""


@dataclass(frozen=True)
class Palm:
    """A palm that was found: score 0 ... 1, middle and size in shares of the picture's longer edge."""

    score: float
    x: float
    y: float
    width: float
    height: float


class HandDetector(Protocol):
    """Finds palms in a picture."""

    def palms(self, picture: np.ndarray) -> list[Palm]:
        """Those in a picture (h, w, 3) uint8 RGB, best first."""
        ...


def model_path() -> Path:
    """Where `gr2 curate fetch` puts the model: in the Python environment, or where GR2_PALM_MODEL says."""
    return Path(os.environ.get("GR2_PALM_MODEL") or Path(sys.prefix) / "share" / "gr2" / MODEL)


class PalmDetector:
    """See HandDetector.

    Args:
        path: of the model; default: where it was fetched to.
        least: score below which nothing is reported.

    Raises:
        DetectorUnavailable: no model, a damaged one, or no LiteRT.
    """

    def __init__(self, path: Path | None = None, least: float = 0.3) -> None:
        path = path or model_path()
        if not path.is_file():
            raise DetectorUnavailable(f"there is no hand detector at {path}: ./gr2 curate fetch gets it")
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise DetectorUnavailable(
                f"the hand detector needs ai-edge-litert (requirements/curate.txt): {error}"
            ) from None
        try:
            self._model: Any = Interpreter(model_path=str(path), num_threads=1)
            self._model.allocate_tensors()
            outputs = {int(item["shape"][-1]): item["index"] for item in self._model.get_output_details()}
            self._boxes, self._scores = outputs[18], outputs[1]
            self._input = self._model.get_input_details()[0]["index"]
        except (ValueError, RuntimeError, KeyError) as error:
            raise DetectorUnavailable(f"{path} is not the palm model: {error}") from None
        self._least = least

    def palms(self, picture: np.ndarray) -> list[Palm]:
        """See HandDetector."""
        self._model.set_tensor(self._input, letterboxed(picture)[None])
        self._model.invoke()
        boxes = self._model.get_tensor(self._boxes)[0]
        scores = 1.0 / (1.0 + np.exp(-np.clip(self._model.get_tensor(self._scores)[0, :, 0], -80.0, 80.0)))
        return read_palms(boxes, scores, self._least)


def letterboxed(picture: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE, 3) float32 0 ... 1: the whole picture, with black beside it."""
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    result = np.zeros((SIDE, SIDE, 3), np.float32)
    left, top = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    resized = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
    result[top : top + size[1], left : left + size[0]] = np.asarray(resized, np.float32) / 255.0
    return result


def anchors() -> np.ndarray:
    """(2016, 2) middles of the anchors, x and y in 0 ... 1."""
    parts = []
    for cells, each in ((24, 2), (12, 6)):
        y, x = np.indices((cells, cells)).reshape(2, -1)
        parts.append(np.repeat(np.stack([x + 0.5, y + 0.5], axis=1) / cells, each, axis=0))
    return np.concatenate(parts)


_ANCHORS = anchors()


def read_palms(boxes: np.ndarray, scores: np.ndarray, least: float) -> list[Palm]:
    """Boxes of the model's answer, without those that mostly cover a better one.

    Args:
        boxes: (2016, 18) offsets and sizes [px of SIDE]; the rest are key points.
        scores: (2016,).
        least: score below which nothing is reported.
    """
    found: list[Palm] = []
    for index in np.argsort(-scores):
        if scores[index] < least:
            break
        x, y = _ANCHORS[index] + boxes[index, :2] / SIDE
        palm = Palm(float(scores[index]), float(x), float(y), *(float(v) for v in np.abs(boxes[index, 2:4]) / SIDE))
        if all(_overlap(palm, other) < _OVERLAP for other in found):
            found.append(palm)
    return found


def _overlap(one: Palm, other: Palm) -> float:
    wide = min(one.x + one.width / 2, other.x + other.width / 2) - max(one.x - one.width / 2, other.x - other.width / 2)
    high = min(one.y + one.height / 2, other.y + other.height / 2) - max(
        one.y - one.height / 2, other.y - other.height / 2
    )
    shared = max(0.0, wide) * max(0.0, high)
    return shared / max(one.width * one.height + other.width * other.height - shared, 1e-9)


def reject_hands(frames: np.ndarray, detector: HandDetector, check: HandCheck) -> str:
    """Why a clip (T, h, w, 3) is not wanted for its hands; empty if hands act in it."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, check.frames).round().astype(int))
    best = [next(iter(detector.palms(frames[frame])), None) for frame in chosen]
    seen = [palm for palm in best if palm is not None and palm.score >= check.score]
    if len(seen) < max(1, round(check.share * len(chosen))):
        return "no hands"
    return "" if _travel(seen) >= check.travel else "hands at rest"


def _travel(palms: Sequence[Palm]) -> float:
    places = np.array([(palm.x, palm.y) for palm in palms])
    return float(np.linalg.norm(places.max(axis=0) - places.min(axis=0))) if len(places) > 1 else 0.0


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
