"""What is learned from, and how it is drawn: tokens, mixtures, what is held out, statistics, recipes."""

from __future__ import annotations

import argparse
import copy
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gr2_policy.data.episode import without_robot
from gr2_policy.data.reader import Dataset
from gr2_policy.data.writer import DatasetError, DatasetWriter
from gr2_policy.model.config import ConfigError
from gr2_policy.model.transforms import Normalization, Transforms
from gr2_policy.model.vqgan import VqGan
from gr2_policy.training import finetune
from gr2_policy.training.mixture import Mixture
from gr2_policy.training.policy_stage import fit_normalization
from gr2_policy.training.recipe import load_recipe
from gr2_policy.training.settings import Schedule, Source
from gr2_policy.training.tokens import TokenStore, encode, store_folder, tokenise

CPU = torch.device("cpu")
CONFIG = replace(load_recipe("nano").model_config(), state_dropout=0.0)


def test_tokens_are_those_of_serving_and_made_once(dataset: Dataset, tokenizer: VqGan) -> None:
    transforms = Transforms.of(CONFIG)
    tokenise(dataset, tokenizer, transforms, CPU)
    files = {path: path.stat().st_mtime_ns for path in store_folder(dataset.folder, tokenizer).iterdir()}
    store = tokenise(dataset, tokenizer, Transforms.of(CONFIG.for_pretraining()), CPU)
    assert files == {path: path.stat().st_mtime_ns for path in store_folder(dataset.folder, tokenizer).iterdir()}
    episode = dataset.read(3)
    window = store.window(3, 5, 3, 2, horizon=8)
    for row, frame in enumerate((5, 7, 9)):
        seen = transforms.images({view: images[frame] for view, images in episode.images.items()})
        np.testing.assert_array_equal(window.tokens[row], tokenizer.encode(seen).numpy())
    assert window.chunks is not None
    assert window.known is not None
    np.testing.assert_allclose(window.chunks[1, :, :3], episode.actions[7:15, :3], rtol=1e-6)
    late = store.window(3, len(episode) - 4, 2, 1, horizon=8)
    assert late.known is not None
    np.testing.assert_array_equal(late.known.sum(axis=1), [4, 3])  # beyond the end nothing is known


def test_too_few_to_hold_out_is_an_error_and_statistics_leave_them_out(dataset: Dataset, tokenizer: VqGan) -> None:
    store = tokenise(dataset, tokenizer, Transforms.of(CONFIG), CPU)
    folder = str(dataset.folder)
    for source, words in (
        (Source(folder, hold_out=3), "3 episodes of task_0: too few to hold 3 out$"),
        (Source(folder, hold_out=2, episodes_per_task=2), "too few to hold 2 out and learn from 2"),
    ):
        with pytest.raises(DatasetError, match=words):
            Mixture([source], [store], CONFIG.timesteps, CONFIG.frame_dt, 0)
    with pytest.raises(ConfigError, match="hold_out"):
        Source(folder, hold_out=-1)
    torch.manual_seed(4)
    other = VqGan(CONFIG.tokenizer).freeze()
    few = Source(folder, episodes_per_task=1)
    of_few = tokenise(dataset, other, Transforms.of(CONFIG), CPU, source=few)
    assert len(of_few.episodes) == 2
    first, second = (
        fit_normalization(Mixture([few], [found], CONFIG.timesteps, CONFIG.frame_dt, 0), 8) for found in (of_few, store)
    )
    assert first == second  # whatever else has been made tokens of before


def test_finetuning_says_what_action_free_video_is_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = without_robot("a hand opens the drawer", {"head": np.zeros((5, 32, 32, 3), np.uint8)}, 5)
    DatasetWriter(tmp_path / "video", 5, "").append([clip])
    parser = argparse.ArgumentParser()
    finetune.add_arguments(parser)
    words = ["--data", str(tmp_path / "video"), "--tokenizer", str(tmp_path), "--out", str(tmp_path / "run")]
    assert finetune.run(parser.parse_args(words)) == 2
    said = " ".join(capsys.readouterr().err.split())
    for part in ("video is action-free video of one view (head)", "gr2 pretrain --data"):
        assert part in said
    assert not (tmp_path / "run").exists()


