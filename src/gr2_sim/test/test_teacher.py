"""The scripted teacher, through the real controller."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gr2_policy.policy import Observation, Policy, PolicyError, UnknownInstruction
from gr2_sim.motion import turn_between
from gr2_sim.rollout import Rollout, RolloutConfig
from gr2_sim.settings import training_scene
from gr2_sim.situation import draw_style
from gr2_sim.tasks import find_task
from gr2_sim.teacher import Teacher, make_policy
from gr2_sim.world import World


def observe(world: World, instruction: str) -> Observation:
    return Rollout(world, Teacher()).observe(instruction)


@pytest.mark.parametrize(("task", "seed"), [("red_block_in_bin", 0), ("open_drawer", 1), ("press_button", 2)])
def test_does_tasks(teach: Callable[..., Rollout], task: str, seed: int) -> None:
    episode = teach(time_limit=15.0).run(task, seed)
    assert episode.success, episode.detail
    assert episode.refused == 0
    assert not episode.stopped
    assert episode.duration < 12.0
    speed = np.linalg.norm(np.diff(episode.tool_path, axis=0), axis=1) / 0.1
    assert np.max(speed) < 0.27, f"the tool moved at {np.max(speed):.2f} m/s"


def test_does_them_late(teach: Callable[..., Rollout]) -> None:
    episode = teach(time_limit=15.0, policy_delay=0.3, replan_period=0.35).run("stack_red_on_blue", 0)
    assert episode.success, episode.detail


def test_is_a_policy() -> None:
    policy = make_policy(horizon="8", chunk_dt="0.2")
    assert isinstance(policy, Policy)
    assert policy.model_id.startswith("teacher")
    assert policy.privileged
    assert (policy.horizon, policy.chunk_dt) == (8, 0.2)
    with pytest.raises(ValueError, match="multiple of"):
        make_policy(chunk_dt=0.03)


def test_says_what_it_lacks(world: World) -> None:
    teacher = Teacher()
    observation = observe(world, "lift the mug")
    with pytest.raises(PolicyError, match="before an instruction"):
        teacher.infer(observation)
    with pytest.raises(UnknownInstruction, match="did you mean"):
        teacher.reset("lift the mugs")
    teacher.reset("lift the mug")
    with pytest.raises(PolicyError, match="ground truth"):
        teacher.infer(replace(observation, truth=None))
    truth = observation.truth
    poses = {name: pose for name, pose in truth.poses.items() if name != "mug"}
    with pytest.raises(PolicyError, match="lacks mug"):
        teacher.infer(replace(observation, truth=replace(truth, poses=poses)))
    with pytest.raises(PolicyError, match="unknown scene 'moon'"):
        teacher.infer(replace(observation, truth=replace(truth, scene="moon")))
    with pytest.raises(PolicyError, match="not finite"):
        teacher.infer(replace(observation, truth=replace(truth, joints={"drawer": float("nan"), "button": 0.0})))


def test_says_that_the_scene_lacks_something(world: World) -> None:
    teacher = Teacher()
    teacher.reset("put the apple on the plate")
    with pytest.raises(PolicyError, match="there is no apple and no plate in scene 'table'"):
        teacher.infer(observe(world, "put the apple on the plate"))


def test_styles_differ_between_episodes_and_not_within() -> None:
    styles = [draw_style("kitchen~simple~1", seed, "lift the apple") for seed in range(50)]
    assert len(set(styles)) == 50
    assert styles[7] == draw_style("kitchen~simple~1", 7, "lift the apple")
    assert {0.8 <= style.pace <= 1.0 for style in styles} == {True}
    assert make_policy(varied="false")._varied is False


@pytest.mark.parametrize(
    "task",
    ["open_red_door", "close_jewel_box_lid", "take_red_cap_off_glue_bottle", "press_light_switch", "apple_on_plate"],
)
def test_does_tasks_of_other_scenes(quick_world: World, task: str) -> None:
    found = find_task(task)
    config = RolloutConfig(time_limit=15.0, disturbed=1.0)
    episode = Rollout(quick_world, Teacher(), config).run(task, 3, "", training_scene(found, 3))
    assert episode.success, episode.detail
    assert not episode.failure


@pytest.mark.parametrize("seed", [2, 3])
def test_a_held_block_is_turned_without_being_lost(quick_world: World, seed: int) -> None:
    config = RolloutConfig(time_limit=10.0, disturbed=0.25)
    words, scene = "put the green block on the yellow block", f"table~simple~{seed}"
    episode = Rollout(quick_world, Teacher(), config).run("stack_green_on_yellow", seed, words, scene)
    assert episode.success, episode.detail


@pytest.mark.slow
@pytest.mark.parametrize("task", ["pour_blue_beaker_into_pan", "put_jar_lid_on_cream_jar", "open_sliding_lid"])
def test_does_longer_tasks(quick_world: World, task: str) -> None:
    episode = Rollout(quick_world, Teacher(), RolloutConfig(time_limit=25.0)).run(task, 2, "", find_task(task).scene)
    assert episode.success, episode.detail


def test_same_observations_same_chunks(world: World) -> None:
    chunks = []
    for _ in range(2):
        teacher = Teacher()
        teacher.reset("lift the mug")
        observation = observe(world, "lift the mug")
        chunks.append([teacher.infer(replace(observation, stamp=0.2 * i)) for i in range(3)])
    for first, second in zip(*chunks, strict=True):
        assert np.array_equal(first.positions, second.positions)
        assert np.array_equal(first.gripper, second.gripper)


def test_chunks_join_smoothly(world: World) -> None:
    class Recorder(Teacher):
        def infer(self, observation: Observation):
            chunk = super().infer(observation)
            log.append((observation.stamp, chunk))
            return chunk

    log: list = []
    assert Rollout(world, Recorder(), RolloutConfig(time_limit=10.0)).run("green_block_in_bin", 4).success
    for (t0, before), (t1, after) in itertools.pairwise(log):
        times = np.arange(1, 17) * 0.1
        moment = t1 + 0.1
        old = np.array([np.interp(moment, t0 + times, before.positions[:, i]) for i in range(3)])
        new = np.array([np.interp(moment, t1 + times, after.positions[:, i]) for i in range(3)])
        assert np.linalg.norm(old - new) < 0.004, f"chunks at {t0:.2f} and {t1:.2f} s are apart"
        steps = np.linalg.norm(np.diff(after.positions, axis=0), axis=1)
        assert np.max(steps) <= 0.0251, "faster than 0.25 m/s"
        turns = [np.linalg.norm(turn_between(a, b)) for a, b in zip(after.orientations, after.orientations[1:])]  # noqa: B905
        assert max(turns) <= 0.0801


def test_holds_still_when_done(shared_world: World) -> None:
    teacher = Teacher()
    rollout = Rollout(shared_world, teacher, RolloutConfig(time_limit=20.0, settle=3.0))
    assert rollout.run("press_button", 0).success
    chunk = teacher.infer(rollout.observe("press the button"))
    assert np.max(np.ptp(chunk.positions, axis=0)) < 1e-3
    assert shared_world.tool_pose()[0][2] > 0.12, "did not retreat"


class Meddler(Rollout):
    """Moves the block away once, when the hand is about to close on it."""

    moved = False

    def observe(self, instruction: str) -> Observation:
        world = self.world
        position = world.truth().poses["blue_block"][0]
        if not self.moved and np.linalg.norm(world.tool_pose()[0] - position) < 0.05:
            self.moved = True
            start = world.model.joint("blue_block").qposadr[0]
            world.data.qpos[start : start + 2] += (0.0, 0.11)
        return super().observe(instruction)


def test_tries_again_when_the_object_moved(shared_world: World) -> None:
    rollout = Meddler(shared_world, Teacher(), RolloutConfig(time_limit=20.0))
    episode = rollout.run("lift_blue_block", 6)
    assert rollout.moved
    assert episode.success, episode.detail


def test_puts_down_what_is_in_the_hand(shared_world: World) -> None:
    class Two(Teacher):
        """Is told something else after 4 s, as an operator would."""

        def infer(self, observation: Observation):
            if observation.stamp > 4.0 and self._task.name == "lift_red_block":
                assert "red_block" in shared_world.touched()
                self.reset("lift the green block")
            return super().infer(observation)

    rollout = Rollout(shared_world, Two(), RolloutConfig(time_limit=14.0, settle=12.0))
    rollout.run("lift_red_block", 2)
    truth = shared_world.truth()
    assert truth.poses["green_block"][0][2] > 0.08
    assert truth.poses["red_block"][0][2] == pytest.approx(0.025, abs=0.003)
