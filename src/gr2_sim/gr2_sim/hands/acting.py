"""Makes one clip: the scripted teacher leads a hand through a task, and the head camera looks on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gr2_policy.data.episode import Episode, without_robot
from gr2_policy.policy import Observation
from gr2_sim.hands.captions import caption_for
from gr2_sim.hands.hand_world import HandWorld, ToolPose
from gr2_sim.hands.scenes import video_scene
from gr2_sim.motion import pointing_down
from gr2_sim.referee import Referee
from gr2_sim.settings import check_training
from gr2_sim.situation import READY_YAW
from gr2_sim.tasks import find_task
from gr2_sim.teacher import Teacher

FPS = 10
"""Frames a second."""
SHORTEST, LONGEST = 2.0, 10.0
"""Of a clip [s]."""
PACE = (1.0, 1.7)
"""How much faster than the robot's teacher people are."""
_AFTER = 4
"""Frames shown after the task is done."""


@dataclass(frozen=True)
class Take:
    """How an attempt at a clip went.

    Attributes:
        clip: what was recorded; None: the referee did not see it done in time.
        why: what was amiss; empty where nothing was.
    """

    clip: Episode | None
    why: str = ""


def act(world: HandWorld, teacher: Teacher, task_name: str, seed: int, size: int) -> Take:
    """One attempt at a clip, the same for the same arguments.

    Args:
        world: where.
        teacher: leads the hand.
        task_name: what is done.
        seed: of scene, arrangement, embodiment, pace and words.
        size: edge of the frames [px].

    Raises:
        HeldOut: something in the scene or the caption is held out from training.
        DataError, LayoutError, PolicyError: the task cannot be set up or followed.
    """
    task = find_task(task_name)
    random = np.random.default_rng([seed, 11])
    start, pace = random.uniform(-1.0, 1.0, 4), float(random.uniform(*PACE))
    scene = video_scene(task, seed)
    world.prepare(scene)
    world.reset(task_name, seed, scene, _start(world.embodiment.shoulder, start))
    caption = caption_for(task, world.cell, world.embodiment.subject, random)
    check_training(world.cell, caption)
    referee = Referee()
    referee.begin(task.instructions[0], world.truth())
    teacher.reset(task.instructions[0])
    frames: list[np.ndarray] = []
    done = -1
    while len(frames) < LONGEST * FPS:
        frames.append(world.render("head", size, size))
        if done >= 0 and len(frames) > max(done + _AFTER, SHORTEST * FPS):
            break
        position, orientation = world.tool_pose()
        observation = Observation(
            stamp=world.time,
            instruction=task.instructions[0],
            images={},
            tool_position=position,
            tool_orientation=orientation,
            gripper=world.gripper_opening,
            joint_positions=np.zeros(0),
            truth=world.truth(),
        )
        world.follow(teacher.infer(observation), pace / FPS)
        outcome = referee.update(world.truth(), world.touched())
        if outcome.success and done < 0:
            done = len(frames)  # the frame after this one is the first to show it
    if done < 0:
        return Take(None, f"{task_name}, seed {seed}: {outcome.detail}")
    notes: dict[str, str | int | float | bool] = {
        "embodiment": world.embodiment.name,
        "pace": round(pace, 3),
        "scene": scene,
        "source": "rendered",
    }
    clip = without_robot(caption, {"head": np.stack(frames)}, FPS, task=task_name, seed=seed, notes=notes)
    return Take(replace(clip, success_frame=done))


def _start(shoulder: np.ndarray, spread: np.ndarray) -> ToolPose:
    """Where the tool begins: between the table's middle and who acts."""
    middle = np.array([0.42, 0.0])
    x, y = middle + (0.55 + 0.2 * spread[0]) * (shoulder[:2] - middle)
    position = np.array([np.clip(x, 0.12, 0.75), np.clip(y, -0.42, 0.42), 0.30 + 0.08 * spread[1]])
    return ToolPose(position, pointing_down(READY_YAW + 0.5 * spread[2]))
