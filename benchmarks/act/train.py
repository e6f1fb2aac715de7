"""Train LeRobot's ACT on exported demonstrations. Run by the peer's own Python; see main.py.

Batches are drawn by step and seed. Weights are kept as safetensors, aside and renamed; a run goes on from them (the
optimiser's moments begin anew then).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE.parent / "policy"))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from lerobot_act import ACTION, CAMERAS, STATE, WORDS, make_act  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SETTINGS = {"n_action_steps": 1, "optimizer_lr": 1e-4, "optimizer_lr_backbone": 1e-4}
"""Where it differs from LeRobot's defaults: the backbone begins at random, so it learns as fast as the rest."""


def pixels(images: np.ndarray) -> torch.Tensor:
    """(B, h, w, 3) uint8 to what ResNet expects."""
    scaled = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255.0
    return (scaled - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--cpu-minutes", type=float, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    about = json.loads((args.data / "about.json").read_text())
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in args.data.glob("*.npy")}
    horizon = int(about["horizon"])
    policy = make_act(about["side"], arrays["words"].shape[1], chunk_size=horizon, **SETTINGS)
    step, trained = 0, 0.0
    args.out.mkdir(parents=True, exist_ok=True)
    if (args.out / "act.json").exists():
        before = json.loads((args.out / "act.json").read_text())
        policy.load_state_dict(load_file(args.out / before["file"]))
        step, trained = int(before["step"]), float(before["cpu_seconds"])
    optimiser = torch.optim.AdamW(policy.get_optim_params(), lr=SETTINGS["optimizer_lr"], weight_decay=1e-4)
    policy.train()
    begun, cpu, total = time.monotonic(), time.process_time(), 0.0
    told = time.monotonic()
    first = step

    def done() -> bool:
        spent = trained + time.process_time() - cpu
        return step >= args.steps or time.monotonic() - begun > 60.0 * args.minutes or spent > 60.0 * args.cpu_minutes

    while not done():
        rows = np.random.default_rng((args.seed, step)).integers(about["frames"], size=args.batch)
        batch = {name: pixels(arrays[view][rows]) for name, view in zip(CAMERAS, ("head", "wrist"), strict=True)}
        batch[STATE] = torch.from_numpy(arrays["state"][rows])
        batch[WORDS] = torch.from_numpy(arrays["words"][arrays["asked"][rows]])
        batch[ACTION] = torch.from_numpy(arrays["action"][rows])
        batch["action_is_pad"] = torch.zeros(args.batch, horizon, dtype=torch.bool)
        loss, parts = policy.forward(batch)
        if not torch.isfinite(loss):
            print(f"step {step}: the loss is {loss.item()}", file=sys.stderr)
            return 1
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 10.0)
        optimiser.step()
        step += 1
        total += float(parts["l1_loss"])
        if time.monotonic() - told > 10.0:
            rate = args.batch * (step - first) / (time.monotonic() - begun)
            print(
                f"ACT: step {step} of {args.steps}, l1 {total / (step - first):.4f}, {rate:.1f} samples/s", flush=True
            )
            told = time.monotonic()
    seconds = trained + time.process_time() - cpu
    save(args.out, policy, {"step": step, "batch": args.batch, "cpu_seconds": seconds, "data": about})
    print(f"ACT: step {step} of {args.steps} in {args.out}, {seconds:.0f} s of processor time in all")
    return 0


def save(out: Path, policy: torch.nn.Module, about: dict) -> None:
    """Weights first, under a name of their step; then what names them."""
    name = f"act-{about['step']:08d}.safetensors"
    aside = out / f".{name}"
    save_file({key: value.contiguous().clone() for key, value in policy.state_dict().items()}, aside)
    os.replace(aside, out / name)
    (out / ".act.json").write_text(json.dumps(about | {"file": name}, indent=1) + "\n")
    os.replace(out / ".act.json", out / "act.json")
    for old in out.glob("act-*.safetensors"):
        if old.name != name:
            old.unlink()


if __name__ == "__main__":
    sys.exit(main())
