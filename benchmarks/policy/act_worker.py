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

# A torchvision that was built for another torch lacks its compiled detection operators. ACT needs none of them, only
# the ResNet in Python, so the descriptions of these operators are left out while it is imported.
_describe = torch.library.register_fake


def _without_torchvision(name, *args, **kwargs):  # type: ignore[no-untyped-def]
    if isinstance(name, str) and name.startswith("torchvision::"):
        return lambda function: function
    return _describe(name, *args, **kwargs)


torch.library.register_fake = _without_torchvision  # type: ignore[assignment]

from lerobot.configs.types import FeatureType, PolicyFeature  # noqa: E402
from lerobot.policies.act.configuration_act import ACTConfig  # noqa: E402
from lerobot.policies.act.modeling_act import ACTPolicy  # noqa: E402

CAMERAS = ("observation.images.head", "observation.images.wrist")


def main(side: int, threads: int) -> None:
    """Answer until the input ends."""
    torch.set_num_threads(threads)
    inputs = {name: PolicyFeature(type=FeatureType.VISUAL, shape=(3, side, side)) for name in CAMERAS}
    inputs["observation.state"] = PolicyFeature(type=FeatureType.STATE, shape=(10,))
    outputs = {"action": PolicyFeature(type=FeatureType.ACTION, shape=(7,))}
    config = ACTConfig(pretrained_backbone_weights=None, device="cpu", input_features=inputs, output_features=outputs)
    policy = ACTPolicy(config).eval()
    batch = {name: torch.rand(1, *feature.shape) for name, feature in inputs.items()}
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
