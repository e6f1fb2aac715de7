"""Chunks that a policy should never send, but may: random walks, jumps, spins, targets inside things, nonsense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pinocchio as pin

from gr2_wbc.chunk import Chunk
from gr2_wbc.rotation import quaternion_of


@dataclass(frozen=True, eq=False)
class Situation:
    """What chunks are made around.

    Attributes:
        now: control time [s].
        position, rotation: tool pose in base_link, (3,) [m] and (3, 3).
        session: of the controller.
        sequence: of the next chunk.
        dt: between poses [s].
    """

    now: float
    position: np.ndarray
    rotation: np.ndarray
    session: str
    sequence: int
    dt: float


Maker = Callable[[np.random.Generator, Situation, int], tuple[np.ndarray, np.ndarray]]
"""Positions (k, 3) [m] and orientations (k, 4) x y z w of k poses."""


def random_chunk(random: np.random.Generator, situation: Situation, latest: float = 0.8) -> tuple[str, Chunk]:
    """A chunk of a random kind, computed from an observation up to ``latest`` seconds ago; and the kind's name."""
    names = list(KINDS)
    kind = names[random.integers(len(names))]
    count = int(random.integers(1, 33))
    positions, orientations = KINDS[kind](random, situation, count)
    orientations = orientations * random.choice([-1.0, 1.0], size=(count, 1))
    chunk = Chunk(
        stamp=situation.now - float(random.uniform(-0.05, latest)),
        sequence=situation.sequence,
        session=situation.session,
        instruction="random",
        model_id=kind,
        dt=situation.dt,
        positions=positions,
        orientations=orientations,
        gripper=random.uniform(0.0, 1.0, count),
    )
    if random.random() < 0.1:
        return "malformed", malformed(random, chunk)
    if random.random() < 0.03:
        empty = np.zeros(0)
        return "withdrawn", replace(chunk, positions=empty, orientations=empty, gripper=empty, horizon=0)
    return kind, chunk


def malformed(random: np.random.Generator, chunk: Chunk) -> Chunk:
    """The chunk with one thing wrong; every one of these must be refused."""
    positions, orientations = chunk.positions.copy(), chunk.orientations.copy()
    row = int(random.integers(len(positions)))
    choice = int(random.integers(11))
    if choice == 0:
        positions[row, random.integers(3)] = random.choice([np.nan, np.inf, -np.inf, 1e300])
        return replace(chunk, positions=positions)
    if choice == 1:
        orientations[row] = random.choice([np.nan, 0.0, 1e200])
        return replace(chunk, orientations=orientations)
    if choice == 2:
        return replace(chunk, positions=positions.ravel()[:-1])
    if choice == 3:
        return replace(chunk, horizon=len(positions) + 7)
    if choice == 4:
        return replace(chunk, session="stranger")
    if choice == 5:
        return replace(chunk, frame_id="world")
    if choice == 6:
        return replace(chunk, dt=float(random.choice([0.0, -0.1, np.nan, 1e9])))
    if choice == 7:
        return replace(chunk, stamp=float(random.choice([np.nan, np.inf, chunk.stamp + 5.0, chunk.stamp - 50.0])))
    if choice == 8:
        return replace(chunk, gripper=np.full(len(positions), 3.0))
    if choice == 9:
        return replace(chunk, sequence=chunk.sequence - 1000)
    return replace(chunk, orientations=orientations * 1.1)


def _turned(situation: Situation, vectors: np.ndarray) -> np.ndarray:
    """Orientations (k, 4) at rotation vectors (k, 3) from the tool's present one."""
    return np.array([quaternion_of(situation.rotation @ pin.exp3(vector)) for vector in vectors])


def _direction(random: np.random.Generator) -> np.ndarray:
    vector = random.normal(size=3)
    return vector / np.linalg.norm(vector)


