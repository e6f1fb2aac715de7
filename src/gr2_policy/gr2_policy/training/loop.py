"""The training loop that all three stages share.

A stage says what a batch is and what its loss is; the loop does the rest: the optimiser and its schedule, mixed
precision, several processes (accelerate), averaged weights, guards, states to go on from, figures, pictures.

The data's order and every draw are functions of the seed and the step, so a run that was interrupted and goes on takes
the same steps as one that was not, and several processes take those of a single one.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gr2_policy.training.curves import Curves, Sums
from gr2_policy.training.settings import Settings
from gr2_policy.training.stage import Part, Stage
from gr2_policy.training.state import (
    RunState,
    StateError,
    fingerprint,
    load_state,
    pack_optimiser,
    save_state,
    unpack_optimiser,
)

_AHEAD = 2  # batches made in advance
_USUAL_OVER = 200  # steps whose gradient norms say what is usual


class TrainingDiverged(RuntimeError):
    """A loss or gradient is not finite. The message names the step and its samples."""


@dataclass(frozen=True)
class Progress:
    """A word from the loop.

    Attributes:
        step, steps: done, and in all.
        figures: means since the last word.
        rate: samples a second.
        waited: share of the time that was spent waiting for data.
        left: time to the end [s].
    """

    step: int
    steps: int
    figures: dict[str, float]
    rate: float
    waited: float
    left: float


@dataclass(frozen=True)
class Outcome:
    """How a call of :func:`train` ended: steps done in all, whether that is the end, the last figures."""

    step: int
    finished: bool
    figures: dict[str, float]


def train(
    stage: Stage,
    settings: Settings,
    folder: Path,
    report: Callable[[Progress], None] | None = None,
    minutes: float = math.inf,
    cpu: bool = False,
    reschedule: bool = False,
) -> Outcome:
    """Train until the schedule's end, a signal, or the end of the time.

    Args:
        stage: what is learned.
        settings: of the run.
        folder: of the run; one that was begun there goes on.
        report: called with figures.
        minutes: time after which the state is saved and the loop left.
        cpu: use the processor even where there is a GPU.
        reschedule: a run that goes on may have other steps or learning rates than before, longer or shorter.

    Raises:
        StateError: the folder holds another run, or one with another schedule that may not change.
        TrainingDiverged: a loss or gradient is not finite; the last state stays as it was.
    """
    return _Loop(stage, settings, folder, report or (lambda _: None), minutes, cpu, reschedule).run()


class _Loop:
    def __init__(
        self,
        stage: Stage,
        settings: Settings,
        folder: Path,
        report: Callable[[Progress], None],
        minutes: float,
        cpu: bool,
        reschedule: bool,
    ) -> None:
        self.stage, self.settings, self.folder, self.report = stage, settings, folder, report
        self.deadline = time.monotonic() + 60.0 * minutes
        self.accelerator = Accelerator(mixed_precision=settings.precision, cpu=cpu)
        self.main = self.accelerator.is_main_process
        module = stage.module.train()
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(
            _groups(module, settings.weight_decay), settings.schedule.rate, settings.betas, fused=_fused(trained)
        )
        self.names = {id(parameter): name for name, parameter in module.named_parameters()}
        self.step = 0
        self.average = {
            name: value.detach().clone().float() for name, value in module.named_parameters() if value.requires_grad
        }
        self.usual: deque[float] = deque(maxlen=_USUAL_OVER)
        self.skipped = 0
        kept = {
            k: v for k, v in asdict(settings).items() if not k.endswith("_every") and k not in ("compile", "schedule")
        }
        self.fingerprint = fingerprint(stage.name, stage.identity, kept)
        self._take_up(module, optimiser, reschedule)
        self.plain = module
        wrapped = torch.compile(module) if settings.compile else module
        self.module, self.optimiser = self.accelerator.prepare(wrapped, optimiser)
        self.stopping = False

    def run(self) -> Outcome:
        """See :func:`train`."""
        settings, steps = self.settings, self.settings.schedule.steps
        figures: dict[str, float] = {}
        with _Signals(self), _Loader(self) as loader, Curves(self.folder, self.main) as curves:
            mark, since, sums = time.monotonic(), self.step, Sums()
            while self.step < steps and not self._must_stop():
                self._one_step(loader, sums)
                self.step += 1
                if self.step % settings.log_every == 0 or self.step == steps:
                    now = time.monotonic()
                    figures = self._gathered(sums)
                    rate = settings.batch * (self.step - since) / max(now - mark, 1e-9)
                    left = (steps - self.step) * settings.batch / max(rate, 1e-9)
                    waited = loader.waited / max(now - mark, 1e-9)
                    curves.write(self.step, figures | {"samples_per_second": rate, "waited_for_data": waited})
                    if self.main:
                        self.report(Progress(self.step, steps, figures, rate, waited, left))
                    mark, since, loader.waited, sums = now, self.step, 0.0, Sums()
                if self.step % settings.sample_every == 0 or self.step == steps:
                    figures |= self._show(curves)
                if self.step % settings.save_every == 0 and self.step < steps:
                    self._save(figures)
        self._save(figures)
        if self.step >= steps and self.main:
            with self._averaged():
                self.stage.export(self.plain, self.folder, {"steps": self.step, "figures": figures})
        self.accelerator.wait_for_everyone()
        return Outcome(self.step, self.step >= steps, figures)

    def _one_step(self, loader: _Loader, sums: Sums) -> None:
        settings, accelerator = self.settings, self.accelerator
        for group in self.optimiser.param_groups:
            group["lr"] = settings.schedule.rate * settings.schedule.factor(self.step)
        self.optimiser.zero_grad(set_to_none=True)
        for index in range(settings.accumulate):
            part = loader.next()
            torch.manual_seed(_draw(settings.seed, self.step, index, accelerator.process_index))
            last = index == settings.accumulate - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(self.module):
                with accelerator.autocast():
                    loss, parts = self.module(part.data, self.step)
                if not torch.isfinite(loss.detach()):
                    text = f"step {self.step}: the loss is {float(loss.detach())}; samples {', '.join(part.names)}"
                    raise TrainingDiverged(text)
                accelerator.backward(loss / settings.accumulate)
            sums.add({"loss": loss.detach(), **parts})
        norm = float(accelerator.clip_grad_norm_(self.module.parameters(), settings.clip))
        if not math.isfinite(norm):
            raise TrainingDiverged(f"step {self.step}: the gradient is {norm}; samples {', '.join(part.names)}")
        sums.add({"gradient_norm": torch.tensor(norm)})
        usual = float(np.median(self.usual)) if len(self.usual) == _USUAL_OVER else math.inf
        self.usual.append(norm)
        if norm > settings.keep_spikes * usual:
            self.skipped += 1
            return
        self.optimiser.step()
        self._average()

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.settings.ema, (1.0 + self.step) / (10.0 + self.step))
        for name, value in self.plain.named_parameters():
            if name in self.average:
                self.average[name].lerp_(value.detach().float(), 1.0 - decay)

    def _averaged(self) -> _Swapped:
        return _Swapped(self.plain, self.average if self.settings.ema else {})

    def _must_stop(self) -> bool:
        stop = self.stopping or time.monotonic() > self.deadline
        if self.accelerator.num_processes == 1:
            return stop
        flag = torch.tensor([float(stop)], device=self.accelerator.device)
        return bool(self.accelerator.gather(flag).max() > 0)

    def _gathered(self, sums: Sums) -> dict[str, float]:
        means = sums.means()
        if self.accelerator.num_processes == 1 or not means:
            return means
        values = torch.tensor(list(means.values()), device=self.accelerator.device)
        return dict(zip(means, self.accelerator.reduce(values, "mean").tolist(), strict=True))

    def _show(self, curves: Curves) -> dict[str, float]:
        """Pictures, and figures on what is held out, of the averaged weights."""
        if not self.main:
            return {}
        with self._averaged():
            self.plain.eval()
            curves.show(self.step, self.stage.pictures(self.plain, self.accelerator.device))
            measured = self.stage.held_out(self.accelerator.device)
            self.plain.train()
        figures = {f"held_out/{name}": value for name, value in measured.items()}
        curves.write(self.step, figures)
        return figures

    def _save(self, figures: dict[str, float]) -> None:
        if self.main:
            tensors = {f"model.{name}": value for name, value in self.plain.state_dict().items()}
            tensors |= {f"ema.{name}": value for name, value in self.average.items()}
            inner = getattr(self.optimiser, "optimizer", self.optimiser)
            tensors |= pack_optimiser(inner, self.names)
            schedule = asdict(self.settings.schedule)
            kept = {"usual": list(self.usual), "skipped": self.skipped, "figures": figures, "schedule": schedule}
            save_state(self.folder, RunState(self.step, tensors, self.fingerprint, kept))
        self.accelerator.wait_for_everyone()

    def _take_up(self, module: nn.Module, optimiser: torch.optim.Optimizer, reschedule: bool) -> None:
        state = load_state(self.folder, self.fingerprint)
        if state is None:
            return
        before, now = state.figures["schedule"], asdict(self.settings.schedule)
        if before != now and not reschedule:
            differ = ", ".join(f"{name} {before[name]}, now {now[name]}" for name in now if before[name] != now[name])
            raise StateError(
                f"{self.folder} holds a run with another schedule ({differ}); --reschedule goes on with it"
            )
        self.step = state.step
        module.load_state_dict(_under("model.", state.tensors))
        self.average = {name: value.clone() for name, value in _under("ema.", state.tensors).items()}
        unpack_optimiser(optimiser, self.names, state.tensors)
        self.usual.extend(state.figures["usual"])
        self.skipped = int(state.figures["skipped"])


class _Loader:
    """Makes batches in a thread, a little ahead of the loop."""

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._coming: deque[Future[Part]] = deque()
        self._next = loop.step * loop.settings.accumulate
        self.waited = 0.0

    def __enter__(self) -> _Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def next(self) -> Part:
        """The next part, in order."""
        while len(self._coming) < _AHEAD:
            self._coming.append(self._pool.submit(self._make, self._next))
            self._next += 1
        began = time.monotonic()
        part = self._coming.popleft().result()
        self.waited += time.monotonic() - began
        return part

    def _make(self, number: int) -> Part:
        """The part of this number of this process: a slice of its step's batch, so that processes share one order."""
        loop, settings = self._loop, self._loop.settings
        step, index = divmod(number, settings.accumulate)
        processes = loop.accelerator.num_processes
        share = settings.batch // (settings.accumulate * processes)
        first = (index * processes + loop.accelerator.process_index) * share
        return loop.stage.batch(step, range(first, first + share), loop.accelerator.device)


