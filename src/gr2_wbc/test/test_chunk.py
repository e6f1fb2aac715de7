"""What can be wrong with a chunk by itself: each thing is refused by its name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gr2_wbc.chunk import Chunk, ChunkRefused, Refusal, angle_between, check_chunk
from gr2_wbc.config import IntakeConfig

CONFIG = IntakeConfig()


def make(count: int = 4, **changes: object) -> Chunk:
    fields: dict = {
        "stamp": 1.0,
        "sequence": 1,
        "session": "s",
        "instruction": "i",
        "model_id": "m",
        "dt": 0.1,
        "positions": np.full((count, 3), 0.3),
        "orientations": np.tile([0.0, 0.0, 0.0, 1.0], (count, 1)),
        "gripper": np.zeros(count),
    }
    return Chunk(**(fields | changes))


def with_value(name: str, index: int, value: float) -> Chunk:
    chunk = make()
    getattr(chunk, name).flat[index] = value
    return chunk


def test_a_sound_chunk_passes_in_flat_and_in_shaped_arrays():
    shaped = check_chunk(make(), CONFIG, "base_link")
    flat = check_chunk(make(positions=np.full(12, 0.3), horizon=4), CONFIG, "base_link")
    assert shaped.positions.shape == flat.positions.shape == (4, 3)
    assert flat.end == pytest.approx(1.4)


@pytest.mark.parametrize(
    ("chunk", "reason", "words"),
    [
        (make(frame_id="world"), Refusal.WRONG_FRAME, "world"),
        (make(frame_id=""), Refusal.WRONG_FRAME, "base_link"),
        (make(dt=0.0), Refusal.BAD_TIMING, "dt"),
        (make(dt=-0.1), Refusal.BAD_TIMING, "dt"),
        (make(dt=float("nan")), Refusal.BAD_TIMING, "dt"),
        (make(dt=1e9), Refusal.BAD_TIMING, "dt"),
        (make(stamp=float("inf")), Refusal.BAD_TIMING, "stamp"),
        (make(horizon=0), Refusal.BAD_HORIZON, "0"),
        (make(horizon=-3), Refusal.BAD_HORIZON, "-3"),
        (make(horizon=2**32 - 1), Refusal.BAD_HORIZON, "4294967295"),
        (make(count=300), Refusal.BAD_HORIZON, "300"),
        (make(horizon=5), Refusal.BAD_LENGTH, "positions hold 12 numbers, expected 15"),
        (make(orientations=np.zeros(3)), Refusal.BAD_LENGTH, "orientations"),
        (make(gripper=np.zeros(5)), Refusal.BAD_LENGTH, "gripper"),
        (make(positions=np.array(["a"] * 4)), Refusal.BAD_LENGTH, "numbers"),
        (with_value("positions", 4, np.nan), Refusal.NOT_FINITE, r"positions\[4\]"),
        (with_value("orientations", 0, np.inf), Refusal.NOT_FINITE, r"orientations\[0\]"),
        (with_value("gripper", 3, -np.inf), Refusal.NOT_FINITE, r"gripper\[3\]"),
        (with_value("orientations", 3, 0.9), Refusal.BAD_QUATERNION, "norm"),
        (with_value("orientations", 0, 1e200), Refusal.BAD_QUATERNION, "norm"),
        (make(orientations=np.zeros((4, 4))), Refusal.BAD_QUATERNION, "norm 0"),
        (with_value("gripper", 2, 1.5), Refusal.BAD_GRIPPER, r"gripper\[2\]"),
        (with_value("positions", 0, 1e300), Refusal.OUT_OF_REACH, "pose 0"),
        (with_value("positions", 3, 1.5), Refusal.STEP_TOO_LARGE, "pose 0"),
        (make(orientations=np.array([[0, 0, 0, 1.0]] * 3 + [[1.0, 0, 0, 0]])), Refusal.STEP_TOO_LARGE, "3.142 rad"),
    ],
)
def test_refused_by_name(chunk, reason, words):
    with pytest.raises(ChunkRefused, match=words) as refused:
        check_chunk(chunk, CONFIG, "base_link")
    assert refused.value.reason is reason


def test_small_deviations_are_mended():
    chunk = make(orientations=np.tile([0.0, 0.0, 0.0, 1.0005], (4, 1)), gripper=np.full(4, 1.0005))
    checked = check_chunk(chunk, CONFIG, "base_link")
    assert np.linalg.norm(checked.orientations, axis=1) == pytest.approx(1.0)
    assert checked.gripper.max() == 1.0


def test_angles_do_not_depend_on_the_sign_of_a_quaternion():
    half = np.array([[np.sin(0.1), 0.0, 0.0, np.cos(0.1)]])
    still = np.array([[0.0, 0.0, 0.0, 1.0]])
    assert angle_between(half, still) == pytest.approx(0.2)
    assert angle_between(-half, still) == pytest.approx(0.2)


ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True, width=64)
ANY_ARRAY = arrays.arrays(np.float64, arrays.array_shapes(max_dims=3, min_side=0, max_side=6), elements=ANY_FLOAT)


@settings(max_examples=300, deadline=None)
@given(
    positions=ANY_ARRAY,
    orientations=st.one_of(ANY_ARRAY, st.just(np.tile([0.0, 0.0, 0.0, 1.0], (3, 1)))),
    gripper=ANY_ARRAY,
    dt=ANY_FLOAT,
    stamp=ANY_FLOAT,
    horizon=st.one_of(st.none(), st.integers(-(2**40), 2**40)),
)
def test_whatever_comes_is_sound_or_refused(positions, orientations, gripper, dt, stamp, horizon):
    chunk = make(positions=positions, orientations=orientations, gripper=gripper, dt=dt, stamp=stamp, horizon=horizon)
    try:
        checked = check_chunk(chunk, CONFIG, "base_link")
    except ChunkRefused:
        return
    count = checked.horizon
    assert checked.positions.shape == (count, 3)
    assert checked.orientations.shape == (count, 4)
    for values in (checked.positions, checked.orientations, checked.gripper):
        assert np.isfinite(values).all()
    assert np.allclose(np.linalg.norm(checked.orientations, axis=1), 1.0)
