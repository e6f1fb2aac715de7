"""Warms a policy up with observations of the real shape, and says how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from gr2_policy.policy import Observation, Policy, WarmsUp, WarmUp


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
    rate: float,
    imagination_rate: float,
    info: Callable[[str], object],
    warning: Callable[[str], object],
) -> WarmUp | None:
    """Warm a policy up, if it is of that kind.

    Args:
        policy: on the thread that it will infer on.
        observation: of the real shape.
        rate: chunks per second that are wanted of it.
        imagination_rate: imagined instants per second that are wanted of it, too; 0: none.
        info, warning: take a line each.

    Returns:
        how long it took; None if it is not of that kind.
    """
    if not isinstance(policy, WarmsUp):
        return None
    took = policy.warm_up(observation, imagination_rate > 0.0)
    imagination = f", {took.imagination:.3f} s to imagine an instant" if imagination_rate > 0.0 else ""
    info(f"warmed up: {took.first:.3f} s for the first inference, {took.steady:.3f} s for later ones{imagination}")
    if took.steady * rate > 1.0:
        most = 1.0 / took.steady
        warning(f"an inference takes {took.steady:.3f} s: {most:.1f} chunks per second at most, not {rate:.1f}")
    return took


def no_time_to_imagine(took: WarmUp | None, rate: float, imagination_rate: float) -> str:
    """Why a policy should rather not imagine; empty if it may.

    What is imagined too late is worth little, and what it costs is paid by whatever else runs on this processor: the
    simulator, the recorder.

    Args:
        took: when it was warmed up.
        rate: chunks per second.
        imagination_rate: imagined instants per second.
    """
    if took is None or took.processor is None or imagination_rate <= 0.0:
        return ""
    inference, instant = took.processor
    left = max(1.0 - inference * rate, 0.0)
    if instant * imagination_rate <= left:
        return ""
    fitting = float(f"{0.8 * left / instant:.1g}")
    advice = f"imagination_rate {fitting:g} would fit" if fitting >= 0.01 else "a GPU has time for both"
    return (
        f"to imagine an instant takes {instant:.2f} s of the processor, and {rate:.1f} chunks per second leave"
        f" {left:.2f} s of each; {advice}"
    )
