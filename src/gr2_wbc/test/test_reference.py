"""The reference motion: continuous splices, slowing down along the path, coming to rest on it."""

from __future__ import annotations

import numpy as np
import pinocchio as pin
import pytest

from gr2_wbc.chunk import Chunk
from gr2_wbc.config import ReferenceConfig
from gr2_wbc.reference import Motion, Reference
from gr2_wbc.robot import ToolLimits
from gr2_wbc.rotation import quaternion_of

DT, HOLD = 0.005, 0.02
LIMITS = ToolLimits(0.5, 1.74)
START = np.array([0.4, 0.0, 0.3])
TURN = pin.exp3(np.array([np.pi, 0.0, 0.0]))


def chunk_of(stamp: float, position, rotation_vector=lambda _time: np.zeros(3), count: int = 16, **changes) -> Chunk:
    times = stamp + 0.1 * np.arange(1, count + 1)
    fields = {
        "stamp": stamp,
        "sequence": 1,
        "session": "",
        "instruction": "",
        "model_id": "",
        "dt": 0.1,
        "positions": np.array([position(time) for time in times]),
        "orientations": np.array([quaternion_of(TURN @ pin.exp3(rotation_vector(time))) for time in times]),
        "gripper": np.zeros(count),
    }
    return Chunk(**(fields | changes))


def arm(reference: Reference) -> Motion:
    position, rotation, twist = reference.sample(0.0)
    return Motion(position, rotation, twist, np.zeros(6))


def standing() -> Reference:
    reference = Reference(ReferenceConfig(), LIMITS)
    reference.hold(0.0, START, TURN)
    return reference


def run(reference: Reference, start: float, cycles: int, lag: float = 0.0) -> np.ndarray:
    """Positions, rotation vectors and scale, cycle by cycle."""
    rows = []
    for index in range(cycles):
        reference.advance(start + (index + 1) * DT, DT, HOLD, lag, 0.0)
        position, rotation, _ = reference.sample(0.0)
        rows.append(np.concatenate([position, pin.log3(TURN.T @ rotation), [reference.scale]]))
    return np.array(rows)


def wave(time: float) -> np.ndarray:
    return START + np.array([0.1 * np.sin(time), 0.08 * (1 - np.cos(1.4 * time)), 0.0])


def swing(time: float) -> np.ndarray:
    return np.array([0.3 * np.sin(1.1 * time), -0.2 * np.sin(time), 0.4 * (1 - np.cos(time))])


@pytest.mark.parametrize("late", [0.0, 0.1, 0.35, 0.8])
@pytest.mark.parametrize("offset", [0.0, 0.03])
def test_splices_are_continuous_in_position_velocity_and_acceleration(late, offset):
    """Chunks come late, and a new one disagrees with the one before: no step in what the arm is asked to do."""
    reference = standing()
    rows = []
    for index in range(6):
        now = 0.3 * index
        jumped = (index % 2) * offset

        def position(time, jumped=jumped):
            return wave(time) + np.array([0.0, 0.0, jumped])

        before = arm(reference)
        reference.splice(chunk_of(now - late, position, swing), before)
        after = arm(reference)
        assert np.allclose(before.position, after.position, atol=1e-9)
        assert np.allclose(before.rotation, after.rotation, atol=1e-9)
        assert np.allclose(before.velocity, after.velocity, atol=1e-8)
        rows.append(run(reference, now, 60))
    path = np.vstack(rows)[:, :6]
    velocity = np.diff(path, axis=0) / DT
    acceleration = np.diff(velocity, axis=0) / DT
    jerk = np.diff(acceleration, axis=0) / DT
    assert np.linalg.norm(velocity[:, :3], axis=1).max() <= LIMITS.linear * 1.01
    # A step of the acceleration by 1 m/s^2 in one cycle would be a jerk of 200 m/s^3.
    assert np.abs(jerk[:, :3]).max() < 150.0
    assert np.linalg.norm(acceleration[:, :3], axis=1).max() < 4.0


def test_the_chunk_is_followed_at_its_own_times():
    reference = standing()
    for index in range(8):
        reference.splice(chunk_of(0.3 * index - 0.1, wave, swing), arm(reference))
        rows = run(reference, 0.3 * index, 60)
    for row, time in zip(rows, 2.1 + DT * np.arange(1, 61), strict=True):
        assert np.allclose(row[:3], wave(time), atol=1.5e-3)
        assert np.allclose(row[3:6], swing(time), atol=4e-3)


