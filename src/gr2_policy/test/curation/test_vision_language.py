"""Captions by small models of real classes: each way of asking works, in batches, and what is no model is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from gr2_policy.curation.settings import CaptionSettings
from gr2_policy.curation.vision_language import CaptionerError, TransformersCaptioner

WORDS = ["a", "person", "hand", "picks", "up", "puts", "opens", "pours", "the", "red", "blue", "mug", "drawer", "into"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<image>", "<DETAILED_CAPTION>", "[DEC]"]
SIZE = len(SPECIAL) + len(WORDS)


def tokenizer() -> PreTrainedTokenizerFast:
    """Words to numbers."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        bos_token="[CLS]",
        eos_token="[SEP]",
        extra_special_tokens={"image_token": "<image>"},
    )


def blip(folder: Path) -> Path:
    """BLIP: captions one picture."""
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        **small,
        "vocab_size": SIZE,
        "encoder_hidden_size": 32,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "sep_token_id": 3,
    }
    config = BlipConfig(
        text_config={**text, "pad_token_id": 0}, vision_config={**small, "image_size": 32, "patch_size": 8}
    )
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer()).save_pretrained(folder)
    return folder


def florence(folder: Path) -> Path:
    """Florence-2: takes a task word."""
    from transformers import CLIPImageProcessor, Florence2Config, Florence2ForConditionalGeneration, Florence2Processor

    torch.manual_seed(0)
    text = {"model_type": "bart", "vocab_size": SIZE, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
            "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
            "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3,
            "forced_eos_token_id": None, "max_position_embeddings": 128}  # fmt: skip
    vision = {"embed_dim": [8, 16, 16, 32], "num_heads": [2, 2, 2, 2], "num_groups": [2, 2, 2, 2],
              "depths": [1, 1, 1, 1], "projection_dim": 32, "window_size": 4, "max_temporal_embeddings": 4,
              "max_position_embeddings": 8}  # fmt: skip
    config = Florence2Config(text_config=text, vision_config=vision, image_token_id=4)
    model = Florence2ForConditionalGeneration(config)
    model.generation_config.suppress_tokens = list(range(len(SPECIAL)))  # random weights would say nothing
    model.save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"height": 64, "width": 64}, crop_size={"height": 64, "width": 64})
    pictures.image_seq_length = 5  # four patches of 32 px and their mean
    Florence2Processor(pictures, tokenizer(), num_additional_image_tokens=0).save_pretrained(folder)
    return folder


def llava(folder: Path) -> Path:
    """LLaVA: takes a conversation with pictures, as most models of today do."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(0)
    vision = CLIPVisionConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                              image_size=32, patch_size=8, projection_dim=32)  # fmt: skip
    text = LlamaConfig(vocab_size=SIZE, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
                       num_attention_heads=2, num_key_value_heads=2, pad_token_id=0, bos_token_id=2,
                       eos_token_id=3)  # fmt: skip
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=4, vision_feature_layer=-1)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.suppress_tokens = list(range(len(SPECIAL)))
    model.save_pretrained(folder)
    template = (
        "{% for message in messages %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
    )
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        pictures, tokenizer(), patch_size=8, vision_feature_select_strategy="default", chat_template=template,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)  # fmt: skip
    return folder


FAMILIES = {"blip": blip, "florence2": florence, "llava": llava}


def settings(model: Path, **changes: object) -> CaptionSettings:
    fields = {"captioner": "transformers", "batch": 2, "new_tokens": 8, "frames": 2, "prompt": "picks up the mug"}
    return CaptionSettings(model=str(model), **{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_families(family: str, tmp_path: Path, draw: Callable[..., np.ndarray]) -> None:
    model = FAMILIES[family](tmp_path / family)
    clips = [draw(seed, 12, 64, 64) for seed in range(3)]
    captioner = TransformersCaptioner(settings(model), device="cpu")
    assert captioner.family == family
    found = captioner.captions(clips, ["told"] * 3)
    assert len(found) == 3
    for text in found:
        assert text
        assert set(text.split()) <= {*WORDS, "[DEC]"}, text
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
