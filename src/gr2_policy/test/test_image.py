"""Image messages taken apart: every encoding, padding, and every way to be wrong."""

import importlib.util
import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from gr2_policy.runtime.image import DEEP, DEPTH, ENCODINGS, BadImage, decoded, from_message, to_rgb

RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def payload(pixels: np.ndarray, padding: int = 0) -> tuple[bytes, int]:
    rows = pixels.reshape(pixels.shape[0], -1)
    step = rows.shape[1] + padding
    padded = np.zeros((rows.shape[0], step), np.uint8)
    padded[:, : rows.shape[1]] = rows
    return padded.tobytes(), step


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("rgba8", np.concatenate([RGB, RGB[..., :1]], -1)),
        ("bgra8", np.concatenate([RGB[..., ::-1], RGB[..., :1]], -1)),
    ],
)
def test_colour_encodings_give_the_same_rgb(encoding: str, pixels: np.ndarray, padding: int) -> None:
    data, step = payload(np.ascontiguousarray(pixels), padding)
    np.testing.assert_array_equal(to_rgb(data, 4, 6, step, encoding), RGB)


def test_mono_is_repeated() -> None:
    data, step = payload(RGB[..., 0])
    np.testing.assert_array_equal(to_rgb(data, 4, 6, step, "mono8"), np.repeat(RGB[..., :1], 3, -1))


def test_result_is_a_copy() -> None:
    data = bytearray(RGB.tobytes())
    image = to_rgb(data, 4, 6, 18, "rgb8")
    data[0] ^= 255
    np.testing.assert_array_equal(image, RGB)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoding": "16UC1"}, "encoding '16UC1'"),
        ({"height": 0}, "empty"),
        ({"step": 17}, "step 17 is shorter"),
        ({"data": b"\0" * 71}, "71 bytes"),
        ({"expected_size": (8, 8)}, "size 6x4, expected 8x8"),
    ],
)
def test_bad_images_are_named(change: dict, words: str) -> None:
    arguments = {"data": RGB.tobytes(), "height": 4, "width": 6, "step": 18, "encoding": "rgb8"} | change
    with pytest.raises(BadImage, match=words):
        to_rgb(**arguments)


# ------------------------------------------------------------------------------ as cv_bridge and OpenCV have it


def message(encoding: str, padding: int = 0, big_endian: bool = False, seed: int = 1, height: int = 5, width: int = 7):  # type: ignore[no-untyped-def]
    """An image of noise as a message, with noise in its padding, and the RGB that it stands for, pixel by pixel."""
    noise = np.random.default_rng(seed)
    names = {"mono8": "m", "mono16": "m", "16UC1": "m"}.get(encoding, encoding.rstrip("0123456789"))
    deep = encoding in DEEP or encoding in ("mono16", "16UC1")
    top, size = (65536, 2) if deep else (256, 1)
    values = noise.integers(0, top, (height, width, len(names)))
    step = width * len(names) * size + padding
    data = bytearray(noise.integers(0, 256, step * height, dtype=np.uint8).tobytes())
    expected = np.zeros((height, width, 3), np.uint8)
    for row in range(height):
        for column in range(width):
            for channel, name in enumerate(names):
                value = int(values[row, column, channel])
                begin = row * step + (column * len(names) + channel) * size
                data[begin : begin + size] = value.to_bytes(size, "big" if big_endian else "little")
                shade = round(value / 257.0) if deep else value
                for index in {"r": (0,), "g": (1,), "b": (2,), "a": (), "m": (0, 1, 2)}[name]:
                    expected[row, column, index] = shade
    made = SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=int(big_endian), step=step, data=bytes(data)
    )
    return made, expected


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", [*ENCODINGS, *DEEP])
def test_every_encoding_padding_and_byte_order_means_the_same_pixels(
    encoding: str, padding: int, big_endian: bool
) -> None:
    made, expected = message(encoding, padding, big_endian)
    np.testing.assert_array_equal(from_message(made, (7, 5)), expected)


