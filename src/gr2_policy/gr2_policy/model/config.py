"""What a model is, as typed data: every default in one place, the sizes as YAML beside it in ``configs/``.

A YAML file says only where a size differs from the defaults below, which are those of the paper's sizes.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SIZES = ("nano", "mini", "S", "B", "L", "XL")


class ConfigError(ValueError):
    """A configuration is not usable. The message names the field and what is wrong with it."""


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise ConfigError(text)


@dataclass(frozen=True)
class TokenizerConfig:
    """The VQGAN.

    Level l of the encoder works at stride ``stem * 2**l``; the tokens come from the last level. The decoder's levels
    are listed from coarse to fine and end at the stride of the stem.

    Attributes:
        resolution: side of the square images [pixel].
        stem: space-to-depth factor of the first layer, 1 for none.
        encoder_widths, encoder_kernels, encoder_blocks: channels, kernel size and residual blocks of each level.
        decoder_widths, decoder_blocks: channels and residual blocks of each level, coarse to fine.
        decoder_attention: self-attention at the decoder's coarsest level.
        code_dim: length of a code vector; codes lie on the unit sphere.
        codebook_size: number of codes.
        codebook: how codes learn: ``ema`` (moving average of what they stand for) or ``gradient``.
        ema_decay: of that moving average, and of the usage counts that reveal dead codes.
        dead_below: a code used less than this share of its fair share is dead and takes over a vector of the data.
        warmup_steps: steps without quantisation, after which the codebook is drawn from the data.
    """

    resolution: int = 128
    stem: int = 2
    encoder_widths: tuple[int, ...] = (64, 128, 256, 512)
    encoder_kernels: tuple[int, ...] = (3, 3, 3, 1)
    encoder_blocks: tuple[int, ...] = (1, 1, 1, 2)
    decoder_widths: tuple[int, ...] = (768, 512, 256, 128)
    decoder_blocks: tuple[int, ...] = (3, 3, 3, 2)
    decoder_attention: bool = True
    code_dim: int = 32
    codebook_size: int = 1024
    codebook: str = "ema"
    ema_decay: float = 0.99
    dead_below: float = 0.03
    warmup_steps: int = 1000

    def __post_init__(self) -> None:
        levels = len(self.encoder_widths)
        for name in ("encoder_kernels", "encoder_blocks", "decoder_widths", "decoder_blocks"):
            got = len(getattr(self, name))
            _require(got == levels, f"tokenizer.{name} has {got} levels, tokenizer.encoder_widths has {levels}")
        _require(
            all(kernel % 2 for kernel in self.encoder_kernels), "tokenizer.encoder_kernels must be odd, to be centred"
        )
        _require(
            self.downsampling in (8, 16),
            f"tokenizer downsamples by {self.downsampling} (stem x levels), not by 8 or 16",
        )
        _require(
            self.resolution % self.downsampling == 0,
            f"tokenizer.resolution {self.resolution} is not a multiple of the downsampling {self.downsampling}",
        )
        _require(
            2 <= self.codebook_size <= 8192, f"tokenizer.codebook_size {self.codebook_size} is not within 2 ... 8192"
        )
        _require(self.codebook in ("ema", "gradient"), f"tokenizer.codebook '{self.codebook}' is not ema or gradient")

    @property
    def downsampling(self) -> int:
        """Pixels per token along one side."""
        return self.stem * 2 ** (len(self.encoder_widths) - 1)

    @property
    def grid(self) -> int:
        """Tokens along one side."""
        return self.resolution // self.downsampling

    @property
    def tokens(self) -> int:
        """Tokens of one image."""
        return self.grid**2

    @property
    def receptive_field(self) -> int:
        """Side of the patch of pixels that one token depends on."""
        side = self.downsampling
        for level, (kernel, blocks) in enumerate(zip(self.encoder_kernels, self.encoder_blocks, strict=True)):
            side += (kernel - 1) * blocks * self.stem * 2**level
        return side


@dataclass(frozen=True)
class TokenizerLossConfig:
    """Weights and times of the tokenizer's losses.

    Attributes:
        reconstruction: of the absolute difference of pixels.
        edges: of the absolute difference of image gradients at three scales.
        perceptual: of the perceptual distance, where weights for one are at hand.
        commitment: pulls the encoder to its codes.
        codebook: pulls the codes to the encoder; only for ``codebook: gradient``.
        adversarial: of the patch discriminator's verdict, relative to the reconstruction's gradient.
        adversarial_from: step at which the discriminator begins; negative for never.
        discriminator_width: channels of its first layer.
    """

    reconstruction: float = 1.0
    edges: float = 0.5
    perceptual: float = 1.0
    commitment: float = 0.25
    codebook: float = 1.0
    adversarial: float = 0.1
    adversarial_from: int = -1
    discriminator_width: int = 64


@dataclass(frozen=True)
class TextConfig:
    """The frozen text encoder and the resampler behind it.

    Attributes:
        encoder: ``minilm`` (carried by a pip package, needs no download) or ``clip`` (from a local folder).
        folder: local folder of the CLIP text model; unused for minilm.
        tokens: text tokens of each timestep, the resampler's queries.
        width: width of the resampler.
        heads: its attention heads.
        normalised: text tokens have one size, whatever is learned. Off is for weights from before there was this.
    """

    encoder: str = "minilm"
    folder: str = ""
    tokens: int = 4
    width: int = 192
    heads: int = 4
    normalised: bool = False

    def __post_init__(self) -> None:
        _require(self.encoder in ("minilm", "clip"), f"text.encoder '{self.encoder}' is not minilm or clip")
        _require(self.tokens >= 1, "text.tokens must be at least 1")
        _require(
            self.width % self.heads == 0 and self.width % 2 == 0,
            f"text.width {self.width} is not even or not a multiple of its heads {self.heads}",
        )


@dataclass(frozen=True)
class TrunkConfig:
    """The causal transformer, shaped like GPT-2.

    Attributes:
        layers, width, heads: its shape.
        dropout: on what each block adds to the residual stream, in training.
        init_gain: standard deviation of the initial weights times sqrt(width); 0.8 is 0.05 at width 256.
    """

    layers: int = 12
    width: int = 768
    heads: int = 12
    dropout: float = 0.1
    init_gain: float = 0.8

    def __post_init__(self) -> None:
        _require(self.width % self.heads == 0, f"trunk.width {self.width} is not a multiple of its heads {self.heads}")
        _require(self.width % 4 == 0, f"trunk.width {self.width} is not a multiple of 4, as grid positions need")


@dataclass(frozen=True)
class ActionConfig:
    """The cVAE over action chunks.

    Attributes:
        horizon: poses of a chunk.
        dt: time between them [s].
        queries: action query tokens of a timestep.
        width, heads: of both its transformers.
        encoder_layers, decoder_layers: their depths.
        latent: length of z.
        max_prefix: most steps of a chunk that may be committed already when it is asked for (delay conditioning).
        prefix_share: share of the training chunks that begin with committed steps. Those are easily gone on with from
            the steps alone, so the others are what the head learns to look from.
    """

    horizon: int = 16
    dt: float = 0.1
    queries: int = 1
    width: int = 256
    heads: int = 8
    encoder_layers: int = 4
    decoder_layers: int = 5
    latent: int = 32
    max_prefix: int = 6
    prefix_share: float = 0.5

    def __post_init__(self) -> None:
        _require(self.horizon >= 1 and self.dt > 0.0, "action.horizon must be at least 1 and action.dt positive")
        _require(
            0 <= self.max_prefix < self.horizon,
            f"action.max_prefix {self.max_prefix} does not leave a step of the horizon {self.horizon} free",
        )
        _require(0.0 <= self.prefix_share <= 1.0, f"action.prefix_share {self.prefix_share} is not within 0 ... 1")
        _require(self.width % self.heads == 0, f"action.width {self.width} is not a multiple of heads {self.heads}")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the policy's losses.

    Attributes:
        video: of the cross-entropy of next-frame tokens beside the action losses (alone, in pre-training, it is 1).
        changed: weight of a token that differs from the frame before, against 1 of one that does not.
        pose: of the smooth L1 distance of normalised displacements.
        pose_beta: error [normalised] below which that distance is quadratic. Small, because grasping takes the last
            centimetre, and a square would hardly ask for it.
        gripper: of the gripper's binary cross-entropy.
        kl: of the divergence of z from its prior.
        free_bits: divergence per latent dimension that costs nothing [nat].
    """

    video: float = 0.1
    changed: float = 3.0
    pose: float = 1.0
    pose_beta: float = 0.1
    gripper: float = 0.1
    kl: float = 0.02
    free_bits: float = 0.01


