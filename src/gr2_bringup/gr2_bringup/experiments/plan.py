"""An experiment as data: what is compared, on what, how often; and the commands that this comes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent
OTHER_SEED = 5000
"""Of the demonstrations that are held out: beyond the seeds of those that are learned from."""


class ExperimentError(ValueError):
    """An experiment cannot be used. The message names the file and the entry."""


@dataclass(frozen=True)
class Data:
    """Demonstrations that an experiment makes.

    Attributes:
        tasks: names.
        episodes: of each.
        size: edge of the images [px].
        style: of the teacher, ``plain`` or ``varied``.
        suite: whose scenes they are made in, see ``gr2 demos --help``.
        held_out: further ones of each, of other arrangements, that policies are measured on; 0: none.
    """

    tasks: tuple[str, ...]
    episodes: int
    size: int = 64
    style: str = "plain"
    suite: str = "simple"
    held_out: int = 0

    def __post_init__(self) -> None:
        if self.held_out and self.episodes > OTHER_SEED:
            raise ValueError(f"at most {OTHER_SEED} episodes of each task where some are held out")


@dataclass(frozen=True)
class Clips:
    """Action-free video that an experiment makes.

    Attributes:
        number: of clips.
        tasks: done in them by hands, tongs and other robots; empty: all.
        size: edge of the frames [px].
    """

    number: int
    tasks: tuple[str, ...] = ()
    size: int = 64


@dataclass(frozen=True)
class Arm:
    """One of the things compared.

    Attributes:
        name: in the table.
        policy: name of an installed policy.
        trained: learn it here (policies gr2 and act); else ``options`` say what is run.
        cpu_minutes: processor time that policy act is trained for [min].
        pretrained: begin from video pre-training.
        shown: what that sees: ``clips`` (the demonstrations' video where the experiment has no clips) or ``demos``: the
            video of all demonstrations, also of those that are not learned from, without their actions.
        recipe: of the training; empty: the experiment's.
        episodes_per_task: demonstrations used; 0: all.
        demos: suite whose demonstrations it learns from; empty: the experiment's.
        set: changes of the recipe, dotted name -> value.
        options: for the policy in evaluation; ``{demos}`` stands for the folder of the demonstrations.
    """

    name: str
    policy: str = "gr2"
    trained: bool = True
    cpu_minutes: float = 0.0
    pretrained: bool = False
    shown: str = "clips"
    recipe: str = ""
    episodes_per_task: int = 0
    demos: str = ""
    set: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """See the module's docstring.

    Attributes:
        name: of the file.
        title, question, scale: for the page; ``scale`` says what was run smaller than in the paper.
        arms: what is compared.
        tests: episodes of each task.
        suites: settings of the evaluation; ``plain@SCENE``: the tasks as they are, in that scene.
        tasks: evaluated; empty: those of the data.
        seeds: of training; arms that are not trained run once.
        data: demonstrations; None: nothing is trained.
        clips: what pre-training and the tokenizer see beside; pre-training then sees no demonstrations.
        video: datasets that pre-training sees besides.
        recipe: of the training.
        set: changes of the recipe for every training, dotted name -> value.
        time_limit: of an episode [s].
        imagine: instants a second that policy gr2 imagines in evaluation, to be compared; 0: none.
    """

    name: str
    title: str
    question: str
    scale: str
    arms: tuple[Arm, ...]
    tests: int = 20
    suites: tuple[str, ...] = ("simple",)
    tasks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    data: Data | None = None
    clips: Clips | None = None
    video: tuple[str, ...] = ()
    recipe: str = "nano"
    set: dict[str, Any] = field(default_factory=dict)
    time_limit: float = 15.0
    imagine: float = 0.0

    def runs(self) -> list[tuple[Arm, int]]:
        """Each arm with each of its seeds."""
        return [(arm, seed) for arm in self.arms for seed in (self.seeds if arm.trained else self.seeds[:1])]

    def recipe_of(self, arm: Arm) -> str:
        """Of an arm's training."""
        return arm.recipe or self.recipe


@dataclass(frozen=True)
class Step:
    """A command, as the words after ``./gr2``, and the file or folder that shows it was carried out.

    Where another command is to be asked first, its last line of output takes the place of ``{answer}``.
    """

    words: tuple[str, ...]
    makes: Path
    asks: tuple[str, ...] = ()


def load(name: str) -> Experiment:
    """An experiment by name, or from a file.

    Raises:
        ExperimentError: there is none, or it cannot be used.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ExperimentError(f"there is no experiment '{name}' (there are: {', '.join(known())}; or give a YAML file)")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        arms = tuple(Arm(**arm) for arm in content.pop("arms"))
        data = content.pop("data", None)
        clips = content.pop("clips", None)
        shown = Clips(**{**clips, "tasks": tuple(clips.get("tasks", ()))}) if clips else None
        made = Data(**{**data, "tasks": tuple(data["tasks"])}) if data else None
        lists: dict[str, Any] = {
            key: tuple(content.pop(key)) for key in ("suites", "tasks", "seeds", "video") if key in content
        }
        experiment = Experiment(name=path.stem, arms=arms, data=made, clips=shown, **lists, **content)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ExperimentError(f"{path} cannot be used: {error}") from error
    if experiment.data is None and any(arm.trained for arm in arms):
        raise ExperimentError(f"{path}: an arm is trained, but there is no 'data' to train it on")
    if wrong := [arm for arm in arms if arm.shown not in ("clips", "demos")]:
        raise ExperimentError(f"{path}: arm '{wrong[0].name}' is shown '{wrong[0].shown}', not clips or demos")
    if any(arm.policy == "act" and arm.cpu_minutes <= 0.0 for arm in arms):
        raise ExperimentError(f"{path}: policy act needs cpu_minutes, the processor time of its training")
    if experiment.data is None and not experiment.tasks:
        raise ExperimentError(f"{path}: neither 'data' nor 'tasks' say what is evaluated")
    return experiment


def known() -> list[str]:
    """Names of the experiments that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def steps(experiment: Experiment, out: Path, workers: int) -> Iterator[Step]:
    """All commands, in order.

    Args:
        experiment: what is run.
        out: folder for everything it makes.
        workers: processes that simulate.
    """
    data = experiment.data
    if data is not None:
        suites = dict.fromkeys(arm.demos or data.suite for arm in experiment.arms)
        for suite in suites:
            demos = demos_folder(experiment, suite, out)
            yield _demonstrations(data, demos, suite, data.episodes, workers)
        if data.held_out:
            yield _demonstrations(data, held_out_folder(out), data.suite, data.held_out, workers, OTHER_SEED)
    clips = experiment.clips
    if clips is not None:
        words = ["video", "--out", str(out / "video"), "--clips", str(clips.number), "--size", str(clips.size)]
        words += ["--tasks", ",".join(clips.tasks)] if clips.tasks else []
        yield Step((*words, "--workers", str(workers)), out / "video" / "meta" / "info.json")
    seen: set[Path] = set()
    for arm, seed in experiment.runs():
        if arm.trained:
            for step in _training(experiment, arm, seed, out):
                if step.makes not in seen:
                    seen.add(step.makes)
                    yield step
        for suite in experiment.suites:
            yield _evaluation(experiment, arm, seed, suite, out, workers)


def _demonstrations(data: Data, folder: Path, suite: str, episodes: int, workers: int, seed: int = 0) -> Step:
    words = ["demos", "--out", str(folder), "--suite", suite, "--tasks", ",".join(data.tasks)]
    words += ["--episodes", str(episodes), "--size", str(data.size), "--style", data.style]
    words += ["--seed", str(seed)] if seed else []
    return Step((*words, "--workers", str(workers)), folder / "meta" / "info.json")


def _training(experiment: Experiment, arm: Arm, seed: int, out: Path) -> Iterator[Step]:
    demos = str(demos_folder(experiment, arm.demos, out))
    if arm.policy == "act":
        yield _training_act(arm, seed, out, demos, experiment.data)
        return
    recipe = experiment.recipe_of(arm)
    learn = ["--recipe", recipe, "--cpu", "--threads", "1"]
    model = experiment.set | {key: value for key, value in arm.set.items() if key.startswith("model.")}
    tokenizer = out / "-".join(filter(None, ["tokenizer", recipe, arm.demos]))
    clips = [str(out / "video")] if experiment.clips is not None else []
    drawn = _datasets(demos, *clips)
    yield Step(("train-tokenizer", *drawn, *learn, *_sets(model), "--out", str(tokenizer)), tokenizer / "card.json")
    own = arm.shown == "demos"
    names = ["pretrained", recipe, arm.demos, "demos" if own else "", str(seed)]
    pretrained = out / "-".join(filter(None, names))
    if arm.pretrained:
        shown = _datasets(*([demos] if own or not clips else clips), *experiment.video)
        words = ("pretrain", *shown, *learn, *_sets({"pretrain.seed": seed} | model), "--tokenizer", str(tokenizer))
        yield Step((*words, "--out", str(pretrained)), pretrained / "card.json")
    run = run_folder(out, arm, seed)
    words = ("finetune", "--data", demos, *learn, "--tokenizer", str(tokenizer))
    if arm.pretrained:
        words = (*words, "--pretrained", str(pretrained))
    if arm.episodes_per_task:
        words = (*words, "--episodes-per-task", str(arm.episodes_per_task))
    words = (*words, *_sets({"finetune.seed": seed} | experiment.set | arm.set), "--out", str(run / "training"))
    yield Step(words, run / "training" / "card.json")
    yield Step(
        ("model", "export", str(tokenizer), str(run / "training"), "--out", str(run / "weights"), "--full"),
        run / "weights" / "policy" / "card.json",
    )
    if experiment.data is not None and experiment.data.held_out:
        target = measured_file(out, arm, seed)
        words = ("model", "measure", str(run / "weights"), "--data", str(held_out_folder(out)))
        yield Step((*words, "--json", str(target)), target)


def _training_act(arm: Arm, seed: int, out: Path, demos: str, data: Data | None) -> Step:
    """LeRobot's ACT on the same demonstrations, for a given processor time."""
    run = run_folder(out, arm, seed) / "training"
    words = ["bench", "act", "--data", demos, "--out", str(run), "--seed", str(seed)]
    words += ["--side", str(data.size)] if data is not None else []
    words += ["--episodes-per-task", str(arm.episodes_per_task)] if arm.episodes_per_task else []
    words += ["--cpu-minutes", str(arm.cpu_minutes), "--minutes", str(100.0 * arm.cpu_minutes)]
    return Step(tuple(words), run / "act.json")


def _evaluation(experiment: Experiment, arm: Arm, seed: int, suite: str, out: Path, workers: int) -> Step:
    options, policy = dict(arm.options), arm.policy
    asks: tuple[str, ...] = ()
    if arm.policy == "act":
        options["command"], policy = "{answer}", "served"
        asks = ("bench", "act", "--serve", str(run_folder(out, arm, seed) / "training"))
    elif arm.trained:
        options["checkpoint"] = run_folder(out, arm, seed) / "weights"
    tasks = experiment.tasks or (experiment.data.tasks if experiment.data else ())
    target = result_file(out, arm, seed, suite)
    kind, _, scene = suite.partition("@")
    words = ["eval", "--policy", policy, "--suite", kind, "--episodes", str(experiment.tests)]
    words += ["--scene", scene] if scene else []
    words += [] if suite.startswith("chains") else ["--tasks", "all" if suite == "bin" else ",".join(tasks)]
    words += ["--time-limit", str(experiment.time_limit), "--workers", str(workers), "--json", str(target)]
    words += ["--imagine", str(experiment.imagine)] if experiment.imagine and arm.policy == "gr2" else []
    words += ["--size", str(experiment.data.size)] if experiment.data else []
    for key, value in options.items():
        words += ["--option", f"{key}={value}".replace("{demos}", str(demos_folder(experiment, arm.demos, out)))]
    return Step(tuple(words), target, asks)


def demos_folder(experiment: Experiment, suite: str, out: Path) -> Path:
    """Where the demonstrations of a suite are; empty: those of the experiment's own."""
    own = experiment.data is None or suite in ("", experiment.data.suite)
    return out / ("demos" if own else f"demos-{suite}")


def held_out_folder(out: Path) -> Path:
    """Where the demonstrations are that nothing learns from."""
    return out / "held-out"


def measured_file(out: Path, arm: Arm, seed: int) -> Path:
    """What `gr2 model measure` wrote of a training."""
    return run_folder(out, arm, seed) / "measured.json"


def run_folder(out: Path, arm: Arm, seed: int) -> Path:
    """What belongs to one training of an arm."""
    return out / f"{slug(arm.name)}-seed{seed}"


def result_file(out: Path, arm: Arm, seed: int, suite: str) -> Path:
    """What `gr2 eval` wrote of it."""
    return run_folder(out, arm, seed) / f"{suite}.json"


def slug(name: str) -> str:
    """A name as part of a file's."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.casefold()).strip("-")


def _datasets(*folders: str) -> list[str]:
    return [word for folder in folders for word in ("--data", folder)]


def _sets(changes: dict[str, Any]) -> list[str]:
    return [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
