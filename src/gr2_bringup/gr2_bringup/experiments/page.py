"""The page of an experiment: counts with intervals, a plot, and the command that makes them again."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gr2_bringup.experiments.costs import SHOWN, Costs, final_losses
from gr2_bringup.experiments.plan import Arm, Experiment, ExperimentError, measured_file, result_file, run_folder
from gr2_sim.tally import wilson


@dataclass(frozen=True)
class Row:
    """One arm in one suite, over all its seeds.

    Attributes:
        arm: its name.
        suite: of the evaluation.
        successes, episodes: over all seeds.
        low, high: Wilson 95 % interval of the rate over all episodes.
        each: rate of each seed.
        failures: kinds and counts.
        average_length: of chains; None elsewhere.
        tasks: successes and episodes of each task.
        imagined: of each seed that imagined, see gr2_sim.imagining.agreement.
    """

    arm: str
    suite: str
    successes: int
    episodes: int
    low: float
    high: float
    each: tuple[float, ...]
    failures: dict[str, int]
    average_length: float | None
    tasks: dict[str, tuple[int, int]]
    imagined: tuple[dict[str, float], ...] = ()

    @property
    def rate(self) -> float:
        """Successes per episode."""
        return self.successes / self.episodes if self.episodes else 0.0


def rows(experiment: Experiment, out: Path) -> list[Row]:
    """What was measured.

    Raises:
        ExperimentError: a result is missing or damaged.
    """
    return [_row(experiment, arm, suite, out) for arm in experiment.arms for suite in experiment.suites]


def _row(experiment: Experiment, arm: Arm, suite: str, out: Path) -> Row:
    seeds = [seed for chosen, seed in experiment.runs() if chosen is arm]
    found = [_read(result_file(out, arm, seed, suite)) for seed in seeds]
    successes, episodes = (sum(int(one[key]) for one in found) for key in ("successes", "episodes"))
    failures: dict[str, int] = {}
    tasks: dict[str, tuple[int, int]] = {}
    for one in found:
        for kind, count in one.get("failures", {}).items():
            failures[kind] = failures.get(kind, 0) + int(count)
        for task, counts in _tasks(one).items():
            done, tried = tasks.get(task, (0, 0))
            tasks[task] = (done + int(counts["successes"]), tried + int(counts["episodes"]))
    lengths = [float(one["average_length"]) for one in found if "average_length" in one]
    return Row(
        arm.name,
        suite,
        successes,
        episodes,
        *wilson(successes, episodes),
        tuple(float(one["rate"]) for one in found),
        failures,
        sum(lengths) / len(lengths) if lengths else None,
        tasks,
        tuple(one["imagination"] for one in found if one.get("imagination", {}).get("instants")),
    )


def _tasks(one: dict[str, Any]) -> dict[str, Any]:
    tasks = one.get("tasks", {})
    return tasks if isinstance(tasks, dict) else {item["task"]: item for item in tasks}


def _read(path: Path, entry: str = "successes", by: str = "gr2 eval") -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExperimentError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or entry not in content:
        raise ExperimentError(f"{path} is no result of {by}")
    return content


def write(experiment: Experiment, out: Path, folder: Path, machine: str) -> Path:
    """Write NAME.md and NAME.png into a folder, each aside and renamed; the page."""
    found = rows(experiment, out)
    folder.mkdir(parents=True, exist_ok=True)
    picture, page = folder / f"{experiment.name}.png", folder / f"{experiment.name}.md"
    plot(found, experiment.title, picture)
    _put(page, text(experiment, found, machine, trainings(experiment, out)))
    return page


@dataclass(frozen=True)
class Training:
    """What learning an arm took, means over its seeds.

    Attributes:
        arm: its name.
        seconds: processor time of the fine-tuning (what arms share, e.g. pre-training, not counted); nan: not kept.
        losses: where the curves ended.
        measured: on demonstrations that are held out, see ``gr2 model measure``; empty: there are none.
        each: the tool's error of each seed there [mm].
    """

    arm: str
    seconds: float
    losses: dict[str, float]
    measured: dict[str, float] = field(default_factory=dict)
    each: tuple[float, ...] = ()


def trainings(experiment: Experiment, out: Path) -> list[Training]:
    """Of the arms that were trained."""
    spent, found = Costs(out).seconds, []
    for arm in experiment.arms:
        folders = [run_folder(out, arm, seed) / "training" for chosen, seed in experiment.runs() if chosen is arm]
        if not arm.trained:
            continue
        made = [folder / ("act.json" if arm.policy == "act" else "card.json") for folder in folders]
        each = [final_losses(folder) for folder in folders]
        seconds = [spent.get(str(path), math.nan) for path in made]
        ends = {name: [one[name] for one in each if name in one] for name in SHOWN}
        losses = {name: sum(values) / len(values) for name, values in ends.items() if values}
        files = [measured_file(out, arm, seed) for chosen, seed in experiment.runs() if chosen is arm]
        apart = experiment.data is not None and experiment.data.held_out and arm.policy == "gr2"
        seen = [_read(path, "position_mm", "gr2 model measure") for path in files] if apart else []
        means = {name: sum(one[name] for one in seen) / len(seen) for name in (seen[0] if seen else {})}
        errors = tuple(float(one["position_mm"]) for one in seen)
        found.append(Training(arm.name, sum(seconds) / len(seconds), losses, means, errors))
    return found


def text(experiment: Experiment, found: Sequence[Row], machine: str, trained: Sequence[Training] = ()) -> str:
    """The page."""
    chains = any(row.average_length is not None for row in found)
    head = ["", "suite", "successes", "rate", "95 % interval", "rate of each seed"]
    head += ["average length"] if chains else []
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in found:
        each = ", ".join(f"{100 * rate:.0f} %" for rate in row.each)
        cells = [row.arm, row.suite, f"{row.successes} of {row.episodes}", f"{100 * row.rate:.0f} %"]
        cells += [f"{100 * row.low:.0f} … {100 * row.high:.0f} %", each if len(row.each) > 1 else ""]
        cells += [f"{row.average_length:.2f}" if row.average_length is not None else ""] if chains else []
        lines.append("| " + " | ".join(cells) + " |")
    failures = [f"* {row.arm}, {row.suite}: {_counts(row.failures)}" for row in found if row.failures]
    return "\n".join(
        [
            f"# {experiment.title}",
            "",
            experiment.question.strip(),
            "",
            f"![rates]({experiment.name}.png)",
            "",
            *lines,
            "",
            "Intervals are Wilson's over all episodes of all seeds together; they do not know that episodes of one"
            " training are alike, so look at the seeds, too.",
            "",
            "## How large this is",
            "",
            experiment.scale.strip(),
            "",
            *_trainings(trained),
            *_measured(trained),
            *_imagination(found),
            *_by_task(found),
            "## How it failed",
            "",
            *(failures or ["It did not."]),
            "",
            "## Again",
            "",
            f"`./gr2 experiment {experiment.name}`, on {machine}.",
            "",
        ]
    )


def _trainings(trained: Sequence[Training]) -> list[str]:
    if not trained:
        return []
    lines = [
        "## Training",
        "",
        "Means over the seeds; losses over the last tenth of the fine-tuning (video: nats a token; pose: of the"
        " chunk, in units of its usual step), on what it learned from.",
        "",
        "| | processor time of the fine-tuning | " + " | ".join(f"loss of the {name}" for name in SHOWN) + " |",
        "|---" * (2 + len(SHOWN)) + "|",
    ]
    for one in trained:
        spent = "not kept" if math.isnan(one.seconds) else f"{one.seconds / 60.0:.1f} min"
        ends = [f"{one.losses[name]:.3f}" if name in one.losses else "" for name in SHOWN]
        lines.append("| " + " | ".join([one.arm, spent, *ends]) + " |")
    return [*lines, ""]


def _measured(trained: Sequence[Training]) -> list[str]:
    seen = [one for one in trained if one.measured]
    if not seen:
        return []
    lines = [
        "## On demonstrations that it did not learn from",
        "",
        f"Of other arrangements, {seen[0].measured['windows']:.0f} moments (`./gr2 model measure`): how far the tool"
        " would be from where the demonstration took it, mean over the chunk; share of its steps with the gripper as"
        " shown; loss of the video [nats a token]. Means over the seeds.",
        "",
        "| | tool | each seed | gripper | video |",
        "|---" * 5 + "|",
    ]
    for one in seen:
        each = ", ".join(f"{error:.1f}" for error in one.each)
        numbers = one.measured
        lines.append(
            f"| {one.arm} | {numbers['position_mm']:.1f} mm | {each} | {100 * numbers['gripper_accuracy']:.1f} % |"
            f" {numbers['video']:.2f} |"
        )
    return [*lines, ""]


def _imagination(found: Sequence[Row]) -> list[str]:
    rows = [(row, one) for row in found for one in row.imagined]
    if not rows:
        return []
    lines = [
        "## Imagination",
        "",
        "Frames that were imagined, beside what was then seen; in brackets the frame before in their place, which is"
        " what imagining no change would reach. Surprise is the difference of the two shares of tokens; its area under"
        " the ROC curve is the chance that an episode that fails surprises more than one that succeeds (0.5: no use).",
        "",
        "| | suite | instants | tokens that differ | pixels, mean difference | AUROC of the mean, of the largest |",
        "|---" * 6 + "|",
    ]
    for row, one in rows:
        tokens = f"{100 * one['tokens']:.1f} % ({100 * one['tokens_copied']:.1f} %)"
        pixels = f"{255 * one['pixels']:.2f} ({255 * one['pixels_copied']:.2f}) of 255"
        area = f"{one['auroc_mean']:.2f}, {one['auroc_worst']:.2f}"
        lines.append(f"| {row.arm} | {row.suite} | {one['instants']:.0f} | {tokens} | {pixels} | {area} |")
    return [*lines, ""]


def _by_task(found: Sequence[Row]) -> list[str]:
    names = list(dict.fromkeys(task for row in found for task in row.tasks))
    if len(names) < 2:
        return []
    lines = ["## By task", "", "| task | " + " | ".join(f"{row.arm}, {row.suite}" for row in found) + " |"]
    lines.append("|---" * (len(found) + 1) + "|")
    for name in names:
        cells = (row.tasks.get(name) for row in found)
        lines.append(f"| {name} | " + " | ".join(f"{c[0]} of {c[1]}" if c else "" for c in cells) + " |")
    return [*lines, ""]


def _counts(failures: dict[str, int]) -> str:
    return ", ".join(f"{kind or 'unknown'} {count}" for kind, count in sorted(failures.items(), key=lambda x: -x[1]))


def plot(found: Sequence[Row], title: str, path: Path) -> None:
    """Bars with intervals, a dot for each seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    suites = list(dict.fromkeys(row.suite for row in found))
    arms = list(dict.fromkeys(row.arm for row in found))
    figure, axes = pyplot.subplots(figsize=(2.5 + max(5.0, 0.8 * len(suites) * len(arms)), 3.6))
    width = 0.8 / len(arms)
    for index, arm in enumerate(arms):
        chosen = [row for row in found if row.arm == arm]
        places = [suites.index(row.suite) + (index - (len(arms) - 1) / 2) * width for row in chosen]
        rates = [row.rate for row in chosen]
        below = [max(row.rate - row.low, 0.0) for row in chosen]
        above = [max(row.high - row.rate, 0.0) for row in chosen]
        axes.bar(places, rates, 0.9 * width, yerr=[below, above], capsize=3, label=arm)
        for place, row in zip(places, chosen, strict=True):
            axes.plot([place] * len(row.each), row.each, "k.", markersize=4)
    axes.set_xticks(range(len(suites)), suites)
    axes.set_ylim(0.0, 1.0)
    axes.set_ylabel("success rate")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.tight_layout()
    aside = path.with_name(f".{path.name}")
    figure.savefig(aside, dpi=110, format="png")
    pyplot.close(figure)
    os.replace(aside, path)


def _put(path: Path, content: str) -> None:
    aside = path.with_name(f".{path.name}")
    aside.write_text(content, encoding="utf-8")
    os.replace(aside, path)
