"""sensor_msgs/Image, taken apart without cv_bridge: bytes in, RGB array out, or a reason why not."""

from __future__ import annotations

import numpy as np

# encoding -> channels, order of the RGB channels among them
ENCODINGS: dict[str, tuple[int, tuple[int, int, int]]] = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}


class BadImage(ValueError):
    """An image message that cannot be used; the message says what is wrong with it."""


def to_rgb(
    data: bytes | bytearray | memoryview,
    height: int,
    width: int,
    step: int,
    encoding: str,
    expected_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Convert the payload of an image message.

    Args:
        data: pixel rows, ``step`` bytes each.
        height, width: [pixel].
        step: bytes per row, padding included.
        encoding: one of :data:`ENCODINGS`.
        expected_size: (width, height) that the receiver was set up for; None for any.

    Returns:
        (height, width, 3) uint8 RGB, a copy.

    Raises:
        BadImage: unknown encoding, wrong size, or a payload that does not match its own header.
    """
    if encoding not in ENCODINGS:
        raise BadImage(f"encoding '{encoding}' is not one of {', '.join(ENCODINGS)}")
    channels, order = ENCODINGS[encoding]
    if height <= 0 or width <= 0:
        raise BadImage(f"size {width}x{height} is empty")
    if expected_size is not None and (width, height) != expected_size:
        raise BadImage(f"size {width}x{height}, expected {expected_size[0]}x{expected_size[1]}")
    if step < width * channels:
        raise BadImage(f"step {step} is shorter than a row of {width} {encoding} pixels")
    if len(data) != step * height:
        raise BadImage(f"{len(data)} bytes of data, but step {step} x height {height} = {step * height}")
    rows = np.frombuffer(data, np.uint8).reshape(height, step)
    pixels = rows[:, : width * channels].reshape(height, width, channels)
    if order == (0, 1, 2) and channels == 3:
        return pixels.copy()
    return pixels[..., list(order)]
