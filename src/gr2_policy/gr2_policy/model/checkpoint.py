"""Checkpoints: a folder with a JSON card and one safetensors file. Nothing is unpickled, ever.

The tensors are written first, under a name that carries their hash; then the card, aside, and renamed over the old one.
That rename is the moment at which the new checkpoint exists: a crash before it leaves the old one whole. Loading
believes nothing: version, kind, sizes, hashes, configuration, names, shapes, types, and the identities of the
tokenizer and the text encoder are verified, and what does not fit is refused by name.

The hashes guard against damage and mix-ups. They are no signature: whoever may write the folder may write a new card.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gr2_policy.model.config import ConfigError, ModelConfig, TokenizerConfig, from_dict, to_dict
from gr2_policy.model.gr2 import GR2, WeightsMismatch
from gr2_policy.model.transforms import Transforms
from gr2_policy.model.vqgan import VqGan

FORMAT = "gr2-checkpoint"
VERSION = 1
CARD = "card.json"
STORED = ("float32", "float16")
_LARGEST_CARD = 4_000_000  # bytes
_PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz"}


class CheckpointError(ValueError):
    """A checkpoint is refused. The message names the file and what is wrong."""


class MissingFile(CheckpointError):
    """A file of the checkpoint is not there."""


class BadCard(CheckpointError):
    """The card is not one, or was changed."""


class WrongVersion(CheckpointError):
    """The checkpoint is of a version that this program does not read."""


class WrongKind(CheckpointError):
    """It is a checkpoint of something else."""


class PickleRefused(CheckpointError):
    """The file is, or may be, a pickle: loading it could run any code."""


class Truncated(CheckpointError):
    """The tensors' file does not have the size that the card gives."""


class HashMismatch(CheckpointError):
    """The tensors' file is not the one that the card describes."""


class BadTensors(CheckpointError):
    """The tensors' file is no safetensors file, or its tensors do not fit the configuration."""


class ConfigRefused(CheckpointError):
    """The card's configuration cannot be used, or is not the one asked for."""


class TokenizerMismatch(CheckpointError):
    """The policy was trained with another image tokenizer."""


class TextEncoderMismatch(CheckpointError):
    """The policy was trained with another text encoder."""


@dataclass(frozen=True)
class Card:
    """What a checkpoint is.

    Attributes:
        kind: ``tokenizer`` or ``policy``.
        config: of the model, as plain data.
        tokenizer: identity of the image tokenizer.
        text_encoder: identity of the text encoder; empty for a tokenizer.
        transforms: of a policy, as plain data; None for a tokenizer.
        data, metrics: what it was trained on and how well it does, free form.
        licence: of the weights.
        tensors: file, bytes and sha256 of the weights.
        stored: type of the numbers in that file, of STORED; they are float32 once loaded.
    """

    kind: str
    config: dict[str, Any]
    tokenizer: str
    text_encoder: str = ""
    transforms: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    licence: str = "Apache-2.0"
    tensors: dict[str, Any] = field(default_factory=dict)
    stored: str = "float32"


@dataclass(frozen=True)
class Origin:
    """What is said about new weights; fields as in :class:`Card`."""

    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    licence: str = "Apache-2.0"


# --- saving ---


def save_tokenizer(folder: Path, tokenizer: VqGan, origin: Origin | None = None) -> Card:
    """Write a tokenizer; an older checkpoint in the folder is replaced."""
    origin = origin or Origin()
    card = Card(
        kind="tokenizer",
        config=to_dict(tokenizer.config),
        tokenizer=tokenizer.identity(),
        data=origin.data,
        metrics=origin.metrics,
        licence=origin.licence,
    )
    return _save(folder, card, tokenizer.state_dict())


def save_policy(
    folder: Path,
    model: GR2,
    transforms: Transforms,
    text_encoder: str,
    origin: Origin | None = None,
    stored: str = "float32",
) -> Card:
    """Write a policy, without its tokenizer; an older checkpoint in the folder is replaced.

    Args:
        text_encoder: identity of the text encoder it was trained with.
        stored: see :class:`Card`; float16 halves the file.
    """
    origin = origin or Origin()
    card = Card(
        kind="policy",
        config=to_dict(model.config),
        tokenizer=model.tokenizer.identity(),
        text_encoder=text_encoder,
        transforms=to_dict(transforms),
        data=origin.data,
        metrics=origin.metrics,
        licence=origin.licence,
        stored=stored,
    )
    return _save(folder, card, model.weights())


