"""Warms a policy up with observations of the real shape, and says how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from gr2_policy.policy import Observation, Policy, WarmsUp


def blank_observation(cameras: Iterable[str], height: int, width: int) -> Observation:
    """Black images and an arm in front of its table."""
    return Observation(
        stamp=0.0,
        instruction="",
        images={camera: np.zeros((height, width, 3), np.uint8) for camera in cameras},
        tool_position=np.array([0.4, 0.0, 0.3]),
        tool_orientation=np.array([1.0, 0.0, 0.0, 0.0]),
        gripper=0.0,
        joint_positions=np.zeros(7),
    )


def warm_up(
    policy: Policy,
    observation: Observation,
    imagine: bool,
    rate: float,
    info: Callable[[str], object],
    warning: Callable[[str], object],
) -> None:
    """Warm a policy up, if it is of that kind.

    Args:
        policy: on the thread that it will infer on.
        observation: of the real shape.
        imagine: whether it will have to imagine, too.
        rate: chunks per second that are wanted of it.
        info, warning: take a line each.
    """
    if not isinstance(policy, WarmsUp):
        return
    took = policy.warm_up(observation, imagine)
    imagination = f", {took.imagination:.3f} s to imagine an instant" if imagine else ""
    info(f"warmed up: {took.first:.3f} s for the first inference, {took.steady:.3f} s for later ones{imagination}")
    if took.steady * rate > 1.0:
        most = 1.0 / took.steady
        warning(f"an inference takes {took.steady:.3f} s: {most:.1f} chunks per second at most, not {rate:.1f}")
