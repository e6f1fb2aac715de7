"""Scene messages with anything in them: a change is made or refused, never anything else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("gr2_msgs.msg", reason="gr2_msgs has not been built")

from geometry_msgs.msg import Point, Pose, Quaternion
from gr2_msgs.msg import CollisionObject, PlanningScene
from shape_msgs.msg import Mesh, Plane, SolidPrimitive

from gr2_wbc.collision_model import build_collision_model
from gr2_wbc.controller_motion import MotionRefused
from gr2_wbc.environment import SceneRefused
from gr2_wbc.moves import Moves
from gr2_wbc.node_surroundings import changed

ANY = st.floats(width=64)
NUMBER = st.one_of(st.floats(-1.0, 1.0), ANY)
FRAME = st.sampled_from(["", "base_link", "tool_frame", "forearm_link", "camera"])
NAME = st.sampled_from(["a", "b", "table", "palm_capsule", "", "x|y"])
SIZES = {SolidPrimitive.BOX: 3, SolidPrimitive.SPHERE: 1, SolidPrimitive.CYLINDER: 2}
TURNS = [(0.0, 0.0, 0.0, 1.0), (1.0, 0.0, 0.0, 0.0), (0.5, 0.5, 0.5, 0.5)]
POINTS = st.lists(st.tuples(NUMBER, NUMBER, NUMBER), max_size=8)


def pose(place, turn):
    return Pose(
        position=Point(**dict(zip("xyz", place, strict=True))),
        orientation=Quaternion(**dict(zip("xyzw", turn, strict=True))),
    )


POSES = st.builds(pose, st.tuples(*[NUMBER] * 3), st.one_of(st.sampled_from(TURNS), st.tuples(*[NUMBER] * 4)))
CHANGES = {
    "id": NAME,
    "operation": st.integers(0, 6),
    "pose": POSES,
    "primitives": st.lists(
        st.builds(SolidPrimitive, type=st.integers(0, 5), dimensions=st.lists(NUMBER, max_size=3)), max_size=2
    ),
    "primitive_poses": st.lists(POSES, max_size=2),
    "planes": st.lists(st.builds(Plane, coef=st.lists(NUMBER, min_size=4, max_size=4)), max_size=1),
    "meshes": st.lists(
        st.builds(lambda points: Mesh(vertices=[Point(x=x, y=y, z=z) for x, y, z in points]), POINTS), max_size=1
    ),
    "attach_link": FRAME,
    "touch": st.lists(NAME, max_size=2),
    "use_margin": st.booleans(),
    "margin": NUMBER,
    "margin_names": st.lists(NAME, max_size=2),
    "margin_distances": st.lists(NUMBER, max_size=2),
}


@st.composite
def objects(draw):
    """A sound object with up to three fields changed to anything."""
    kind = draw(st.sampled_from(sorted(SIZES)))
    place = draw(st.tuples(*[st.floats(-1.0, 1.0)] * 3))
    item = CollisionObject(id=draw(st.sampled_from(["a", "b"])), pose=pose(place, draw(st.sampled_from(TURNS))))
    item.primitives = [SolidPrimitive(type=kind, dimensions=[draw(st.floats(0.01, 0.3)) for _ in range(SIZES[kind])])]
    for field in draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=3, unique=True)):
        setattr(item, field, draw(CHANGES[field]))
    if draw(st.booleans()):
        item.header.frame_id = draw(FRAME)
    return item


def test_a_scene_message_is_applied_or_refused(robot):
    """What is accepted can be built; and enough is accepted for this to mean something."""
    before, positions, accepted = robot.collision.environment, robot.configurations["ready"], []

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(items=st.lists(objects(), max_size=3), clear=st.booleans())
    def apply(items, clear):
        try:
            after = changed(before, PlanningScene(objects=items, clear=clear), robot, positions)
        except SceneRefused:
            return
        accepted.append(len(after.objects))
        assert "table" in after.objects
        model = build_collision_model(robot, after)
        assert np.isfinite(model.safe_distance).all()

    apply()
    assert sum(count > 1 for count in accepted) > 5


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(["", "home", "nowhere"]),
    joints=st.one_of(st.just([f"joint_{i}" for i in range(1, 8)]), st.lists(st.text(max_size=3), max_size=8)),
    positions=st.lists(NUMBER, max_size=8),
    speed=NUMBER,
)
def test_a_move_request_is_accepted_or_refused(make_rig, robot, name, joints, positions, speed):
    controller = make_rig().controller
    moves = Moves(controller)
    try:
        moves.request(*moves.goal_of(name, joints, np.array(positions, dtype=float)), speed, 10.0)
    except MotionRefused:
        assert controller.reserved == ""
        return
    assert 0.0 <= speed <= 1.0
    assert controller.reserved.startswith("moving to")
