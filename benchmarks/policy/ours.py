"""Time to chunk and time of imagination of one size, on untrained weights: what they cost does not depend on them."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from benchmarks.policy.ceilings import clock
from torch.utils.flop_counter import FlopCounterMode

from gr2_policy.model.acceleration import default_precision, prepare_for_inference
from gr2_policy.model.config import ModelConfig
from gr2_policy.model.gr2 import GR2
from gr2_policy.model.streaming import Stream, StreamingConfig
from gr2_policy.model.text import WIDTHS, TextFeatures
from gr2_policy.model.transforms import Normalization, Transforms
from gr2_policy.policy import Observation

PICTURES = 8  # different ones, in turn
WORDS = 8


class RandomText:
    """Features of the right width: the frozen text encoder runs once for an instruction, and not for a chunk."""

    identity = "random"

    def __init__(self, width: int) -> None:
        self.width = width
        self._features = torch.randn(1, WORDS, width, generator=torch.Generator().manual_seed(0))

    def encode(self, instructions: Sequence[str]) -> TextFeatures:
        """The same for every instruction."""
        return TextFeatures(self._features, torch.ones(1, WORDS, dtype=torch.bool))


class _Enough(Exception):
    pass


class Subject:
    """One size, ready to run.

    Args:
        config: of the model.
        device, precision, compiled: as for :func:`gr2_policy.model.acceleration.prepare_for_inference`.

    Attributes:
        precision: what runs, ``auto`` resolved.
        chunks, chunk_cpu: times to chunk so far, of the clock on the wall and of this thread on the processor [s].
        tokens, token_cpu: times of one pass of imagination so far, likewise.
        flops: of one chunk in the middle of a window.
        weights: size of all parameters as they are learned [byte].
        memory: of weights, cache and what a step needs besides [byte].
    """

    def __init__(self, config: ModelConfig, device: torch.device, precision: str, compiled: bool) -> None:
        assert config.action is not None
        self.config, self.device = config, device
        before = _resident(device)
        torch.manual_seed(0)
        self.model = GR2(config).eval()
        self.weights = sum(value.numel() * value.element_size() for value in self.model.parameters())
        self.flops = self._count_flops()
        self.precision = default_precision(self.model, device) if precision == "auto" else precision
        prepare_for_inference(self.model, device, self.precision, compiled)
        gc.collect()
        transforms = Transforms.of(config, Normalization.plain(config.action.horizon))
        streaming = StreamingConfig(keep=StreamingConfig.keep_at_most(StreamingConfig.keep, config.timesteps))
        self.stream = Stream(self.model, RandomText(WIDTHS[config.text.encoder]), transforms, streaming)
        self.stream.reset("put the red block in the bin")
        random = np.random.default_rng(0)
        side = config.tokenizer.resolution
        self._pictures = random.integers(0, 256, (PICTURES, len(config.views), side, side, 3), dtype=np.uint8)
        self._turn = 0
        self._stamp = 0.0
        self.chunks: list[float] = []
        self.chunk_cpu: list[float] = []
        self.tokens: list[float] = []
        self.token_cpu: list[float] = []
        for _ in range(config.timesteps):  # kernels are chosen, and every length of the window is met
            self.step()
        self.imagine(3)
        # a small model may find room that the process has already: then its weights are what is known
        self.memory = max(_resident(device) - before, self.weights)
        self.forget()

    def forget(self) -> None:
        """Drop the times so far."""
        for times in (self.chunks, self.chunk_cpu, self.tokens, self.token_cpu):
            times.clear()

    def step(self, stamp: float | None = None) -> None:
        """One observation to one chunk, with two of its steps committed.

        Args:
            stamp: of the observation [s], later than the one before; None: one frame interval after it.
        """
        self._turn += 1
        self._stamp = self._stamp + self.config.frame_dt if stamp is None else stamp
        picture = self._pictures[self._turn % PICTURES]
        observation = Observation(
            stamp=self._stamp,
            instruction="put the red block in the bin",
            images=dict(zip(self.config.views, picture, strict=True)),
            tool_position=np.array([0.45, 0.0, 0.25]),
            tool_orientation=np.array([1.0, 0.0, 0.0, 0.0]),
            gripper=0.0,
            joint_positions=np.zeros(7),
        )
        begun, cpu = clock(self.device), time.thread_time()
        self.stream.step(observation, delay=0.2)
        self.chunks.append(clock(self.device) - begun)
        self.chunk_cpu.append(time.thread_time() - cpu)
        self.stream.tidy()

    def imagine(self, passes: int) -> None:
        """So many passes of the next frame; each makes one token of every view."""
        context = self.stream.fork().context
        stamps: list[tuple[float, float]] = []

        def between() -> None:
            stamps.append((clock(self.device), time.thread_time()))
            if len(stamps) > passes + 2:
                raise _Enough

        try:
            self.model.imagine(context, 1, between=between)
        except _Enough:
            pass
        wall, cpu = np.diff(np.array(stamps), axis=0)[1:].T  # the first pass also opens the frame
        self.tokens += wall.tolist()
        self.token_cpu += cpu.tolist()

    def decode(self) -> float:
        """Time of turning one frame of every view into pixels [s]."""
        tokens = torch.zeros(len(self.config.views), self.config.tokenizer.tokens, dtype=torch.long, device=self.device)
        begun = clock(self.device)
        self.model.tokenizer.decode(tokens)
        return clock(self.device) - begun

    @torch.no_grad()
    def _count_flops(self) -> float:
        """Of one chunk with one frame in the window before it, on float32 weights."""
        config, model = self.config, self.model
        width = WIDTHS[config.text.encoder]
        images = torch.zeros(len(config.views), 3, config.tokenizer.resolution, config.tokenizer.resolution)
        context = model.begin(TextFeatures(torch.zeros(1, WORDS, width), torch.ones(1, WORDS, dtype=torch.bool)))
        tokens = torch.zeros(1, 1, len(config.views), config.tokenizer.tokens, dtype=torch.long)
        state = torch.zeros(1, 1, 10)
        model.observe(context, tokens, state)
        attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
        with FlopCounterMode(display=False, custom_mapping=attention) as counter:
            model.tokenizer.encode(images)
            model.act(context, tokens, state)
        return float(counter.get_total_flops())


def _attention_flops(query: Sequence[int], key: Sequence[int], *_: object, **__: object) -> int:
    batch, heads, queries, head = query
    return 4 * batch * heads * queries * key[2] * head


def _resident(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
