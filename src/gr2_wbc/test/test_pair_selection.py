"""Self pairs found by sampling: nothing that can collide is missing, structural contacts are out, the cache holds."""

from __future__ import annotations

import logging
from itertools import product

import mujoco
import numpy as np
import pytest

from gr2_wbc import cache, pair_selection
from gr2_wbc.joints import JointLimits
from gr2_wbc.pair_selection import (
    NEIGHBOURS,
    NEVER_NEAR,
    NEVER_TOUCHING,
    SAME_PART,
    TOUCHING,
    sample_configurations,
    select_self_pairs,
)

# Chosen by hand for the Gen3 before there was a selection: which links meet when the arm folds.
LATE = ("spherical_wrist_2_link", "bracelet_link", "palm", "left_finger", "right_finger")
HAND = {
    frozenset((f"{first}_capsule", f"{second}_capsule"))
    for first, seconds in {
        "base_link": ("spherical_wrist_1_link", *LATE),
        "shoulder_link": ("spherical_wrist_1_link", *LATE),
        "half_arm_1_link": ("spherical_wrist_1_link", *LATE),
        "half_arm_2_link": LATE,
    }.items()
    for second in seconds
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gr2"


def test_nothing_of_the_hand_made_list_that_can_collide_is_missing(robot):
    selection = select_self_pairs(robot.arm.spec, robot.limits, 0.015, 0.1)
    found = {frozenset(pair) for pair in selection.pairs}
    assert found >= HAND
    assert len(found) <= len(HAND) + 8  # and few are added: each costs time in every cycle
    every = {frozenset(pair) for pair in [*selection.pairs, *selection.left_out]}
    names = [geom.name for geom in robot.arm.spec.geoms]
    assert every == {frozenset(pair) for pair in product(names, names) if pair[0] != pair[1]}


def test_what_is_left_out_never_collides_in_other_samples(robot):
    """Pairs left out as never near or never touching, in configurations the selection has not seen."""
    selection = select_self_pairs(robot.arm.spec, robot.limits, 0.015, 0.1)
    spec = robot.arm.spec.copy()
    for geom in spec.geoms:
        geom.contype = geom.conaffinity = 0
    left_out = [pair for pair, reason in selection.left_out.items() if reason in (NEVER_NEAR, NEVER_TOUCHING)]
    assert len(left_out) > 5
    for first, second in left_out:
        spec.add_pair(geomname1=first, geomname2=second, condim=1)
    model = spec.compile()
    data = mujoco.MjData(model)
    for positions in sample_configurations(robot.limits, 3000, seed=99):
        data.qpos[:] = positions
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        assert data.ncon == 0


ARM = """
<mujoco><worldbody>
  <geom name="foot" type="sphere" size="0.05"/>
  <body name="a" pos="0 0 0.1"><joint name="j1" axis="0 0 1" range="-3 3"/>
    <geom name="upper" type="capsule" fromto="0 0 0 0.3 0 0" size="0.04"/>
    <geom name="box" type="sphere" pos="0.1 0 0" size="0.06"/>
    <body name="b" pos="0.3 0 0"><joint name="j2" axis="0 0 1" range="-3.05 3.05"/>
      <geom name="lower" type="capsule" fromto="0 0 0 0.3 0 0" size="0.04"/>
      <body name="c" pos="0.3 0 0"><joint name="j3" axis="0 1 0" range="-0.1 0.1"/>
        <geom name="hand" type="sphere" pos="0.05 0 0" size="0.05"/>
        <body name="d" pos="0.05 0 0"><joint name="j4" axis="1 0 0" range="-3 3"/>
          <geom name="core" type="sphere" pos="-0.06 0 0" size="0.05"/>
        </body>
      </body>
    </body>
  </body>
</worldbody></mujoco>
"""
LIMITS = JointLimits(
    ("j1", "j2", "j3", "j4"),
    np.array([-3.0, -3.05, -0.1, -3.0]),
    np.array([3.0, 3.05, 0.1, 3.0]),
    np.ones(4),
    np.ones(4),
)


def test_each_reason_for_leaving_a_pair_out():
    selection = select_self_pairs(mujoco.MjSpec.from_string(ARM), LIMITS, 0.01, 0.05)
    reasons = {frozenset(pair): reason for pair, reason in selection.left_out.items()}
    assert reasons[frozenset(("upper", "box"))] == SAME_PART
    assert reasons[frozenset(("foot", "upper"))] == NEIGHBOURS  # the world counts as a part
    assert reasons[frozenset(("upper", "lower"))] == NEIGHBOURS
    assert reasons[frozenset(("lower", "core"))] == TOUCHING  # two joints on, and never apart
    assert ("upper", "hand") in selection.pairs  # the hand folds back onto the upper arm
    assert ("foot", "hand") in selection.pairs


def test_a_pair_never_near_is_left_out():
    limits = JointLimits(LIMITS.names, 0.1 * LIMITS.lower, 0.1 * LIMITS.upper, np.ones(4), np.ones(4))
    selection = select_self_pairs(mujoco.MjSpec.from_string(ARM), limits, 0.01, 0.05)
    assert selection.left_out["foot", "hand"] == NEVER_NEAR


def test_pairs_built_close_keep_a_smaller_distance():
    """A large hand 60 mm off the upper arm's end unless it folds, where 80 mm are to be kept."""
    hand = '<geom name="hand" type="sphere" size="0.2"/>'
    text = ARM.replace('<geom name="hand" type="sphere" pos="0.05 0 0" size="0.05"/>', hand)
    selection = select_self_pairs(mujoco.MjSpec.from_string(text), LIMITS, 0.08, 0.1)
    assert ("upper", "hand") in selection.pairs
    assert selection.close["upper", "hand"] < 0.031
    assert ("foot", "core") not in selection.close


def test_the_selection_is_cached_by_what_it_depends_on(monkeypatch, own_cache):
    spec = mujoco.MjSpec.from_string(ARM)
    first = select_self_pairs(spec, LIMITS, 0.01, 0.05)
    assert len(list(own_cache.glob("pairs-*.json"))) == 1
    with monkeypatch.context() as patched:
        patched.setattr(pair_selection, "_sample", lambda *_: pytest.fail("was not taken from the cache"))
        assert select_self_pairs(spec, LIMITS, 0.01, 0.05) == first
    select_self_pairs(spec, LIMITS, 0.012, 0.05)
    spec.geom("hand").size[0] = 0.06
    select_self_pairs(spec, LIMITS, 0.01, 0.05)
    assert len(list(own_cache.glob("pairs-*.json"))) == 3
    assert not list(own_cache.glob("*.part"))


@pytest.mark.parametrize("damage", ["", "{", '{"pairs": 3}', "[1]", '{"pairs": [["a"]], "left_out": [], "close": []}'])
def test_a_corrupt_cache_is_rebuilt_with_a_line(own_cache, caplog, damage):
    spec = mujoco.MjSpec.from_string(ARM)
    first = select_self_pairs(spec, LIMITS, 0.01, 0.05, samples=500)
    (path,) = own_cache.glob("pairs-*.json")
    path.write_text(damage)
    with caplog.at_level(logging.WARNING):
        assert select_self_pairs(spec, LIMITS, 0.01, 0.05, samples=500) == first
    assert str(path) in caplog.text
    assert path.read_text() != damage


def test_a_cache_that_cannot_be_written_is_told_and_costs_time_only(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        cache.store("x", [1])
    assert "could not be written" in caplog.text
