from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from gr2_policy.model import model_cli
from gr2_policy.model.config import SIZES, ConfigError, ModelConfig, from_dict, load_config, load_size, to_dict
from gr2_policy.model.info import info

PUBLISHED = {"S": 30e6, "B": 95e6, "L": 312e6, "XL": 719e6}


@pytest.mark.parametrize("size", PUBLISHED)
def test_trainable_parameters_are_those_of_the_paper(size: str) -> None:
    assert info(size).trainable == pytest.approx(PUBLISHED[size], rel=0.03)


def test_default_size_has_230_million_parameters_in_total() -> None:
    found = info("B")
    assert found.total == pytest.approx(230e6, rel=0.02)
    assert found.total == found.trainable + found.frozen == sum(part.trainable + part.frozen for part in found.parts)


def test_mini_is_about_5_million_parameters_of_our_own() -> None:
    found = info("mini")
    tokenizer = sum(part.frozen for part in found.parts if part.name.startswith("tokenizer"))
    assert found.trainable + tokenizer == pytest.approx(5.4e6, rel=0.05)
    assert (found.config.tokenizer.resolution, found.config.tokenizer.tokens) == (64, 64)


@pytest.mark.parametrize("size", SIZES)
def test_configuration_survives_plain_data(size: str) -> None:
    config = load_size(size)
    assert config.name == size
    assert from_dict(ModelConfig, json.loads(json.dumps(to_dict(config)))) == config
    assert from_dict(ModelConfig, to_dict(config.for_pretraining())).action is None


@pytest.mark.parametrize("size", SIZES)
def test_a_token_sees_at_most_its_neighbours(size: str) -> None:
    tokenizer = load_size(size).tokenizer
    assert tokenizer.receptive_field <= 3 * tokenizer.downsampling


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"trunk.widht": 3}, "trunk.widht"),
        ({"trunk.width": "wide"}, "trunk.width"),
        ({"trunk.width": 100, "trunk.heads": 3}, "trunk.width"),
        ({"tokenizer.codebook_size": 16384}, "codebook_size"),
        ({"tokenizer.codebook": "magic"}, "magic"),
        ({"tokenizer.stem": 8}, "downsamples by 32"),
        ({"action.max_prefix": 16, "action.horizon": 16}, "max_prefix"),
        ({"text.encoder": "bert"}, "bert"),
        ({"views": ["head", "head"]}, "head"),
        ({"timesteps": True}, "timesteps"),
    ],
)
def test_bad_values_are_refused_by_name(overrides: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load_size("mini", overrides)


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "+1e-03", "1.0e-3"])
def test_numbers_are_written_as_people_write_them(tmp_path: Path, text: str) -> None:
    """YAML takes those without a point for text."""
    file = tmp_path / "tiny.yaml"
    file.write_text(f"loss: {{video: {text}}}")
    assert load_config(file).loss.video == 0.001


def test_unknown_size_and_missing_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="XXL"):
        load_size("XXL")
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")


def _call(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    model_cli.add_arguments(parser)
    return model_cli.run(parser.parse_args(arguments))


def test_info_verb(capsys: pytest.CaptureFixture[str], tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert _call("info", "B", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["total"] == printed["trainable"] + printed["frozen"] == info("B").total
    assert _call("info", "mini") == 0
    assert f"{info('mini').trainable:,}" in capsys.readouterr().out
    own = tmp_path / "own.yaml"
    own.write_text("trunk: {layers: 2, width: 64, heads: 2}\n")
    assert _call("info", str(own), "--json") == 0
    assert json.loads(capsys.readouterr().out)["size"] == "own"
    assert _call("info", "huge") == 2
    assert "huge" in capsys.readouterr().err