@dataclass(frozen=True)
class ModelConfig:
    """The whole model.

    Attributes:
        name: of the size.
        views: cameras, in the order of their tokens. The first is the one pre-training uses.
        timesteps: most frames in one window.
        frame_dt: time between the frames of a window [s].
        state_dropout: share of timesteps whose robot state is withheld in training, as it is in imagined frames.
        action: the action head; None in pre-training, where there is neither state nor action.
    """

    name: str
    views: tuple[str, ...] = ("head", "wrist")
    timesteps: int = 4
    frame_dt: float = 0.2
    state_dropout: float = 0.1
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    tokenizer_loss: TokenizerLossConfig = field(default_factory=TokenizerLossConfig)
    text: TextConfig = field(default_factory=TextConfig)
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    action: ActionConfig | None = field(default_factory=ActionConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        _require(len(self.views) >= 1, "views must name at least one camera")
        _require(len(set(self.views)) == len(self.views), f"views name a camera twice: {', '.join(self.views)}")
        _require(self.timesteps >= 2, f"timesteps is {self.timesteps}: predicting a next frame takes at least 2")
        _require(self.frame_dt > 0.0, f"frame_dt is {self.frame_dt} s, must be positive")

    def for_pretraining(self) -> ModelConfig:
        """The same model on action-free, single-view video: it shares every weight that it has."""
        return dataclasses.replace(self, views=self.views[:1], action=None)


# --- to and from plain data ---

T = TypeVar("T")
_SCIENTIFIC = re.compile(r"[-+]?\d+e[-+]?\d+", re.IGNORECASE)  # YAML 1.1 takes a number without a point for text


def to_dict(config: Any) -> dict[str, Any]:
    """Plain data for JSON or YAML; tuples become lists."""
    data = dataclasses.asdict(config)
    return typing.cast(dict[str, Any], _plain(data))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def from_dict(kind: type[T], data: Mapping[str, Any], path: str = "") -> T:
    """A dataclass from plain data, strictly.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type or cannot be used; the message names it.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path or kind.__name__} is {type(data).__name__}, expected a mapping")
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in dataclasses.fields(typing.cast(Any, kind))}
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ConfigError(f"{_join(path, unknown[0])} is unknown (there are: {', '.join(known)})")
    for name, item in known.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise ConfigError(f"{_join(path, name)} is missing")
    return kind(**{name: _coerce(hints[name], value, _join(path, name)) for name, value in data.items()})


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _coerce(kind: Any, value: Any, path: str) -> Any:
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        kind = next(option for option in typing.get_args(kind) if option is not type(None))
    if dataclasses.is_dataclass(kind):
        return from_dict(typing.cast(type, kind), value, path)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{path} is {value!r}, expected a list")
        item_kind = typing.get_args(kind)[0]
        return tuple(_coerce(item_kind, item, f"{path}[{index}]") for index, item in enumerate(value))
    kind = typing.get_origin(kind) or kind
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str) and _SCIENTIFIC.fullmatch(value):
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{path} is {value!r}, expected {kind.__name__}")
    return value


def load_config(path: Path, overrides: Mapping[str, Any] | None = None) -> ModelConfig:
    """Read a model's YAML.

    Args:
        path: the file; its name is the model's name unless it gives one.
        overrides: dotted name -> value, e.g. ``{"text.encoder": "minilm"}``.

    Raises:
        ConfigError: the file cannot be read or used.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no mapping")
    data.setdefault("name", path.stem)
    for dotted, value in (overrides or {}).items():
        *parents, leaf = dotted.split(".")
        node = data
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ConfigError(f"{dotted} cannot be set: {parent} is no mapping")
        node[leaf] = value
    return from_dict(ModelConfig, data)


def load_size(size: str, overrides: Mapping[str, Any] | None = None) -> ModelConfig:
    """The configuration of a named size.

    Raises:
        ConfigError: there is no such size, or an override does not fit.
    """
    if size not in SIZES:
        raise ConfigError(f"there is no size '{size}' (there are: {', '.join(SIZES)})")
    return load_config(CONFIGS / f"{size}.yaml", overrides)
