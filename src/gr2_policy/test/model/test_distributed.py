"""Two processes that train one tokenizer together keep one codebook, learned from the data of both."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import distributed, multiprocessing
from torch.nn import functional

from gr2_policy.model.codebook import Codebook, codebook_use
from gr2_policy.model.config import load_size

_STEPS = 12


def _vectors(rank: int, step: int) -> torch.Tensor:
    """Each process sees its own half of the sphere."""
    vectors = torch.randn(64, 8, generator=torch.Generator().manual_seed(100 * rank + step))
    vectors[:, 0] = vectors[:, 0].abs() * (1 - 2 * rank)
    return functional.normalize(vectors, dim=1)


def _train(rank: int, folder: str) -> None:
    store = distributed.FileStore(f"{folder}/store", 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.set_num_threads(1)
    torch.manual_seed(rank)  # their own chances, which must not matter
    for kind in ("ema", "gradient"):
        config = dataclasses.replace(load_size("nano").tokenizer, codebook=kind, ema_decay=0.7, dead_below=0.2)
        codebook = Codebook(config).train()
        for step in range(_STEPS):
            codebook(_vectors(rank, step), quantise=step >= 2)
        save_file(codebook.state_dict(), f"{folder}/{kind}{rank}.safetensors")
    distributed.destroy_process_group()


def test_processes_keep_one_codebook(tmp_path: Path) -> None:
    multiprocessing.spawn(_train, (str(tmp_path),), nprocs=2)
    for kind in ("ema", "gradient"):
        one, other = (load_file(tmp_path / f"{kind}{rank}.safetensors") for rank in (0, 1))
        assert set(one) == set(other) == {"codes", "ready", "count", "total"}
        for name in one:
            assert torch.equal(one[name], other[name]), (kind, name)
        if kind == "gradient":
            continue
        # drawn from the first process's half only, it has learned the second's
        usage = codebook_use((_vectors(1, 99) @ one["codes"].T).argmax(dim=1), 64)
        assert (one["codes"][:, 0] < 0.0).sum() > 10
        assert usage.perplexity > 8.0
