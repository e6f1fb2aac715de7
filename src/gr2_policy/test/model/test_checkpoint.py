from __future__ import annotations

import argparse
import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gr2_policy.model import checkpoint, model_cli
from gr2_policy.model.config import ModelConfig
from gr2_policy.model.gr2 import GR2, Batch
from gr2_policy.model.transforms import Normalization, Transforms
from gr2_policy.model.vqgan import VqGan

_TEXT = "text-encoder"


@pytest.fixture
def tokenizer(nano: ModelConfig) -> VqGan:
    torch.manual_seed(0)
    return VqGan(nano.tokenizer).freeze()


@pytest.fixture
def transforms(nano: ModelConfig) -> Transforms:
    return Transforms.of(nano, Normalization.plain(8), "gen3_2f85", "tool_pose_base_link+gripper")


@pytest.fixture
def saved(tmp_path: Path, nano: ModelConfig, tokenizer: VqGan, transforms: Transforms) -> Path:
    checkpoint.save_policy(tmp_path / "policy", GR2(nano, tokenizer), transforms, _TEXT)
    return tmp_path / "policy"


def _tensors(folder: Path) -> Path:
    (found,) = folder.glob("*.safetensors")
    return found


def _edit_card(folder: Path, change: Callable[[dict], None], seal: bool = True) -> None:
    path = folder / "card.json"
    body = json.loads(path.read_text())
    change(body)
    if seal:
        body.pop("card_sha256")
        body["card_sha256"] = checkpoint._card_digest(body)
    path.write_text(json.dumps(body))


