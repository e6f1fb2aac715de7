"""Captions by a vision-language model of the transformers library, from a folder on disk.

Three ways of asking cover the families: BLIP and its like caption a picture without being asked; Florence-2 takes a
task word; all others (Qwen2.5-VL, Qwen3-VL, SmolVLM, LLaVA ...) take a conversation with pictures and the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gr2_policy.curation.captions import tidied
from gr2_policy.curation.settings import CaptionSettings

FLORENCE_TASK = "<DETAILED_CAPTION>"
PLAIN = ("blip", "blip-2", "git")


class CaptionerError(RuntimeError):
    """A model cannot be used for captions. The message names its folder and what is wrong."""


class TransformersCaptioner:
    """See gr2_policy.curation.captions.Captioner.

    Args:
        settings: with the model's folder, the prompt, batch and lengths.
        device: to run on; default: a GPU where there is one.

    Raises:
        CaptionerError: the folder holds no such model.
    """

    def __init__(self, settings: CaptionSettings, device: str | None = None) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        folder = Path(settings.model)
        self.settings = settings
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        try:
            self.family = str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])
            kind = torch.bfloat16 if self._device.type == "cuda" else torch.float32
            self._processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
            model: Any = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True, dtype=kind)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise CaptionerError(f"{folder} holds no vision-language model that can be used: {error}") from error
        self._model = model.to(self._device).eval()
        tokenizer = getattr(self._processor, "tokenizer", self._processor)
        tokenizer.padding_side = "right" if self.family == "florence2" else "left"

    @torch.inference_mode()
    def captions(self, clips: Sequence[np.ndarray], told: Sequence[str]) -> list[str]:
        """See Captioner; what the sources say is not used."""
        del told
        made: list[str] = []
        for begin in range(0, len(clips), self.settings.batch):
            made += self._batch(clips[begin : begin + self.settings.batch])
        return made

    def _batch(self, clips: Sequence[np.ndarray]) -> list[str]:
        inputs = self._inputs(clips).to(self._device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        answers = self._model.generate(**inputs, max_new_tokens=self.settings.new_tokens, do_sample=False, num_beams=1)
        if not (self.family in PLAIN or self.family == "florence2"):
            answers = answers[:, inputs["input_ids"].shape[1] :]  # a conversation comes back with its question
        return [tidied(text) for text in self._processor.batch_decode(answers, skip_special_tokens=True)]

    def _inputs(self, clips: Sequence[np.ndarray]) -> Any:
        if self.family in PLAIN:
            return self._processor(images=[_pictures(clip, 1)[0] for clip in clips], return_tensors="pt")
        if self.family == "florence2":
            images = [_pictures(clip, 1)[0] for clip in clips]
            return self._processor(images=images, text=[FLORENCE_TASK] * len(images), return_tensors="pt", padding=True)
        pictures = [_pictures(clip, self.settings.frames) for clip in clips]
        content = [*({"type": "image"} for _ in pictures[0]), {"type": "text", "text": self.settings.prompt}]
        text = self._processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        return self._processor(images=pictures, text=[text] * len(clips), return_tensors="pt", padding=True)


def _pictures(clip: np.ndarray, count: int) -> list[Image.Image]:
    """So many frames of a clip, spread over it; of one, that in the middle."""
    places = np.linspace(0, len(clip) - 1, count + 2)[1:-1].round().astype(int)
    return [Image.fromarray(clip[place]) for place in places]
