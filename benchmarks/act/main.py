"""Train LeRobot's ACT on our demonstrations, to be set beside GR-2 at equal data and compute.

It runs in an environment of its own (made on first use), on the very numbers that gr2's fine-tuning learns from: both
cameras, tool pose and gripper, displacements in the tool frame. ACT knows no language, so the instruction is given to
it as a sentence embedding. What it costs is counted in processor seconds, as is said at the end.

examples:
  ./gr2 bench act --data data/demos --out runs/act --minutes 60
  ./gr2 eval --policy served --option command="$(./gr2 bench act --serve runs/act)" --suite simple
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.act.export import ABOUT, export
from benchmarks.policy.peers import PeerFailed, environment

_HERE = Path(__file__).resolve().parent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 bench act``."""
    parser.add_argument("--data", type=Path, help="dataset of demonstrations")
    parser.add_argument("--out", type=Path, help="folder of the run; one that was begun goes on")
    parser.add_argument("--serve", type=Path, metavar="RUN", help="print the command that serves a trained ACT")
    parser.add_argument("--tasks", default="", help="names with commas between (default: all)")
    parser.add_argument("--episodes-per-task", type=int, default=0, help="use so many of each task (default: all)")
    parser.add_argument("--steps", type=int, default=1_000_000, help="of the optimiser, at most")
    parser.add_argument("--minutes", type=float, default=60.0, help="time of this call (default: %(default)s)")
    parser.add_argument(
        "--cpu-minutes",
        type=float,
        default=float("inf"),
        help="processor time of the run, all calls (default: no bound)",
    )
    parser.add_argument("--batch", type=int, default=16, help="samples of a step (default: %(default)s)")
    parser.add_argument("--side", type=int, default=128, help="of the images [px] (default: %(default)s)")
    parser.add_argument("--horizon", type=int, default=16, help="poses of a chunk (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 done, 1 the training failed, 2 a wrong call."""
    root = _HERE.parents[1]
    try:
        if args.serve:
            print(f"{environment(root)} {_HERE / 'serve.py'} {args.serve.resolve()}")
            return 0
        if not args.data or not args.out:
            print("gr2 bench act: --data and --out are needed (or --serve RUN)", file=sys.stderr)
            return 2
        python, arrays = environment(root), args.out / "arrays"
        if not (arrays / ABOUT).exists():
            tasks = tuple(args.tasks.split(",")) if args.tasks else ()
            export(args.data, arrays, args.side, args.horizon, tasks, args.episodes_per_task, _progress)
            print(file=sys.stderr)
    except (PeerFailed, ValueError, OSError) as error:
        print(f"gr2 bench act: {error}", file=sys.stderr)
        return 2
    words = ["--steps", args.steps, "--minutes", args.minutes, "--cpu-minutes", args.cpu_minutes]
    words += ["--batch", args.batch]
    words += ["--threads", args.threads, "--seed", args.seed]
    command = [python, _HERE / "train.py", arrays, args.out, *words]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    code = subprocess.run([str(word) for word in command], env=kept | {"HF_HUB_OFFLINE": "1"}).returncode
    if code:
        return 1
    shutil.copy(arrays / "words.npy", args.out / "words.npy")
    print(f'to evaluate: --policy served --option command="{python} {_HERE / "serve.py"} {args.out.resolve()}"')
    return 0


def _progress(done: int, total: int) -> None:
    print(f"\rarrays of {done} of {total} demonstrations ", end="", file=sys.stderr, flush=True)
