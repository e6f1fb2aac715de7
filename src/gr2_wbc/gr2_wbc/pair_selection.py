"""Which pairs of a robot's own shapes are worth monitoring, found by sampling its configurations.

Left out are shapes on one rigid part, neighbours (parts joined by one joint, the world's included), pairs that touch
in nearly every configuration, pairs that never come near, and next neighbours that cannot touch: their distance
depends on two joints only, which the samples cover densely, while their nearness would crowd out pairs that matter.
Pairs that are closer than the safe distance in most configurations are built close; they keep half of what they have.
The result is cached by a hash of the geometry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import mujoco
import numpy as np

from gr2_wbc import cache
from gr2_wbc.joints import JointLimits

SAMPLES = 10_000
SEED = 0
ALWAYS = 0.9  # share of configurations in which a pair that is built to overlap does so
CLOSE = 0.5  # share of configurations closer than the safe distance, of a pair that is built close
DENSE = 2  # joints between two parts whose distance the samples cover densely
DENSE_ERROR = 0.002  # [m] by which such a sampled smallest distance may be too large
_VERSION = 5  # of this algorithm, part of the cache's key

SAME_PART, NEIGHBOURS = "one rigid part", "neighbours"
TOUCHING, NEVER_NEAR, NEVER_TOUCHING = "always touching", "never near", "never touching"


@dataclass(frozen=True)
class Selection:
    """Pairs by the names of their shapes.

    Attributes:
        pairs: to be monitored, in the order of the shapes.
        left_out: the others with the reason.
        close: distance [m] to be kept by pairs that are built closer than the safe distance.
    """

    pairs: tuple[tuple[str, str], ...]
    left_out: Mapping[tuple[str, str], str]
    close: Mapping[tuple[str, str], float]


def sample_configurations(limits: JointLimits, count: int, seed: int = SEED) -> Iterator[np.ndarray]:
    """Random configurations (n,) within the limits, always the same ones; continuous joints over a whole turn."""
    rng = np.random.default_rng(seed)
    lower = np.where(np.isfinite(limits.lower), limits.lower, -np.pi)
    upper = np.where(np.isfinite(limits.upper), limits.upper, np.pi)
    for _ in range(count):
        yield rng.uniform(lower, upper)


def select_self_pairs(
    spec: mujoco.MjSpec,
    limits: JointLimits,
    safe_distance: float,
    influence_distance: float,
    samples: int = SAMPLES,
) -> Selection:
    """Select the pairs of an arm's own shapes.

    Args:
        spec: of the arm alone; unchanged.
        limits: of its joints.
        safe_distance: kept between pairs [m]; those closer in most configurations are built close.
        influence_distance: pairs never closer than this [m] are left out.
        samples: how many configurations are tried.
    """
    bare = spec.copy()
    for geom in bare.geoms:
        geom.contype = geom.conaffinity = 0
    bare.option.disableflags |= int(getattr(mujoco.mjtDisableBit, "mjDSBL_MULTICCD", 0))
    model = bare.compile()
    key = f"pairs-{_key(model, limits, safe_distance, influence_distance, samples)}"
    cached = cache.load(key, _read)
    if cached is not None:
        return cached
    names = [model.geom(index).name for index in range(model.ngeom)]
    left_out: dict[tuple[str, str], str] = {}
    candidates = []
    for first, second in combinations(range(model.ngeom), 2):
        reason = _joined(model, first, second)
        if reason:
            left_out[names[first], names[second]] = reason
        else:
            candidates.append((names[first], names[second]))
    distances = _sample(bare, candidates, limits, influence_distance, samples)
    touching, inside = np.mean(distances <= 0.0, axis=0), np.mean(distances < safe_distance, axis=0)
    smallest = distances.min(axis=0, initial=np.inf)
    pairs, close = [], {}
    for index, pair in enumerate(candidates):
        dense = _joints_between(model, *pair) <= DENSE
        if not smallest[index] < influence_distance:
            left_out[pair] = NEVER_NEAR
        elif dense and smallest[index] > DENSE_ERROR:
            left_out[pair] = NEVER_TOUCHING
        elif touching[index] >= ALWAYS:
            left_out[pair] = TOUCHING
        else:
            pairs.append(pair)
            if inside[index] > CLOSE:
                close[pair] = max(0.0, 0.5 * float(np.median(distances[:, index])))
    selection = Selection(tuple(pairs), left_out, close)
    cache.store(key, _written(selection))
    return selection


def _joined(model: mujoco.MjModel, first: int, second: int) -> str:
    """Why two shapes cannot be a pair by the way they are mounted; empty if they can."""
    parts = [int(model.body_weldid[model.geom_bodyid[index]]) for index in (first, second)]
    if parts[0] == parts[1]:
        return SAME_PART
    parents = [int(model.body_weldid[model.body_parentid[part]]) for part in parts]
    if (parts[1] and parents[1] == parts[0]) or (parts[0] and parents[0] == parts[1]):
        return NEIGHBOURS
    return ""


def _joints_between(model: mujoco.MjModel, first: str, second: str) -> int:
    """How many joints the relative pose of two shapes depends on."""
    chains = []
    for name in (first, second):
        body, joints = int(model.geom(name).bodyid[0]), set()
        while body > 0:
            start = int(model.body_jntadr[body])
            joints |= set(range(start, start + int(model.body_jntnum[body])))
            body = int(model.body_parentid[body])
        chains.append(joints)
    return len(chains[0] ^ chains[1])


def _sample(
    bare: mujoco.MjSpec,
    candidates: list[tuple[str, str]],
    limits: JointLimits,
    influence_distance: float,
    samples: int,
) -> np.ndarray:
    """Distance [m] of each candidate in each configuration, (samples, candidates); infinite where it is not near."""
    for first, second in candidates:
        bare.add_pair(geomname1=first, geomname2=second, margin=influence_distance, condim=1)
    model = bare.compile()
    addresses = [int(model.joint(name).qposadr[0]) for name in limits.names]
    number = np.full((model.ngeom, model.ngeom), -1)
    for index, (first, second) in enumerate(candidates):
        i, j = model.geom(first).id, model.geom(second).id
        number[i, j] = number[j, i] = index
    distances = np.full((samples, max(1, len(candidates))), np.inf)
    data = mujoco.MjData(model)
    for row, positions in zip(distances, sample_configurations(limits, samples), strict=True):
        data.qpos[addresses] = positions
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        if data.ncon:
            geoms = data.contact.geom
            np.minimum.at(row, number[geoms[:, 0], geoms[:, 1]], data.contact.dist)
    return distances[:, : len(candidates)]


def _key(model: mujoco.MjModel, limits: JointLimits, *numbers: float) -> str:
    """Hash of everything that the selection depends on."""
    digest = hashlib.sha256(
        f"{_VERSION} {SEED} {ALWAYS} {CLOSE} {DENSE} {DENSE_ERROR} {numbers} {limits.names}".encode()
    )
    names = [model.geom(index).name for index in range(model.ngeom)]
    digest.update(repr(names).encode())
    for array in (
        *(limits.lower, limits.upper, model.body_parentid, model.body_pos, model.body_quat, model.jnt_type),
        *(model.jnt_bodyid, model.jnt_axis, model.jnt_pos, model.geom_bodyid, model.geom_type, model.geom_size),
        *(model.geom_pos, model.geom_quat, model.mesh_vert),
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def _read(entries: Any) -> Selection:
    return Selection(
        pairs=tuple((str(first), str(second)) for first, second in entries["pairs"]),
        left_out={(str(first), str(second)): str(reason) for first, second, reason in entries["left_out"]},
        close={(str(first), str(second)): float(distance) for first, second, distance in entries["close"]},
    )


def _written(selection: Selection) -> dict[str, Any]:
    return {
        "pairs": selection.pairs,
        "left_out": [[*pair, reason] for pair, reason in selection.left_out.items()],
        "close": [[*pair, distance] for pair, distance in selection.close.items()],
    }
