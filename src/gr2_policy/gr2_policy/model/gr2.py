"""GR-2: frozen text and image tokens through one causal trunk to the next frames and to a chunk of actions.

Pre-training (text and single-view video) and fine-tuning (several views, states and actions) run the same code with
the same weights; fine-tuning adds the parameters that :func:`new_in_finetuning` names. At run time a :class:`Context`
holds what was seen: :meth:`GR2.act` appends a frame and reads the action from its query, before and without any image
token being generated; :meth:`GR2.imagine` generates the next frames from where the context stands and leaves it as it
was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from gr2_policy.model.action_head import ActionHead
from gr2_policy.model.config import ModelConfig
from gr2_policy.model.embedding import Embedding
from gr2_policy.model.layers import initialise
from gr2_policy.model.stepping import EagerStepper, Stepper
from gr2_policy.model.text import Resampler, TextFeatures
from gr2_policy.model.tokens import Layout, Slots, visible
from gr2_policy.model.trunk import KVCache, Trunk
from gr2_policy.model.vqgan import VqGan


class WindowFull(RuntimeError):
    """A window has no room for more frames. The message gives the numbers."""


class WeightsMismatch(ValueError):
    """Weights do not belong to this model. The message names the tensors."""


@dataclass(frozen=True)
class Batch:
    """Windows to learn from: B windows of T frames.

    Attributes:
        text: features of the B instructions.
        tokens: (B, T, views, n) int64 image tokens.
        state: (B, T, 10) robot states, see :data:`gr2_policy.model.embedding.STATE`; None in pre-training.
        actions: (B, T, horizon, 7) the chunk that begins at each frame; None in pre-training.
        actions_known: (B, T, horizon) bool, False beyond the end of a demonstration; None: all known.
    """

    text: TextFeatures
    tokens: Tensor
    state: Tensor | None = None
    actions: Tensor | None = None
    actions_known: Tensor | None = None


@dataclass(frozen=True)
class Losses:
    """The loss to minimise, and its unweighted parts and other measures, detached scalars."""

    total: Tensor
    parts: dict[str, Tensor]


@dataclass
class Context:
    """What the model has seen of one episode.

    Attributes:
        text: (B, m, width) text tokens of the instructions.
        cache: keys and values of all tokens so far.
        slots: where these tokens are.
        starts: length of the cache before each timestep.
    """

    text: Tensor
    cache: KVCache
    slots: Slots
    starts: list[int] = field(default_factory=list)

    @property
    def time(self) -> int:
        """Number of frames seen, the index of the next one."""
        return len(self.starts)

    def rewind(self, time: int) -> None:
        """Forget all frames from this one on."""
        if time < self.time:
            self._cut(self.starts[time])
            del self.starts[time:]

    def _cut(self, length: int) -> None:
        self.cache.truncate(length)
        self.slots = self.slots[:length]


class GR2(nn.Module):
    """See the module's docstring.

    Args:
        config: of the model; without an action head it is the pre-training model.
        tokenizer: its frozen image tokenizer; None: an untrained one.
    """

    window_mask: Tensor

    def __init__(self, config: ModelConfig, tokenizer: VqGan | None = None) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = (tokenizer or VqGan(config.tokenizer)).freeze()
        width, codes = config.trunk.width, config.tokenizer.codebook_size
        action = config.action
        self.layout = Layout(
            text=config.text.tokens,
            views=len(config.views),
            grid=config.tokenizer.tokens,
            state=1 if action else 0,
            actions=action.queries if action else 0,
        )
        self.text = Resampler(config.text, width)
        self.embedding = Embedding(config)
        self.trunk = Trunk(config.trunk)
        self.code_out = nn.Linear(width, codes)
        if action is not None:
            self.action_head = ActionHead(action, width, config.trunk.init_gain)
        for part in (self.text, self.code_out):
            initialise(part, config.trunk.init_gain)
        slots = self.layout.window_slots(config.timesteps)
        self.register_buffer("window_mask", visible(slots, slots), persistent=False)
        self.stepper: Stepper = EagerStepper(self.trunk, self.code_out)

    def train(self, mode: bool = True) -> GR2:
        """As usual, but the tokenizer stays frozen."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    # --- learning ---

    def forward(self, batch: Batch) -> Losses:
        """Losses of a batch: of the video alone if it holds no actions, else of video and actions in tandem."""
        hidden = self.features(batch)
        images = hidden[:, 1:, self.layout.text + self.layout.state : self.layout.observed]
        images = images.unflatten(2, (self.layout.views, self.layout.grid + 1))[:, :, :, :-1]
        video, parts = self._video_loss(self.code_out(images).float(), batch.tokens)
        if batch.actions is None:
            return Losses(video, parts)
        weights = self.config.loss
        queries = hidden[:, :, self.layout.observed :].flatten(0, 1)
        actions = batch.actions.flatten(0, 1)
        known = None if batch.actions_known is None else batch.actions_known.flatten(0, 1)
        losses, predicted = self.action_head.loss(queries, actions, weights, known)
        parts |= {"pose": losses.pose, "gripper": losses.gripper, "kl": losses.kl}
        parts["gripper_accuracy"] = ((predicted[..., 6] > 0) == (actions[..., 6] > 0.5)).float().mean()
        parts = {name: value.detach() for name, value in parts.items()}
        return Losses(weights.video * video + losses.total, parts)

    def features(self, batch: Batch) -> Tensor:
        """What the trunk makes of every token of a window: (B, T, timestep, width), in the layout's order."""
        tokens = batch.tokens
        timesteps = tokens.shape[1]
        if timesteps > self.config.timesteps:
            raise WindowFull(f"a window has {self.config.timesteps} timesteps, the batch has {timesteps}")
        expected = (self.layout.views, self.layout.grid)
        if tokens.shape[2:] != expected:
            raise ValueError(f"tokens are {tuple(tokens.shape[2:])} (views, tokens), expected {expected}")
        times = torch.arange(timesteps, device=tokens.device)
        text = self.text(batch.text)
        states = self._states(batch.state, tokens)
        x = self.embedding.observed(text, states, self._codes(tokens), times)
        if states is not None:
            x = torch.cat([x, self.embedding.queries(text, states, times)], dim=2)
        count = timesteps * self.layout.timestep
        hidden = self.trunk(x.flatten(1, 2), self.window_mask[:count, :count])
        return hidden.unflatten(1, (timesteps, self.layout.timestep))

    def _codes(self, tokens: Tensor) -> Tensor:
        if self.embedding.table is not None:
            return functional.embedding(tokens, self.embedding.table)
        return self.embedding.codes(tokens, self.tokenizer.codebook.lookup(tokens))

    def _states(self, state: Tensor | None, tokens: Tensor) -> Tensor | None:
        if self.config.action is None:
            return None
        if state is not None:
            state = state.to(self.code_out.weight.dtype)
        return self.embedding.states(state, (tokens.shape[0], tokens.shape[1]))

    def _video_loss(self, logits: Tensor, tokens: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the frames after the first: logits (B, T - 1, V, n, codes), tokens (B, T, V, n)."""
        target, before = tokens[:, 1:], tokens[:, :-1]
        changed = target != before
        each = functional.cross_entropy(logits.flatten(0, 3), target.flatten(), reduction="none").view(target.shape)
        weight = torch.where(changed, self.config.loss.changed, 1.0)
        right = logits.argmax(dim=-1) == target
        moved = changed.sum().clamp(min=1)
        parts = {
            "video": each.mean(),
            "token_accuracy": right.float().mean(),
            "changed_accuracy": (right & changed).sum() / moved,
            "changed_share": changed.float().mean(),
        }
        return (each * weight).sum() / weight.sum(), {name: value.detach() for name, value in parts.items()}

    # --- running ---

    @torch.no_grad()
    def begin(self, text: TextFeatures) -> Context:
        """An empty context for these instructions."""
        weight = self.code_out.weight
        tokens = self.text(text.to(weight.device, weight.dtype))
        capacity = self.config.timesteps * self.layout.timestep
        cache = KVCache(self.config.trunk, len(tokens), capacity, weight.device, weight.dtype)
        return Context(tokens, cache, self.layout.text_slots(0)[:0].to(tokens.device))

    @torch.no_grad()
    def observe(self, context: Context, tokens: Tensor, state: Tensor | None = None) -> Tensor:
        """Append frames to a context.

        Args:
            tokens: (B, T, views, n) of one or more successive frames.
            state: (B, T, 10); None if unknown.

        Returns:
            (B, queries, width) features of the action queries of the last frame; none of them in pre-training.

        Raises:
            WindowFull: the window has no room for these frames.
        """
        first, count = context.time, tokens.shape[1]
        self._require_room(context, count)
        device = tokens.device
        times = torch.arange(first, first + count, device=device)
        slots = Slots.cat(self.layout.observed_slots(time) for time in range(first, first + count))
        states = self._states(state, tokens)
        x = self.embedding.observed(context.text, states, self._codes(tokens), times).flatten(1, 2)
        if states is not None:
            queries = self.embedding.queries(context.text, states[:, -1:], times[-1:]).flatten(1, 2)
            x = torch.cat([x, queries], dim=1)
            slots = Slots.cat([slots, self.layout.action_slots(first + count - 1)])
        start, actions = context.cache.length, self.layout.actions
        hidden = self._append(context, x, slots, max(actions, 1))
        context.starts += [start + self.layout.observed * index for index in range(count)]
        context._cut(context.cache.length - actions)
        return hidden[:, hidden.shape[1] - actions :]

    @torch.no_grad()
    def act(
        self,
        context: Context,
        tokens: Tensor,
        state: Tensor | None = None,
        prefix: Tensor | None = None,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Append frames and say what to do: (B, horizon, 7), see :class:`gr2_policy.model.action_head.ActionHead`."""
        queries = self.observe(context, tokens, state)
        return self.action_head.act(queries, prefix, sample, generator)

    @torch.no_grad()
    def imagine(
        self,
        context: Context,
        frames: int = 1,
        temperature: float = 0.0,
        top_k: int = 0,
        generator: torch.Generator | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Generate the frames that come next; the context is left as it was.

        Args:
            frames: how many.
            temperature: of the draw; 0 takes the likeliest token.
            top_k: draw among this many likeliest tokens; 0: among all.
            generator: of the draw.
            between: called before each token of each view; may raise to give up.

        Returns:
            (B, frames, views, n) tokens.

        Raises:
            WindowFull: the window has no room for these frames.
        """
        self._require_room(context, frames)
        layout, begun, length = self.layout, context.time, context.cache.length
        imagined: list[Tensor] = []
        try:
            for time in range(begun, begun + frames):
                hidden = self._open_frame(context, time, imagined[-1] if imagined else None)
                between()
                picks = [_pick(self.code_out(hidden).float(), temperature, top_k, generator)]
                places = self.embedding.places(time)
                step = self.stepper.begin(context.cache)
                for index in range(1, layout.grid):
                    between()
                    # all that is in the cache is past, text or an earlier token of this frame: no mask needed
                    logits = step(self._codes(picks[-1]) + places[index - 1])
                    picks.append(_pick(logits, temperature, top_k, generator))
                self.stepper.end(context.cache)
                generated = layout.image_steps_slots(time, 1, layout.grid)
                context.slots = Slots.cat([context.slots, generated.to(context.text.device)])
                imagined.append(torch.stack(picks, dim=2))
        finally:
            context._cut(length)
        return torch.stack(imagined, dim=1)

    def _open_frame(self, context: Context, time: int, before: Tensor | None) -> Tensor:
        """Append what stands before a frame's first token; features (B, V, width) that its first tokens come from.

        Args:
            before: (B, V, n) tokens of the imagined frame before, whose last tokens and state are still to come.
        """
        layout = self.layout
        parts, slots = [], []
        if before is not None:
            parts.append(self._codes(before[:, :, -1]) + self.embedding.places(time - 1)[-1])
            slots.append(layout.image_steps_slots(time - 1, layout.grid, layout.grid + 1))
            if layout.state:
                parts.append(self.embedding.unknown_state(len(before), time - 1))
                slots.append(layout.state_slots(time - 1))
        parts.append(self.embedding.beginning(context.text, time))
        slots += [layout.text_slots(time), layout.image_steps_slots(time, 0, 1)]
        return self._append(context, torch.cat(parts, dim=1), Slots.cat(slots), layout.views)

    def _append(self, context: Context, x: Tensor, slots: Slots, last: int) -> Tensor:
        """Append tokens; features (B, last, width) of the last of them."""
        slots = slots.to(x.device)
        context.slots = Slots.cat([context.slots, slots])
        return self.trunk(x, visible(slots, context.slots), context.cache, last)

    def _require_room(self, context: Context, frames: int) -> None:
        if context.time + frames > self.config.timesteps:
            raise WindowFull(
                f"{frames} more frames do not fit after {context.time} into a window of {self.config.timesteps}"
            )

    # --- weights ---

    def weights(self) -> dict[str, Tensor]:
        """All that is trained here; the tokenizer has a checkpoint of its own."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("tokenizer.")}

    def load_weights(self, weights: Mapping[str, Tensor], missing: frozenset[str] = frozenset()) -> None:
        """Take over weights.

        Args:
            weights: as from :meth:`weights`.
            missing: names that must be absent; these parameters stay as they are.

        Raises:
            WeightsMismatch: a tensor is absent, unknown, or of another shape or type.
        """
        own = self.weights()
        absent = sorted(set(own) - set(weights) - missing)
        unknown = sorted((set(weights) - set(own)) | (set(weights) & missing))
        for names, what in ((absent, "lack"), (unknown, "should not hold")):
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                raise WeightsMismatch(f"the weights {what} {', '.join(names[:3])}{more}")
        for name, value in weights.items():
            if value.shape != own[name].shape or value.dtype != own[name].dtype:
                raise WeightsMismatch(
                    f"{name} is {tuple(value.shape)} {value.dtype}, expected {tuple(own[name].shape)} {own[name].dtype}"
                )
        self.load_state_dict(dict(weights), strict=False)

    def load_pretrained(self, weights: Mapping[str, Tensor]) -> frozenset[str]:
        """Take over the weights of the pre-training model.

        Returns:
            the names of the parameters that it does not have and that fine-tuning begins afresh.

        Raises:
            WeightsMismatch: anything else is absent, unknown or different.
        """
        new = new_in_finetuning(self)
        self.load_weights(weights, missing=new)
        return new


def new_in_finetuning(model: GR2) -> frozenset[str]:
    """Names of the parameters that the pre-training model lacks: state, action query and head, further views."""
    views = (f"embedding.view.{view}" for view in model.config.views[1:])
    prefixes = ("embedding.state.", "embedding.action_query", "action_head.", *views)
    return frozenset(name for name in model.weights() if name.startswith(prefixes))


def _pick(logits: Tensor, temperature: float, top_k: int, generator: torch.Generator | None) -> Tensor:
    """Token indices (B, V) from logits (B, V, codes)."""
    if temperature <= 0.0:
        return logits.argmax(dim=-1)
    logits = logits / temperature
    if top_k:
        least = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    share = logits.softmax(dim=-1)
    device = generator.device if generator else share.device
    drawn = torch.multinomial(share.flatten(0, 1).to(device), 1, generator=generator)
    return drawn.view(share.shape[:2]).to(share.device)
