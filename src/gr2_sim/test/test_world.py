"""The running cell: repeatable, commanded as the robot is, read as the robot is."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from gr2_sim import gripper
from gr2_sim.build import ARM_JOINTS
from gr2_sim.rollout import Rollout, RolloutConfig
from gr2_sim.teacher import Teacher
from gr2_sim.world import World


def test_same_seed_same_physics(world: World) -> None:
    def states() -> np.ndarray:
        world.reset("lift_mug", 5, time=0.0)
        world.command_gripper(0.7)
        q = world.joint_positions
        world.accept_trajectory(0.0, ARM_JOINTS, np.array([0.5]), (q + 0.2)[None], np.zeros((1, 7)))
        world.step(700)
        return np.concatenate([world.data.qpos, world.data.qvel])

    assert np.array_equal(states(), states())


def test_ready_pose_and_frames(world: World) -> None:
    position, orientation = world.tool_pose()
    assert position == pytest.approx([0.42, 0.0, 0.30], abs=2e-3)
    assert np.abs(orientation) == pytest.approx([np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0], abs=1e-3), "tool points down"
    world.step(1000)
    assert world.tool_pose()[0] == pytest.approx(position, abs=5e-4), "the arm sags or drifts"


def test_tracks_a_trajectory(world: World) -> None:
    start, speed = world.joint_positions, np.array([0.3, -0.2, 0.3, 0.2, -0.3, 0.2, 0.4])
    errors = []
    for _ in range(200):
        now = world.time
        ramp = min(now / 0.3, 1.0)
        velocity = speed * ramp
        world.executor_target = start + velocity * 0.005 if now == 0 else world.executor_target + velocity * 0.005
        target = world.executor_target
        ahead = target + 0.015 * velocity
        points = np.array([target, ahead, ahead + 0.04 * velocity])
        world.accept_trajectory(
            now, ARM_JOINTS, np.array([0.005, 0.02, 0.1]), points, np.array([velocity, velocity, 0 * velocity])
        )
        world.step(5)
        errors.append(np.max(np.abs(world.joint_positions - world.executor.sample(world.time)[0])))
    assert max(errors) < 0.004, f"{max(errors):.4f} rad behind the set point"


@pytest.mark.parametrize("opening", [0.0, 0.3, 0.6, 1.0])
def test_gripper_geometry(world: World, opening: float) -> None:
    world.command_gripper(opening)
    world.step(1200)
    assert world.gripper_opening == pytest.approx(opening, abs=0.02)
    pads = [world.data.geom_xpos[world.model.geom(f"gripper/{side}_pad").id] for side in ("left", "right")]
    width = np.linalg.norm(pads[0] - pads[1]) - 0.008
    assert width == pytest.approx(gripper.width_between_pads(world.gripper_opening), abs=1e-3)
    assert gripper.opening_for_width(gripper.width_between_pads(opening)) == pytest.approx(opening, abs=1e-9)
    position, _ = world.tool_pose()
    assert np.mean(pads, axis=0)[:2] == pytest.approx(position[:2], abs=1e-3), "the pads do not close on the tool frame"


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1, float("inf")])
def test_bad_gripper_commands_are_refused(world: World, value: float) -> None:
    with pytest.raises(ValueError, match="not within 0"):
        world.command_gripper(value)


@pytest.mark.parametrize("task", ["lift_red_block", "lift_mug"])
def test_a_grasp_holds(shared_world: World, teach: Callable[..., Rollout], task: str) -> None:
    episode = teach(settle=3.0).run(task, 3)
    name = task.removeprefix("lift_")
    assert episode.success
    assert name in shared_world.touched()
    height = shared_world.truth().poses[name][0][2]
    assert height - shared_world.cell.objects[name].rest_height > 0.10, f"{name} slipped to {height:.3f} m"


def test_a_grasp_holds_with_the_longer_time_step(quick_world: World) -> None:
    config = RolloutConfig(time_limit=15.0, settle=3.0)
    for task, name in (("lift_mug", "mug"), ("take_pot_lid_off_pot", "pot_lid"), ("lift_nut", "nut")):
        assert Rollout(quick_world, Teacher(), config).run(task, 3).success
        assert name in quick_world.touched()
        assert quick_world.truth().poses[name][0][2] > 0.09, f"{name} slipped"


def test_another_scene_comes_with_the_task_that_needs_it(quick_world: World) -> None:
    quick_world.reset("", 0, "table")
    quick_world.reset("open_red_door", 0)
    assert quick_world.truth().scene == "hall"
    quick_world.reset("press_button", 0, "chain_b")
    quick_world.reset("red_block_in_bin", 0)
    assert quick_world.truth().scene == "chain_b", "the scene has what it takes"


def test_a_disturbed_start_is_another_and_the_same_again(quick_world: World) -> None:
    starts = []
    for disturbed in (False, True, True):
        quick_world.reset("lift_mug", 4, "table", disturbed=disturbed)
        starts.append(quick_world.joint_positions.copy())
    assert np.array_equal(starts[1], starts[2])
    assert 0.02 < np.max(np.abs(starts[1] - starts[0])) <= 0.10


def test_truth_names_everything(world: World) -> None:
    truth = world.truth()
    assert set(truth.poses) == {
        "red_block",
        "green_block",
        "blue_block",
        "yellow_block",
        "mug",
        "bin",
        "cabinet",
        "button",
    }
    assert set(truth.joints) == {"drawer", "button"}
    assert truth.stamp == world.time
    assert truth.scene == "table"
    for position, quaternion in truth.poses.values():
        assert np.shape(position) == (3,)
        assert np.linalg.norm(quaternion) == pytest.approx(1.0)


def test_time_goes_on_at_a_reset(world: World) -> None:
    world.step(100)
    before, episode = world.time, world.episode
    world.reset("press_button", 1)
    assert world.time == before
    assert world.episode == episode + 1


def test_touched_is_what_the_robot_touches(world: World, put: Callable) -> None:
    assert world.touched() == frozenset()
    put("red_block", world.tool_pose()[0])
    world.command_gripper(1.0)
    for _ in range(400):
        put("red_block", world.tool_pose()[0], 0.0)
        world.step()
    assert "red_block" in world.touched()


def test_physics_speed(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.perf_counter()
    world.step(1000)
    with capsys.disabled():
        print(f"\nphysics: {1.0 / (time.perf_counter() - begun):.1f} times real time")
    assert np.all(np.isfinite(world.data.qpos))
