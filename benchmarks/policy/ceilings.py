"""What this machine can do at best, measured: memory read and matrix products, with the threads that are set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Ceilings:
    """The roofline of a device.

    Attributes:
        bandwidth: reading memory [byte/s].
        flops: of a large matrix product in the precision of the trunk [1/s].
    """

    bandwidth: float
    flops: float


def clock(device: torch.device) -> float:
    """Time [s], with the device's work done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def alone(device: torch.device) -> bool:
    """Whether one thread does all the work, so that its own time is what the work takes, whatever else runs."""
    return device.type == "cpu" and torch.get_num_threads() == 1


def best(work: Callable[[], object], device: torch.device, repeats: int = 7) -> float:
    """Shortest of several times [s]: of this thread where it works alone, else on the wall."""

    def now() -> float:
        return time.thread_time() if alone(device) else clock(device)

    work()
    took = []
    for _ in range(repeats):
        begun = now()
        work()
        took.append(now() - begun)
    return min(took)


def measure_ceilings(device: torch.device, dtype: torch.dtype, quick: bool = False) -> Ceilings:
    """Read an array that fits no cache (as STREAM does), and multiply two large matrices."""
    numbers = (1 << 24) if quick else (1 << 26) if device.type == "cpu" else (1 << 30)
    array = torch.ones(numbers, device=device)
    bandwidth = 4.0 * numbers / best(array.sum, device)
    side = 512 if quick else 2048 if device.type == "cpu" else 8192
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return Ceilings(bandwidth, 2.0 * side**3 / best(lambda: one @ other, device))
