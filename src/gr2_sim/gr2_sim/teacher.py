"""The scripted teacher: a policy that knows the truth and shows how each task is done.

Each chunk is computed from one observation. The only memory is the chunk before (where the tool has been told to
be by now, so that chunks join smoothly although each is used some time after its observation; under a new instruction
whether the hand was told to be open), the scene as it was when the instruction was given, and how long the condition
has been met.
"""

from __future__ import annotations

import numpy as np

from gr2_policy.policy import ActionChunk, Observation, PolicyError, SceneTruth
from gr2_sim.cell import Cell, load_cell
from gr2_sim.motion import STEP, Motion, at_rest, between, closing_yaw, follow, turn_between
from gr2_sim.parts import DataError
from gr2_sim.situation import PLAIN, Situation, draw_style
from gr2_sim.skills import plan
from gr2_sim.success import View, check
from gr2_sim.tasks import Task, lacking, task_for

LOST = (0.04, 0.25)
"""Where the arm is further than this [m, rad] from where it was told to be, the motion begins anew from the arm."""
REACTION = 0.16
"""Time [s] after an observation in which its chunk goes on as the one before: the arm will have done that already."""
LOOK_AHEAD = 0.6
"""Time [s] that the motion is known beyond the end of its chunk, for observations that come late."""


class Teacher:
    """Scripted policy for every task of the scene; see gr2_policy.policy.Policy.

    Args:
        chunk_dt: time between poses of a chunk [s], a multiple of motion.STEP.
        horizon: poses in a chunk.
        varied: each episode in a style of its own, the same for the same scene, seed and instruction; else all alike.
    """

    model_id = "teacher-1"
    robot_id = "gen3_2f85"
    action_space = "tool_pose_base_link+gripper"
    normalization_hash = ""
    privileged = True
    history = 0

    def __init__(self, chunk_dt: float = 0.1, horizon: int = 16, varied: bool = True) -> None:
        self._stride = round(chunk_dt / STEP)
        if horizon < 1 or self._stride < 1 or abs(self._stride * STEP - chunk_dt) > 1e-9:
            raise ValueError(
                f"chunk_dt must be a multiple of {STEP} s and horizon at least 1, got {chunk_dt}, {horizon}"
            )
        self.chunk_dt = chunk_dt
        self.horizon = horizon
        self._varied = varied
        self._instruction = ""
        self._task: Task | None = None
        self._start: SceneTruth | None = None
        self._met_since: float | None = None
        self._met_for = 0.0
        self._told: tuple[float, list[Motion]] | None = None
        self._episode: int | None = None
        self._hand: float | None = None

    def reset(self, instruction: str) -> None:
        """Begin a new instruction.

        Raises:
            UnknownInstruction: no task is asked for in these words; the message suggests some.
        """
        self._task = task_for(instruction)
        self._instruction = instruction
        self._start, self._met_since, self._met_for = None, None, 0.0

    def infer(self, observation: Observation) -> ActionChunk:
        """One chunk from one observation.

        Raises:
            PolicyError: no instruction was begun, or the observation lacks the ground truth or part of it.
        """
        truth, task = observation.truth, self._task
        if task is None:
            raise PolicyError("the teacher was given an observation before an instruction")
        if truth is None:
            raise PolicyError("the teacher needs the simulator's ground truth (topic /sim/truth); there is none")
        cell = _checked_cell(truth)
        missing = lacking(task, cell)
        if missing:
            raise PolicyError(f"the teacher cannot '{self._instruction}': {missing}")
        if self._start is None or self._start.episode != truth.episode:
            self._hand = self._told_hand(observation) if self._episode == truth.episode else None
            self._start, self._episode, self._told = truth, truth.episode, None
            self._met_since, self._met_for = None, 0.0
        settled = self._settled(observation)
        self._watch(View(cell, task, self._start, truth, frozenset()))
        situation = Situation(
            cell=cell,
            task=task,
            start=self._start,
            now=truth,
            motion=settled[-1],
            tool=np.asarray(observation.tool_position, dtype=float),
            opening=float(observation.gripper),
            met_for=self._met_for,
            tool_yaw=closing_yaw(np.asarray(observation.tool_orientation, dtype=float)),
            style=draw_style(truth.scene, truth.seed, self._instruction) if self._varied else PLAIN,
        )
        duration = self.horizon * self.chunk_dt + LOOK_AHEAD - REACTION
        states = settled[:-1] + follow(settled[-1], plan(situation), duration)
        self._told = (observation.stamp, states)
        chosen = states[self._stride : self.horizon * self._stride + 1 : self._stride]
        return ActionChunk(
            dt=self.chunk_dt,
            positions=np.array([state.position for state in chosen]),
            orientations=np.array([state.orientation for state in chosen]),
            gripper=np.array([state.gripper for state in chosen]),
        )

    def _watch(self, view: View) -> None:
        """Note for how long the condition has been met."""
        met, _ = check(view)
        if not met:
            self._met_since = None
            return
        if self._met_since is None:
            self._met_since = view.now.stamp
        self._met_for = max(self._met_for, view.now.stamp - self._met_since)

    def _told_hand(self, observation: Observation) -> float | None:
        """What the hand was told to be by now under the instruction before; None if nothing was told."""
        if self._told is None:
            return None
        stamp, states = self._told
        return states[min(max(int((observation.stamp - stamp) / STEP), 0), len(states) - 1)].gripper

    def _settled(self, observation: Observation) -> list[Motion]:
        """Motion that cannot be changed any more, from the observation until its chunk is in use.

        It is what the chunk before says; if there is none, or the arm is far from it, the arm stays.
        """
        count = round(REACTION / STEP)
        if self._told is not None:
            stamp, states = self._told
            steps = (observation.stamp - stamp) / STEP
            first = int(steps)
            if 0.0 <= steps < len(states) - 1 - count:
                pairs = zip(states[first : first + count + 1], states[first + 1 : first + count + 2], strict=True)
                told = [between(state, after, steps - first) for state, after in pairs]
                off = np.linalg.norm(told[0].position - observation.tool_position)
                turn = np.linalg.norm(turn_between(told[0].orientation, np.asarray(observation.tool_orientation)))
                if off <= LOST[0] and turn <= LOST[1]:
                    return told
        gripper = 1.0 if observation.gripper > 0.2 else 0.0
        if self._hand is not None and self._hand < 0.5 and observation.gripper < self._hand + 0.1:
            gripper = self._hand  # a hand that has let go and is still partly open is not one that holds something
        return [at_rest(observation.tool_position, observation.tool_orientation, gripper)] * (count + 1)