class _Signals:
    """SIGTERM and SIGINT end the loop after the step at hand; a second SIGINT ends the program."""

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():  # signals come to no other
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._loop.stopping and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._loop.stopping = True


class _Swapped:
    """The averaged weights in the module, for as long as it lasts."""

    def __init__(self, module: nn.Module, average: dict[str, Tensor]) -> None:
        self._module, self._average = module, average
        self._own: dict[str, Tensor] = {}

    @torch.no_grad()
    def __enter__(self) -> None:
        for name, value in self._module.named_parameters():
            if name in self._average:
                self._own[name] = value.detach().clone()
                value.copy_(self._average[name])

    @torch.no_grad()
    def __exit__(self, *_: object) -> None:
        for name, value in self._module.named_parameters():
            if name in self._own:
                value.copy_(self._own[name])


def _groups(module: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Matrices decay, vectors do not."""
    trained = [value for value in module.parameters() if value.requires_grad]
    return [
        {"params": [value for value in trained if value.ndim >= 2], "weight_decay": decay},
        {"params": [value for value in trained if value.ndim < 2], "weight_decay": 0.0},
    ]


def _fused(parameters: list[nn.Parameter]) -> bool:
    return all(parameter.is_floating_point() for parameter in parameters) and os.environ.get("GR2_FUSED", "1") == "1"


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _draw(*numbers: int) -> int:
    """A seed for torch out of some numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
