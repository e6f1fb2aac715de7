"""How a training run is done, as typed data with every default in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gr2_policy.model.config import ConfigError


@dataclass(frozen=True)
class Source:
    """Data to learn from.

    Attributes:
        folder: of a dataset.
        weight: how often it is drawn from, relative to the others.
        episodes_per_task: use at most so many of each task; 0: all.
        tasks: only these; empty: all.
        hold_out: do not learn from the last so many of each task, but measure what was learned on them.
    """

    folder: str
    weight: float = 1.0
    episodes_per_task: int = 0
    tasks: tuple[str, ...] = ()
    hold_out: int = 0

    def __post_init__(self) -> None:
        if not self.weight > 0.0 or self.episodes_per_task < 0 or self.hold_out < 0:
            raise ConfigError(
                f"source {self.folder}: weight must be positive, episodes_per_task and hold_out not negative"
            )


@dataclass(frozen=True)
class Schedule:
    """Steps, and the learning rate over them: a linear rise, then half a cosine (Loshchilov and Hutter 2017).

    Attributes:
        steps: optimiser steps of the whole run.
        warmup: of them, those of the rise.
        rate: highest learning rate.
        floor: last learning rate, as a share of the highest.
    """

    steps: int
    warmup: int = 200
    rate: float = 1e-3
    floor: float = 0.02

    def __post_init__(self) -> None:
        if self.steps < 1 or self.warmup < 0 or not self.rate > 0.0 or not 0.0 <= self.floor <= 1.0:
            raise ConfigError(f"a schedule needs steps >= 1, warmup >= 0, rate > 0, 0 <= floor <= 1; got {self}")

    def factor(self, step: int) -> float:
        """Learning rate of a step (from 0) relative to the highest."""
        rise = min(1.0, (step + 1) / max(self.warmup, 1))
        progress = min(max(step - self.warmup, 0) / max(self.steps - self.warmup, 1), 1.0)
        return rise * (self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * progress)))


@dataclass(frozen=True)
class Settings:
    """A run.

    Attributes:
        schedule: see Schedule.
        batch: samples of a step, over all processes and accumulated parts together.
        accumulate: parts that a step's batch is worked off in.
        seed: of the weights, the data's order and all draws.
        weight_decay, betas: of AdamW.
        clip: largest norm of the gradient.
        ema: decay of the averaged weights, which are what is kept; 0: no averaging.
        precision: ``no`` (float32), ``bf16`` or ``fp16``.
        save_every, sample_every, log_every: steps between states, pictures and figures.
        keep_spikes: a gradient norm this many times its usual size skips the step.
        compile: torch.compile; pays on a GPU.
    """

    schedule: Schedule
    batch: int = 64
    accumulate: int = 1
    seed: int = 0
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    ema: float = 0.999
    precision: str = "no"
    save_every: int = 200
    sample_every: int = 1000
    log_every: int = 20
    keep_spikes: float = 20.0
    compile: bool = False
    sources: tuple[Source, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.batch < 1 or self.accumulate < 1 or self.batch % self.accumulate:
            raise ConfigError(f"batch {self.batch} must be a multiple of accumulate {self.accumulate}, both positive")
        if self.precision not in ("no", "bf16", "fp16"):
            raise ConfigError(f"precision '{self.precision}' is not no, bf16 or fp16")
        if not 0.0 <= self.ema < 1.0:
            raise ConfigError(f"ema {self.ema} is not within 0 ... 1")
        for name in ("save_every", "sample_every", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1")
