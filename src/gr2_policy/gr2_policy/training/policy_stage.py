"""Video pre-training and fine-tuning: windows of tokens to losses. Fine-tuning adds states and actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gr2_policy.data.writer import DatasetError
from gr2_policy.model import geometry
from gr2_policy.model.checkpoint import Origin, save_policy
from gr2_policy.model.config import to_dict
from gr2_policy.model.gr2 import GR2, Batch
from gr2_policy.model.text import TextEncoder, TextFeatures, pad_features
from gr2_policy.model.transforms import Normalization, Transforms, tensor_to_pixels
from gr2_policy.training.mixture import Mixture, Picked
from gr2_policy.training.stage import Part
from gr2_policy.training.tokens import Window

_SHOWN = 4  # windows in a picture
_STATISTICS_FROM = 500  # episodes
_MEASURED, _AT_ONCE = 512, 64  # windows of what is held out; through the model together


class PolicyModule(nn.Module):
    """GR2 as the loop calls it: a loss and its parts."""

    def __init__(self, model: GR2) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The step does not matter."""
        del step
        losses = self.model(batch)
        return losses.total, losses.parts


class PolicyStage:
    """See :class:`gr2_policy.training.stage.Stage`.

    Args:
        name: ``pretrain`` or ``finetune``.
        model: with an action head for fine-tuning, without one for pre-training.
        text: its frozen text encoder.
        transforms: those it will be served with.
        mixture: of the data.
        about: what is said about the data in the checkpoint.
    """

    def __init__(
        self,
        name: str,
        model: GR2,
        text: TextEncoder,
        transforms: Transforms,
        mixture: Mixture,
        about: dict[str, Any],
    ) -> None:
        self.name = name
        self.module = PolicyModule(model)
        self.model, self.text, self.transforms, self.mixture = model, text, transforms, mixture
        self.about = about
        action = model.config.action
        self._horizon = action.horizon if action else 0
        self._apart = mixture.held_out(_MEASURED)
        expected = model.tokenizer.identity()
        for store in mixture.stores:
            if store.tokenizer != expected:
                raise DatasetError(
                    f"tokens were made by tokenizer {store.tokenizer[:12]}, the model has {expected[:12]}"
                )
        self.identity = {
            "model": to_dict(model.config),
            "tokenizer": expected,
            "transforms": to_dict(transforms),
            "data": about,
        }

    def batch(self, step: int, indices: range, device: torch.device) -> Part:
        """See Stage."""
        picked = [self.mixture.pick(step, index) for index in indices]
        names = tuple(self.mixture.name(item) for item in picked)
        return Part(step, names, self.collate(self._windows(picked), device))

    def _windows(self, picked: list[Picked]) -> list[Window]:
        return [self.mixture.window(item, self.transforms.views, self._horizon) for item in picked]

    def collate(self, windows: list[Window], device: torch.device) -> Batch:
        """Windows as the model takes them."""
        tokens = torch.from_numpy(np.stack([window.tokens for window in windows])).to(device)
        text = self._features([window.instruction for window in windows]).to(device)
        if not self._horizon:
            return Batch(text, tokens)
        made = [self._numbers(window) for window in windows]
        state, actions, known = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*made, strict=True))
        return Batch(text, tokens, state, actions, known)

    def _numbers(self, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert window.states is not None
        assert window.chunks is not None
        assert window.known is not None
        states = window.states.astype(float)
        state = torch.stack([self.transforms.state(row[:3], row[3:7], row[7]) for row in states]).numpy()
        scales = self.transforms.step_scales()
        actions = np.empty((len(states), self._horizon, 7), np.float32)
        for frame, (row, chunk) in enumerate(zip(states, window.chunks.astype(float), strict=True)):
            moved = geometry.to_displacements(chunk[:, :3], chunk[:, 3:7], row[:3], row[3:7])
            actions[frame, :, :6] = moved / scales
            actions[frame, :, 6] = chunk[:, 7]
        return state, actions, window.known

    def _features(self, instructions: list[str]) -> TextFeatures:
        return pad_features([self.text.encode([text]).features[0] for text in instructions])

    @torch.no_grad()
    def pictures(self, module: nn.Module, device: torch.device) -> dict[str, np.ndarray]:
        """What comes after some first frames: above the truth, below what is imagined."""
        del module
        picked = [self.mixture.pick(-1 % 2**31, index) for index in range(_SHOWN)]
        batch = self.collate(self._windows(picked), device)
        frames = batch.tokens.shape[1]
        if frames < 2:
            return {}
        context = self.model.begin(batch.text)
        state = None if batch.state is None else batch.state[:, :1]
        self.model.observe(context, batch.tokens[:, :1], state)
        imagined = self.model.imagine(context, frames - 1)
        rows = []
        for sample in range(len(picked)):
            for view in range(batch.tokens.shape[2]):
                truth = batch.tokens[sample, :, view]
                seen = torch.cat([truth[:1], imagined[sample, :, view]])
                rows += [self._strip(truth), self._strip(seen)]
        return {"imagined": np.concatenate(rows, axis=0)}

    def held_out(self, device: torch.device) -> dict[str, float]:
        """See Stage."""
        return self.measure(self._apart, device)

    @torch.no_grad()
    def measure(self, windows: list[Picked], device: torch.device) -> dict[str, float]:
        """Figures of a model in evaluation mode on some windows; none on none.

        Actions are those it would be run with: no latent drawn, nothing committed before.

        Returns:
            ``video`` [nats a token] and ``changed_accuracy`` (share of the tokens that changed); with actions also
            ``pose`` (smooth L1, in units of the usual step), ``position_mm`` (of the tool, mean over the chunk) and
            ``gripper_accuracy`` (share of the steps).
        """
        sums: dict[str, float] = {}
        for begin in range(0, len(windows), _AT_ONCE):
            picked = windows[begin : begin + _AT_ONCE]
            batch = self.collate(self._windows(picked), device)
            video = self.model(batch).parts
            figures = {name: video[name] for name in ("video", "changed_accuracy")}
            if batch.actions is not None:
                figures |= self._distance(batch)
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(picked)
        return {name: value / len(windows) for name, value in sums.items()}

    def _distance(self, batch: Batch) -> dict[str, Tensor]:
        """How far the chunk at each window's end is from the demonstrated one."""
        assert batch.actions is not None
        assert batch.actions_known is not None
        weights, layout = self.model.config.loss, self.model.layout
        queries = self.model.features(batch)[:, -1, layout.observed :]
        made, shown, known = self.model.action_head.act(queries), batch.actions[:, -1], batch.actions_known[:, -1]
        each = functional.smooth_l1_loss(made[..., :6], shown[..., :6], reduction="none", beta=weights.pose_beta)
        scales = torch.from_numpy(self.transforms.step_scales()[:, :3]).to(made)
        apart = ((made[..., :3] - shown[..., :3]) * scales).norm(dim=-1)
        return {
            "pose": each.mean(dim=-1)[known].mean(),
            "position_mm": 1000.0 * apart[known].mean(),
            "gripper_accuracy": ((made[..., 6] > 0.5) == (shown[..., 6] > 0.5))[known].float().mean(),
        }

    def _strip(self, tokens: Tensor) -> np.ndarray:
        return np.concatenate(list(tensor_to_pixels(self.model.tokenizer.decode(tokens))), axis=1)

    def export(self, module: nn.Module, folder: Path, about: dict[str, Any]) -> None:
        """See Stage."""
        del module
        origin = Origin(data=self.about, metrics=about)
        save_policy(folder, self.model, self.transforms, self.text.identity, origin)


def fit_normalization(mixture: Mixture, horizon: int) -> Normalization:
    """Statistics of the demonstrations that a mixture learns from.

    Raises:
        DatasetError: there are none.
    """
    positions, displacements = [], []
    for index, store in enumerate(mixture.stores):
        for states, chunks in store.displacement_sources(mixture.learned(index), _STATISTICS_FROM):
            positions.append(states[:, :3].astype(float))
            if chunks.ndim == 2:  # single actions: those that follow a frame are its chunk
                rows = np.arange(len(chunks) - horizon)[:, None] + np.arange(horizon)
                if not len(rows):
                    continue
                chunks, states = chunks[rows], states[: len(rows)]
            for row, chunk in zip(states.astype(float), chunks[:, :horizon].astype(float), strict=True):
                displacements.append(geometry.to_displacements(chunk[:, :3], chunk[:, 3:7], row[:3], row[3:7]))
    if not displacements:
        raise DatasetError("no demonstration is long enough to learn chunks from")
    return Normalization.fit(np.concatenate(positions), np.stack(displacements))
