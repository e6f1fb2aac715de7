"""Sessions, order, time and distance: who may send chunks, and which one is accepted now."""

from __future__ import annotations

import numpy as np
import pytest

from gr2_wbc.chunk import Chunk, ChunkRefused, Refusal
from gr2_wbc.config import IntakeConfig
from gr2_wbc.intake import Handshake, HandshakeRefused, Intake

STILL = np.array([0.0, 0.0, 0.0, 1.0])
HOME = np.array([0.4, 0.0, 0.3])
GOOD = {
    "policy": "p",
    "robot_id": "gen3_2f85",
    "action_space": "tool_pose_base_link+gripper",
    "chunk_dt": 0.1,
    "normalization_hash": "",
}


def make(intake: Intake, **changes: object) -> Chunk:
    fields: dict = {
        "stamp": 10.0,
        "sequence": 1,
        "session": intake.session,
        "instruction": "i",
        "model_id": "m",
        "dt": 0.1,
        "positions": np.tile(HOME, (8, 1)),
        "orientations": np.tile(STILL, (8, 1)),
        "gripper": np.zeros(8),
    }
    return Chunk(**(fields | changes))


def offer(intake: Intake, now: float = 10.05, **changes: object) -> Chunk:
    return intake.accept(make(intake, **changes), now, HOME, STILL)


def refused(intake: Intake, now: float = 10.05, **changes: object) -> Refusal:
    with pytest.raises(ChunkRefused) as refusal:
        offer(intake, now, **changes)
    assert intake.refused[refusal.value.reason] >= 1
    assert str(refusal.value) in intake.last_refusal
    return refusal.value.reason


@pytest.fixture
def intake() -> Intake:
    intake = Intake(IntakeConfig(), "gen3_2f85", "base_link")
    intake.activate(Handshake(**GOOD))
    return intake


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"robot_id": "gen3"}, "'gen3'.*'gen3_2f85'"),
        ({"action_space": "joints"}, "'joints'"),
        ({"chunk_dt": 0.2}, "0.2 s.*0.1 s"),
        ({"chunk_dt": float("nan")}, "nan"),
        ({"normalization_hash": "abc"}, "'abc'.*'xyz'"),
    ],
)
def test_a_handshake_that_does_not_fit_is_refused_naming_both_values(changes, words):
    intake = Intake(IntakeConfig(normalization_hash="xyz"), "gen3_2f85", "base_link")
    with pytest.raises(HandshakeRefused, match=words):
        intake.activate(Handshake(**(GOOD | {"normalization_hash": "xyz"} | changes)))
    assert intake.session == ""


def test_a_refused_handshake_leaves_the_session_as_it_was(intake):
    session = intake.session
    with pytest.raises(HandshakeRefused):
        intake.activate(Handshake(**(GOOD | {"robot_id": "x"})))
    assert intake.session == session
    offer(intake)


def test_without_activation_nothing_is_accepted():
    assert refused(Intake(IntakeConfig(), "gen3_2f85", "base_link")) is Refusal.UNKNOWN_SESSION


def test_a_second_publisher_is_refused_and_the_first_goes_on(intake):
    offer(intake, sequence=1)
    assert refused(intake, sequence=2, session="intruder") is Refusal.UNKNOWN_SESSION
    assert refused(intake, sequence=2, session="") is Refusal.UNKNOWN_SESSION
    offer(intake, sequence=2)
    assert intake.accepted == 2


def test_a_new_activation_ends_the_session_before_and_counts_anew(intake):
    offer(intake, sequence=7)
    old = intake.session
    intake.activate(Handshake(**GOOD))
    assert refused(intake, session=old, sequence=8) is Refusal.UNKNOWN_SESSION
    offer(intake, sequence=1)


def test_without_required_handshake_the_first_session_is_adopted():
    intake = Intake(IntakeConfig(require_handshake=False), "gen3_2f85", "base_link")
    offer(intake, session="", sequence=1)
    assert refused(intake, session="other", sequence=2) is Refusal.UNKNOWN_SESSION
    offer(intake, session="", sequence=2)


@pytest.mark.parametrize("sequence", [4, 5])
def test_a_sequence_that_is_not_newer_is_refused(intake, sequence):
    offer(intake, sequence=5)
    assert refused(intake, sequence=sequence) is Refusal.OLD_SEQUENCE
    offer(intake, sequence=6)


def test_a_refused_chunk_does_not_use_up_its_sequence(intake):
    assert refused(intake, sequence=5, frame_id="map") is Refusal.WRONG_FRAME
    offer(intake, sequence=5)


def test_time(intake):
    assert refused(intake, now=9.8) is Refusal.FUTURE_STAMP
    assert refused(intake, now=10.8) is Refusal.EXPIRED
    assert refused(intake, now=1e9) is Refusal.EXPIRED
    assert refused(intake, dt=0.05) is Refusal.BAD_TIMING
    offer(intake, now=10.79)


def test_observations_from_before_a_take_over_are_refused(intake):
    intake.forget_before(10.02)
    assert refused(intake) is Refusal.BEFORE_RESYNC
    offer(intake, stamp=10.03)


def test_the_pose_due_now_must_be_near_the_arm_not_the_first_one(intake):
    # A chunk 0.5 s late: its first pose is 0.4 m away, but the one due now is where the arm is.
    along = HOME + np.linspace(-0.4, 0.4, 16)[:, None] * np.array([0.0, 1.0, 0.0])
    rest = {"orientations": np.tile(STILL, (16, 1)), "gripper": np.zeros(16)}
    assert refused(intake, now=10.05, positions=along, **rest) is Refusal.TOO_FAR
    offer(intake, now=10.85, positions=along, **rest)


def test_an_orientation_far_from_the_arm_is_refused(intake):
    turned = np.tile([np.sin(0.6), 0.0, 0.0, np.cos(0.6)], (8, 1))
    assert refused(intake, orientations=turned) is Refusal.TOO_FAR
    offer(intake, orientations=-np.tile(STILL, (8, 1)))


def test_counters_start_at_zero_for_every_reason():
    assert set(Intake(IntakeConfig(), "r", "f").refused) == set(Refusal)
