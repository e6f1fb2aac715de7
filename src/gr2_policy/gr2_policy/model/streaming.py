"""Inference on a stream of observations: every image is tokenised once and every frame passes the trunk once.

The window fills up frame by frame in the cache. When it is full, a new one begins with the last few frames, whose
tokens are still known, so only these pass the trunk again. At every step the result is that of a batch with the
window's frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gr2_policy.model.config import ConfigError
from gr2_policy.model.gr2 import GR2, Context
from gr2_policy.model.text import TextEncoder, TextFeatures
from gr2_policy.model.transforms import BadObservation, Transforms, tensor_to_pixels
from gr2_policy.policy import ActionChunk, Observation


@dataclass(frozen=True)
class StreamingConfig:
    """How a stream is run.

    Attributes:
        keep: frames that a new window begins with.
        lookahead: frames of the window that are left free for imagination.
        gap: frames further apart than this many frame intervals have no history in common. Trained are those of one
            interval; so a model that takes longer than that for a chunk decides on what it sees now.
        sample: draw z of the action head instead of 0.
        seed: of all draws.
    """

    keep: int = 1
    lookahead: int = 1
    gap: float = 1.75
    sample: bool = False
    seed: int = 0

    @staticmethod
    def keep_at_most(keep: int, timesteps: int) -> int:
        """So many frames, or fewer where a window of these timesteps, with a new and an imagined one, holds no more."""
        return min(keep, max(timesteps - StreamingConfig.lookahead - 1, 0))


@dataclass(frozen=True)
class _Frame:
    stamp: float
    tokens: Tensor  # (1, 1, views, n)
    state: Tensor  # (1, 1, 10)


@dataclass(frozen=True)
class Fork:
    """A copy of what a stream has seen, to imagine from while the stream goes on.

    Attributes:
        stamp: of the newest frame in it [s].
        context: what the model has seen.
    """

    stamp: float
    context: Context


class Stream:
    """One episode after another, from one thread.

    Args:
        model: with an action head, in evaluation mode.
        text: its text encoder.
        transforms: those it was trained with.
        config: see :class:`StreamingConfig`.

    Raises:
        ConfigError: the model cannot be run like this.
    """

    def __init__(
        self, model: GR2, text: TextEncoder, transforms: Transforms, config: StreamingConfig | None = None
    ) -> None:
        self.config = config or StreamingConfig()
        if model.config.action is None:
            raise ConfigError("this model has no action head: it is a pre-training model")
        room = model.config.timesteps - self.config.lookahead
        if not 0 <= self.config.keep < room:
            raise ConfigError(
                f"a window of {model.config.timesteps} frames does not hold {self.config.lookahead} imagined,"
                f" {self.config.keep} kept and a new one"
            )
        self.model = model
        self.transforms = transforms
        self._max_prefix = model.config.action.max_prefix
        self._room = room
        self._text = text
        self._features: TextFeatures | None = None
        self._context: Context | None = None
        self._frames: deque[_Frame] = deque(maxlen=max(self.config.keep, 1))
        self._temporary = False
        self._previous: tuple[float, ActionChunk] | None = None
        self._seen = -np.inf
        self._generator = torch.Generator().manual_seed(self.config.seed)
        self._spare: Context | None = None  # the memory of forks
        self._next: Context | None = None  # the window after this one, if it was begun
        self._next_after = -np.inf  # stamp of its last frame

    def reset(self, instruction: str) -> None:
        """Begin a new instruction with an empty history."""
        self._features = self._text.encode([instruction]).to(self._device)
        self._forget()
        self._generator.manual_seed(self.config.seed)

    @torch.no_grad()
    def step(self, observation: Observation, delay: float = 0.0) -> ActionChunk:
        """A chunk for one observation.

        An observation that follows the last frame too soon serves for this chunk and is then forgotten, so that the
        frames of the history keep their distance in time.

        Args:
            observation: newer than the one before.
            delay: time until the chunk can take over [s]; what the previous chunk does until then is committed.

        Raises:
            BadObservation: it cannot be used, is not newer, or no instruction was begun.
        """
        if self._features is None:
            raise BadObservation("no instruction was begun")
        frame = self._frame(observation)
        context = self._make_room(frame.stamp)
        pose = (observation.tool_position, observation.tool_orientation)
        prefix = self._prefix(frame.stamp, delay, pose)
        if context.time == 0 and self._frames and self.config.keep:
            kept = list(self._frames)
            tokens = torch.cat([item.tokens for item in [*kept, frame]], dim=1)
            states = torch.cat([item.state for item in [*kept, frame]], dim=1)
        else:
            tokens, states = frame.tokens, frame.state
        actions = self.model.act(context, tokens, states, prefix, self.config.sample, self._generator)
        last = self._frames[-1].stamp if self._frames else -np.inf
        self._temporary = frame.stamp - last < 0.75 * self.transforms.frame_dt
        if not self._temporary:
            self._frames.append(frame)
        chunk = self.transforms.chunk(actions[0], *pose)
        self._previous = (frame.stamp, chunk)
        self._seen = frame.stamp
        return chunk

    @torch.no_grad()
    def imagine(self, frames: int = 1, temperature: float = 0.0, top_k: int = 0) -> np.ndarray:
        """What every view will see next: (frames, views, height, width, 3) uint8, ``frame_dt`` apart.

        Raises:
            BadObservation: nothing was seen yet.
            WindowFull: more frames are asked for than ``lookahead`` leaves room for.
        """
        if self._context is None or not self._context.time:
            raise BadObservation("nothing was seen yet")
        tokens = self.model.imagine(self._context, frames, temperature, top_k, self._generator)[0]
        images = self.model.tokenizer.decode(tokens.flatten(0, 1))
        return tensor_to_pixels(images.unflatten(0, tokens.shape[:2]))

    def discard(self) -> None:
        """The last chunk is not being followed: the next one is not bound by it."""
        self._previous = None

    @torch.no_grad()
    def tidy(self) -> None:
        """For when nobody waits: if the window is full, begin the next one, so that no chunk has to wait for it."""
        context, kept = self._context, list(self._frames)
        if context is None or context.time < self._room or self._temporary or not kept or not self.config.keep:
            return
        if self._next_after == kept[-1].stamp or self._features is None:
            return
        if self._next is None:
            self._next = self.model.begin(self._features)
        self._next.rewind(0)
        self._next.text = context.text
        tokens, states = (torch.cat(parts, dim=1) for parts in zip(*((k.tokens, k.state) for k in kept), strict=True))
        self.model.observe(self._next, tokens, states)
        self._next_after = kept[-1].stamp

    @torch.no_grad()
    def fork(self) -> Fork:
        """What was seen so far, set aside. There is one fork at a time: the one before is overwritten.

        Raises:
            BadObservation: nothing was seen yet.
        """
        if self._context is None or not self._context.time or self._features is None:
            raise BadObservation("nothing was seen yet")
        if self._spare is None:
            self._spare = self.model.begin(self._features)
        _copy(self._context, self._spare)
        return Fork(self._seen, self._spare)

    @torch.no_grad()
    def imagine_from(self, fork: Fork, between: Callable[[], None]) -> tuple[np.ndarray, np.ndarray]:
        """What every view will see ``frame_dt`` after a fork; may run on another thread, beside :meth:`step`.

        Args:
            fork: the newest one.
            between: called before each token of the frame and before the frame is decoded; may raise to give up.

        Returns:
            tokens (views, n) and images (views, height, width, 3) uint8.
        """
        tokens = self.model.imagine(fork.context, 1, between=between)[0, 0]
        between()
        return tokens.cpu().numpy(), tensor_to_pixels(self.model.tokenizer.decode(tokens))

    @torch.no_grad()
    def look(self, observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        """An observation as :meth:`imagine_from` would have it; may run on another thread, beside :meth:`step`.

        Raises:
            BadObservation: it cannot be used.
        """
        images = self.transforms.images(observation.images)
        tokens = self.model.tokenizer.encode(images.to(self._device))
        return tokens.cpu().numpy(), tensor_to_pixels(images)

    @property
    def _device(self) -> torch.device:
        return self.model.code_out.weight.device

    def _forget(self) -> None:
        self._context = None
        self._next_after = -np.inf
        self._frames.clear()
        self._temporary = False
        self._previous = None

    def _frame(self, observation: Observation) -> _Frame:
        if self._frames and observation.stamp <= self._frames[-1].stamp:
            raise BadObservation(f"the observation of {observation.stamp:.3f} s is not newer than the last frame")
        images = self.transforms.images(observation.images).to(self._device)
        state = self.transforms.state(observation.tool_position, observation.tool_orientation, observation.gripper)
        tokens = self.model.tokenizer.encode(images)
        return _Frame(observation.stamp, tokens[None, None], state.to(self._device)[None, None])

    def _make_room(self, stamp: float) -> Context:
        """The context that the next frame goes into, with what is out of date taken away."""
        context = self._context
        if self._frames and stamp - self._frames[-1].stamp > self.config.gap * self.transforms.frame_dt:
            self._frames.clear()
            self._temporary = False
            if context is not None:
                context.rewind(0)
        if context is not None and self._temporary:
            context.rewind(context.time - 1)
        if context is None:
            assert self._features is not None
            context = self.model.begin(self._features)
        elif context.time >= self._room:
            if self._next is not None and self._frames and self._next_after == self._frames[-1].stamp:
                context, self._next = self._next, context
                self._next_after = -np.inf
            else:
                context.rewind(0)
        self._context = context
        return context

    def _prefix(self, stamp: float, delay: float, pose: tuple[np.ndarray, np.ndarray]) -> Tensor | None:
        if self._previous is None or delay <= 0.0:
            return None
        before, chunk = self._previous
        committed = self.transforms.committed(chunk, stamp - before, delay, self._max_prefix)
        return None if committed is None else self.transforms.actions(committed, *pose)[None].to(self._device)


def _copy(source: Context, target: Context) -> None:
    """Make a context equal to another one of the same model, in its own memory."""
    length = source.cache.length
    target.cache.keys[..., :length, :] = source.cache.keys[..., :length, :]
    target.cache.values[..., :length, :] = source.cache.values[..., :length, :]
    target.cache.length = length
    target.text, target.slots, target.starts = source.text, source.slots, list(source.starts)
