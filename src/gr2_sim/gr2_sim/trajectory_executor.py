"""What follows joint trajectories: the executor behind /joint_commands, in the manner of ros2_control's JTC.

Each trajectory replaces the one before and is joined to it: from the desired state of the moment to the first
point that is not yet past, then on from point to point, by cubic Hermite interpolation of positions and
velocities; past the last point it is held. So a trajectory whose last point is at rest brings the robot to rest
by itself when no other follows (`interpolate_from_desired_state`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NEAREST, KICK, HAIR = 0.005, 0.1, 0.002
"""A point that is due sooner [s], no further off than a hair [rad], and could only be reached with a kick of this size
[rad/s], is passed over if others follow: a trajectory that comes late may differ by a fraction of a milliradian from
the one before, and that made up for within an instant would be any speed at all."""
LARGEST_WAIT = 1.0
"""How far ahead [s] a trajectory may begin: until then the arm would go on as it moves now."""


class TrajectoryRejected(ValueError):
    """A trajectory cannot be followed; the one before goes on. The message names what is wrong."""


@dataclass(frozen=True)
class _Nodes:
    """Interpolation nodes: m times [s], positions and velocities (m, n) [rad, rad/s]."""

    times: list[float]
    positions: np.ndarray
    velocities: np.ndarray


class TrajectoryExecutor:
    """Follows joint trajectories.

    Args:
        joint_names: the n joints, in the order of all arrays below.
        positions: (n,) where they are at first [rad]; held until a trajectory comes.
    """

    def __init__(self, joint_names: Sequence[str], positions: np.ndarray) -> None:
        self.joint_names = tuple(joint_names)
        self.accepted = 0
        self.rejected = 0
        self.hold(positions)

    def hold(self, positions: np.ndarray) -> None:
        """Forget any trajectory and stay at these positions (n,) [rad]."""
        still = np.array(positions, dtype=float)
        if still.shape != (len(self.joint_names),):
            raise ValueError(f"expected {len(self.joint_names)} joint positions, got shape {still.shape}")
        self._nodes = _Nodes([float("-inf")], still[None], np.zeros((1, len(still))))

    def accept(
        self,
        now: float,
        stamp: float,
        joint_names: Sequence[str],
        times: np.ndarray,
        positions: np.ndarray,
        velocities: np.ndarray,
    ) -> None:
        """Take over a trajectory.

        Args:
            now: present time [s].
            stamp: time [s] that `times` count from; 0 means now.
            joint_names: the n joints, in any order.
            times: (m,) [s] from the stamp, strictly increasing.
            positions: (m, n) [rad].
            velocities: (m, n) [rad/s].

        Raises:
            TrajectoryRejected: it cannot be followed; the one before goes on.
        """
        try:
            nodes = self._checked(now, stamp, joint_names, times, positions, velocities)
        except TrajectoryRejected:
            self.rejected += 1
            raise
        desired, rate = self.sample(now)
        first = self._first(now, desired, rate, nodes)
        self._nodes = _Nodes(
            [now, *nodes.times[first:]],
            np.concatenate([desired[None], nodes.positions[first:]]),
            np.concatenate([rate[None], nodes.velocities[first:]]),
        )
        self.accepted += 1

    def _first(self, now: float, desired: np.ndarray, rate: np.ndarray, nodes: _Nodes) -> int:
        """Index of the point to go to first."""
        first = bisect_right(nodes.times, now)
        if first + 1 < len(nodes.times) and nodes.times[first] < now + NEAREST:
            way = nodes.positions[first] - desired
            kick = 2.0 * way / (nodes.times[first] - now) - rate - nodes.velocities[first]
            if np.abs(kick).max() > KICK and np.abs(way).max() < HAIR:
                return first + 1
        return first

    def sample(self, now: float) -> tuple[np.ndarray, np.ndarray]:
        """Desired positions and velocities (n,) [rad, rad/s] at this time [s]."""
        nodes = self._nodes
        index = bisect_right(nodes.times, now)
        if index >= len(nodes.times):
            return nodes.positions[-1], np.zeros(len(self.joint_names))
        if index == 0:
            return nodes.positions[0], nodes.velocities[0]
        span = nodes.times[index] - nodes.times[index - 1]
        s = (now - nodes.times[index - 1]) / span
        p0, p1 = nodes.positions[index - 1], nodes.positions[index]
        v0, v1 = span * nodes.velocities[index - 1], span * nodes.velocities[index]
        a, b = 2.0 * (p0 - p1) + v0 + v1, 3.0 * (p1 - p0) - 2.0 * v0 - v1
        return p0 + s * (v0 + s * (b + s * a)), (v0 + s * (2.0 * b + s * 3.0 * a)) / span

    def _checked(
        self,
        now: float,
        stamp: float,
        joint_names: Sequence[str],
        times: np.ndarray,
        positions: np.ndarray,
        velocities: np.ndarray,
    ) -> _Nodes:
        names, n = tuple(joint_names), len(self.joint_names)
        if sorted(names) != sorted(self.joint_names):
            unknown = sorted(set(names) - set(self.joint_names))
            missing = sorted(set(self.joint_names) - set(names))
            raise TrajectoryRejected(
                f"joint names do not match: unknown {unknown}, missing {missing}, {len(names)} names for {n} joints"
            )
        times = np.asarray(times, dtype=float)
        if times.ndim != 1 or len(times) == 0:
            raise TrajectoryRejected("it has no points")
        for what, array in (("positions", positions), ("velocities", velocities)):
            if np.shape(array) != (len(times), n):
                raise TrajectoryRejected(f"{what} have shape {np.shape(array)}, expected {(len(times), n)}")
        order = [names.index(joint) for joint in self.joint_names]
        places = np.asarray(positions, dtype=float)[:, order]
        rates = np.asarray(velocities, dtype=float)[:, order]
        if not np.isfinite(stamp) or not np.all(np.isfinite(times)):
            raise TrajectoryRejected("its times are not finite")
        for what, array in (("position", places), ("velocity", rates)):
            bad = np.argwhere(~np.isfinite(array))
            if len(bad):
                point, joint = bad[0]
                raise TrajectoryRejected(f"{what} of {self.joint_names[joint]} at point {point} is not finite")
        if times[0] < 0.0 or np.any(np.diff(times) <= 0.0):
            raise TrajectoryRejected(f"its times are not increasing: {times.tolist()}")
        if stamp > now + LARGEST_WAIT:
            raise TrajectoryRejected(f"it begins {stamp - now:.3f} s from now, allowed are {LARGEST_WAIT} s")
        absolute = times + (stamp if stamp != 0.0 else now)
        if absolute[-1] < now:
            raise TrajectoryRejected(f"it ended {now - absolute[-1]:.3f} s ago")
        return _Nodes(absolute.tolist(), places, rates)