@pytest.mark.skipif(importlib.util.find_spec("cv_bridge") is None, reason="cv_bridge comes with ROS 2")
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", [*ENCODINGS, *DEEP])
def test_our_pixels_are_those_of_cv_bridge(encoding: str, padding: int) -> None:
    from cv_bridge import CvBridge
    from sensor_msgs.msg import Image

    made, expected = message(encoding, padding)
    fields = {name: value for name, value in vars(made).items() if name != "data"}
    image = Image(**fields)
    image.data.frombytes(made.data)
    theirs = CvBridge().imgmsg_to_cv2(image, desired_encoding="rgb8")
    difference = np.abs(theirs.astype(int) - from_message(image).astype(int))
    assert difference.max() <= (1 if encoding in DEEP else 0)  # halves are rounded to even there
    np.testing.assert_array_equal(from_message(image), expected)


@pytest.mark.parametrize("encoding", DEPTH)
def test_depth_images_are_refused_with_and_without_cv_bridge(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = message("16UC1")
    made.encoding = encoding
    with pytest.raises(BadImage, match="depth image"):
        from_message(made)
    monkeypatch.setitem(__import__("sys").modules, "cv_bridge", Bridge)
    with pytest.raises(BadImage, match="depth image"):
        from_message(made)


class Bridge:
    """What is used of the module cv_bridge, as its documentation has it."""

    class CvBridgeError(TypeError):
        """Its only exception."""

    class CvBridge:
        """Its only class."""

        def imgmsg_to_cv2(self, message: Any, desired_encoding: str = "passthrough") -> np.ndarray:
            assert desired_encoding == "rgb8"
            if message.encoding != "yuv422_yuy2":
                raise Bridge.CvBridgeError("no conversion")
            return np.full((message.height, message.width, 3), 9, np.uint8)


def test_other_encodings_are_cv_bridges_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = message("mono8")
    made.encoding = "yuv422_yuy2"
    if importlib.util.find_spec("cv_bridge") is None:
        with pytest.raises(BadImage, match="others need cv_bridge"):
            from_message(made)
    monkeypatch.setitem(__import__("sys").modules, "cv_bridge", Bridge)
    assert (from_message(made) == 9).all()
    with pytest.raises(BadImage, match="size 7x5, expected 8x8"):
        from_message(made, (8, 8))
    made.encoding = "nonsense"
    with pytest.raises(BadImage, match="cannot make rgb8"):
        from_message(made)


def file_of(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Picture.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def test_compressed_images_png_exactly_and_jpeg_nearly() -> None:
    smooth = np.linspace(0, 255, 32 * 24 * 3).reshape(24, 32, 3).astype(np.uint8)
    png = SimpleNamespace(format="rgb8; png compressed bgr8", data=file_of(smooth, "PNG"))
    np.testing.assert_array_equal(from_message(png, (32, 24)), smooth)
    jpeg = SimpleNamespace(format="jpeg", data=file_of(smooth, "JPEG", quality=95))
    assert np.abs(from_message(jpeg).astype(int) - smooth).mean() < 2.0
    grey = decoded(file_of(smooth[..., 0], "JPEG", quality=100), "mono8; jpeg compressed ")
    assert grey.shape == (24, 32, 3)
    assert np.abs(grey[..., 1].astype(int) - smooth[..., 0]).max() <= 3


@pytest.mark.parametrize(
    ("data", "form", "words"),
    [
        (b"", "jpeg", "neither JPEG nor PNG"),
        (b"GIF89a", "gif", "neither JPEG nor PNG"),
        (b"\xff\xd8\xff\xe0 nothing", "jpeg", "damaged"),
        (file_of(np.eye(24, 32, dtype=np.uint8), "PNG")[:-30], "png", "damaged"),
        (file_of(np.zeros((24, 32, 3), np.uint8), "JPEG"), "rgb8; jpeg compressed bgr8", "size 32x24, expected 8x8"),
        (file_of(np.zeros((24, 32), np.uint16), "PNG"), "png", "depth image"),
        (file_of(np.zeros((24, 32), np.uint16), "PNG"), "16UC1; compressedDepth png", "depth image"),
    ],
    ids=["empty", "gif", "no jpeg", "half a png", "size", "deep png", "compressedDepth"],
)
def test_bad_files_are_named(data: bytes, form: str, words: str) -> None:
    with pytest.raises(BadImage, match=words):
        decoded(data, form, (8, 8) if "expected" in words else None)