def _checked_cell(truth: SceneTruth) -> Cell:
    """The cell that the ground truth is about.

    Raises:
        PolicyError: it is not known, or the truth lacks something of it.
    """
    try:
        cell = load_cell(truth.scene)
    except DataError as error:
        raise PolicyError(f"ground truth of {error}") from None
    sliders = {fixture.slider.joint for fixture in cell.fixtures.values() if fixture.slider}
    lacking = sorted(({*cell.objects, *cell.fixtures} - set(truth.poses)) | (sliders - set(truth.joints)))
    if lacking:
        raise PolicyError(f"the ground truth at {truth.stamp:.3f} s lacks {', '.join(lacking)}")
    numbers = np.concatenate([*map(np.concatenate, truth.poses.values()), list(truth.joints.values())])
    if not np.all(np.isfinite(numbers)):
        raise PolicyError(f"the ground truth at {truth.stamp:.3f} s holds numbers that are not finite")
    return cell


def make_policy(chunk_dt: float | str = 0.1, horizon: int | str = 16, varied: bool | str = True) -> Teacher:
    """Factory of the entry point `teacher`; options as Teacher's arguments, as text too.

    Raises:
        ValueError: an option with a wrong value.
    """
    return Teacher(float(chunk_dt), int(horizon), str(varied).casefold() in ("true", "1", "yes"))
