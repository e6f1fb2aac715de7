"""A recipe: the model and how each of the three stages is trained, as one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gr2_policy.model.config import CONFIGS, ConfigError, ModelConfig, TokenizerLossConfig, from_dict, load_size
from gr2_policy.training.settings import Settings

RECIPES = CONFIGS / "recipes"


@dataclass(frozen=True)
class ModelChoice:
    """A size, and where this recipe differs from it: dotted name -> value, or nested."""

    size: str
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenizerRecipe:
    """The tokenizer's training: its run, its losses, and the side of the crops it sees [px]."""

    settings: Settings
    losses: TokenizerLossConfig = field(default_factory=TokenizerLossConfig)
    crop: int = 64


@dataclass(frozen=True)
class PolicyRecipe:
    """Pre-training, or fine-tuning."""

    settings: Settings


@dataclass(frozen=True)
class Recipe:
    """See the module's docstring."""

    model: ModelChoice
    tokenizer: TokenizerRecipe
    pretrain: PolicyRecipe
    finetune: PolicyRecipe

    def model_config(self) -> ModelConfig:
        """The model's configuration."""
        return load_size(self.model.size, _flat(self.model.overrides))


def load_recipe(name: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by name, or from a file.

    Args:
        name: of a recipe that ships, or path of a YAML file.
        changes: dotted name -> value, e.g. ``{"finetune.settings.batch": 64}``; ``settings`` may be left out.

    Raises:
        ConfigError: there is none, or it cannot be used; the message names the entry.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(item.stem for item in RECIPES.glob("*.yaml")))
        raise ConfigError(f"there is no recipe '{name}' (there are: {known}; or give a YAML file)")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no mapping")
    for dotted, value in (changes or {}).items():
        _set(data, dotted, value)
    return from_dict(Recipe, data)


def _set(data: dict[str, Any], dotted: str, value: Any) -> None:
    names = dotted.split(".")
    if names[0] in ("tokenizer", "pretrain", "finetune") and names[1:2] not in (["settings"], ["losses"], ["crop"]):
        names.insert(1, "settings")
    node = data
    for name in names[:-1]:
        node = node.setdefault(name, {})
        if not isinstance(node, dict):
            raise ConfigError(f"{dotted} cannot be set: {name} is no mapping")
    node[names[-1]] = value


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