def test_without_a_fresh_chunk_it_comes_to_rest_on_the_path():
    reference = standing()
    chunk = chunk_of(0.0, lambda time: START + np.array([0.2 * time, 0.0, 0.0]))
    reference.splice(chunk, arm(reference))
    rows = run(reference, 0.0, 500)
    assert reference.finished
    assert reference.braking
    assert np.allclose(rows[-1, :3], chunk.positions[-1], atol=1e-3)
    assert np.abs(rows[:, 1:3] - START[1:]).max() < 1e-9  # never left the line
    speed = np.diff(rows[:, 0]) / DT
    assert speed.min() > -1e-3  # and never turned back
    assert np.abs(np.diff(speed) / DT).max() < 2.5


def test_a_path_faster_than_the_tool_may_move_is_followed_more_slowly():
    reference = standing()
    fast = chunk_of(0.0, lambda time: START + np.array([0.0, 0.9 * time * time, 0.0]), count=10)
    reference.splice(fast, arm(reference))
    rows = run(reference, 0.0, 600)
    speed = np.linalg.norm(np.diff(rows[:, :3], axis=0), axis=1) / DT
    assert speed.max() <= LIMITS.linear * 1.001
    assert rows[:, 6].min() < 0.6
    assert np.allclose(rows[-1, :3], fast.positions[-1], atol=5e-3)


def test_a_lagging_arm_stops_the_path_and_a_new_chunk_starts_from_the_arm():
    reference = standing()
    down = chunk_of(0.0, lambda time: START - np.array([0.0, 0.0, 0.2 * time]))
    reference.splice(down, arm(reference))
    run(reference, 0.0, 100)
    rows = run(reference, 0.5, 200, lag=0.012)
    assert rows[-1, 6] == 0.0
    assert np.allclose(rows[-1], rows[-50])
    stuck = Motion(rows[-1, :3] + np.array([0.0, 0.0, 0.012]), TURN, np.zeros(6), np.zeros(6))
    reference.splice(chunk_of(1.5, lambda _time: stuck.position), stuck)
    position, _, _ = reference.sample(0.0)
    assert np.allclose(position, stuck.position, atol=1e-9)


def test_a_path_that_cannot_be_followed_is_given_up_after_its_time():
    reference = standing()
    reference.splice(chunk_of(0.0, wave), arm(reference))
    run(reference, 0.0, 100)
    run(reference, 0.5, 500, lag=0.02)
    assert not reference.finished
    run(reference, 3.0, 100, lag=0.02)
    assert reference.finished


def test_a_late_cycle_resumes_from_the_braking_tail():
    reference = standing()
    reference.splice(chunk_of(0.0, lambda time: START + np.array([0.2 * time, 0.0, 0.0])), arm(reference))
    before = run(reference, 0.0, 100)[-1]
    reference.advance(0.5 + 0.4, DT, HOLD, 0.0, 0.0)
    position, _, _ = reference.sample(0.0)
    assert reference.scale < 0.2
    assert position[0] - before[0] < 0.2 * (HOLD + DT)


def test_the_gripper_follows_the_poses_reached():
    reference = standing()
    values = np.array([0.0, 0.0, 1.0, 1.0, 0.2])
    chunk = chunk_of(0.0, lambda _time: START, count=5, gripper=values)
    reference.splice(chunk, arm(reference))
    assert reference.gripper() is None  # no pose reached yet: leave it
    seen = []
    for index in range(1, 200):
        reference.advance(index * DT, DT, HOLD, 0.0, 0.0)
        seen.append(reference.gripper())
    assert seen[25] == 0.0
    assert seen[65] == 1.0
    assert seen[-1] == pytest.approx(0.2)


def test_chunks_faster_than_their_poses_still_move_the_gripper():
    reference = standing()
    values = np.ones(8)
    for index in range(10):
        now = 0.02 * index
        reference.splice(chunk_of(now - 0.15, lambda _time: START, count=8, gripper=values), arm(reference))
        reference.advance(now + 0.02, DT, HOLD, 0.0, 0.0)
    assert reference.gripper() == 1.0


def test_the_last_rest_of_a_chunk_is_stretched_not_rushed():
    reference = standing()
    chunk = chunk_of(-1.55, lambda _time: START + np.array([0.05, 0.0, 0.0]))
    reference.splice(chunk, arm(reference))
    rows = run(reference, 0.0, 300)
    speed = np.diff(rows[:, 0]) / DT
    assert speed.max() < 0.4
    assert np.abs(np.diff(speed) / DT).max() < 3.0
    assert rows[-1, 0] == pytest.approx(START[0] + 0.05, abs=1e-3)
