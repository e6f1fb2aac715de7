"""Experiments as data: what they run, and the page they end in."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import pytest

from gr2_bringup.experiments import costs, page, plan
from gr2_policy.training.recipe import load_recipe

THREE = """
title: T
question: Q
scale: S
seeds: [0, 1]
tests: 5
data: {tasks: [press_button, close_drawer], episodes: 4}
arms:
  - {name: "From scratch"}
  - {name: pre-trained, pretrained: true, set: {finetune.batch: 8}}
  - {name: teacher, policy: teacher, trained: false}
"""


@pytest.fixture
def experiment(tmp_path: Path) -> plan.Experiment:
    (tmp_path / "three.yaml").write_text(THREE)
    return plan.load(str(tmp_path / "three.yaml"))


def test_steps_share_what_arms_have_in_common(experiment: plan.Experiment, tmp_path: Path) -> None:
    found = list(plan.steps(experiment, tmp_path, workers=2))
    verbs = [step.words[0] for step in found]
    assert verbs[:2] == ["demos", "train-tokenizer"]
    assert {verb: verbs.count(verb) for verb in set(verbs)} == {
        "demos": 1,
        "train-tokenizer": 1,
        "pretrain": 2,  # one for each seed
        "finetune": 4,
        "model": 4,
        "eval": 5,  # the teacher is not trained, and runs once
    }
    changed = [step.words for step in found if "finetune.batch=8" in step.words]
    assert len(changed) == 2
    assert all("--pretrained" in words for words in changed)
    assert len({step.makes for step in found}) == len(found)


def test_pre_training_on_clips_sees_no_demonstrations(tmp_path: Path) -> None:
    (tmp_path / "clips.yaml").write_text(
        THREE.replace("arms:", "clips: {number: 7, tasks: [lift_mug]}\nset: {pretrain.schedule.steps: 9}\narms:")
    )
    found = list(plan.steps(plan.load(str(tmp_path / "clips.yaml")), tmp_path, workers=2))
    (made,) = [step.words for step in found if step.words[0] == "video"]
    assert made[made.index("--clips") + 1] == "7"
    assert made[made.index("--tasks") + 1] == "lift_mug"
    shown = {
        step.words[0]: [Path(step.words[i + 1]).name for i, word in enumerate(step.words) if word == "--data"]
        for step in found
    }
    assert shown["train-tokenizer"] == ["demos", "video"]
    assert shown["pretrain"] == ["video"]
    assert shown["finetune"] == ["demos"]
    assert all("pretrain.schedule.steps=9" in step.words for step in found if step.words[0] == "pretrain")


def test_pre_training_may_see_the_demonstrations_that_are_not_learned_from(tmp_path: Path) -> None:
    (tmp_path / "clips.yaml").write_text(
        THREE.replace("arms:", "clips: {number: 7}\narms:\n  - {name: own, pretrained: true, shown: demos}")
    )
    found = list(plan.steps(plan.load(str(tmp_path / "clips.yaml")), tmp_path, workers=2))
    pretrained = {step.makes.parent.name: step.words for step in found if step.words[0] == "pretrain"}
    assert {name: Path(words[words.index("--data") + 1]).name for name, words in pretrained.items()} == {
        **{f"pretrained-nano-demos-{seed}": "demos" for seed in (0, 1)},
        **{f"pretrained-nano-{seed}": "video" for seed in (0, 1)},
    }
    used = [step.words for step in found if step.words[0] == "finetune" and step.makes.parts[-3] == "own-seed1"]
    assert str(tmp_path / "pretrained-nano-demos-1") in used[0]
    (tmp_path / "clips.yaml").write_text(THREE + "  - {name: own, shown: demo}\n")
    with pytest.raises(plan.ExperimentError, match="arm 'own' is shown 'demo', not clips or demos"):
        plan.load(str(tmp_path / "clips.yaml"))


def test_act_is_trained_and_served_by_its_bench(tmp_path: Path) -> None:
    arm = "  - {name: ACT, policy: act, cpu_minutes: 3}\n"
    (tmp_path / "act.yaml").write_text(THREE + arm)
    found = list(plan.steps(plan.load(str(tmp_path / "act.yaml")), tmp_path, workers=2))
    trained = [step for step in found if step.words[:2] == ("bench", "act")]
    assert [step.words[step.words.index("--seed") + 1] for step in trained] == ["0", "1"]
    assert all(step.words[step.words.index("--cpu-minutes") + 1] == "3" for step in trained)
    served = [step for step in found if step.asks]
    assert [Path(step.asks[-1]) for step in served] == [step.makes.parent for step in trained]
    assert all("command={answer}" in step.words and "served" in step.words for step in served)
    (tmp_path / "act.yaml").write_text(THREE + arm.replace(", cpu_minutes: 3", ""))
    with pytest.raises(plan.ExperimentError, match="cpu_minutes"):
        plan.load(str(tmp_path / "act.yaml"))


def test_arms_may_learn_from_demonstrations_of_other_scenes(tmp_path: Path) -> None:
    arm = "  - {name: more, demos: chains-ABCD-D}\n"
    written = THREE.replace("episodes: 4}", "episodes: 4, suite: chains-ABC-D}\nsuites: [plain@chain_d]") + arm
    (tmp_path / "two.yaml").write_text(written)
    found = list(plan.steps(plan.load(str(tmp_path / "two.yaml")), tmp_path, workers=2))
    made = {step.words[step.words.index("--suite") + 1]: step for step in found if step.words[0] == "demos"}
    assert list(made) == ["chains-ABC-D", "chains-ABCD-D"]
    learned = [step.words for step in found if step.words[0] == "finetune" and "more-seed0" in step.words[-1]]
    assert [words[words.index("--data") + 1] for words in learned] == [str(tmp_path / "demos-chains-ABCD-D")]
    assert sum(step.words[0] == "train-tokenizer" for step in found) == 2
    evaluated = [step.words for step in found if step.words[0] == "eval"]
    assert all(words[words.index("--scene") + 1] == "chain_d" and "plain" in words for words in evaluated)


def test_what_a_training_cost_and_where_it_ended(experiment: plan.Experiment, tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    kept = costs.Costs(tmp_path)
    for seed in (0, 1):
        folder = plan.run_folder(tmp_path, experiment.arms[0], seed) / "training"
        kept.add(folder / "card.json", 30.0)
        kept.add(folder / "card.json", 30.0)  # it was broken off and went on
        with SummaryWriter(str(folder / "curves")) as writer:
            for step in range(1, 101):
                writer.add_scalar("video", float(seed if step >= 90 else 100), step)
    first, second = page.trainings(experiment, tmp_path)
    assert (first.seconds, first.losses) == (60.0, {"video": 0.5})
    assert math.isnan(second.seconds)
    written = page.text(experiment, [], "a machine", [first, second])
    assert "| From scratch | 1.0 min | 0.500 |  |" in written
    assert "| pre-trained | not kept |" in written


def test_what_is_held_out_is_measured(tmp_path: Path) -> None:
    (tmp_path / "apart.yaml").write_text(THREE.replace("episodes: 4}", "episodes: 4, held_out: 3}"))
    experiment = plan.load(str(tmp_path / "apart.yaml"))
    found = list(plan.steps(experiment, tmp_path, workers=2))
    learned, apart = [step for step in found if step.words[0] == "demos"]
    assert learned.words[learned.words.index("--out") + 1] != apart.words[apart.words.index("--out") + 1]
    assert apart.words[apart.words.index("--episodes") + 1] == "3"
    assert int(apart.words[apart.words.index("--seed") + 1]) >= 1000
    measured = [step for step in found if step.words[:2] == ("model", "measure")]
    assert len(measured) == 4
    for number, step in enumerate(measured):
        step.makes.parent.mkdir(parents=True)
        figures = {"windows": 9.0, "video": 1.5, "position_mm": 4.0 + number, "gripper_accuracy": 0.5}
        step.makes.write_text(json.dumps(figures))
    written = page.text(experiment, [], "a machine", page.trainings(experiment, tmp_path))
    assert "| From scratch | 4.5 mm | 4.0, 5.0 | 50.0 % | 1.50 |" in written
    measured[0].makes.write_text("{}")
    with pytest.raises(plan.ExperimentError, match="no result of gr2 model measure"):
        page.trainings(experiment, tmp_path)
    (tmp_path / "apart.yaml").write_text(THREE.replace("episodes: 4}", "episodes: 9000, held_out: 3}"))
    with pytest.raises(plan.ExperimentError, match="at most 5000 episodes"):
        plan.load(str(tmp_path / "apart.yaml"))


@pytest.mark.parametrize("name", plan.known())
def test_those_that_ship_can_be_run(name: str, tmp_path: Path) -> None:
    experiment = plan.load(name)
    assert experiment.runs()
    for arm in experiment.arms:
        if arm.trained:
            load_recipe(experiment.recipe_of(arm), arm.set).model_config()
    assert list(plan.steps(experiment, tmp_path, 1))


@pytest.mark.parametrize(
    ("change", "words"),
    [("arms:\n  - {nam: x}", "unexpected keyword argument 'nam'"), ("arms: 3", "cannot be used"), ("{", "cannot be")],
)
def test_bad_files_are_named(tmp_path: Path, change: str, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(f"title: T\nquestion: Q\nscale: S\n{change}\n")
    with pytest.raises(plan.ExperimentError, match=words):
        plan.load(str(path))
    with pytest.raises(plan.ExperimentError, match="there is no experiment 'nonsense'"):
        plan.load("nonsense")


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib comes with ./gr2 experiment")
def test_the_page_pools_seeds_and_keeps_them_apart(experiment: plan.Experiment, tmp_path: Path) -> None:
    for number, (arm, seed) in enumerate(experiment.runs()):
        target = plan.result_file(tmp_path / "out", arm, seed, "simple")
        target.parent.mkdir(parents=True)
        result = {"successes": number, "episodes": 10, "rate": number / 10, "failures": {"dropped": 10 - number}}
        result["imagination"] = {
            "instants": 7, "tokens": 0.1, "tokens_copied": 0.2, "pixels": 0.01, "pixels_copied": 0.02,
            "auroc_mean": 0.75, "auroc_worst": 0.5,
        }  # fmt: skip
        target.write_text(json.dumps(result))
    written = page.write(experiment, tmp_path / "out", tmp_path / "pages", "a machine")
    text = written.read_text()
    assert "| From scratch | simple | 1 of 20 | 5 % | 1 … 24 % | 0 %, 10 % |" in text
    assert "pre-trained, simple: dropped 15" in text
    assert "| teacher | simple | 7 | 10.0 % (20.0 %) | 2.55 (5.10) of 255 | 0.75, 0.50 |" in text
    assert (tmp_path / "pages" / "three.png").stat().st_size > 5000
    plan.result_file(tmp_path / "out", experiment.arms[0], 1, "simple").write_text("{")
    with pytest.raises(plan.ExperimentError, match=r"From|from-scratch-seed1.simple\.json cannot be read"):
        page.rows(experiment, tmp_path / "out")