def _walk(random: np.random.Generator, situation: Situation, count: int) -> tuple[np.ndarray, np.ndarray]:
    size, turn = random.uniform(0.0, 0.15), random.uniform(0.0, 0.4)
    steps = random.normal(0.0, size, (count, 3))
    return situation.position + np.cumsum(steps, axis=0), _turned(
        situation, np.cumsum(random.normal(0.0, turn, (count, 3)), axis=0)
    )


def _smooth(random: np.random.Generator, situation: Situation, count: int) -> tuple[np.ndarray, np.ndarray]:
    times = situation.dt * np.arange(1, count + 1)[:, None]
    rate, reach = random.uniform(0.2, 4.0, 6), random.uniform(-0.25, 0.25, 6)
    waves = reach * np.sin(rate * times)
    return situation.position + waves[:, :3], _turned(situation, 4.0 * waves[:, 3:])


def _noisy(random: np.random.Generator, situation: Situation, count: int) -> tuple[np.ndarray, np.ndarray]:
    positions, _ = _smooth(random, situation, count)
    noise = random.uniform(0.001, 0.02)
    return positions + random.normal(0.0, noise, (count, 3)), _turned(
        situation, random.normal(0.0, 3.0 * noise, (count, 3))
    )


def _jump(random: np.random.Generator, situation: Situation, count: int) -> tuple[np.ndarray, np.ndarray]:
    """As far away as is accepted, then on in steps as large as are accepted."""
    first = 0.249 * _direction(random)
    steps = np.array([0.49 * _direction(random) * random.random() for _ in range(count - 1)]).reshape(-1, 3)
    offsets = np.vstack([first, first + np.cumsum(steps, axis=0)])
    turn = 0.99 * _direction(random)
    return situation.position + offsets, _turned(situation, np.tile(turn, (count, 1)))


def _reversal(random: np.random.Generator, situation: Situation, count: int) -> tuple[np.ndarray, np.ndarray]:
    amplitude = random.uniform(0.005, 0.2) * _direction(random)
    turn = random.uniform(0.0, 0.7) * _direction(random)
    signs = ((-1.0) ** np.arange(count))[:, None]
    return situation.position + signs * amplitude, _turned(situation, signs * turn)


def _spin(random: np.random.Generator, situation: Situation, count: int) -> tuple[np.ndarray, np.ndarray]:
    angle = random.uniform(0.1, 1.49) * np.arange(1, count + 1)[:, None]
    drift = random.uniform(0.0, 0.05) * _direction(random) * np.arange(1, count + 1)[:, None]
    return situation.position + drift, _turned(situation, angle * _direction(random))


def _still(random: np.random.Generator, situation: Situation, count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.tile(situation.position, (count, 1)), _turned(situation, np.zeros((count, 3)))


def _towards(target: Callable[[np.random.Generator], np.ndarray]) -> Maker:
    """A straight way to a target at a random speed, feasible or not, with a random turn."""

    def make(random: np.random.Generator, situation: Situation, count: int) -> tuple[np.ndarray, np.ndarray]:
        way = target(random) - situation.position
        step = min(random.uniform(0.005, 0.3), float(np.linalg.norm(way)) / count)
        along = np.arange(1, count + 1)[:, None] * step * way / max(float(np.linalg.norm(way)), 1e-9)
        turn = random.uniform(0.0, 0.3) * _direction(random)
        return situation.position + along, _turned(situation, np.linspace(0.0, 1.0, count)[:, None] * turn)

    return make


KINDS: dict[str, Maker] = {
    "walk": _walk,
    "smooth": _smooth,
    "noisy": _noisy,
    "jump": _jump,
    "reversal": _reversal,
    "spin": _spin,
    "still": _still,
    "table": _towards(lambda random: np.array([*random.uniform(-0.6, 0.6, 2), random.uniform(-0.3, 0.02)])),
    "base": _towards(lambda random: np.array([*random.uniform(-0.1, 0.1, 2), random.uniform(0.0, 0.4)])),
    "beyond": _towards(lambda random: 1.6 * _direction(random)),
    "elbow": _towards(lambda random: np.array([random.uniform(-0.2, 0.3), random.uniform(-0.3, 0.3), 0.6])),
}
