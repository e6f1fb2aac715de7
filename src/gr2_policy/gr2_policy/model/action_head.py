"""The action head: a conditional VAE over chunks of displacements.

An action is 7 numbers: the displacement of one pose of the chunk in the current tool frame, normalised (its 6 numbers
are those of :mod:`gr2_policy.model.geometry`, rotation as a rotation vector on SO(3)), and the gripper's opening
(0 open ... 1 closed; a logit while it is predicted).

The encoder sees a chunk of the demonstration and says where in the latent space it lies; the decoder makes a chunk out
of a latent z and what the trunk's action queries say. At run time z is 0, or drawn from the prior on request.

The decoder is also told which first poses of the chunk are already committed, because the robot will have moved on by
the time the chunk arrives. In training this is a random number of the demonstration's own first poses, so that the
head learns to go on from wherever it was bound; at run time it is the part of the previous chunk that will be executed
before this one can be.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gr2_policy.model.config import ActionConfig, LossConfig
from gr2_policy.model.layers import Block, initialise

ACTION = 7
"""Numbers of an action."""


class BadPrefix(ValueError):
    """A committed prefix cannot be used. The message gives the numbers."""


@dataclass(frozen=True)
class ActionLosses:
    """Losses of the action head, each a scalar.

    Attributes:
        total: weighted sum.
        pose: smooth L1 distance of the normalised displacements that were not committed.
        gripper: binary cross-entropy of theirs.
        kl: divergence of the posterior from the prior [nat], without free bits.
    """

    total: Tensor
    pose: Tensor
    gripper: Tensor
    kl: Tensor


class ActionHead(nn.Module):
    """See the module's docstring.

    Args:
        config: its shape.
        features: width of the trunk.
        gain: of the initial weights, see :func:`gr2_policy.model.layers.initialise`.
    """

    def __init__(self, config: ActionConfig, features: int, gain: float) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.encoder_in = nn.Linear(ACTION, width)
        self.encoder_class = nn.Parameter(torch.randn(1, 1, width) * 0.5)
        self.encoder_steps = nn.Parameter(torch.randn(config.horizon, width) * 0.5)
        self.encoder = nn.ModuleList(Block(width, config.heads) for _ in range(config.encoder_layers))
        self.encoder_norm = nn.LayerNorm(width)
        self.to_posterior = nn.Linear(width, 2 * config.latent)

        self.from_latent = nn.Linear(config.latent, width)
        self.from_query = nn.Linear(features, width)
        self.committed_in = nn.Linear(ACTION, width)
        self.decoder_steps = nn.Parameter(torch.randn(config.horizon, width) * 0.5)
        self.decoder = nn.ModuleList(Block(width, config.heads) for _ in range(config.decoder_layers))
        self.decoder_norm = nn.LayerNorm(width)
        self.to_action = nn.Linear(width, ACTION)
        initialise(self, gain, config.decoder_layers)

    def encode(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior of chunks (B, horizon, 7): mean and log variance, (B, latent) each."""
        steps = self.encoder_in(_centred(actions)) + self.encoder_steps
        x = torch.cat([self.encoder_class.expand(len(steps), -1, -1), steps], dim=1)
        for block in self.encoder:
            x = block(x)
        mean, log_variance = self.to_posterior(self.encoder_norm(x[:, 0])).float().chunk(2, dim=-1)
        return mean, log_variance.clamp(-10.0, 10.0)

    def decode(self, queries: Tensor, latent: Tensor, committed: Tensor, prefix: Tensor) -> Tensor:
        """Chunks with the gripper as a logit, (B, horizon, 7).

        Args:
            queries: (B, n, features) the trunk's action queries.
            latent: (B, latent).
            committed: (B, horizon, 7) actions; only the first ``prefix`` of each count.
            prefix: (B,) number of committed steps.
        """
        told = torch.arange(self.config.horizon, device=prefix.device)[None, :, None] < prefix[:, None, None]
        steps = self.decoder_steps + torch.where(told, self.committed_in(_centred(committed)), 0.0)
        x = torch.cat([self.from_latent(latent)[:, None], self.from_query(queries), steps], dim=1)
        for block in self.decoder:
            x = block(x)
        return self.to_action(self.decoder_norm(x[:, -self.config.horizon :])).float()

    def loss(
        self, queries: Tensor, actions: Tensor, weights: LossConfig, known: Tensor | None = None
    ) -> tuple[ActionLosses, Tensor]:
        """Losses of chunks, each with a random committed prefix.

        Args:
            queries: (B, n, features).
            actions: (B, horizon, 7).
            weights: of the losses.
            known: (B, horizon) bool, False beyond the end of a demonstration; None: all.

        Returns:
            the losses, and the predicted chunks (B, horizon, 7) with the gripper as a logit.
        """
        batch, horizon = actions.shape[:2]
        mean, log_variance = self.encode(actions)
        latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        bound = torch.rand(batch, device=actions.device) < self.config.prefix_share
        prefix = torch.randint(self.config.max_prefix + 1, (batch,), device=actions.device) * bound
        predicted = self.decode(queries, latent, actions, prefix)
        free = torch.arange(horizon, device=actions.device) >= prefix[:, None]
        free = free.float() if known is None else (free & known).float()
        count = free.sum().clamp(min=1.0)
        pose = functional.smooth_l1_loss(
            predicted[..., :6], actions[..., :6].float(), reduction="none", beta=weights.pose_beta
        ).mean(dim=2)
        gripper = functional.binary_cross_entropy_with_logits(
            predicted[..., 6], actions[..., 6].float(), reduction="none"
        )
        pose, gripper = (pose * free).sum() / count, (gripper * free).sum() / count
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean(dim=0)
        penalty = divergence.clamp(min=weights.free_bits).sum()
        total = weights.pose * pose + weights.gripper * gripper + weights.kl * penalty
        return ActionLosses(total, pose, gripper, divergence.sum()), predicted

    @torch.no_grad()
    def act(
        self,
        queries: Tensor,
        prefix: Tensor | None = None,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Chunks (B, horizon, 7) with the gripper as a probability; committed steps come back as they were given.

        Args:
            queries: (B, n, features).
            prefix: (B, n, 7) committed actions, at most ``max_prefix``; None: none.
            sample: draw z from the prior instead of 0.
            generator: of the draw.

        Raises:
            BadPrefix: more steps are committed than the head was trained for.
        """
        config, batch = self.config, len(queries)
        count = 0 if prefix is None else prefix.shape[1]
        if count > config.max_prefix:
            raise BadPrefix(f"{count} steps are committed, the model was trained for at most {config.max_prefix}")
        latent = queries.new_zeros(batch, config.latent)
        if sample:
            drawn = torch.randn(
                batch, config.latent, generator=generator, device=generator.device if generator else None
            )
            latent = drawn.to(latent)
        committed = queries.new_zeros(batch, config.horizon, ACTION)
        if prefix is not None:
            committed[:, :count] = prefix
        counts = torch.full((batch,), count, device=queries.device)
        chunk = self.decode(queries, latent, committed, counts)
        chunk[..., 6] = chunk[..., 6].sigmoid()
        if prefix is not None:
            chunk[:, :count] = prefix
        return chunk


def _centred(actions: Tensor) -> Tensor:
    """Bring the gripper's 0 ... 1 to -1 ... 1 beside the normalised displacements."""
    return torch.cat([actions[..., :6], 2.0 * actions[..., 6:] - 1.0], dim=-1)
