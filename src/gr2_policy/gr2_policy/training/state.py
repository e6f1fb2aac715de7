"""The state of a run: weights, averaged weights, the optimiser's moments, random numbers, step. Safetensors and JSON.

``state.json`` is renamed into place last and names the file of tensors: a crash while saving leaves the state before.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

STATE = "state.json"


class StateError(ValueError):
    """The state of a run cannot be taken up. The message names the file."""


@dataclass
class RunState:
    """Where a run is.

    Attributes:
        step: optimiser steps done.
        tensors: weights under ``model.``, averages under ``ema.``, the optimiser's under ``optimiser.``.
        fingerprint: of all that must be the same for the run to go on.
        figures: anything the loop wants back.
    """

    step: int
    tensors: dict[str, Tensor]
    fingerprint: str
    figures: dict[str, Any]


def save_state(folder: Path, state: RunState) -> None:
    """Write a state; the one before is removed once this one is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"state-{state.step:08d}.safetensors"
    aside = folder / f".{name}.{os.getpid()}"
    try:
        save_file({key: value.detach().cpu().contiguous() for key, value in state.tensors.items()}, aside)
        aside.replace(folder / name)
    finally:
        aside.unlink(missing_ok=True)
    body = {"step": state.step, "file": name, "fingerprint": state.fingerprint, "figures": state.figures}
    new = folder / f".{STATE}.{os.getpid()}"
    new.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    new.replace(folder / STATE)
    for old in folder.glob("state-*.safetensors"):
        if old.name != name:
            old.unlink()


def load_state(folder: Path, fingerprint: str) -> RunState | None:
    """The state of a run in a folder; None if none was begun.

    Raises:
        StateError: it is damaged, or of a run with other settings.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        tensors = load_file(folder / body["file"])
        state = RunState(int(body["step"]), tensors, str(body["fingerprint"]), dict(body["figures"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise StateError(f"{path} cannot be taken up: {error}") from error
    if state.fingerprint != fingerprint:
        raise StateError(
            f"{folder} holds a run with other settings, model or data; choose another folder, or the same settings"
        )
    return state


def fingerprint(*parts: Any) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def pack_optimiser(optimiser: torch.optim.Optimizer, names: dict[int, str]) -> dict[str, Tensor]:
    """The moments of an optimiser by the names of its parameters (``names``: id -> name)."""
    packed = {}
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            for key, value in optimiser.state.get(parameter, {}).items():
                packed[f"optimiser.{key}.{names[id(parameter)]}"] = torch.as_tensor(value)
    return packed


def unpack_optimiser(optimiser: torch.optim.Optimizer, names: dict[int, str], tensors: dict[str, Tensor]) -> None:
    """The inverse of :func:`pack_optimiser`."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, key, parameter = name.split(".", 2)
            by_name.setdefault(parameter, {})[key] = value
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            state = by_name.get(names[id(parameter)])
            if state is None:
                continue
            optimiser.state[parameter] = {
                key: value.clone() if key == "step" else value.to(parameter.device, copy=True)
                for key, value in state.items()
            }
