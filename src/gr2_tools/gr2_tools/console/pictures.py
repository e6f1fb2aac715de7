"""Camera images as the page gets them: small JPEGs, made only when somebody asks, once for all who ask."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from gr2_policy.runtime.image import BadImage, to_rgb

QUALITY = 80
LONGEST = 480  # [pixel] larger pictures are reduced: the page shows them no larger


@dataclass
class _Newest:
    stamp: int
    arrival: float
    message: Any
    jpeg: bytes | None = None
    problem: str = ""


class Pictures:
    """The newest picture of each name. Put in by one thread, taken out by another.

    Args:
        names: all there will ever be, in the order of the page.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._newest: dict[str, _Newest] = {}
        self._lock = threading.Lock()

    def put(self, name: str, stamp: int, arrival: float, message: Any) -> None:
        """A picture came: ``message()`` gives its sensor_msgs/Image, when it is needed."""
        with self._lock:
            self._newest[name] = _Newest(stamp, arrival, message)

    def take(self, now: float) -> tuple[list[dict[str, Any]], bytes]:
        """Description and JPEGs of all pictures, one after the other; ``size`` 0 for one that is missing."""
        described, data = [], []
        for name in self._names:
            with self._lock:
                newest = self._newest.get(name)
            if newest is None:
                described.append({"name": name, "size": 0, "problem": "", "stamp": None, "age": None})
                continue
            if newest.jpeg is None:
                newest.jpeg, newest.problem = _encode(newest.message)
            data.append(newest.jpeg)
            described.append(
                {
                    "name": name,
                    "size": len(newest.jpeg),
                    "problem": newest.problem,
                    "stamp": 1e-9 * newest.stamp,
                    "age": round(now - newest.arrival, 3),
                }
            )
        return described, b"".join(data)


def _encode(message: Any) -> tuple[bytes, str]:
    image = message()
    try:
        pixels = to_rgb(image.data, image.height, image.width, image.step, image.encoding)
    except BadImage as bad:
        return b"", str(bad)
    return jpeg(pixels), ""


def jpeg(pixels: np.ndarray, longest: int = LONGEST, quality: int = QUALITY) -> bytes:
    """(h, w, 3) uint8 RGB -> JPEG, reduced by a whole factor where it is too large."""
    picture = Image.fromarray(pixels)
    factor = -(-max(picture.size) // longest)
    if factor > 1:
        picture = picture.reduce(factor)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()
