"""Settings of curation, one dataclass a step; the shipped ones are in configs/curation.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from gr2_policy.model.config import CONFIGS, ConfigError, from_dict

SHIPPED = CONFIGS / "curation.yaml"
HAND_CHECKS = ("detector", "trusted", "off")
CAPTIONERS = ("template", "transformers")


@dataclass(frozen=True)
class Cutting:
    """Shots and clips.

    Attributes:
        fps: of the clips [1/s].
        size: edge of the clips, cut from the middle of the picture [px].
        shortest, longest: of a clip [s].
        cut_ratio: a new shot begins where a picture differs so many times more than pictures did before ...
        cut_least: ... and at least so much (mean over hue, saturation and value, 0 ... 255).
    """

    fps: int = 10
    size: int = 128
    shortest: float = 2.0
    longest: float = 10.0
    cut_ratio: float = 3.0
    cut_least: float = 18.0

    def __post_init__(self) -> None:
        if not (1 <= self.fps <= 60 and 16 <= self.size <= 1024 and self.size % 2 == 0):
            raise ConfigError(f"cutting: fps must be 1 ... 60 and size even, 16 ... 1024, got {self}")
        if not 0.0 < self.shortest <= self.longest <= 60.0:
            raise ConfigError(f"cutting: 0 < shortest <= longest <= 60 s is needed, got {self}")


@dataclass(frozen=True)
class MotionBounds:
    """How much of the picture may change from frame to frame, on average: share of pixels."""

    least: float = 0.002
    most: float = 0.6


@dataclass(frozen=True)
class HandCheck:
    """Which clips show hands that do something.

    Attributes:
        use: detector: look for palms; trusted: sources that say they show hands pass, others are looked at; off.
        score: from which the detector is believed.
        frames: looked at in a clip.
        share: of them must show a hand.
        travel: a hand must move so far, in widths of the picture.
    """

    use: str = "detector"
    score: float = 0.5
    frames: int = 8
    share: float = 0.3
    travel: float = 0.03

    def __post_init__(self) -> None:
        if self.use not in HAND_CHECKS:
            raise ConfigError(f"hands.use is '{self.use}'; it may be {', '.join(HAND_CHECKS)}")


@dataclass(frozen=True)
class DuplicateBound:
    """Clips whose fingerprints differ in at most this share of their bits are the same clip."""

    most: float = 0.15


@dataclass(frozen=True)
class CaptionSettings:
    """Captions and their check.

    Attributes:
        captioner: template: what the source says; transformers: a vision-language model.
        model: folder of that model.
        prompt: what it is asked, where it takes words.
        frames: shown of a clip, where it takes several.
        batch: clips at a time.
        new_tokens: longest answer.
        words: fewest and most words of a good caption.
        repeats: largest share of word pairs that come again.
        same: largest share of a shard's clips with the same caption; a model that says one thing about all is broken.
    """

    captioner: str = "template"
    model: str = ""
    prompt: str = "Describe in one short sentence what the hands do to which object."
    frames: int = 4
    batch: int = 8
    new_tokens: int = 40
    words: tuple[int, int] = (2, 40)
    repeats: float = 0.3
    same: float = 0.2

    def __post_init__(self) -> None:
        if self.captioner not in CAPTIONERS:
            raise ConfigError(f"captions.captioner is '{self.captioner}'; it may be {', '.join(CAPTIONERS)}")
        if self.captioner == "transformers" and not self.model:
            raise ConfigError("captions.model must be the folder of a vision-language model")


@dataclass(frozen=True)
class Output:
    """What is written.

    Attributes:
        shard: clips in a file.
        quality: H.264 rate factor of the clips.
        tokenizer: checkpoint folder of the image tokenizer whose tokens are stored too; empty for none.
    """

    shard: int = 100
    quality: int = 18
    tokenizer: str = ""


@dataclass(frozen=True)
class Settings:
    """All of it; `job` is the number of videos in one unit of work."""

    cutting: Cutting = field(default_factory=Cutting)
    motion: MotionBounds = field(default_factory=MotionBounds)
    hands: HandCheck = field(default_factory=HandCheck)
    duplicates: DuplicateBound = field(default_factory=DuplicateBound)
    captions: CaptionSettings = field(default_factory=CaptionSettings)
    output: Output = field(default_factory=Output)
    job: int = 8


def load_settings(path: Path | None = None, changes: dict[str, object] | None = None) -> Settings:
    """Settings from a YAML file (default: the shipped ones), with changes by dotted name.

    Raises:
        ConfigError: the file or an entry cannot be used; the message names it.
    """
    path = path or SHIPPED
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no mapping")
    for dotted, value in (changes or {}).items():
        *groups, name = dotted.split(".")
        node = data
        for group in groups:
            node = node.setdefault(group, {})
            if not isinstance(node, dict):
                raise ConfigError(f"{dotted} cannot be set: {group} is no mapping")
        node[name] = value
    return from_dict(Settings, data)
