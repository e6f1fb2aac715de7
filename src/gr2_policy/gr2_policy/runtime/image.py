"""sensor_msgs/Image and CompressedImage, taken apart: bytes in, RGB array out, or a reason why not.

The encodings of :data:`ENCODINGS` and :data:`DEEP` are converted here, with and without cv_bridge on the machine, so
that a policy sees the same numbers everywhere. Others (Bayer patterns, YUV) are cv_bridge's, where it is installed.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

# encoding -> channels, order of the RGB channels among them
ENCODINGS: dict[str, tuple[int, tuple[int, int, int]]] = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}
DEEP: dict[str, tuple[int, tuple[int, int, int]]] = {
    "rgb16": (3, (0, 1, 2)),
    "bgr16": (3, (2, 1, 0)),
    "rgba16": (4, (0, 1, 2)),
    "bgra16": (4, (2, 1, 0)),
}
"""The same with 16 bits a channel, in either byte order; 65535 becomes 255."""
DEPTH = ("16UC1", "mono16", "32FC1", "64FC1")
"""Encodings of depth images: no colours can be made of them."""
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


class BadImage(ValueError):
    """An image message that cannot be used; the message says what is wrong with it."""


def to_rgb(
    data: bytes | bytearray | memoryview,
    height: int,
    width: int,
    step: int,
    encoding: str,
    expected_size: tuple[int, int] | None = None,
    big_endian: bool = False,
) -> np.ndarray:
    """Convert the payload of an image message.

    Args:
        data: pixel rows, ``step`` bytes each.
        height, width: [pixel].
        step: bytes per row, padding included.
        encoding: one of :data:`ENCODINGS` or :data:`DEEP`.
        expected_size: (width, height) that the receiver was set up for; None for any.
        big_endian: byte order where a channel has two.

    Returns:
        (height, width, 3) uint8 RGB, a copy.

    Raises:
        BadImage: unknown encoding, wrong size, or a payload that does not match its own header.
    """
    if encoding not in ENCODINGS and encoding not in DEEP:
        raise BadImage(_unknown(encoding))
    channels, order = ENCODINGS.get(encoding) or DEEP[encoding]
    size = channels * (1 if encoding in ENCODINGS else 2)
    _check_size(height, width, expected_size)
    if step < width * size:
        raise BadImage(f"step {step} is shorter than a row of {width} {encoding} pixels")
    if len(data) != step * height:
        raise BadImage(f"{len(data)} bytes of data, but step {step} x height {height} = {step * height}")
    rows = np.frombuffer(data, np.uint8).reshape(height, step)[:, : width * size]
    if encoding in DEEP:
        deep = np.ascontiguousarray(rows).view(">u2" if big_endian else "<u2").reshape(height, width, channels)
        return np.rint(deep[..., list(order)] * (255.0 / 65535.0)).astype(np.uint8)
    pixels = rows.reshape(height, width, channels)
    if order == (0, 1, 2) and channels == 3:
        return pixels.copy()
    return pixels[..., list(order)]


def from_message(message: Any, expected_size: tuple[int, int] | None = None) -> np.ndarray:
    """(height, width, 3) uint8 RGB of a sensor_msgs/Image or CompressedImage, a copy.

    Raises:
        BadImage: see :func:`to_rgb` and :func:`decoded`; or an encoding that only cv_bridge knows, which is not here.
    """
    if hasattr(message, "format"):
        return decoded(bytes(message.data), message.format, expected_size)
    height, width, encoding = int(message.height), int(message.width), message.encoding
    if encoding in ENCODINGS or encoding in DEEP:
        ordered = bool(message.is_bigendian)
        return to_rgb(message.data, height, width, int(message.step), encoding, expected_size, ordered)
    _check_size(height, width, expected_size)
    return _by_cv_bridge(message)


def decoded(data: bytes, form: str, expected_size: tuple[int, int] | None = None) -> np.ndarray:
    """(height, width, 3) uint8 RGB of a JPEG or PNG file, as a CompressedImage carries it.

    Args:
        data: the file.
        form: the message's ``format``, e.g. ``rgb8; jpeg compressed bgr8``; a file carries its own order of colours.
        expected_size: (width, height) that the receiver was set up for; None for any.

    Raises:
        BadImage: a depth image, neither JPEG nor PNG, damaged, or of another size.
    """
    original = form.partition(";")[0].strip()
    if original in DEPTH or "compressedDepth" in form:
        raise BadImage(f"format '{form}' is a depth image")
    if not data.startswith((JPEG, PNG)):
        raise BadImage(f"format '{form}': the data are neither JPEG nor PNG")
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            _check_size(picture.height, picture.width, expected_size)
            if picture.mode.startswith(("I", "F")):
                raise BadImage(f"format '{form}' is a depth image")
            return np.asarray(picture.convert("RGB")).copy()
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise BadImage(f"format '{form}': the file is damaged: {error}") from error


def _by_cv_bridge(message: Any) -> np.ndarray:
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except ImportError as error:
        raise BadImage(_unknown(message.encoding)) from error
    if message.encoding in DEPTH:
        raise BadImage(_unknown(message.encoding))
    try:
        return np.array(CvBridge().imgmsg_to_cv2(message, desired_encoding="rgb8"))
    except (CvBridgeError, ValueError, TypeError) as error:
        raise BadImage(f"encoding '{message.encoding}': cv_bridge cannot make rgb8 of it: {error}") from error


def _unknown(encoding: str) -> str:
    if encoding in DEPTH:
        return f"encoding '{encoding}' is a depth image, expected colours: is this the right topic?"
    own = ", ".join((*ENCODINGS, *DEEP))
    return f"encoding '{encoding}' is not one of {own}; others need cv_bridge (apt install ros-jazzy-cv-bridge)"


def _check_size(height: int, width: int, expected: tuple[int, int] | None) -> None:
    if height <= 0 or width <= 0:
        raise BadImage(f"size {width}x{height} is empty")
    if expected is not None and (width, height) != expected:
        raise BadImage(f"size {width}x{height}, expected {expected[0]}x{expected[1]}")
