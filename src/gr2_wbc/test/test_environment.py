"""Objects around the robot: changes are whole or refused by name."""

from __future__ import annotations

import numpy as np
import pinocchio as pin
import pytest

from gr2_wbc.environment import MOST_SHAPES, Environment, SceneObject, SceneRefused, Shape, pose_of

BALL = Shape("sphere", (0.05,))
TABLE = SceneObject("table", (Shape("plane"),), fixed=True)


def ball(name="ball", at=(0.5, 0.0, 0.1), **changes):
    return SceneObject(name, (BALL,), pose_of(name, at), **changes)


@pytest.fixture
def scene():
    return Environment().add(TABLE).add(ball())


def test_each_change_gives_a_new_environment_and_leaves_the_old_one(scene):
    moved = scene.move("ball", pose_of("ball", (0.1, 0.2, 0.3)))
    assert np.allclose(scene.objects["ball"].pose.translation, [0.5, 0.0, 0.1])
    assert np.allclose(moved.objects["ball"].pose.translation, [0.1, 0.2, 0.3])
    assert moved.version == scene.version + 1
    assert set(scene.remove("ball").objects) == {"table"}
    assert set(scene.add(ball("other")).objects) == {"table", "ball", "other"}
    assert set(scene.add(ball("other")).clear().objects) == {"table"}


def test_attached_and_detached_an_object_stays_where_it_is(scene):
    holder = pin.SE3(pin.exp3(np.array([0.3, -1.0, 2.0])), np.array([0.4, 0.1, 0.2]))
    held = scene.attach("ball", "tool_frame", holder, frozenset({"table"}), 0.001)
    item = held.objects["ball"]
    assert (item.link, item.touch, item.margin) == ("tool_frame", frozenset({"table"}), 0.001)
    assert (holder * item.pose).isApprox(scene.objects["ball"].pose, 1e-12)
    elsewhere = pin.SE3(holder.rotation, holder.translation + [0.0, 0.0, 0.1])
    put = held.detach("ball", elsewhere).objects["ball"]
    assert np.allclose(put.pose.translation, [0.5, 0.0, 0.2])
    assert (put.link, put.touch, put.margin) == (None, frozenset(), None)


NAN, INF = float("nan"), float("inf")
MESH = np.random.default_rng(0).normal(size=(8, 3))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.remove("cup"), "no object 'cup' .*'ball'"),
        (lambda s: s.move("cup", pin.SE3.Identity()), "'cup'"),
        (lambda s: s.detach("ball", pin.SE3.Identity()), "'ball' is not attached"),
        (lambda s: s.remove("table"), "'table' belongs to the robot"),
        (lambda s: s.add(ball("table")), "'table' belongs to the robot"),
        (lambda s: s.attach("table", "tool", pin.SE3.Identity()), "'table'"),
        (lambda s: s.add(ball("")), "''"),
        (lambda s: s.add(ball("a|b")), "'a|b'"),
        (lambda s: s.add(SceneObject("x", ())), "'x' has no shape"),
        (lambda s: s.add(SceneObject("x", (Shape("torus", (1.0,)),))), "'torus'"),
        (lambda s: s.add(SceneObject("x", (Shape("sphere", (0.0,)),))), "sphere"),
        (lambda s: s.add(SceneObject("x", (Shape("box", (0.1, NAN, 0.1)),))), "box"),
        (lambda s: s.add(SceneObject("x", (Shape("box", (0.1, 0.1)),))), "3 sizes, got 2"),
        (lambda s: s.add(SceneObject("x", (Shape("cylinder", (0.1, -0.1)),))), "cylinder"),
        (lambda s: s.add(ball(margin=INF)), "margin inf"),
        (lambda s: s.add(ball(margins={"palm": NAN})), "palm"),
        (lambda s: s.add(ball(at=(0.0, NAN, 0.0))), "position .* is not finite"),
        (lambda s: s.add(ball(at=(0.0, 1e6, 0.0))), "beyond"),
        (lambda s: s.add(SceneObject("x", (Shape("mesh", (), vertices=MESH[:3]),))), "4 ... "),
        (lambda s: s.add(SceneObject("x", (Shape("mesh", (), vertices=MESH * [1, 1, 0]),))), "in a plane"),
        (lambda s: s.add(SceneObject("x", (Shape("mesh", (), vertices=MESH * NAN),))), "vertex"),
        (lambda s: s.add(SceneObject("x", (BALL,) * (MOST_SHAPES + 1))), "too many"),
        (lambda s: s.add(SceneObject("x", (Shape("plane"),), link="tool")), "plane cannot be attached"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(scene, change, words):
    with pytest.raises(SceneRefused, match=words):
        change(scene)
    assert set(scene.objects) == {"table", "ball"}


@pytest.mark.parametrize(
    ("position", "orientation", "words"),
    [
        ((0.0, 0.0), (0.0, 0.0, 0.0, 1.0), "3 and 4 numbers"),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0), "norm 0"),
        ((0.0, 0.0, 0.0), (0.0, 0.0, NAN, 1.0), "not finite"),
        ((0.0, 0.0, "x"), (0.0, 0.0, 0.0, 1.0), "numbers"),
        ((0.0, 0.0, 0.0), (1e200, 0.0, 0.0, 1e200), "norm inf"),
    ],
)
def test_poses_are_checked(position, orientation, words):
    with pytest.raises(SceneRefused, match=words):
        pose_of("x", position, orientation)
