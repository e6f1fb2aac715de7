"""Suites: which episodes an evaluation consists of, and in which variant of which scene each takes place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gr2_sim.bins import BIN_SETTINGS, BIN_TASK, bin_scene
from gr2_sim.cell import load_cell
from gr2_sim.chains import CHAIN_SUITES, CHAIN_TASK, chain_scene
from gr2_sim.rollout import RolloutConfig
from gr2_sim.settings import SETTINGS, instruction_for, scene_name
from gr2_sim.tasks import UnknownTask, find_task, load_tasks, the_tasks
from gr2_sim.world import FAST_TIMESTEP

PLAIN = "plain"
SUITES = (PLAIN, *SETTINGS, "bin", *CHAIN_SUITES)
"""plain: every task, also those outside the eight skills, in its scene as the data have it, asked for plainly."""
DISTURBED = 0.25
"""Share of the episodes of the other suites that begin with the arm pushed aside."""


@dataclass(frozen=True)
class Job:
    """One episode: `label` is what it is counted under, `task` what is done (CHAIN_TASK: a chain)."""

    label: str
    task: str
    seed: int
    scene: str
    instruction: str

    @property
    def key(self) -> str:
        """What tells it from others."""
        return f"{self.label}/{self.seed}/{self.scene}/{self.instruction}"


@dataclass(frozen=True)
class Suite:
    """What is evaluated.

    Attributes:
        policy: its name in the entry-point group gr2.policies.
        tasks: names of tasks; of settings for bin picking; empty: all.
        episodes: arrangements a task.
        seed: of the first arrangement; the others count up.
        options: for the policy's factory.
        paraphrase: in the suite `plain`, go through all the ways of asking; else the plain one.
        scene: in the suite `plain`, name of the scene; empty: each task's own.
        rollout: how an episode is run.
        name: one of SUITES.
        timestep: of the physics [s].
        videos: folder for videos of successes and failures; empty: none.
        imagine: instants a second that the policy imagines, to be compared with what happens; 0: none.
    """

    policy: str
    tasks: tuple[str, ...] = ()
    episodes: int = 20
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    paraphrase: bool = False
    scene: str = ""
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    name: str = PLAIN
    timestep: float = 0.001
    videos: str = ""
    imagine: float = 0.0

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What must agree for the results of an earlier run to be taken over."""
        return {
            "policy": self.policy, "suite": self.name, "options": dict(self.options), "rollout": asdict(self.rollout),
            "timestep": self.timestep, **({"imagine": self.imagine} if self.imagine else {}),
        }  # fmt: skip


def suite_of(name: str, policy: str, rollout: RolloutConfig, **fields: Any) -> Suite:
    """A suite with the settings that belong to its name.

    Raises:
        ValueError: no such suite.
    """
    if name not in SUITES:
        raise ValueError(f"unknown suite '{name}'; known: {', '.join(SUITES)}")
    if name == PLAIN:
        return Suite(policy=policy, name=name, rollout=rollout, **fields)
    share = DISTURBED if name in SETTINGS else 0.0
    rollout = RolloutConfig(**{**asdict(rollout), "disturbed": share})
    return Suite(policy=policy, name=name, rollout=rollout, timestep=FAST_TIMESTEP, **fields)


def jobs_of(suite: Suite) -> list[Job]:
    """All episodes of a suite, in order.

    Raises:
        UnknownTask: a task, or a setting of bin picking, that there is not.
    """
    seeds = range(suite.seed, suite.seed + suite.episodes)
    if suite.name == "bin":
        for name in suite.tasks:
            if name not in BIN_SETTINGS:
                raise UnknownTask(f"unknown setting of bin picking '{name}'; known: {', '.join(BIN_SETTINGS)}")
        words = find_task(BIN_TASK).instructions[0]
        return [
            Job(f"bin_{n}", BIN_TASK, s, bin_scene(n, s), words) for n in suite.tasks or BIN_SETTINGS for s in seeds
        ]
    if suite.name in CHAIN_SUITES:
        return [Job(suite.name, CHAIN_TASK, seed, chain_scene("D"), "") for seed in seeds]
    if suite.name == PLAIN:
        return [_plain_job(suite, name, seed) for name in suite.tasks or _plain_tasks() for seed in seeds]
    return [_setting_job(suite.name, name, seed) for name in suite.tasks or the_tasks() for seed in seeds]


def _plain_tasks() -> Sequence[str]:
    return [name for name in load_tasks() if name != BIN_TASK]


def _plain_job(suite: Suite, name: str, seed: int) -> Job:
    task = find_task(name)
    phrases = task.instructions
    words = phrases[seed % len(phrases)] if suite.paraphrase else phrases[0]
    return Job(name, name, seed, suite.scene or task.scene, words)


def _setting_job(setting: str, name: str, seed: int) -> Job:
    task = find_task(name)
    scene = scene_name(setting, task, seed)
    return Job(name, name, seed, scene, instruction_for(setting, task, seed, load_cell(scene)))
