"""Any message at every entry: used or refused by name, never an uncaught exception, never a number that is not finite.

The entries are the functions that the nodes hand their messages to, so that thousands of messages take seconds; the
same over DDS, with fewer messages, is in test_garbage.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion
from gr2_msgs.msg import RobotState, SceneTruth, TrajectoryChunk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from gr2_policy import conversions
from gr2_policy.instruction import BadInstruction, clean
from gr2_policy.runtime.image import BadImage
from gr2_policy.runtime.observation_buffer import BufferConfig, ObservationBuffer
from gr2_sim.conversions import from_trajectory
from gr2_sim.trajectory_executor import TrajectoryExecutor, TrajectoryRejected
from gr2_wbc.chunk import ChunkRefused
from gr2_wbc.controller import Controller, Measurement
from gr2_wbc.intake import HandshakeRefused
from gr2_wbc.joint_input import BadJointState, JointStateReader
from gr2_wbc.node_messages import to_chunk
from gr2_wbc.robots import load_robot
from gr2_wbc.safety import ResetRefused, State

ROBOT = load_robot("gen3_2f85")
PERIOD = 0.005
ANY = st.floats(allow_nan=True, allow_infinity=True)
USUAL = st.floats(-2.0, 2.0)
SINGLE = st.floats(width=32, allow_nan=True, allow_infinity=True)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
STAMP = st.builds(Time, sec=st.integers(-(2**31), 2**31 - 1) | st.integers(0, 20), nanosec=st.integers(0, 2**32 - 1))
JOINTS = list(ROBOT.joint_names)
MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
SOME = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def numbers(count: int, kind: st.SearchStrategy[float] = ANY) -> st.SearchStrategy[list[float]]:
    """About so many numbers: often exactly."""
    return st.lists(kind | USUAL, min_size=count, max_size=count) | st.lists(kind, max_size=3 * count)


# -- the controller ----------------------------------------------------------------------------------------------------


class Rig:
    """A controller that holds an ideal arm."""

    def __init__(self) -> None:
        self.controller = Controller(ROBOT)
        self.time = 10.0
        self.positions, self.velocities = ROBOT.configurations["ready"].copy(), np.zeros(7)
        self.session = self.controller.activate("fuzz", ROBOT.robot_id, "tool_pose_base_link+gripper", 0.1)
        self.step(2)

    def step(self, cycles: int) -> None:
        for _ in range(cycles):
            command = self.controller.step(self.time, Measurement(self.time, self.positions, self.velocities, 0.0))
            assert np.isfinite([*command.positions, *command.velocities, command.gripper]).all()
            self.time += PERIOD
            self.positions, self.velocities = command.plan.evaluate(self.time)
            assert (np.abs(self.velocities) <= ROBOT.limits.velocity * 1.0001).all()

    def facts(self) -> tuple:
        """What a refusal must not change."""
        status = self.controller.status()
        return (
            status.state,
            status.reason,
            status.session,
            status.active_sequence,
            status.chunks_accepted,
            status.e_stop,
        )


RIG = Rig()


@st.composite
def chunks(draw: st.DrawFn, rig: Rig) -> TrajectoryChunk:
    """A good chunk with some fields replaced by anything."""
    k = draw(st.integers(1, 20))
    place, orientation = ROBOT.tool_pose(rig.positions)
    message = TrajectoryChunk(session=rig.session, sequence=10**6, dt=0.1, horizon=k)
    message.header.stamp.sec, message.header.frame_id = int(rig.time), "base_link"
    message.positions = (place + 0.01 * np.arange(3 * k).reshape(k, 3) / k).ravel().tolist()
    message.orientations = np.tile(orientation, k).tolist()
    message.gripper = [0.5] * k
    replacements = {
        "session": TEXT,
        "instruction": TEXT,
        "model_id": TEXT,
        "sequence": st.integers(0, 2**64 - 1),
        "dt": ANY,
        "horizon": st.integers(0, 2**32 - 1),
        "positions": numbers(3 * k),
        "orientations": numbers(4 * k),
        "gripper": numbers(k, SINGLE),
        "stamp": STAMP,
        "frame_id": TEXT,
    }
    for name in draw(st.lists(st.sampled_from(sorted(replacements)), max_size=4, unique=True)):
        value = draw(replacements[name])
        setattr(message.header if name in ("stamp", "frame_id") else message, name, value)
    return message


@given(st.data())
@MANY
def test_any_chunk_is_followed_within_limits_or_changes_nothing(data: st.DataObject) -> None:
    rig = RIG
    message = data.draw(chunks(rig))
    message.sequence = min(message.sequence, 2**63)
    before = rig.facts()
    try:
        rig.controller.accept(to_chunk(message), rig.time)
    except ChunkRefused:
        assert rig.facts() == before
    else:
        rig.session = rig.controller.activate("fuzz", ROBOT.robot_id, "tool_pose_base_link+gripper", 0.1)
    rig.step(3)
    assert rig.controller.status().state in (State.HOLDING, State.TRACKING, State.DECELERATING)


@given(
    st.lists(st.sampled_from([*JOINTS, ROBOT.gripper.joint]) | TEXT, max_size=10) | st.permutations(JOINTS),
    numbers(7),
    numbers(7) | st.just([]),
    ANY,
)
@MANY
def test_any_joint_state_is_used_or_refused_and_what_is_sent_is_finite(names, positions, velocities, stamp) -> None:  # type: ignore[no-untyped-def]
    try:
        reading = JointStateReader(ROBOT).read(names, positions, velocities)
    except BadJointState:
        return
    if reading.positions is None or reading.velocities is None:
        return
    rig = Rig()
    for _ in range(3):
        measurement = Measurement(stamp, reading.positions, reading.velocities, reading.gripper or 0.0)
        command = rig.controller.step(rig.time, measurement)
        assert np.isfinite([*command.positions, *command.velocities, command.gripper]).all()
        rig.time += PERIOD
    try:
        rig.controller.reset(rig.time, measurement)
    except ResetRefused:
        assert rig.controller.status().state is State.STOPPED


@given(TEXT, TEXT | st.just(ROBOT.robot_id), TEXT | st.just("tool_pose_base_link+gripper"), ANY | st.just(0.1), TEXT)
@MANY
def test_any_handshake_is_granted_or_refused(policy, robot_id, action_space, dt, digest) -> None:  # type: ignore[no-untyped-def]
    intake = RIG.controller.intake
    before = intake.session
    try:
        session = RIG.controller.activate(policy, robot_id, action_space, dt, digest)
    except HandshakeRefused:
        assert intake.session == before
    else:
        assert robot_id == ROBOT.robot_id
        assert math.isclose(dt, 0.1, abs_tol=1e-6)
        RIG.session = session


# -- the simulated arm -------------------------------------------------------------------------------------------------


@st.composite
def trajectories(draw: st.DrawFn) -> JointTrajectory:
    names = draw(st.permutations(JOINTS) | st.lists(TEXT | st.sampled_from(JOINTS), max_size=9))
    message = JointTrajectory(joint_names=names)
    message.header.stamp = draw(STAMP)
    for _ in range(draw(st.integers(0, 4))):
        point = JointTrajectoryPoint(positions=draw(numbers(len(names))), velocities=draw(numbers(len(names))))
        point.time_from_start.sec = draw(st.integers(-(2**31), 2**31 - 1) | st.integers(0, 3))
        point.time_from_start.nanosec = draw(st.integers(0, 2**32 - 1))
        message.points.append(point)
    return message


@given(trajectories())
@MANY
def test_any_trajectory_is_followed_or_refused(message: JointTrajectory) -> None:
    arm = TrajectoryExecutor(JOINTS, ROBOT.configurations["ready"])
    try:
        arm.accept(5.0, *from_trajectory(message))
    except TrajectoryRejected:
        assert np.array_equal(arm.sample(5.1)[0], ROBOT.configurations["ready"])
        return
    positions, velocities = arm.sample(5.0)
    assert np.isfinite(positions).all()
    assert np.isfinite(velocities).all()


# -- the policy --------------------------------------------------------------------------------------------------------


@given(
    st.binary(max_size=200),
    st.integers(0, 2**32 - 1) | st.integers(0, 8),
    st.integers(0, 2**32 - 1) | st.integers(0, 8),
    st.integers(0, 2**32 - 1) | st.integers(0, 30),
    st.sampled_from(["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "16UC1", ""]) | TEXT,
    STAMP,
)
@MANY
def test_any_image_is_seen_or_refused(data, height, width, step, encoding, stamp) -> None:  # type: ignore[no-untyped-def]
    message = Image(height=height, width=width, step=step, encoding=encoding)
    message.header.stamp = stamp
    message.data.frombytes(data)
    buffer = ObservationBuffer(BufferConfig())
    try:
        seen, pixels = conversions.image(message, None)
    except BadImage:
        return
    assert pixels.shape == (height, width, 3)
    buffer.add_image("head", seen, pixels)
    assert list(buffer.take("anything")) == []


POSE = st.builds(
    Pose,
    position=st.builds(Point, x=ANY, y=ANY, z=ANY),
    orientation=st.builds(Quaternion, x=ANY, y=ANY, z=ANY, w=ANY) | st.just(Quaternion(w=1.0)),
)


@given(POSE, numbers(7), SINGLE, STAMP)
@MANY
def test_any_robot_state_is_used_or_refused(pose, joints, opening, stamp) -> None:  # type: ignore[no-untyped-def]
    message = RobotState(tool_pose=pose, joint_positions=joints, gripper_opening=opening)
    message.header.stamp = stamp
    try:
        state = conversions.robot_state(message)
    except ValueError:
        return
    assert np.isfinite([*state.tool_position, *state.tool_orientation, state.gripper]).all()
    ObservationBuffer(BufferConfig()).add_state(state)


@given(st.lists(TEXT, max_size=4), st.lists(POSE, max_size=4), st.lists(TEXT, max_size=4), numbers(4))
@SOME
def test_any_truth_is_used_or_refused(names, poses, joint_names, joints) -> None:  # type: ignore[no-untyped-def]
    message = SceneTruth(names=names, poses=poses, joint_names=joint_names, joint_positions=joints)
    try:
        truth = conversions.scene_truth(message)
    except ValueError:
        return
    ObservationBuffer(BufferConfig(needs_truth=True)).add_truth(truth)


@given(st.lists(st.tuples(st.sampled_from(["head", "wrist", "state"]), ANY.filter(math.isfinite)), max_size=12))
@MANY
def test_any_order_of_stamps_leaves_the_observations_in_order(events) -> None:  # type: ignore[no-untyped-def]
    buffer = ObservationBuffer(BufferConfig(length=8))
    picture = np.zeros((2, 2, 3), np.uint8)
    for kind, stamp in events:
        if kind == "state":
            message = RobotState(joint_positions=[0.0] * 7)
            message.tool_pose.orientation.w = 1.0
            sample = conversions.robot_state(message)
            buffer.add_state(type(sample)(stamp, *list(vars(sample).values())[1:]))
        else:
            buffer.add_image(kind, stamp, picture)
        stamps = [observation.stamp for observation in buffer.take("go")]
        assert stamps == sorted(stamps)


@given(st.text(max_size=3000))
@MANY
def test_any_instruction_is_cleaned_or_refused(text: str) -> None:
    try:
        cleaned = clean(text)
    except BadInstruction:
        return
    assert clean(cleaned) == cleaned


# -- the simulator -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world():  # type: ignore[no-untyped-def]
    from gr2_sim.world import World

    return World("table")


@given(
    TEXT | st.sampled_from(["", "put_in_bin", "../../etc/passwd", "a/b"]), st.integers(0, 2**64 - 1), TEXT | st.just("")
)
@SOME
def test_any_reset_is_done_or_refused(world, task, seed, scene) -> None:  # type: ignore[no-untyped-def]
    from gr2_sim.layout import LayoutError
    from gr2_sim.parts import DataError
    from gr2_sim.tasks import UnknownTask

    try:
        world.reset(task, seed, scene)
    except (DataError, UnknownTask, LayoutError):
        pass
    world.step(1)
    assert np.isfinite(world.joint_positions).all()


@given(ANY)
@SOME
def test_any_gripper_command_is_done_or_refused(world, value) -> None:  # type: ignore[no-untyped-def]
    try:
        world.command_gripper(value)
    except ValueError:
        pass
    world.step(1)
    assert np.isfinite(world.joint_positions).all()
