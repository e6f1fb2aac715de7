"""The reference motion: which path is followed, and where on it the reference is.

A chunk becomes a :class:`gr2_wbc.path.Path` that begins with the motion under way: position, velocity and acceleration
are continuous, whatever the chunk says and however late it is. The path has its own time law, at rest at its end. On
top of it a share 0 ... 1 slows time itself down while the arm lags behind, so that the arm slows down along its path
instead of leaving it; the share's rate is continuous too. The path speed scale is the product of both.
"""

from __future__ import annotations

import math

import numpy as np

from gr2_wbc.chunk import Chunk
from gr2_wbc.config import ReferenceConfig
from gr2_wbc.path import MOST_SEGMENTS, Motion, Path, Poses, braking_length, poses_of
from gr2_wbc.robot import ToolLimits
from gr2_wbc.spline import prepare

__all__ = ["Motion", "Reference"]

_STANDING_SHARE = 4e-3  # of the path's speed; below, a share on its way to 0 is 0
_TABLE_RESERVE = 1.0  # [s] for which a time law is made beyond the time when its path is given up


class Reference:
    """Follows paths. Holds one :class:`Path` at a time, or none while standing still.

    Attributes:
        speed_limit: largest path speed scale 0 ... 1, for whoever wants the arm slower for a while.
    """

    def __init__(self, config: ReferenceConfig, limits: ToolLimits) -> None:
        prepare(MOST_SEGMENTS)
        self._config = config
        self._limits = limits
        self._path: Path | None = None
        self._chunk: Chunk | None = None
        self._rest = (np.zeros(3), np.eye(3))
        self._braking_length = braking_length(config)
        self._foresight = 0.25 * config.rate_smoothing
        self._time = 0.0
        self._abandoned = False
        self.speed_limit = 1.0
        self._begin()

    def _begin(self, lag: float = 0.0) -> None:
        """Be at the start of a path, at full speed."""
        self._path_clock = 0.0  # the path's own time, before it is mapped to path time
        self._path_time = 0.0
        self._share = 1.0
        self._share_rate = 0.0
        self._scale = 1.0
        self._scale_rate = 0.0
        self._lag = lag

    @property
    def active(self) -> bool:
        """Whether a path is being followed."""
        return self._path is not None

    @property
    def scale(self) -> float:
        """Present path speed scale, 0 ... 1; 1 while standing still."""
        return self._scale if self._path is not None else 1.0

    @property
    def chunk(self) -> Chunk | None:
        """The chunk being followed."""
        return self._chunk if self._path is not None else None

    @property
    def remaining(self) -> float:
        """Path time left [s]."""
        return max(self._path.total - self._path_time, 0.0) if self._path is not None else 0.0

    @property
    def braking(self) -> bool:
        """Whether the path is so near its end (or given up) that the motion along it is being brought to rest."""
        if self._path is None:
            return False
        return self._abandoned or self.remaining <= self._braking_length

    @property
    def abandoned(self) -> bool:
        """Whether the path was given up before its end."""
        return self._path is not None and self._abandoned

    @property
    def finished(self) -> bool:
        """Whether the path stands still for good."""
        if self._path is None:
            return True
        return self._path_clock >= self._path.duration or (self._abandoned and self._share == 0.0)

    def hold(self, now: float, position: np.ndarray, rotation: np.ndarray) -> None:
        """Stand still at a pose from control time ``now`` [s] on; drops the path."""
        self._path = self._chunk = None
        self._rest = (position.copy(), rotation.copy())
        self._time = now

    def abandon(self) -> None:
        """Give the path up: come to rest along it, and do not go on."""
        self._abandoned = True

    def splice(self, chunk: Chunk, arm: Motion) -> None:
        """Replace the path by one through a chunk (checked, not yet over), continuing the motion under way.

        Args:
            chunk: the new chunk.
            arm: the commanded motion of the tool. The path starts from it instead of the reference where the arm lags
                so much that the path is slowed, e.g. in front of an obstacle: the reference never runs ahead.
        """
        motion = arm
        if self._path is not None and self._lag <= self._config.free_lag:
            motion = self._path.motion(self._path_time, self._scale, self._scale_rate)
        self._chunk = chunk
        self._follow(poses_of(chunk, self._time, self._config, self._limits), motion)
        self._abandoned = False

    def advance(self, now: float, period: float, hold: float, position_lag: float, angle_lag: float) -> None:
        """Advance to control time ``now``.

        Args:
            now: control time [s], not before that of the last call.
            period: nominal time between calls [s].
            hold: after a gap longer than this the commands under way were already braking [s].
            position_lag, angle_lag: distance of the commanded tool pose to the reference [m], [rad].
        """
        elapsed, self._time = now - self._time, now
        path = self._path
        if path is None or elapsed <= 0.0:
            return
        config = self._config
        if elapsed > hold:
            # A late cycle: what was sent has begun to brake, and the path resumes from there.
            self._share *= max(0.0, 1.0 - (elapsed - hold) * config.brake_rate)
            self._share_rate = 0.0
            elapsed = hold
        assert self._chunk is not None
        if now > self._chunk.end + config.max_overtime:
            self._abandoned = True
        share, rate = self._next_share(max(position_lag / config.position_lag, angle_lag / config.angle_lag), elapsed)
        self._path_clock += 0.5 * (share + self._share) * elapsed
        self._share, self._share_rate = share, rate
        self._path_time, scale, scale_rate = path.at(self._path_clock)
        self._scale, self._scale_rate = share * scale, rate * scale + share * share * scale_rate
        if path.partial and path.length - self._path_time < 2.0 * self._braking_length and not self._abandoned:
            motion = path.motion(self._path_time, self._scale, self._scale_rate)
            self._follow(path.rest(self._path_time), motion, self._lag)

    def sample(self, ahead: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Reference position (3,) [m] and rotation (3, 3) now, and twist (6,) [m/s, rad/s] ``ahead`` seconds later."""
        if self._path is None:
            return *self._rest, np.zeros(6)
        return self._path.sample(self._path_time, self._scale, self._scale_rate, ahead)

    def gripper(self) -> float | None:
        """Gripper value of the last pose reached, 0 open ... 1 closed; None: leave it as it is."""
        return self._path.gripper(self._path_time) if self._path is not None else None

    def _follow(self, poses: Poses, motion: Motion, lag: float = 0.0) -> None:
        assert self._chunk is not None
        config = self._config
        longest = self._chunk.end + config.max_overtime - self._time + _TABLE_RESERVE
        self._path = Path(poses, self._chunk.dt, motion, config, self._limits, longest)
        self._begin(lag)

    def _next_share(self, lag: float, elapsed: float) -> tuple[float, float]:
        """Share of the path's speed, and its rate [1/s], after ``elapsed`` [s] at a relative lag.

        The rate is what still comes to rest at the wanted share without a jump of the rate. The lag is foreseen by the
        time constant of this: without that, the lag and the share that answers it would swing.
        """
        config, share = self._config, self._share
        foreseen = lag + (lag - self._lag) * min(self._foresight / elapsed, 5.0)
        self._lag = lag
        if share == 1.0 and foreseen <= config.free_lag and self.speed_limit >= 1.0 and not self._abandoned:
            return 1.0, 0.0
        wanted = 0.0
        if not self._abandoned:
            wanted = min(max(1.0 - (foreseen - config.free_lag) / (1.0 - config.free_lag), 0.0), self.speed_limit)
        rate = self._approach(wanted - share)
        most = 2.0 * config.brake_rate / config.rate_smoothing * elapsed
        rate = min(max(rate, self._share_rate - most), self._share_rate + most)
        after = share + 0.5 * (rate + self._share_rate) * elapsed
        if after <= _STANDING_SHARE and wanted == 0.0:
            return 0.0, 0.0
        if not 0.0 < after < 1.0:
            return min(max(after, 0.0), 1.0), 0.0
        return after, rate

    def _approach(self, way: float) -> float:
        """Rate [1/s] towards a share that is still this far away: as fast as allowed, then slower and slower."""
        config, time = self._config, self._foresight
        bend = config.brake_rate / config.rate_smoothing  # [1/s^2]
        far, knee = math.fabs(way), bend * time * time
        rate = far / time if far <= knee else math.sqrt(bend * (2.0 * far - knee))
        return max(-rate, -config.brake_rate) if way < 0.0 else min(rate, config.resume_rate)
