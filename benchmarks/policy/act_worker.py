"""LeRobot's ACT behind a pipe. Run by its own environment's Python; see peers.py.

Each line of the input asks for one line of JSON: ``parameters`` or ``chunk``.
"""

from __future__ import annotations

import json
import os
import sys
import time

import torch

_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever the libraries print goes to the other stream

from lerobot_act import make_act  # noqa: E402 - beside this file


def main(side: int, threads: int) -> None:
    """Answer until the input ends."""
    torch.set_num_threads(threads)
    policy = make_act(side).eval()
    batch = {name: torch.rand(1, *feature.shape) for name, feature in policy.config.input_features.items()}
    with torch.inference_mode():
        for _ in range(3):
            policy.predict_action_chunk(dict(batch))
        for line in sys.stdin:
            if line.strip() == "parameters":
                answer = {"parameters": sum(parameter.numel() for parameter in policy.parameters())}
            else:
                begun, cpu = time.perf_counter(), time.thread_time()
                policy.predict_action_chunk(dict(batch))
                answer = {"wall": time.perf_counter() - begun, "cpu": time.thread_time() - cpu}
            print(json.dumps(answer), file=_answers, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