def _rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Other tensors, with a card that describes them truly."""
    path = _tensors(folder)
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    described = {"file": path.name, "bytes": path.stat().st_size, "sha256": checkpoint._digest(path)}
    _edit_card(folder, lambda body: body.update(tensors=described))


def test_tokenizer_round_trip(tmp_path: Path, tokenizer: VqGan, images: torch.Tensor) -> None:
    origin = checkpoint.Origin(data={"images": 8}, metrics={"psnr": 25.0})
    written = checkpoint.save_tokenizer(tmp_path, tokenizer, origin)
    loaded, card = checkpoint.load_tokenizer(tmp_path)
    assert card == written
    assert card.metrics == {"psnr": 25.0}
    assert card.licence == "Apache-2.0"
    assert torch.equal(loaded.encode(images), tokenizer.encode(images))
    assert torch.equal(loaded.decode(loaded.encode(images)), tokenizer.decode(tokenizer.encode(images)))
    assert loaded.identity() == tokenizer.identity() == card.tokenizer
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_policy_round_trip(saved: Path, tokenizer: VqGan, transforms: Transforms, batch: Batch) -> None:
    model, found, card = checkpoint.load_policy(saved, tokenizer, _TEXT)
    assert found == transforms
    assert found.hash() == transforms.hash()
    assert card.kind == "policy"
    assert not model.training
    checkpoint.save_policy(saved, model, found, _TEXT)
    again, _, _ = checkpoint.load_policy(saved, tokenizer)
    with torch.no_grad():
        assert torch.equal(again.features(batch), model.features(batch))
    assert sorted(path.name for path in saved.iterdir()) == sorted(["card.json", card.tensors["file"]])


def test_a_new_checkpoint_replaces_the_old_one(
    saved: Path, nano: ModelConfig, tokenizer: VqGan, transforms: Transforms
) -> None:
    before = _tensors(saved)
    torch.manual_seed(9)
    checkpoint.save_policy(saved, GR2(nano, tokenizer), transforms, _TEXT)
    assert _tensors(saved) != before
    checkpoint.load_policy(saved, tokenizer)


def test_a_crash_before_the_last_rename_leaves_the_old_one(
    saved: Path, nano: ModelConfig, tokenizer: VqGan, transforms: Transforms, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _, _ = checkpoint.load_policy(saved, tokenizer)
    replace = Path.replace

    def crash(path: Path, target: Path) -> Path:
        if Path(target).name == "card.json":
            raise OSError("no space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", crash)
    torch.manual_seed(9)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save_policy(saved, GR2(nano, tokenizer), transforms, _TEXT)
    monkeypatch.undo()
    kept, _, _ = checkpoint.load_policy(saved, tokenizer)
    assert torch.equal(kept.code_out.weight, old.code_out.weight)


def test_truncated(saved: Path, tokenizer: VqGan) -> None:
    path = _tensors(saved)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(checkpoint.Truncated, match=path.name):
        checkpoint.load_policy(saved, tokenizer)


def test_tampered_tensors(saved: Path, tokenizer: VqGan) -> None:
    path = _tensors(saved)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(checkpoint.HashMismatch, match="SHA-256"):
        checkpoint.load_policy(saved, tokenizer)


def test_tampered_card(saved: Path, tokenizer: VqGan) -> None:
    def nudge(body: dict) -> None:
        body["transforms"]["normalization"]["position_mean"][0] += 0.1

    _edit_card(saved, nudge, seal=False)
    with pytest.raises(checkpoint.BadCard, match="changed"):
        checkpoint.load_policy(saved, tokenizer)


@pytest.mark.parametrize("field", ["config", "tokenizer", "tensors", "data"])
def test_a_card_with_a_field_of_the_wrong_type(saved: Path, tokenizer: VqGan, field: str) -> None:
    _edit_card(saved, lambda body: body.update({field: 3}))
    with pytest.raises(checkpoint.BadCard, match=f"{field} is 3"):
        checkpoint.load_policy(saved, tokenizer)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": "other"}'])
def test_a_card_that_is_none(saved: Path, tokenizer: VqGan, content: str) -> None:
    (saved / "card.json").write_text(content)
    with pytest.raises(checkpoint.BadCard):
        checkpoint.load_policy(saved, tokenizer)


def test_wrong_version_and_kind(saved: Path, tokenizer: VqGan) -> None:
    with pytest.raises(checkpoint.WrongKind, match="policy"):
        checkpoint.load_tokenizer(saved)
    _edit_card(saved, lambda body: body.update(version=2))
    with pytest.raises(checkpoint.WrongVersion, match="version 2"):
        checkpoint.load_policy(saved, tokenizer)


class _Evil:
    """Would show itself if it were ever unpickled."""

    def __reduce__(self) -> tuple:
        return (pytest.fail, ("it was unpickled",))


@pytest.mark.parametrize("name", ["model.pt", "weights.bin", "policy.pkl", "innocent.dat"])
def test_pickles_are_refused(tmp_path: Path, tokenizer: VqGan, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(_Evil()))
    for named in (tmp_path, tmp_path / name):
        with pytest.raises(checkpoint.PickleRefused, match=name):
            checkpoint.load_policy(named, tokenizer)


def test_a_pickle_under_the_right_name_is_refused(saved: Path, tokenizer: VqGan) -> None:
    path = _tensors(saved)
    path.write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(checkpoint.PickleRefused):
        checkpoint.load_policy(saved, tokenizer)
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(checkpoint.PickleRefused):
        checkpoint.load_policy(saved, tokenizer)


def test_files_that_are_missing_or_outside(saved: Path, tmp_path: Path, tokenizer: VqGan) -> None:
    with pytest.raises(checkpoint.MissingFile, match=r"card\.json"):
        checkpoint.load_policy(tmp_path, tokenizer)
    _edit_card(saved, lambda body: body["tensors"].update(file="../elsewhere.safetensors"))
    with pytest.raises(checkpoint.BadCard, match="properly"):
        checkpoint.load_policy(saved, tokenizer)
    _edit_card(saved, lambda body: body["tensors"].update(file="gone.safetensors"))
    with pytest.raises(checkpoint.MissingFile, match="gone"):
        checkpoint.load_policy(saved, tokenizer)


def test_tensors_that_do_not_fit(saved: Path, tokenizer: VqGan) -> None:
    def wrong_type(tensors: dict[str, torch.Tensor]) -> None:
        tensors["code_out.bias"] = tensors["code_out.bias"].half()

    _rewrite(saved, wrong_type)
    with pytest.raises(checkpoint.BadTensors, match="float16"):
        checkpoint.load_policy(saved, tokenizer)

    def wrong_shape(tensors: dict[str, torch.Tensor]) -> None:
        tensors["code_out.bias"] = torch.zeros(3)

    _rewrite(saved, wrong_shape)
    with pytest.raises(checkpoint.BadTensors, match=r"\(3,\)"):
        checkpoint.load_policy(saved, tokenizer)
    _rewrite(saved, lambda tensors: [tensors.pop("code_out.bias")])
    with pytest.raises(checkpoint.BadTensors, match=r"lack code_out\.bias"):
        checkpoint.load_policy(saved, tokenizer)


def test_no_safetensors_file(saved: Path, tokenizer: VqGan) -> None:
    path = _tensors(saved)
    path.write_bytes(b"hello, this is not it")
    described = {"file": path.name, "bytes": path.stat().st_size, "sha256": checkpoint._digest(path)}
    _edit_card(saved, lambda body: body.update(tensors=described))
    with pytest.raises(checkpoint.BadTensors, match="no readable safetensors"):
        checkpoint.load_policy(saved, tokenizer)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda body: body["config"]["trunk"].update(width=3), r"trunk\.width"),
        (lambda body: body["config"].update(wings=2), r"config\.wings"),
        (lambda body: body["transforms"].update(resolution=64), r"transforms\.resolution"),
        (lambda body: body["transforms"].update(normalization=None), r"normalization"),
        (lambda body: body.update(transforms=None), r"transforms"),
    ],
)
def test_configuration_that_cannot_be_used(
    saved: Path, tokenizer: VqGan, change: Callable[[dict], None], named: str
) -> None:
    _edit_card(saved, change)
    with pytest.raises(checkpoint.ConfigRefused, match=named):
        checkpoint.load_policy(saved, tokenizer)


def test_another_tokenizer_or_text_encoder(saved: Path, nano: ModelConfig, tokenizer: VqGan) -> None:
    torch.manual_seed(1)
    with pytest.raises(checkpoint.TokenizerMismatch, match=tokenizer.identity()[:12]):
        checkpoint.load_policy(saved, VqGan(nano.tokenizer).freeze())
    with pytest.raises(checkpoint.TextEncoderMismatch, match="other"):
        checkpoint.load_policy(saved, tokenizer, "other")


def test_a_tokenizer_that_is_not_the_one_it_says(tmp_path: Path, tokenizer: VqGan) -> None:
    checkpoint.save_tokenizer(tmp_path, tokenizer)

    def nudge(tensors: dict[str, torch.Tensor]) -> None:
        tensors["codebook.codes"][0, 0] += 0.1

    _rewrite(tmp_path, nudge)
    with pytest.raises(checkpoint.TokenizerMismatch):
        checkpoint.load_tokenizer(tmp_path)
    _rewrite(tmp_path, lambda tensors: tensors.update(extra=torch.zeros(1)))
    with pytest.raises(checkpoint.BadTensors, match="extra is unknown"):
        checkpoint.load_tokenizer(tmp_path)


def test_finetuning_begins_from_a_pretraining_checkpoint(tmp_path: Path, nano: ModelConfig, tokenizer: VqGan) -> None:
    single = nano.for_pretraining()
    pretrained = GR2(single, tokenizer)
    checkpoint.save_policy(tmp_path, pretrained, Transforms.of(single), _TEXT)
    model = GR2(nano, tokenizer)
    new = checkpoint.load_pretrained(tmp_path, model, _TEXT)
    assert torch.equal(model.trunk.blocks[0].attention.qkv.weight, pretrained.trunk.blocks[0].attention.qkv.weight)
    assert not any(name.startswith(("trunk.", "text.", "code_", "embedding.code_")) for name in new)
    deeper = dataclasses.replace(nano, trunk=dataclasses.replace(nano.trunk, layers=3))
    with pytest.raises(checkpoint.ConfigRefused, match=r"config\.trunk"):
        checkpoint.load_pretrained(tmp_path, GR2(deeper, tokenizer), _TEXT)


def test_half_the_size_and_float32_again_once_loaded(
    tmp_path: Path, nano: ModelConfig, tokenizer: VqGan, transforms: Transforms, batch: Batch
) -> None:
    model = GR2(nano, tokenizer).eval()
    full = checkpoint.save_policy(tmp_path / "full", model, transforms, _TEXT)
    half = checkpoint.save_policy(tmp_path / "half", model, transforms, _TEXT, stored="float16")
    assert half.tensors["bytes"] < 0.55 * full.tensors["bytes"]
    loaded, _, card = checkpoint.load_policy(tmp_path / "half", tokenizer)
    assert card.stored == "float16"
    assert {value.dtype for value in loaded.weights().values()} == {torch.float32}
    with torch.no_grad():
        torch.testing.assert_close(loaded.features(batch), model.features(batch), atol=0.05, rtol=0.05)
    _edit_card(tmp_path / "half", lambda body: body.update(stored="float8"))
    with pytest.raises(checkpoint.BadCard, match="stored is 'float8', known are float32, float16"):
        checkpoint.load_policy(tmp_path / "half", tokenizer)


def test_export_of_a_training_run(
    tmp_path: Path,
    saved: Path,
    nano: ModelConfig,
    tokenizer: VqGan,
    transforms: Transforms,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint.save_tokenizer(tmp_path / "tokens", tokenizer)
    rates = {"suite": "simple", "policy": "gr2", "episodes": 4, "successes": 1, "wilson_low": 0.05, "wilson_high": 0.7}
    (tmp_path / "rates.json").write_text(json.dumps(rates))
    parser = argparse.ArgumentParser()
    model_cli.add_arguments(parser)
    words = ["export", str(tmp_path / "tokens"), str(saved), "--out", str(tmp_path / "mine")]
    assert model_cli.run(parser.parse_args([*words, "--evaluated", str(tmp_path / "rates.json")])) == 0
    kept, _ = checkpoint.load_tokenizer(tmp_path / "mine" / "tokenizer")
    _, _, card = checkpoint.load_policy(tmp_path / "mine" / "policy", kept)
    assert card.metrics["evaluated"] == [rates]
    assert model_cli._without_folders(
        {"datasets": ["/home/me/data/table"], "pretrained": "/tmp/first", "tasks": "a"}
    ) == {
        "datasets": ["table"],
        "pretrained": "first",
        "tasks": "a",
    }
    assert model_cli.run(parser.parse_args(["export", str(tmp_path / "none"), str(saved), "--out", "x"])) == 2
    assert "none holds no checkpoint" in capsys.readouterr().err
