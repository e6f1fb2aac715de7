"""The codebook: unit vectors that stand for what the encoder says, learned from the data, with none left unused.

Where several processes train together (``torch.distributed``), each learns from the vectors of all, and all keep the
same codebook bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from gr2_policy.model.config import TokenizerConfig

_POOL = 4  # the codebook is drawn from this many vectors for each code
_KMEANS_STEPS = 5


@dataclass(frozen=True)
class Quantised:
    """What became of the encoder's vectors.

    Attributes:
        vectors: (n, code_dim) the codes, with the gradient of the encoder's vectors (straight through).
        indices: (n,) int64 of the codes.
        commitment, codebook: losses, see :class:`gr2_policy.model.config.TokenizerLossConfig`.
    """

    vectors: Tensor
    indices: Tensor
    commitment: Tensor
    codebook: Tensor


@dataclass(frozen=True)
class CodebookUse:
    """How well the codebook is used.

    Attributes:
        usage: share of the codes that occur at all.
        perplexity: exp of the entropy of their frequencies; the codebook's size if all are used alike.
    """

    usage: float
    perplexity: float


def codebook_use(indices: Tensor, size: int) -> CodebookUse:
    """Of any number of token indices (...) int64."""
    counts = torch.bincount(indices.flatten(), minlength=size).double()
    share = counts / counts.sum().clamp(min=1.0)
    entropy = -(share * share.clamp(min=1e-12).log()).sum()
    return CodebookUse(usage=float((counts > 0).double().mean()), perplexity=float(entropy.exp()))


class Codebook(nn.Module):
    """Nearest code by angle. In training, until it was drawn from the data, vectors pass through unquantised."""

    codes: Tensor
    ready: Tensor
    count: Tensor
    total: Tensor

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        codes = functional.normalize(torch.randn(config.codebook_size, config.code_dim), dim=1)
        if config.codebook == "gradient":
            self.codes = nn.Parameter(codes)
        else:
            self.register_buffer("codes", codes)
        self.register_buffer("ready", torch.tensor(False))
        self.register_buffer("count", torch.ones(config.codebook_size))
        self.register_buffer("total", codes.clone())
        self._pool: list[Tensor] = []

    def lookup(self, indices: Tensor) -> Tensor:
        """Code vectors (..., code_dim) of indices (...)."""
        return functional.normalize(self.codes, dim=-1)[indices]

    def nearest(self, vectors: Tensor) -> Tensor:
        """Indices (n,) of the codes nearest to unit vectors (n, code_dim)."""
        return (vectors @ functional.normalize(self.codes, dim=-1).T).argmax(dim=1)

    def forward(self, vectors: Tensor, quantise: bool = True) -> Quantised:
        """Quantise unit vectors (n, code_dim); in training, learn from them.

        Args:
            quantise: False during the warm-up: vectors pass unchanged and are remembered for drawing the codebook.
        """
        if self.training and not self.ready:
            self._remember(vectors.detach())
            if quantise:
                self._draw()
        indices = self.nearest(vectors.detach())
        zero = vectors.new_zeros(())
        if not quantise:
            return Quantised(vectors, indices, zero, zero)
        codes = self.lookup(indices)
        commitment = functional.mse_loss(vectors, codes.detach())
        codebook = functional.mse_loss(codes, vectors.detach()) if self.config.codebook == "gradient" else zero
        if self.training:
            self._learn(vectors.detach(), indices)
        straight = vectors + (codes - vectors).detach()
        return Quantised(straight, indices, commitment, codebook)

    @torch.no_grad()
    def _remember(self, vectors: Tensor) -> None:
        wanted = _POOL * self.config.codebook_size
        kept = vectors[torch.randperm(len(vectors), device=vectors.device)[:wanted]].float()
        self._pool.append(kept)
        while sum(len(part) for part in self._pool[1:]) >= wanted:
            del self._pool[0]

    @torch.no_grad()
    def _draw(self) -> None:
        """Make the codebook of the remembered vectors: a random choice, then a few steps of k-means by angle.

        Of several processes the first one's vectors decide.
        """
        data = torch.cat(self._pool)
        self._pool.clear()
        size = self.config.codebook_size
        chosen = torch.randperm(len(data), device=data.device)
        chosen = chosen.repeat(-(-size // len(chosen)))[:size]
        codes = data[chosen] + 1e-3 * torch.randn(size, data.shape[1], device=data.device)
        codes = functional.normalize(codes, dim=1)
        for _ in range(_KMEANS_STEPS):
            nearest = (data @ codes.T).argmax(dim=1)
            sums = torch.zeros_like(codes).index_add_(0, nearest, data)
            empty = torch.bincount(nearest, minlength=size) == 0
            codes = torch.where(empty[:, None], codes, functional.normalize(sums, dim=1))
        _as_the_first(codes)
        self.codes.copy_(codes)
        self.total.copy_(codes)
        self.count.fill_(1.0)
        self.ready.fill_(True)

    @torch.no_grad()
    def _learn(self, vectors: Tensor, indices: Tensor) -> None:
        """Update usage (as a multiple of a fair share) and, for ``ema``, the codes; then give dead codes new lives."""
        size, decay = self.config.codebook_size, self.config.ema_decay
        vectors = vectors.float()
        counts = torch.bincount(indices, minlength=size).float()
        sums = torch.zeros_like(self.total).index_add_(0, indices, vectors)
        _sum_over_processes(counts, sums)
        fair = counts.sum() / size
        self.count.mul_(decay).add_(counts / fair, alpha=1.0 - decay)
        if self.config.codebook == "ema":
            self.total.mul_(decay).add_(sums / fair, alpha=1.0 - decay)
            self.codes.copy_(functional.normalize(self.total, dim=1))
        dead = (self.count < self.config.dead_below).nonzero().squeeze(1)
        if len(dead):
            lives = vectors[torch.randint(len(vectors), (len(dead),), device=vectors.device)]
            _as_the_first(lives)
            self.codes[dead] = lives
            self.total[dead] = lives
            self.count[dead] = 1.0


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _sum_over_processes(*tensors: Tensor) -> None:
    """Replace each tensor, in place, by its sum over all processes."""
    if _together():
        for tensor in tensors:
            distributed.all_reduce(tensor)


def _as_the_first(tensor: Tensor) -> None:
    """Overwrite a tensor by that of the first process."""
    if _together():
        distributed.broadcast(tensor, 0)
