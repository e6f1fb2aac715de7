"""Every default of the controller, in one place.

The dataclasses nest one level; the node offers each scalar as the parameter ``<section>.<field>``. What belongs to
a robot (limits, pairs, distances) is in its ``robot.yaml`` instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any


class ConfigError(ValueError):
    """A configuration value makes no sense. The message names it and the value."""


def _positive(section: object, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        if not value > 0 or math.isnan(value):
            raise ConfigError(f"{type(section).__name__}.{name} must be positive, got {value}")


@dataclass(frozen=True)
class IntakeConfig:
    """Which chunks are accepted.

    Attributes:
        require_handshake: accept chunks only from the session granted at activation.
        action_space, chunk_dt: what a policy must state at activation; chunk_dt in [s].
        normalization_hash: hash a policy must state at activation; empty: any.
        max_horizon: largest number of poses.
        min_dt, max_dt: smallest and largest time between poses [s].
        quaternion_tolerance: largest deviation of a quaternion's norm from 1.
        gripper_tolerance: how far a gripper value may lie outside 0 ... 1.
        future_tolerance: how far a stamp may lie ahead of control time [s].
        max_position_jump, max_angle_jump: first pose (at the present time) to the arm [m], [rad].
        max_position_step, max_angle_step: between successive poses [m], [rad].
        max_reach: largest coordinate of a pose in base_link [m].
    """

    require_handshake: bool = True
    action_space: str = "tool_pose_base_link+gripper"
    chunk_dt: float = 0.1
    normalization_hash: str = ""
    max_horizon: int = 256
    min_dt: float = 0.005
    max_dt: float = 1.0
    quaternion_tolerance: float = 1e-3
    gripper_tolerance: float = 1e-3
    future_tolerance: float = 0.1
    max_position_jump: float = 0.25
    max_angle_jump: float = 1.0
    max_position_step: float = 0.5
    max_angle_step: float = 1.5
    max_reach: float = 2.0

    def __post_init__(self) -> None:
        _positive(self, "chunk_dt", "max_horizon", "min_dt", "max_dt", "quaternion_tolerance", "max_reach")
        _positive(self, "max_position_jump", "max_angle_jump", "max_position_step", "max_angle_step")


@dataclass(frozen=True)
class ReferenceConfig:
    """How chunks become a reference motion.

    Attributes:
        smoothing_frequency: motion in a chunk faster than this is smoothed away [Hz].
        min_join_time: shortest time in which a new chunk is joined to the motion under way [s].
        min_duration: a shorter rest of a chunk is stretched to this [s].
        position_tolerance, angle_tolerance: corners of a chunk that are too fast for the accelerations below are
            smoothed away by at most about this much [m], [rad]; larger ones are followed in more time.
        linear_acceleration, angular_acceleration: of the reference [m/s^2], [rad/s^2].
        brake_rate: how fast the path speed scale may fall [1/s]; 1 / brake_rate is the time to stop.
        resume_rate: how fast it may rise [1/s].
        rate_smoothing: time in which these rates set in [s].
        position_lag, angle_lag: the arm's lag at which the path stands still [m], [rad].
        free_lag: share of these that does not slow the path.
        max_overtime: a chunk slowed down is followed for this long past its own end [s].
    """

    smoothing_frequency: float = 3.0
    min_join_time: float = 0.15
    min_duration: float = 0.2
    position_tolerance: float = 0.010
    angle_tolerance: float = 0.05
    linear_acceleration: float = 1.5
    angular_acceleration: float = 6.0
    brake_rate: float = 4.0
    resume_rate: float = 2.0
    rate_smoothing: float = 0.1
    position_lag: float = 0.010
    angle_lag: float = 0.10
    free_lag: float = 0.3
    max_overtime: float = 1.5

    def __post_init__(self) -> None:
        _positive(self, *(item.name for item in fields(self) if item.name != "free_lag"))
        if not 0.0 <= self.free_lag < 1.0:
            raise ConfigError(f"ReferenceConfig.free_lag must lie in 0 ... 1, got {self.free_lag}")


@dataclass(frozen=True)
class QpConfig:
    """The program solved each cycle.

    Attributes:
        solver: ``osqp`` or ``daqp``.
        tracking_gain: feedback on the commanded tool pose [1/s].
        rotation_length: 1 rad of orientation error weighs as much as this many metres [m].
        damping: weight of joint velocities; singular_damping is added in singular configurations.
        smoothness: weight of changes of joint velocity from cycle to cycle.
        posture, posture_gain, posture_speed: weight, gain [1/s] and largest speed [rad/s] of the pull towards the
            rest configuration; rest: its name in robot.yaml.
        centering_speed, centering_share: speed wanted of a joint at a position limit towards the middle of its range
            [rad/s], falling to 0 over this outermost share of either half of the range; weighs as the posture does.
        manipulability, manipulability_threshold: weight of its gradient, and the value of sqrt(det(J J^T)) below which
            gradient and singular damping set in.
        slack: weight of the violation of collision rows.
        collision_rows: how many of the nearest contacts enter.
        approach_gain, approach_deceleration: largest approach speed at distance d above the safe one is
            approach_gain d [1/s] close by and a deceleration [m/s^2] further away.
        recovery_speed, joint_recovery_speed: largest demanded speed out of a violated distance [m/s] or
            joint limit [rad/s].
    """

    solver: str = "osqp"
    tracking_gain: float = 12.0
    rotation_length: float = 0.3
    damping: float = 1e-4
    singular_damping: float = 2e-2
    smoothness: float = 1e-4
    posture: float = 2e-4
    posture_gain: float = 1.0
    posture_speed: float = 0.3
    rest: str = "ready"
    centering_speed: float = 0.3
    centering_share: float = 0.3
    manipulability: float = 2e-3
    manipulability_threshold: float = 0.03
    slack: float = 1e3
    collision_rows: int = 16
    approach_gain: float = 8.0
    approach_deceleration: float = 1.5
    recovery_speed: float = 0.05
    joint_recovery_speed: float = 0.1

    def __post_init__(self) -> None:
        if self.solver not in ("osqp", "daqp"):
            raise ConfigError(f"QpConfig.solver must be 'osqp' or 'daqp', got '{self.solver}'")
        _positive(self, "tracking_gain", "rotation_length", "damping", "slack", "collision_rows", "approach_gain")
        _positive(self, "approach_deceleration", "recovery_speed", "joint_recovery_speed", "posture_speed")
        _positive(self, "manipulability_threshold", "centering_share")
        if self.centering_share > 1.0:
            raise ConfigError(f"QpConfig.centering_share must lie in 0 ... 1, got {self.centering_share}")


@dataclass(frozen=True)
class SafetyConfig:
    """When the controller stops.

    Attributes:
        joint_state_timeout: joint states older than this are stale [s].
        tracking_error: largest commanded minus measured joint position [rad].
        resync_on_jump: re-seed instead of stopping when the measured joints jump (simulators that are reset).
        joint_jump: a change of a measured joint beyond what its velocity limit allows [rad].
        seed_speed: the arm must be slower than this to be taken over [rad/s].
        seed_tolerance: on a reset, a commanded state this close to the measured one is kept [rad].
        max_qp_failures: cycles in a row with a rejected program or command before stopping.
        overrun_window, overrun_share: the share of cycles of the last window [s] that may be missed, before stopping.
        degrade_share, degrade_scale: above this share the path is followed at this part of its speed at most, until
            the share has halved.
        max_clock_step: control time that advances by more than this in one cycle has jumped [s].
    """

    joint_state_timeout: float = 0.25
    tracking_error: float = 0.15
    resync_on_jump: bool = False
    joint_jump: float = 0.03
    seed_speed: float = 0.1
    seed_tolerance: float = 0.05
    max_qp_failures: int = 10
    overrun_window: float = 2.0
    overrun_share: float = 0.5
    degrade_share: float = 0.1
    degrade_scale: float = 0.5
    max_clock_step: float = 2.0

    def __post_init__(self) -> None:
        _positive(self, *(item.name for item in fields(self) if item.name != "resync_on_jump"))


@dataclass(frozen=True)
class ControllerConfig:
    """Configuration of :class:`gr2_wbc.controller.Controller`.

    Attributes:
        period: time between cycles [s].
        hold_periods: a command holds its velocity for this many periods before its braking tail begins.
    """

    period: float = 0.005
    hold_periods: int = 4
    intake: IntakeConfig = field(default_factory=IntakeConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    qp: QpConfig = field(default_factory=QpConfig)
    safety: SafetyConfig = field(default_factory=SafetyConfig)

    def __post_init__(self) -> None:
        _positive(self, "period")
        if self.hold_periods < 2:
            raise ConfigError(f"ControllerConfig.hold_periods must be at least 2, got {self.hold_periods}")


def flatten(config: ControllerConfig) -> dict[str, bool | int | float | str]:
    """All scalars by ``field`` or ``section.field``."""
    flat: dict[str, bool | int | float | str] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if isinstance(value, bool | int | float | str):
            flat[item.name] = value
        else:
            flat.update({f"{item.name}.{inner.name}": getattr(value, inner.name) for inner in fields(value)})
    return flat


def override(config: ControllerConfig, values: Mapping[str, object]) -> ControllerConfig:
    """The configuration with some scalars replaced, by the names of :func:`flatten`.

    Raises:
        ConfigError: an unknown name, a value of another type, or one that makes no sense.
    """
    known = flatten(config)
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"unknown configuration entry '{name}'")
        old = known[name]
        if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not type(old):
            raise ConfigError(f"{name} must be of type {type(old).__name__}, got {value!r}")
        section, _, leaf = name.rpartition(".")
        sections.setdefault(section, {})[leaf] = value
    changes: dict[str, Any] = sections.pop("", {})
    changes |= {section: replace(getattr(config, section), **changed) for section, changed in sections.items()}
    return replace(config, **changes)
