"""Who may send chunks, and which chunk is accepted now: sessions, sequence, time and distance to the arm."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from gr2_wbc.chunk import Chunk, ChunkRefused, Refusal, angle_between, check_chunk
from gr2_wbc.config import IntakeConfig


class HandshakeRefused(ValueError):
    """A policy must not be activated. The message names the entry and both values."""


@dataclass(frozen=True)
class Handshake:
    """What a policy states at activation; see ActivatePolicy.srv."""

    policy: str
    robot_id: str
    action_space: str
    chunk_dt: float
    normalization_hash: str


class Intake:
    """Decides on chunks and counts what was refused.

    Attributes:
        session: the session chunks are accepted from; empty: none.
        policy: who was activated.
        accepted: chunks accepted since start.
        refused: refusals since start, by reason.
        last_refusal: the newest one in words.
    """

    def __init__(self, config: IntakeConfig, robot_id: str, frame: str) -> None:
        self._config = config
        self._robot_id = robot_id
        self._frame = frame
        self._sequence: int | None = None
        self._dt: float | None = None
        self._adopted = False
        self._not_before = -np.inf
        self.session = ""
        self.policy = ""
        self.accepted = 0
        self.refused = dict.fromkeys(Refusal, 0)
        self.last_refusal = ""

    def activate(self, handshake: Handshake) -> str:
        """Begin a session; the one before ends.

        Returns:
            The session's name, to be put into every chunk.

        Raises:
            HandshakeRefused: policy and controller do not mean the same.
        """
        config = self._config
        for name, stated, known in (
            ("robot_id", handshake.robot_id, self._robot_id),
            ("action_space", handshake.action_space, config.action_space),
        ):
            if stated != known:
                raise HandshakeRefused(f"{name} of the policy is '{stated}', of the controller '{known}'")
        if not abs(handshake.chunk_dt - config.chunk_dt) <= 1e-6:
            raise HandshakeRefused(
                f"chunk_dt of the policy is {handshake.chunk_dt} s, of the controller {config.chunk_dt} s"
            )
        if config.normalization_hash and handshake.normalization_hash != config.normalization_hash:
            raise HandshakeRefused(
                f"normalization_hash of the policy is '{handshake.normalization_hash}', "
                f"of the controller '{config.normalization_hash}'"
            )
        self.session = uuid.uuid4().hex[:16]
        self.policy = handshake.policy
        self._dt = config.chunk_dt
        self._sequence = None
        self._adopted = False
        return self.session

    def forget_before(self, time: float) -> None:
        """Refuse chunks computed from observations made before this time [s]."""
        self._not_before = time

    def accept(
        self,
        chunk: Chunk,
        now: float,
        position: np.ndarray,
        orientation: np.ndarray,
        blocked: ChunkRefused | None = None,
    ) -> Chunk:
        """Decide on a chunk.

        Args:
            chunk: as received.
            now: control time [s].
            position, orientation: commanded tool pose, (3,) [m] and quaternion (4,) x y z w.
            blocked: why the controller takes no chunk at all at present.

        Returns:
            The checked chunk.

        Raises:
            ChunkRefused: it is refused as a whole; counted here.
        """
        with self._counting_refusals(chunk):
            if blocked is not None:
                raise blocked
            self._check_session(chunk)
            checked = check_chunk(chunk, self._config, self._frame)
            self._check_order(checked)
            self._check_time(checked, now)
            self._check_distance(checked, now, position, orientation)
        if not self.session and not self._adopted:
            self.session, self._adopted = checked.session, True
        self._sequence = checked.sequence
        self.accepted += 1
        return checked

    def withdraw(self, chunk: Chunk, blocked: ChunkRefused | None = None) -> None:
        """Decide on a chunk without poses, which asks to come to rest; see :meth:`accept`.

        Raises:
            ChunkRefused: it is of another session, or not newer than the last; counted here.
        """
        with self._counting_refusals(chunk):
            if blocked is not None:
                raise blocked
            self._check_session(chunk)
            self._check_order(chunk)
        self._sequence = chunk.sequence

    @contextmanager
    def _counting_refusals(self, chunk: Chunk) -> Iterator[None]:
        try:
            yield
        except ChunkRefused as refusal:
            self.refused[refusal.reason] += 1
            self.last_refusal = f"chunk {chunk.sequence} of '{chunk.model_id}': {refusal}"
            raise

    def _check_session(self, chunk: Chunk) -> None:
        if not self.session and not self._adopted:
            if self._config.require_handshake:
                raise ChunkRefused(Refusal.UNKNOWN_SESSION, "no policy has been activated")
            return
        if chunk.session != self.session:
            raise ChunkRefused(
                Refusal.UNKNOWN_SESSION,
                f"session '{chunk.session}' is not the one activated, '{self.session}' of '{self.policy}'",
            )

    def _check_order(self, chunk: Chunk) -> None:
        if self._sequence is not None and chunk.sequence <= self._sequence:
            raise ChunkRefused(Refusal.OLD_SEQUENCE, f"sequence {chunk.sequence} is not newer than {self._sequence}")
        if self._dt is not None and abs(chunk.dt - self._dt) > 1e-6:
            raise ChunkRefused(Refusal.BAD_TIMING, f"dt is {chunk.dt} s, {self._dt} s were stated at activation")

    def _check_time(self, chunk: Chunk, now: float) -> None:
        if chunk.stamp > now + self._config.future_tolerance:
            raise ChunkRefused(
                Refusal.FUTURE_STAMP,
                f"stamp {chunk.stamp:.3f} s lies {chunk.stamp - now:.3f} s in the future",
            )
        if chunk.end <= now:
            raise ChunkRefused(Refusal.EXPIRED, f"its last pose was due {now - chunk.end:.3f} s ago")
        if chunk.stamp < self._not_before:
            raise ChunkRefused(
                Refusal.BEFORE_RESYNC,
                f"observation of {chunk.stamp:.3f} s is older than the arm's take-over at {self._not_before:.3f} s",
            )

    def _check_distance(self, chunk: Chunk, now: float, position: np.ndarray, orientation: np.ndarray) -> None:
        times = chunk.stamp + chunk.dt * np.arange(1, len(chunk.positions) + 1)
        due = np.array([np.interp(now, times, column) for column in chunk.positions.T])
        distance = float(np.linalg.norm(due - position))
        nearest = min(int(np.searchsorted(times, now)), len(times) - 1)
        angle = float(angle_between(chunk.orientations[nearest], orientation))
        config = self._config
        if distance > config.max_position_jump or angle > config.max_angle_jump:
            raise ChunkRefused(
                Refusal.TOO_FAR,
                f"the pose due now is {distance:.3f} m and {angle:.3f} rad from the arm, "
                f"allowed are {config.max_position_jump} m and {config.max_angle_jump} rad",
            )
