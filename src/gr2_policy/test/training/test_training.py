"""The learning path, small: it goes on where it was, several processes are one, and what is wrong is named."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gr2_policy.data.reader import Dataset
from gr2_policy.model import model_cli
from gr2_policy.model.checkpoint import load_policy, load_tokenizer, save_tokenizer
from gr2_policy.model.gr2 import GR2
from gr2_policy.model.text import pad_features
from gr2_policy.model.transforms import Transforms
from gr2_policy.model.vqgan import VqGan
from gr2_policy.training import measure_tokenizer
from gr2_policy.training.loop import Progress, TrainingDiverged, train
from gr2_policy.training.mixture import Mixture
from gr2_policy.training.policy_stage import PolicyStage, fit_normalization
from gr2_policy.training.recipe import load_recipe
from gr2_policy.training.settings import Schedule, Settings, Source
from gr2_policy.training.state import StateError, load_state
from gr2_policy.training.tokenizer_stage import TokenizerStage
from gr2_policy.training.tokens import tokenise

CPU = torch.device("cpu")
RECIPE = load_recipe("nano")
CONFIG = replace(RECIPE.model_config(), state_dropout=0.0)


class Words:
    """A text encoder made of nothing."""

    identity = "words"
    width = 384

    def encode(self, instructions):  # type: ignore[no-untyped-def]
        rows = [np.random.default_rng(sum(text.encode())).normal(size=(3, self.width)) for text in instructions]
        return pad_features([torch.from_numpy(row).float() for row in rows])


def settings(steps: int, **changes: object) -> Settings:
    base = Settings(
        schedule=Schedule(steps, warmup=2, rate=2e-3), batch=8, save_every=1000, sample_every=1000, log_every=1
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def policy_stage(dataset: Dataset, tokenizer: VqGan, name: str = "finetune") -> PolicyStage:
    config = CONFIG if name == "finetune" else CONFIG.for_pretraining()
    store = tokenise(dataset, tokenizer, Transforms.of(config), CPU)
    mixture = Mixture([Source(str(dataset.folder))], [store], config.timesteps, config.frame_dt, 0)
    transforms = Transforms.of(config)
    if config.action:
        transforms = Transforms.of(config, fit_normalization(mixture, config.action.horizon), "gen3_2f85", "space")
    torch.manual_seed(0)
    return PolicyStage(name, GR2(config, tokenizer), Words(), transforms, mixture, {"from": "dots"})


def test_losses_fall_and_the_checkpoint_can_be_used(dataset: Dataset, tokenizer: VqGan, tmp_path: Path) -> None:
    words: list[Progress] = []
    outcome = train(
        policy_stage(dataset, tokenizer), settings(40, sample_every=20), tmp_path / "run", words.append, cpu=True
    )
    assert (outcome.step, outcome.finished) == (40, True)
    first, last = (np.mean([word.figures["loss"] for word in part]) for part in (words[:8], words[-8:]))
    assert last < 0.8 * first
    assert set(words[-1].figures) >= {"video", "pose", "gripper", "kl", "changed_accuracy", "gradient_norm"}
    model, transforms, card = load_policy(tmp_path / "run", tokenizer, "words")
    assert transforms.robot_id == "gen3_2f85"
    assert card.data == {"from": "dots"}
    assert (tmp_path / "run" / "imagined.png").stat().st_size > 500
    assert any((tmp_path / "run" / "curves").iterdir())
    state = load_file(next((tmp_path / "run").glob("state-*")))
    for name, value in model.weights().items():  # what is kept is the average
        np.testing.assert_array_equal(value.numpy(), state[f"ema.model.{name}"].numpy())


@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_an_interrupted_run_takes_the_same_steps(name: str, dataset: Dataset, tokenizer: VqGan, tmp_path: Path) -> None:
    train(policy_stage(dataset, tokenizer, name), settings(10), tmp_path / "whole", cpu=True)

    def interrupt(progress: Progress) -> None:
        if progress.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    outcome = train(policy_stage(dataset, tokenizer, name), settings(10), tmp_path / "parts", interrupt, cpu=True)
    assert (outcome.step, outcome.finished) == (4, False)
    assert train(policy_stage(dataset, tokenizer, name), settings(10), tmp_path / "parts", cpu=True).finished
    whole, parts = (load_file(next((tmp_path / run).glob("state-*"))) for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for key, value in whole.items():
        np.testing.assert_array_equal(value.numpy(), parts[key].numpy(), err_msg=key)


def test_parts_of_a_batch_make_the_same_step(dataset: Dataset, tokenizer: VqGan, tmp_path: Path) -> None:
    """Of the video loss: its mean over a batch is nearly that of the means of its parts."""
    for name, accumulate in (("one", 1), ("four", 4)):
        train(
            policy_stage(dataset, tokenizer, "pretrain"), settings(1, accumulate=accumulate), tmp_path / name, cpu=True
        )
    one, four = (load_file(next((tmp_path / run).glob("state-*"))) for run in ("one", "four"))
    key = "optimiser.exp_avg.model.trunk.norm.weight"
    np.testing.assert_allclose(four[key], one[key], rtol=0.3, atol=1e-4)


_TWO = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_training as t
from gr2_policy.data.reader import Dataset
from gr2_policy.model.checkpoint import load_tokenizer
t.train(t.policy_stage(Dataset(Path(sys.argv[2])), load_tokenizer(Path(sys.argv[3]))[0], "pretrain"),
        t.settings(6), Path(sys.argv[4]), cpu=True)
"""


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(dataset: Dataset, tokenizer: VqGan, tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "tokenizer", tokenizer)
    train(policy_stage(dataset, tokenizer, "pretrain"), settings(6), tmp_path / "one", cpu=True)
    script = tmp_path / "two.py"
    script.write_text(_TWO)
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", str(script)]
    command += [str(Path(__file__).parent), str(dataset.folder), str(tmp_path / "tokenizer"), str(tmp_path / "two")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (load_file(next((tmp_path / run).glob("state-*"))) for run in ("one", "two"))
    for key, value in one.items():
        if key.startswith("model.") and "tokenizer" not in key:
            np.testing.assert_allclose(two[key], value, rtol=0.05, atol=2e-3, err_msg=key)


def test_what_diverges_is_named_and_the_state_before_stays(dataset: Dataset, tokenizer: VqGan, tmp_path: Path) -> None:
    train(policy_stage(dataset, tokenizer), settings(4, save_every=2), tmp_path / "run", minutes=1e-9, cpu=True)
    stage = policy_stage(dataset, tokenizer)
    inner = stage.batch

    def poisoned(step: int, indices: range, device: torch.device):  # type: ignore[no-untyped-def]
        part = inner(step, indices, device)
        if step == 3:
            part.data.state[0, 0, 0] = float("nan")
        return part

    stage.batch = poisoned  # type: ignore[method-assign]
    with pytest.raises(TrainingDiverged, match=r"step 3: the loss is nan; samples episode \d \('move the dot'\)"):
        train(stage, settings(4, save_every=2), tmp_path / "run", cpu=True)
    kept = json.loads((tmp_path / "run" / "state.json").read_text())
    assert kept["step"] == 2


def test_another_run_in_the_folder_is_refused(dataset: Dataset, tokenizer: VqGan, tmp_path: Path) -> None:
    train(policy_stage(dataset, tokenizer, "pretrain"), settings(1), tmp_path, cpu=True)
    with pytest.raises(StateError, match="other settings"):
        train(policy_stage(dataset, tokenizer, "pretrain"), settings(1, batch=4), tmp_path, cpu=True)
    state = next(tmp_path.glob("state-*.safetensors"))
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(StateError, match=r"state\.json cannot be taken up"):
        load_state(tmp_path, "any")


def test_another_schedule_is_refused_unless_it_is_meant(dataset: Dataset, tokenizer: VqGan, tmp_path: Path) -> None:
    train(policy_stage(dataset, tokenizer, "pretrain"), settings(4), tmp_path, cpu=True)
    with pytest.raises(StateError, match="steps 4, now 6"):
        train(policy_stage(dataset, tokenizer, "pretrain"), settings(6), tmp_path, cpu=True)
    words: list[Progress] = []
    longer = settings(6)
    train(policy_stage(dataset, tokenizer, "pretrain"), longer, tmp_path, words.append, cpu=True, reschedule=True)
    assert [word.step for word in words] == [5, 6]
    train(policy_stage(dataset, tokenizer, "pretrain"), longer, tmp_path, cpu=True)  # which is its own from then on


def test_the_tokenizer_learns_and_goes_on(dataset: Dataset, tmp_path: Path) -> None:
    def stage() -> TokenizerStage:
        torch.manual_seed(0)
        return TokenizerStage(VqGan(CONFIG.tokenizer), RECIPE.tokenizer.losses, [dataset], [1.0], 60, 0, crop=16)

    words: list[Progress] = []
    train(stage(), settings(60), tmp_path / "whole", words.append, cpu=True)
    assert words[-1].figures["reconstruction"] < 0.5 * words[0].figures["reconstruction"]
    outcome = train(
        stage(),
        settings(60),
        tmp_path / "parts",
        lambda p: p.step == 30 and os.kill(os.getpid(), signal.SIGTERM),
        cpu=True,
    )
    assert outcome.step == 30
    train(stage(), settings(60), tmp_path / "parts", cpu=True)
    whole, parts = (load_tokenizer(tmp_path / run)[0] for run in ("whole", "parts"))
    assert whole.identity() == parts.identity()


def test_the_critic_takes_part_from_its_step(dataset: Dataset, tmp_path: Path) -> None:
    losses = replace(RECIPE.tokenizer.losses, adversarial_from=2, discriminator_width=8)
    torch.manual_seed(0)
    stage = TokenizerStage(VqGan(CONFIG.tokenizer), losses, [dataset], [1.0], 6, 0, crop=16)
    before = {name: value.clone() for name, value in stage.module.get_submodule("losses").named_parameters()}
    words: list[Progress] = []
    train(stage, settings(6), tmp_path, words.append, cpu=True)
    assert ["critic" in word.figures for word in words] == [False, False, True, True, True, True]
    assert all(
        (before[name] != value).any()
        for name, value in stage.module.get_submodule("losses").named_parameters()
        if value.ndim > 1
    )


def test_what_is_held_out_is_not_learned_from_but_measured(dataset: Dataset, tokenizer: VqGan, tmp_path: Path) -> None:
    source = Source(str(dataset.folder), hold_out=1)
    store = tokenise(dataset, tokenizer, Transforms.of(CONFIG), CPU)
    mixture = Mixture([source], [store], CONFIG.timesteps, CONFIG.frame_dt, 0)
    assert mixture.learned(0) == [0, 1, 2, 3]
    assert {mixture.pick(step, 0).episode for step in range(200)} == {0, 1, 2, 3}
    every = mixture.held_out(10_000)
    windows = [store.episodes[number].length - (CONFIG.timesteps - 1) for number in (4, 5)]
    assert [(p.episode, p.start) for p in every] == [(4 + i, start) for i in (0, 1) for start in range(windows[i])]
    assert {picked.episode for picked in mixture.held_out(4)} == {4, 5}

    def stage() -> PolicyStage:
        assert CONFIG.action is not None
        normal = fit_normalization(mixture, CONFIG.action.horizon)
        transforms = Transforms.of(CONFIG, normal, "gen3_2f85", "space")
        torch.manual_seed(0)
        return PolicyStage("finetune", GR2(CONFIG, tokenizer), Words(), transforms, mixture, {})

    before = stage().held_out(CPU)
    assert before == stage().held_out(CPU)
    outcome = train(stage(), settings(40, sample_every=10), tmp_path / "run", cpu=True)
    after = {name: outcome.figures[f"held_out/{name}"] for name in before}
    assert after["pose"] < 0.9 * before["pose"]
    assert after["video"] < 0.9 * before["video"]
    assert 1.0 < after["position_mm"] < before["position_mm"]
    seldom = train(stage(), settings(40, sample_every=40), tmp_path / "seldom", cpu=True)
    assert seldom.figures == outcome.figures  # measuring changes nothing of the training
    assert policy_stage(dataset, tokenizer).held_out(CPU) == {}


def test_weights_are_measured_on_other_demonstrations(
    dataset: Dataset,
    tokenizer: VqGan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = {}
    for steps in (1, 40):
        train(policy_stage(dataset, tokenizer), settings(steps), tmp_path / f"run{steps}", cpu=True)
        save_tokenizer(tmp_path / f"weights{steps}" / "tokenizer", tokenizer)
        (tmp_path / f"run{steps}").rename(tmp_path / f"weights{steps}" / "policy")
    monkeypatch.setattr("gr2_policy.training.measure.load_text_encoder", lambda _: Words())
    parser = argparse.ArgumentParser()
    model_cli.add_arguments(parser)
    for steps in (1, 40):
        words = ["measure", str(tmp_path / f"weights{steps}"), "--data", str(dataset.folder)]
        assert model_cli.run(parser.parse_args([*words, "--json", str(tmp_path / "found.json")])) == 0
        runs[steps] = json.loads((tmp_path / "found.json").read_text())
    windows = sum(info.length - (CONFIG.timesteps - 1) for info in dataset.episodes)
    assert runs[1]["windows"] == runs[40]["windows"] == windows
    for name in ("video", "pose", "position_mm"):
        assert runs[40][name] < 0.9 * runs[1][name]
    capsys.readouterr()
    assert model_cli.run(parser.parse_args(["measure", str(tmp_path), "--data", str(dataset.folder)])) == 2
    assert "tokenizer" in capsys.readouterr().err


def test_a_tokenizer_is_measured_by_itself(
    dataset: Dataset, tokenizer: VqGan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    model_cli.add_arguments(parser)
    save_tokenizer(tmp_path / "untrained", tokenizer)
    words = ["measure", str(tmp_path / "untrained"), "--data", str(dataset.folder)]
    words += ["--json", str(tmp_path / "out.json")]
    assert model_cli.run(parser.parse_args(words)) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert sorted(found) == sorted(dataset.shape.views)
    total = sum(info.length for info in dataset.episodes)
    for figures in found.values():
        assert figures["frames"] == total
        assert 0.0 < figures["absolute"] < 1.0
        assert figures["psnr_db"] > -10.0 * math.log10(figures["absolute"])  # squares of what is below 1 are smaller
        assert 0.0 <= figures["noise_flips"] <= 1.0
        assert 1.0 <= figures["perplexity"] <= CONFIG.tokenizer.codebook_size
    capsys.readouterr()
    assert model_cli.run(parser.parse_args([*words, "--tasks", "no_such_task"])) == 2
    assert "no episodes of no_such_task" in capsys.readouterr().err


def test_frames_are_spread_evenly_over_the_data(
    dataset: Dataset, tokenizer: VqGan, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = sum(info.length for info in dataset.episodes)
    monkeypatch.setattr(measure_tokenizer, "FRAMES", total // 3)
    every = np.concatenate([next(iter(episode.images.values())) for episode in dataset])
    chosen = next(iter(measure_tokenizer._frames(tokenizer, dataset, ()).values()))
    step = -(-total // (total // 3))
    assert np.array_equal(chosen, every[::step])