def _save(folder: Path, card: Card, tensors: Mapping[str, Tensor]) -> Card:
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{card.kind}.safetensors.{os.getpid()}"
    try:
        save_file({name: _narrowed(value, card.stored) for name, value in tensors.items()}, aside)
        digest = _digest(aside)
        target = folder / f"{card.kind}-{digest[:12]}.safetensors"
        _sync(aside)
        described = {"file": target.name, "bytes": aside.stat().st_size, "sha256": digest}
        card = Card(**{**vars(card), "tensors": described})
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    body = {"format": FORMAT, "version": VERSION, **vars(card)}
    body["card_sha256"] = _card_digest(body)
    new_card = folder / f".{CARD}.{os.getpid()}"
    new_card.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    _sync(new_card)
    new_card.replace(folder / CARD)
    _sync(folder)
    for old in folder.glob(f"{card.kind}-*.safetensors"):
        if old.name != target.name:
            old.unlink()
    return card


def _narrowed(value: Tensor, stored: str) -> Tensor:
    value = value.detach().cpu().contiguous().clone()
    return value.half() if stored == "float16" and value.dtype == torch.float32 else value


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- loading ---


def read_card(folder: Path, kind: str) -> Card:
    """The verified card of a checkpoint.

    Raises:
        CheckpointError: one of its kinds, see above.
    """
    path = folder / CARD
    if folder.is_file() or not path.is_file():
        _refuse_pickle(folder)
        raise MissingFile(f"{folder} holds no checkpoint: there is no {CARD} in it")
    try:
        if path.stat().st_size > _LARGEST_CARD:
            raise BadCard(f"{path} has {path.stat().st_size} bytes, a card has at most {_LARGEST_CARD}")
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise BadCard(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise BadCard(f"{path} is no card of a {FORMAT}")
    if body.get("version") != VERSION:
        raise WrongVersion(f"{path} is of version {body.get('version')}, this program reads version {VERSION}")
    if body.pop("card_sha256", None) != _card_digest(body):
        raise BadCard(f"{path} was changed after it was written: its own hash does not fit")
    del body["format"], body["version"]
    try:
        card = from_dict(Card, body)
    except ConfigError as error:
        raise BadCard(f"{path}: {error}") from error
    if card.kind != kind:
        raise WrongKind(f"{path} is the card of a {card.kind}, expected a {kind}")
    return card


def read_tensors(folder: Path, card: Card) -> dict[str, Tensor]:
    """The tensors that a card describes, verified.

    Raises:
        CheckpointError: one of its kinds, see above.
    """
    name, size, digest = (card.tensors.get(key) for key in ("file", "bytes", "sha256"))
    if not isinstance(name, str) or Path(name).name != name or not isinstance(size, int):
        raise BadCard(f"{folder / CARD} does not name its tensors' file properly")
    path = folder / name
    if not path.is_file():
        raise MissingFile(f"{path} is missing")
    _refuse_pickle(path)
    if path.stat().st_size != size:
        raise Truncated(f"{path} has {path.stat().st_size} bytes, its card says {size}")
    if _digest(path) != digest:
        raise HashMismatch(f"{path} is damaged or not the file that its card describes: its SHA-256 differs")
    if card.stored not in STORED:
        raise BadCard(f"{folder / CARD}: stored is '{card.stored}', known are {', '.join(STORED)}")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadTensors(f"{path} is no readable safetensors file: {error}") from error
    if card.stored == "float16":
        return {name: value.float() if value.dtype == torch.float16 else value for name, value in tensors.items()}
    return tensors


def load_tokenizer(folder: Path) -> tuple[VqGan, Card]:
    """A frozen tokenizer and its card.

    Raises:
        CheckpointError: one of its kinds, see above.
    """
    card = read_card(folder, "tokenizer")
    try:
        config = from_dict(TokenizerConfig, card.config, "config")
    except ConfigError as error:
        raise ConfigRefused(f"{folder / CARD}: {error}") from error
    tensors = read_tensors(folder, card)
    tokenizer = VqGan(config)
    own = tokenizer.state_dict()
    for name in sorted(set(own) | set(tensors)):
        if name not in own or name not in tensors:
            raise BadTensors(f"{folder}: the tensor {name} is {'unknown' if name not in own else 'missing'}")
        if own[name].shape != tensors[name].shape or own[name].dtype != tensors[name].dtype:
            raise BadTensors(
                f"{folder}: {name} is {tuple(tensors[name].shape)} {tensors[name].dtype},"
                f" expected {tuple(own[name].shape)} {own[name].dtype}"
            )
    tokenizer.load_state_dict(tensors)
    if tokenizer.identity() != card.tokenizer:
        raise TokenizerMismatch(f"{folder}: the tokenizer is not the one that its card names")
    return tokenizer.freeze(), card


def load_policy(folder: Path, tokenizer: VqGan, text_encoder: str | None = None) -> tuple[GR2, Transforms, Card]:
    """A policy in evaluation mode, its transforms and its card.

    Args:
        tokenizer: what it will run with.
        text_encoder: identity of what it will run with; None leaves it unchecked.

    Raises:
        CheckpointError: one of its kinds, see above.
    """
    card = read_card(folder, "policy")
    config, transforms = _policy_config(folder, card)
    _require_same(folder, card, tokenizer, text_encoder)
    tensors = read_tensors(folder, card)
    model = GR2(config, tokenizer)
    try:
        model.load_weights(tensors)
    except WeightsMismatch as error:
        raise BadTensors(f"{folder}: {error}") from error
    return model.eval(), transforms, card


def load_pretrained(folder: Path, model: GR2, text_encoder: str | None = None) -> frozenset[str]:
    """Begin fine-tuning from a pre-training checkpoint.

    Returns:
        the names of the parameters that begin afresh.

    Raises:
        CheckpointError: one of its kinds, see above.
    """
    card = read_card(folder, "policy")
    config, _ = _policy_config(folder, card)
    wanted = model.config.for_pretraining()
    for part in ("views", "timesteps", "tokenizer", "text", "trunk", "action"):
        if getattr(config, part) != getattr(wanted, part):
            raise ConfigRefused(f"{folder / CARD}: config.{part} is not that of the model to be fine-tuned")
    _require_same(folder, card, model.tokenizer, text_encoder)
    try:
        return model.load_pretrained(read_tensors(folder, card))
    except WeightsMismatch as error:
        raise BadTensors(f"{folder}: {error}") from error


def _policy_config(folder: Path, card: Card) -> tuple[ModelConfig, Transforms]:
    try:
        config = from_dict(ModelConfig, card.config, "config")
        transforms = from_dict(Transforms, card.transforms or {}, "transforms")
    except ConfigError as error:
        raise ConfigRefused(f"{folder / CARD}: {error}") from error
    expected = Transforms.of(config)
    for part in ("views", "resolution", "frame_dt", "chunk_dt"):
        if getattr(transforms, part) != getattr(expected, part):
            raise ConfigRefused(f"{folder / CARD}: transforms.{part} contradicts the configuration")
    statistics = transforms.normalization
    if config.action and (statistics is None or len(statistics.step_positions) != config.action.horizon):
        raise ConfigRefused(
            f"{folder / CARD}: transforms.normalization does not fit a chunk of {config.action.horizon}"
        )
    return config, transforms


def _require_same(folder: Path, card: Card, tokenizer: VqGan, text_encoder: str | None) -> None:
    found = tokenizer.identity()
    if found != card.tokenizer:
        raise TokenizerMismatch(
            f"{folder} was trained with the tokenizer {card.tokenizer[:12]}, this one is {found[:12]}"
        )
    if text_encoder is not None and text_encoder != card.text_encoder:
        raise TextEncoderMismatch(
            f"{folder} was trained with the text encoder {card.text_encoder[:12]}, this one is {text_encoder[:12]}"
        )


def _refuse_pickle(path: Path) -> None:
    """Refuse what is a pickle by its name or its first bytes, in the folder or as the file that was named."""
    candidates = sorted(path.iterdir()) if path.is_dir() else [path]
    for file in candidates:
        if not file.is_file() or file.name == CARD:
            continue
        with open(file, "rb") as opened:
            start = opened.read(9)
        # a safetensors file begins with the length of its JSON header in 8 bytes, which may look like anything
        pickled = start[8:] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80")
        if file.suffix.lower() in _PICKLES or pickled:
            raise PickleRefused(
                f"{file} is not read: it may be a pickle, and loading one can run any code."
                " Checkpoints are safetensors files with a card"
            )


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _card_digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
