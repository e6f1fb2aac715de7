"""Runs a policy in the simulated cell, in one process and faster than real time, through the real controller.

Timing is that of the running stack: the controller at 200 Hz, the policy at a few Hz, and each chunk handed over
some time after its observation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gr2_policy.policy import ActionChunk, Observation, Policy
from gr2_sim.build import ARM_JOINTS, ROBOT
from gr2_sim.failures import FailureWatch
from gr2_sim.referee import Referee
from gr2_sim.tasks import find_task
from gr2_sim.world import World
from gr2_wbc.chunk import Chunk, ChunkRefused
from gr2_wbc.config import ControllerConfig
from gr2_wbc.controller import Controller, Measurement
from gr2_wbc.robots import load_robot

CONTROL_PERIOD = 0.005
REFEREE_PERIOD = 0.1
GAP_BEFORE_START = 0.1
"""Time [s] that the controller runs before the instruction is given."""


@dataclass(frozen=True)
class RolloutConfig:
    """How an episode is run.

    Attributes:
        replan_period: between observations that the policy is given [s].
        policy_delay: from an observation to its chunk being used [s].
        time_limit: an episode that lasts longer has failed [s].
        settle: time the episode goes on after success [s].
        images: camera names that observations carry; none: no drawing.
        width, height: of the images [px].
        disturbed: share of the episodes that begin with the arm beside its ready configuration.
    """

    replan_period: float = 0.2
    policy_delay: float = 0.1
    time_limit: float = 30.0
    settle: float = 0.0
    images: tuple[str, ...] = ()
    width: int = 256
    height: int = 256
    disturbed: float = 0.0


Watch = Callable[[Observation, ActionChunk], None]


@dataclass(frozen=True)
class Episode:
    """How an episode went.

    Attributes:
        task, seed, instruction: what was asked for, in which arrangement.
        success: what the referee found.
        duration: time [s] from the instruction to success, or to the time limit.
        detail: the condition in words, with its figures, at the end.
        chunks, refused: chunks handed to the controller and refused by it.
        stopped: why the controller stopped for good; empty: it did not.
        tool_path: (n, 3) measured tool positions [m] at 10 Hz.
        scene: name of the scene or variant.
        failure: what kind of failure it was (failures.py); empty after success.
    """

    task: str
    seed: int
    instruction: str
    success: bool
    duration: float
    detail: str
    chunks: int
    refused: int
    stopped: str
    tool_path: np.ndarray
    scene: str = ""
    failure: str = ""


class Rollout:
    """Runs episodes of one policy in one world.

    Args:
        world: the cell.
        policy: what is to be run.
        config: see RolloutConfig.
        watch: called with each observation and the chunk that the policy made of it, for a recorder.
    """

    def __init__(
        self, world: World, policy: Policy, config: RolloutConfig | None = None, watch: Watch | None = None
    ) -> None:
        self.world = world
        self.policy = policy
        self.watch = watch
        self.config = config or RolloutConfig()
        self._robot = load_robot(ROBOT)

    def run(self, task: str, seed: int, instruction: str = "", scene: str = "") -> Episode:
        """One episode from a reset to success or the time limit.

        Args:
            task: the task that the scene is arranged for.
            seed: the arrangement's seed.
            instruction: what the policy is told; empty: the task's plain instruction.
            scene: scene or variant to do it in; empty: the present one, or the task's.

        Raises:
            UnknownTask: no task of this name. UnknownInstruction: the policy cannot follow it.
            HandshakeRefused: the controller does not accept the policy.
            PolicyError: the policy failed on an observation.
        """
        world, config = self.world, self.config
        disturbed = bool(np.random.default_rng([seed, 5]).random() < config.disturbed)
        plain = world.reset(task, seed, scene, time=0.0, disturbed=disturbed)
        return self.follow(task, instruction or plain)

    def follow(self, task: str, instruction: str) -> Episode:
        """Have an instruction followed in the scene as it stands, the arm at rest; see `run`."""
        world, config, seed = self.world, self.config, self.world.seed
        controller = Controller(self._robot, ControllerConfig())
        courier = _Courier(controller, self.policy, config.policy_delay, self.watch)
        self.policy.reset(instruction)
        for _ in range(_cycles(GAP_BEFORE_START)):
            self._control(controller)
        referee, path = Referee(), []
        referee.begin(instruction, world.truth())
        failures = FailureWatch(world.cell, find_task(task), world.truth())
        duration, end, cycle, next_plan = None, _cycles(config.time_limit), 0, 0
        while True:
            if cycle % _cycles(REFEREE_PERIOD) == 0:
                truth, touched = world.truth(), world.touched()
                outcome = referee.update(truth, touched)
                failures.update(truth, touched)
                path.append(world.tool_pose()[0])
                if outcome.success and duration is None:
                    duration, end = outcome.elapsed, cycle + _cycles(config.settle)
            if cycle >= end:
                break
            if cycle >= next_plan and not courier.busy:
                courier.ask(self.observe(instruction))
                next_plan = cycle + max(1, _cycles(config.replan_period))
            courier.deliver(world.time)
            self._control(controller)
            cycle += 1
        status = controller.status()
        return Episode(
            task=task,
            seed=seed,
            instruction=instruction,
            success=outcome.success,
            duration=outcome.elapsed if duration is None else duration,
            detail=outcome.detail,
            chunks=courier.sequence,
            refused=courier.refused,
            stopped=status.reason if status.state.name == "STOPPED" else "",
            tool_path=np.array(path),
            scene=world.cell.name,
            failure="" if outcome.success else failures.category(status.state.name == "STOPPED"),
        )

    def observe(self, instruction: str) -> Observation:
        """What the policy is given at this moment."""
        world, config = self.world, self.config
        images = {name: world.render(name, config.width, config.height) for name in config.images}
        position, orientation = world.tool_pose()
        return Observation(
            stamp=world.time,
            instruction=instruction,
            images=images,
            tool_position=position,
            tool_orientation=orientation,
            gripper=world.gripper_opening,
            joint_positions=world.joint_positions,
            truth=world.truth() if self.policy.privileged else None,
        )

    def _control(self, controller: Controller) -> None:
        """One control cycle and the physics up to the next."""
        world = self.world
        measured = Measurement(world.time, world.joint_positions, world.joint_velocities, world.gripper_opening)
        command = controller.step(world.time, measured)
        if command.active:
            times, positions, velocities = command.trajectory()
            world.accept_trajectory(command.stamp, ARM_JOINTS, times, positions, velocities)
            world.command_gripper(command.gripper)
        world.step(round(CONTROL_PERIOD / world.timestep))


class _Courier:
    """Asks the policy for chunks and hands each to the controller some time [s] after its observation."""

    def __init__(self, controller: Controller, policy: Policy, delay: float, watch: Watch | None) -> None:
        self._controller, self._policy, self._delay, self._watch = controller, policy, delay, watch
        self._session = controller.activate(
            policy.model_id, policy.robot_id, policy.action_space, policy.chunk_dt, policy.normalization_hash
        )
        self._pending: tuple[float, Chunk] | None = None
        self.sequence = 0
        self.refused = 0

    @property
    def busy(self) -> bool:
        """Whether a chunk is on its way: the policy thinks about one observation at a time."""
        return self._pending is not None

    def ask(self, observation: Observation) -> None:
        """Have a chunk made from an observation."""
        self.sequence += 1
        action = self._policy.infer(observation)
        if self._watch is not None:
            self._watch(observation, action)
        chunk = to_chunk(action, observation, self.sequence, self._session, self._policy.model_id)
        self._pending = (observation.stamp + self._delay, chunk)

    def deliver(self, now: float) -> None:
        """Hand the chunk over if its time has come."""
        if self._pending is None or now < self._pending[0] - 1e-9:
            return
        try:
            self._controller.accept(self._pending[1], now)
        except ChunkRefused:
            self.refused += 1
        self._pending = None


def _cycles(time: float) -> int:
    """Control cycles in a time [s]."""
    return round(time / CONTROL_PERIOD)


def to_chunk(chunk: ActionChunk, observation: Observation, sequence: int, session: str, model_id: str) -> Chunk:
    """A policy's chunk in the form the controller takes it."""
    return Chunk(
        stamp=observation.stamp,
        sequence=sequence,
        session=session,
        instruction=observation.instruction,
        model_id=model_id,
        dt=chunk.dt,
        positions=chunk.positions,
        orientations=chunk.orientations,
        gripper=chunk.gripper,
    )
