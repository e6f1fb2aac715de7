"""LeRobot's ACT, imported in its own environment (see peers.py) and shaped for two cameras of our robot."""

from __future__ import annotations

import torch

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
STATE, ACTION = "observation.state", "action"
WORDS = "observation.environment_state"
"""Where the instruction goes, as a vector: ACT itself knows no language."""


def make_act(side: int, words: int = 0, **settings: object) -> ACTPolicy:
    """ACT with random weights.

    Args:
        side: of the images [px].
        words: length of the vector that stands for the instruction; 0: none.
        settings: where its configuration differs from LeRobot's defaults.
    """
    inputs = {name: PolicyFeature(type=FeatureType.VISUAL, shape=(3, side, side)) for name in CAMERAS}
    inputs[STATE] = PolicyFeature(type=FeatureType.STATE, shape=(10,))
    if words:
        inputs[WORDS] = PolicyFeature(type=FeatureType.ENV, shape=(words,))
    outputs = {ACTION: PolicyFeature(type=FeatureType.ACTION, shape=(7,))}
    config = ACTConfig(
        pretrained_backbone_weights=None,
        device="cpu",
        input_features=inputs,
        output_features=outputs,
        **settings,  # type: ignore[arg-type]
    )
    return ACTPolicy(config)