def test_an_interrupted_tokenisation_goes_on(
    dataset: Dataset, tokenizer: VqGan, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    other = VqGan(CONFIG.tokenizer).freeze()
    monkeypatch.setattr("gr2_policy.training.tokens._EPISODES", 2)

    def stop(done: int, _total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenise(dataset, other, Transforms.of(CONFIG), CPU, stop)
    assert len(TokenStore(store_folder(dataset.folder, other)).episodes) == 4
    assert len(tokenise(dataset, other, Transforms.of(CONFIG), CPU).episodes) == 6


def test_two_trainings_that_begin_at_once_share_one_store(
    dataset: Dataset, tokenizer: VqGan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wants two episodes of a task, the other all: neither may overwrite what the other has made."""
    torch.manual_seed(3)
    other = VqGan(CONFIG.tokenizer).freeze()
    transforms = Transforms.of(CONFIG)
    monkeypatch.setattr("gr2_policy.training.tokens._EPISODES", 1)
    with ThreadPoolExecutor(2) as pool:
        two = Source(str(dataset.folder), tasks=("task_1",), episodes_per_task=2)
        few = pool.submit(tokenise, dataset, copy.deepcopy(other), transforms, CPU, None, two)
        every = pool.submit(tokenise, dataset, copy.deepcopy(other), transforms, CPU)
        assert {episode.number for episode in few.result().episodes} >= {1, 3}
        assert [episode.number for episode in every.result().episodes] == list(range(6))
    store = TokenStore(store_folder(dataset.folder, other))
    assert len({(episode.shard, episode.first) for episode in store.episodes}) == 6
    for index, episode in enumerate(store.episodes):
        images = dataset.read(episode.number).images
        frames = np.stack([np.stack([transforms.resize(f) for f in images[v]]) for v in store.views], axis=1)
        found = store.window(index, 0, episode.length, 1).tokens
        np.testing.assert_array_equal(found, encode(other, frames, CPU))


def test_only_what_is_asked_for_becomes_tokens(dataset: Dataset) -> None:
    torch.manual_seed(2)
    other = VqGan(CONFIG.tokenizer).freeze()
    told: list[tuple[int, int]] = []
    transforms = Transforms.of(CONFIG)
    few = Source(str(dataset.folder), tasks=("task_1",), episodes_per_task=2)
    store = tokenise(dataset, other, transforms, CPU, lambda *at: told.append(at), few)
    assert [episode.number for episode in store.episodes] == [1, 3]
    assert told == [(2, 2)]
    store = tokenise(dataset, other, transforms, CPU, lambda *at: told.append(at))
    assert [episode.number for episode in store.episodes] == list(range(6))
    assert told[1:] == [(6, 6)]
    np.testing.assert_array_equal(
        store.window(3, 0, 2, 1).tokens, tokenise(dataset, other, transforms, CPU).window(3, 0, 2, 1).tokens
    )
    frames = dataset.read(0).images
    expected = encode(other, np.stack([transforms.resize(frames[view][5]) for view in store.views])[None], CPU)
    np.testing.assert_array_equal(store.window(0, 5, 1, 1).tokens, expected)


def test_the_mixture_draws_as_it_should(dataset: Dataset, tokenizer: VqGan) -> None:
    store = tokenise(dataset, tokenizer, Transforms.of(CONFIG), CPU)
    sources = [Source("a", 3.0, tasks=("task_0",)), Source("b", 1.0, episodes_per_task=1)]
    mixture = Mixture(sources, [store, store], 2, 0.4, 7)
    picked = [mixture.pick(step, index) for step in range(40) for index in range(20)]
    share = np.mean([item.source == 0 for item in picked])
    assert 0.68 < share < 0.82
    assert {item.episode for item in picked if item.source == 0} == {0, 2, 4}
    assert {item.episode for item in picked if item.source == 1} == {0, 1}
    starts = [item.start for item in picked if item.episode == 0]
    assert min(starts) == 0
    assert max(starts) == 20 - 1 - 2  # two frames, 0.4 s apart at 5 Hz
    assert mixture.pick(3, 4) == Mixture(sources, [store, store], 2, 0.4, 7).pick(3, 4)
    with pytest.raises(DatasetError, match="not a multiple"):
        Mixture(sources, [store, store], 2, 0.3, 7)
    with pytest.raises(DatasetError, match="no episode"):
        Mixture([Source("c", tasks=("juggle",))], [store], 2, 0.4, 7)


def test_normalisation_is_of_the_demonstrations(dataset: Dataset, tokenizer: VqGan) -> None:
    store = tokenise(dataset, tokenizer, Transforms.of(CONFIG), CPU)
    mixture = Mixture([Source("a")], [store], 2, 0.2, 0)
    found = fit_normalization(mixture, 8)
    assert isinstance(found, Normalization)
    positions = np.concatenate([dataset.read(i, images=False).states[:, :3] for i in range(6)])
    np.testing.assert_allclose(found.position_mean, positions.mean(axis=0), atol=1e-6)
    assert found.step_positions[7] > found.step_positions[0]  # a random walk gets further


def test_recipes_are_strict() -> None:
    assert load_recipe("mini", {"finetune.batch": 4}).finetune.settings.batch == 4
    assert load_recipe("mini", {"finetune.schedule.steps": 7}).finetune.settings.schedule.steps == 7
    assert load_recipe("nano", {"model.overrides.trunk.layers": 1}).model_config().trunk.layers == 1
    with pytest.raises(ConfigError, match=r"finetune\.settings\.bach is unknown"):
        load_recipe("mini", {"finetune.bach": 4})
    with pytest.raises(ConfigError, match="no recipe 'maxi'"):
        load_recipe("maxi")
    with pytest.raises(ConfigError, match="multiple of accumulate"):
        load_recipe("mini", {"finetune.accumulate": 7})


def test_the_rate_rises_and_falls() -> None:
    schedule = Schedule(100, warmup=10, rate=1.0, floor=0.1)
    rates = [schedule.factor(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(rates[10:]))
