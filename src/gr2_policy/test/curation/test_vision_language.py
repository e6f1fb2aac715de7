"""Captions by small models of real classes: each way of asking works, in batches, and what is no model is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from conftest import drawn

from gr2_policy.curation.settings import CaptionSettings
from gr2_policy.curation.vision_language import CaptionerError, TransformersCaptioner


def settings(model: Path, **changes: object) -> CaptionSettings:
    fields = {"captioner": "transformers", "batch": 2, "new_tokens": 8, "frames": 2, "prompt": "picks up the mug"}
    return CaptionSettings(model=str(model), **{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["blip", "florence", "llava"])
def test_families(family: str, tmp_path: Path) -> None:
    model = getattr(tiny_models, family)(tmp_path / family)
    clips = [drawn(seed, 12, 64, 64) for seed in range(3)]
    captioner = TransformersCaptioner(settings(model), device="cpu")
    assert captioner.family in ("blip", "florence2", "llava")
    found = captioner.captions(clips, ["told"] * 3)
    assert len(found) == 3
    for text in found:
        assert text
        assert set(text.split()) <= {*tiny_models.WORDS, "[DEC]"}, text
    alone = TransformersCaptioner(settings(model, batch=1), device="cpu").captions(clips, [""] * 3)
    assert alone == found  # what is beside a clip in its batch does not matter
    if family == "llava":
        assert len(set(found)) > 1 or found != TransformersCaptioner(
            settings(model, prompt="opens the drawer"), device="cpu"
        ).captions(clips, [""] * 3)


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptionerError, match="nothing"):
        TransformersCaptioner(settings(tmp_path / "nothing"), device="cpu")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CaptionerError):
        TransformersCaptioner(settings(tmp_path), device="cpu")
