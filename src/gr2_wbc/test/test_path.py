"""Paths: infeasible chunks are stretched in time and not cut, turns of any size, windows of long chunks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pinocchio as pin
import pytest

from gr2_wbc.chunk import Chunk
from gr2_wbc.config import ReferenceConfig
from gr2_wbc.path import Motion, Path, poses_of
from gr2_wbc.reference import Reference
from gr2_wbc.robot import ToolLimits
from gr2_wbc.rotation import quaternion_of

DT, HOLD = 0.005, 0.02
LIMITS = ToolLimits(0.5, 1.74)
START = np.array([0.4, 0.0, 0.3])
TURN = pin.exp3(np.array([np.pi, 0.0, 0.0]))
PATIENT = replace(ReferenceConfig(), max_overtime=100.0)


def chunk_through(positions: np.ndarray, vectors: np.ndarray | None = None, dt: float = 0.1, **changes) -> Chunk:
    """A chunk of time 0 through these positions and rotation vectors from TURN."""
    vectors = np.zeros_like(positions) if vectors is None else vectors
    orientations = np.array([quaternion_of(TURN @ pin.exp3(vector)) for vector in vectors])
    fields = {
        "stamp": 0.0,
        "sequence": 1,
        "session": "",
        "instruction": "",
        "model_id": "",
        "dt": dt,
        "positions": positions,
        "orientations": orientations,
        "gripper": np.linspace(0.0, 1.0, len(positions)),
    }
    return Chunk(**(fields | changes))


def follow(chunk: Chunk, seconds: float, config: ReferenceConfig = PATIENT) -> tuple[Reference, np.ndarray, np.ndarray]:
    """The reference after this time; positions (k, 3) and rotations (k, 3, 3), cycle by cycle, from rest at START."""
    reference = Reference(config, LIMITS)
    reference.hold(0.0, START, TURN)
    reference.splice(chunk, Motion(START, TURN, np.zeros(6), np.zeros(6)))
    positions, rotations = [START], [TURN]
    for index in range(round(seconds / DT)):
        reference.advance((index + 1) * DT, DT, HOLD, 0.0, 0.0)
        position, rotation, _ = reference.sample(0.0)
        positions.append(position)
        rotations.append(rotation)
        if reference.finished:
            break
    return reference, np.array(positions), np.array(rotations)


def spins(rotations: np.ndarray) -> np.ndarray:
    """Angular velocities (k, 3) between rotations a cycle apart [rad/s]."""
    return np.array([pin.log3(b @ a.T) for a, b in pairwise(rotations)]) / DT


SQUARE = np.array([[0.3, 0, 0], [0.3, 0.3, 0], [0, 0.3, 0], [0, 0, 0], [0, 0, 0.2]])
WIDE = np.array([[0.05, 0, 0], [0.2, -0.3, 0], [0.4, 0.3, 0], [0.6, -0.3, 0]])
ZIGZAG = np.array([[0.04 * i, 0.06 * (-1.0) ** i, 0.0] for i in range(8)])


@pytest.mark.parametrize("offsets", [SQUARE, ZIGZAG, 0.25 * ZIGZAG, WIDE], ids=["square", "z", "small", "wide"])
def test_corners_of_a_chunk_that_is_too_fast_are_not_cut(offsets):
    """The reference passes every pose within the tolerance however fast the chunk is; it takes its time instead."""
    chunk = chunk_through(START + offsets)
    reference, path, _ = follow(chunk, 60.0)
    assert reference.finished
    assert not reference.abandoned
    missed = [np.linalg.norm(path - pose, axis=1).min() for pose in chunk.positions]
    # The first two may be passed further off: there the arm is still joining.
    assert max(missed[2:]) < 1.5 * PATIENT.position_tolerance
    velocity = np.diff(path, axis=0) / DT
    assert np.linalg.norm(velocity, axis=1).max() <= LIMITS.linear
    acceleration = np.diff(velocity, axis=0) / DT
    assert np.linalg.norm(acceleration, axis=1).max() < 5.0


def test_a_feasible_chunk_keeps_its_times():
    times = 0.1 * np.arange(1, 17)
    chunk = chunk_through(START + np.column_stack([0.2 * times, 0.05 * np.sin(3.0 * times), 0.0 * times]))
    poses = poses_of(chunk, 0.03, ReferenceConfig(), LIMITS)
    assert np.allclose(poses.times, times - 0.03)


def test_noise_of_millimetres_does_not_slow_a_chunk_down():
    rng = np.random.default_rng(0)
    times = 0.1 * np.arange(1, 17)
    clean = START + np.column_stack([0.2 * times, 0.0 * times, 0.0 * times])
    chunk = chunk_through(clean + rng.normal(0.0, 0.003, (16, 3)))
    assert np.allclose(poses_of(chunk, 0.0, ReferenceConfig(), LIMITS).times, times)
    _, path, _ = follow(chunk, 1.0)
    assert np.abs(path[:200, 1:] - clean[0, 1:]).max() < 0.005


def test_overlapping_noisy_chunks_make_a_smooth_motion():
    """Eight policies a second that never quite agree: the motion stays near their mean, its acceleration bounded."""
    rng = np.random.default_rng(1)
    reference = Reference(ReferenceConfig(), LIMITS)
    reference.hold(0.0, START, TURN)
    path = []
    for cycle in range(800):
        now = cycle * DT
        if cycle % 25 == 0:
            times = now - 0.15 + 0.1 * np.arange(1, 17)
            truth = START + np.column_stack([0.1 * np.sin(times), 0.1 * (1.0 - np.cos(times)), 0.0 * times])
            chunk = chunk_through(truth + rng.normal(0.0, 0.004, (16, 3)), stamp=now - 0.15)
            reference.splice(chunk, Motion(START, TURN, np.zeros(6), np.zeros(6)))
        reference.advance(now + DT, DT, HOLD, 0.0, 0.0)
        path.append(reference.sample(0.0)[0])
    times = DT * np.arange(1, 801)
    truth = START + np.column_stack([0.1 * np.sin(times), 0.1 * (1.0 - np.cos(times)), 0.0 * times])
    assert np.linalg.norm(np.array(path)[100:] - truth[100:], axis=1).max() < 0.010
    acceleration = np.diff(np.array(path), n=2, axis=0) / DT**2
    assert np.linalg.norm(acceleration, axis=1).max() < 3.0
    assert np.linalg.norm(np.diff(acceleration, axis=0), axis=1).max() < 0.5  # in one cycle


@pytest.mark.parametrize("seed", range(4))
def test_turns_far_beyond_a_whole_one_are_followed(seed):
    """About ten radians in wobbling steps, quaternions of random sign: every orientation is met, in windows."""
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    rotation, orientations, matrices = TURN, [], []
    for _ in range(40):
        rotation = rotation @ pin.exp3(0.25 * axis + 0.03 * rng.normal(size=3))
        matrices.append(rotation)
        orientations.append(rng.choice([-1.0, 1.0]) * quaternion_of(rotation))
    chunk = chunk_through(np.tile(START, (40, 1)), dt=0.2, orientations=np.array(orientations))
    reference, _, path = follow(chunk, 60.0)
    assert reference.finished
    assert not reference.abandoned
    flat = path.reshape(-1, 9)
    for matrix in matrices[2:]:
        near = path[np.argmax(flat @ matrix.ravel())]
        assert np.linalg.norm(pin.log3(near.T @ matrix)) < 0.04
    spin = spins(path)
    assert np.linalg.norm(spin, axis=1).max() <= LIMITS.angular
    assert np.linalg.norm(np.diff(spin, axis=0) / DT, axis=1).max() < 12.0
    assert reference.gripper() == chunk.gripper[-1]


def test_a_turn_through_pi_has_no_jump():
    vectors = np.linspace(2.5, 3.9, 12)[:, None] * np.array([0.0, 0.6, 0.8])
    vectors = np.vstack([np.linspace(0.2, 2.4, 12)[:, None] * np.array([0.0, 0.6, 0.8]), vectors])
    chunk = chunk_through(np.tile(START, (24, 1)), vectors, dt=0.2)
    _, _, path = follow(chunk, 20.0)
    assert np.linalg.norm(np.diff(spins(path), axis=0) / DT, axis=1).max() < 8.0
    assert np.linalg.norm(pin.log3(path[-1].T @ TURN @ pin.exp3(vectors[-1]))) < 0.01


def test_a_long_chunk_is_followed_to_its_end_in_windows():
    times = 0.1 * np.arange(1, 201)
    positions = START + np.column_stack([0.1 * np.sin(times), 0.1 * np.cos(times) - 0.1, 0.0 * times])
    reference, path, _ = follow(chunk_through(positions), 30.0)
    assert reference.finished
    assert np.linalg.norm(path[-1] - positions[-1]) < 1e-3
    on_time = path[np.round(times[5:150] / DT).astype(int)]
    assert np.linalg.norm(on_time - positions[5:150], axis=1).max() < 2e-3
    assert np.linalg.norm(np.diff(path, n=2, axis=0) / DT**2, axis=1).max() < 2.5


def test_windows_are_long_against_their_end(monkeypatch):
    """However dense the poses are, a chunk is fitted a few times and not in each cycle."""
    made = []
    fit = Path.__init__
    monkeypatch.setattr(Path, "__init__", lambda self, *args: made.append(1) or fit(self, *args))
    for dt in (0.005, 0.02, 0.1):
        made.clear()
        times = dt * np.arange(1, 257)
        positions = START + np.column_stack([0.1 * np.sin(times), 0.1 * np.cos(times) - 0.1, 0.0 * times])
        reference, path, _ = follow(chunk_through(positions, dt=dt), 30.0)
        assert reference.finished
        assert np.linalg.norm(path[-1] - positions[-1]) < 2e-3
        assert len(made) <= 5


def test_a_path_begins_with_the_motion_it_is_given():
    rng = np.random.default_rng(7)
    for _ in range(50):
        motion = Motion(
            START + rng.normal(0.0, 0.02, 3),
            TURN @ pin.exp3(rng.normal(0.0, 0.3, 3)),
            rng.normal(0.0, 0.2, 6),
            rng.normal(0.0, 1.0, 6),
        )
        chunk = chunk_through(START + np.cumsum(rng.normal(0.0, 0.02, (9, 3)), axis=0), rng.normal(0.0, 0.2, (9, 3)))
        path = Path(poses_of(chunk, 0.25, PATIENT, LIMITS), 0.1, motion, PATIENT, LIMITS, 10.0)
        assert path.at(0.0)[:2] == (0.0, 1.0)
        begun = path.motion(0.0, *path.at(0.0)[1:])
        for name in ("position", "rotation", "velocity"):
            assert np.allclose(getattr(begun, name), getattr(motion, name), atol=1e-9)
        assert np.allclose(path.motion(0.0, 1.0, 0.0).acceleration, motion.acceleration, atol=1e-6)
        # What is sampled is what the state of motion says.
        position, rotation, twist = path.sample(0.2, 0.7, -1.5, 0.0)
        state = path.motion(0.2, 0.7, -1.5)
        assert np.allclose(position, state.position)
        assert np.allclose(rotation, state.rotation)
        assert np.allclose(twist, state.velocity)
        _, _, later = path.sample(0.2, 0.7, -1.5, 1e-6)
        assert np.allclose((later - twist) / 1e-6, state.acceleration, atol=1e-4)


@pytest.mark.parametrize("speed", [0.3, 0.8, 2.0, 4.0])
def test_the_arm_stays_on_the_path_of_a_chunk_that_is_too_fast(make_rig, speed):
    """A square of 0.15 m, faster than tool and joints can: the tool stays near the reference, and meets the corners."""
    rig = make_rig(**{"reference.max_overtime": 60.0})
    corners = rig.tool()[0] + 0.15 * np.array([[0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0.2]])
    poses = [corners[0] + 0.01 * np.array([0.0, 1.0, 0.0])]
    for here, there in pairwise(corners):
        way = float(np.linalg.norm(there - here))
        poses += [here + share * (there - here) for share in np.arange(0.1 * speed, way + 1e-9, 0.1 * speed) / way]
        poses.append(there)
    rig.send(np.array(poses))
    tools, errors = [], []
    for _ in range(2400):
        rig.step()
        tools.append(rig.tool()[0])
        errors.append(rig.controller.status().position_error)
        if rig.reason.endswith("is done"):
            break
    assert rig.reason.endswith("is done")
    assert max(errors) < 0.011
    missed = [np.linalg.norm(np.array(tools) - corner, axis=1).min() for corner in corners]
    assert max(missed) < 0.020
