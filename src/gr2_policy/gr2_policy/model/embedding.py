"""What becomes a token of the trunk: text, robot state, frames, action queries, each with its time, view and place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gr2_policy.model.config import ModelConfig
from gr2_policy.model.layers import grid_positions, initialise

STATE = 10
"""Numbers of a robot state: normalised position (3), orientation as the first two columns of its matrix (6), gripper
closed or open (1 or 0)."""


class StateEncoder(nn.Module):
    """Robot state to one token: a linear layer each for pose and gripper, or a learned token where it is unknown."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pose = nn.Linear(STATE - 1, width)
        self.gripper = nn.Linear(1, width)
        self.unknown = nn.Parameter(torch.randn(width) * 0.5)

    def forward(self, state: Tensor, known: Tensor) -> Tensor:
        """(..., 10) states and (...) bool whether each is known -> (..., width)."""
        token = self.pose(state[..., :-1]) + self.gripper(2.0 * state[..., -1:] - 1.0)
        return torch.where(known[..., None], token, self.unknown.to(token.dtype))


class Embedding(nn.Module):
    """See the module's docstring. Times are (T,) int64 indices of timesteps within the window."""

    grid: Tensor
    table: Tensor | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.trunk.width
        # codes that look alike begin alike: a linear layer of the code vector, and a learned correction for each code
        self.code_in = nn.Linear(config.tokenizer.code_dim, width)
        self.code_correction = nn.Embedding(config.tokenizer.codebook_size, width)
        self.frame_start = nn.Parameter(torch.randn(width) * 0.5)
        self.view = nn.ParameterDict({view: torch.randn(width) * 0.5 for view in config.views})
        self.timestep = nn.Parameter(torch.randn(config.timesteps, width) * 0.5)
        if config.action is not None:
            self.state = StateEncoder(width)
            self.action_query = nn.Parameter(torch.randn(config.action.queries, width) * 0.5)
        initialise(self, config.trunk.init_gain)
        nn.init.zeros_(self.code_correction.weight)
        self.register_buffer("grid", grid_positions(config.tokenizer.grid, width), persistent=False)
        self.register_buffer("table", None, persistent=False)

    def tabulate(self, vectors: Tensor) -> None:
        """For inference: remember what every code becomes; vectors (codes, code_dim) are those of all codes."""
        self.table = None
        self.table = self.codes(torch.arange(len(vectors), device=vectors.device), vectors)

    def codes(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """Image tokens (...) with their code vectors (..., code_dim) -> (..., width)."""
        vectors = vectors.to(self.code_in.weight.dtype)
        return self.code_in(vectors * self.config.tokenizer.code_dim**0.5) + self.code_correction(tokens)

    def frames(self, codes: Tensor, times: Tensor) -> Tensor:
        """Frames (B, T, V, n, width) -> (B, T, V * (n + 1), width), each with its beginning."""
        starts = self.frame_start.expand(*codes.shape[:3], 1, -1)
        x = torch.cat([starts, codes + self.grid.to(codes.dtype)], dim=3) + self._views()[:, None]
        return x.flatten(2, 3) + self.timestep[times][:, None]

    def states(self, state: Tensor | None, shape: tuple[int, int]) -> Tensor:
        """States (B, T, 10), None if unknown; shape (B, T) -> (B, T, width). In training some are withheld."""
        device = self.timestep.device
        if state is None:
            return self.state.unknown.expand(*shape, -1)
        known = torch.ones(shape, dtype=torch.bool, device=device)
        if self.training:
            known = torch.rand(shape, device=device) >= self.config.state_dropout
        return self.state(state, known)

    def observed(self, text: Tensor, states: Tensor | None, codes: Tensor, times: Tensor) -> Tensor:
        """All of timesteps but the queries: (B, T, observed, width), in the layout's order."""
        moment = self.timestep[times][:, None]
        parts = [text[:, None] + moment]
        if states is not None:
            parts.append(states[:, :, None] + moment)
        return torch.cat([*parts, self.frames(codes, times)], dim=2)

    def queries(self, text: Tensor, states: Tensor, times: Tensor) -> Tensor:
        """Action queries (B, T, A, width); what to do and where the arm is reach them without a detour."""
        shortcut = text.mean(dim=1)[:, None] + states + self.timestep[times]
        return self.action_query + shortcut[:, :, None]

    def beginning(self, text: Tensor, time: int) -> Tensor:
        """What stands before an unseen frame's first tokens: text and the beginning of each view (B, m + V, width)."""
        starts = (self.frame_start + self._views()).expand(len(text), -1, -1)
        return torch.cat([text, starts], dim=1) + self.timestep[time]

    def places(self, time: int) -> Tensor:
        """What is added to the codes of one frame's tokens: (n, V, width)."""
        return self.grid[:, None] + self._views() + self.timestep[time]

    def unknown_state(self, batch: int, time: int) -> Tensor:
        """The token of a state that nobody knows: (B, 1, width)."""
        return (self.state.unknown + self.timestep[time]).expand(batch, 1, -1)

    def _views(self) -> Tensor:
        return torch.stack([self.view[view] for view in self.config.views])
