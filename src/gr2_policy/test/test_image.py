"""Image messages taken apart: every encoding, padding, and every way to be wrong."""

import numpy as np
import pytest

from gr2_policy.runtime.image import BadImage, to_rgb

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
