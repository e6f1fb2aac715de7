"""The control loop of ros2_control: read, update, limit, write. One call is one millisecond of the real one."""

from __future__ import annotations

from gr2_sim.fake_kortex.command_limiter import CommandLimiter, CommandLimits
from gr2_sim.fake_kortex.driver import JointState, KortexDriver
from gr2_sim.fake_kortex.gen3 import SessionLost
from gr2_sim.fake_kortex.gripper_controller import Ending, GripperController
from gr2_sim.fake_kortex.settings import Settings
from gr2_sim.fake_kortex.trajectory_controller import TrajectoryController


class ControlLoop:
    """Controllers and driver, as one process of ros2_control holds them.

    Args:
        driver: of the arm.
        limits: of the joints, in the driver's order.
        settings: of the controllers.
        period: of the loop [s].

    Attributes:
        state: as read in the last cycle; None before the first.
        error: why the hardware was given up and the controllers were stopped; empty: they run.
        frozen: nothing is read, updated or written: a process that hangs.
    """

    def __init__(self, driver: KortexDriver, limits: CommandLimits, settings: Settings, period: float) -> None:
        self._driver = driver
        self._period = period
        continuous = (limits.lower == -float("inf")) & (limits.upper == float("inf"))
        self.trajectory = TrajectoryController(limits.names, continuous, settings.trajectory, period)
        self.gripper = GripperController(settings.gripper)
        self.limiter = CommandLimiter(limits) if settings.enforce_command_limits else None
        self.state: JointState | None = None
        self.error = ""
        self.frozen = False

    def cycle(self, now: float) -> tuple[int, Ending] | None:
        """One period at this time [s]; which goal of the gripper has ended, if one has.

        Raises:
            OutOfBounds: enforcing limits, a joint was found beyond its own. The real process ends of it.
        """
        if self.error or self.frozen:
            return None
        try:
            first = self.state is None
            state = self.state = self._driver.read()
            if first:
                self.trajectory.activate(now, state.positions)
            command = self.trajectory.update(now, state.positions, state.velocities)
            ended = self.gripper.update(now, state.gripper, state.gripper_velocity)
            if self.limiter is not None:
                command = self.limiter.enforce(command, state.positions, self._period)
            self._driver.write(command, self.gripper.command)
        except SessionLost as lost:
            # An exception out of read or write: the hardware is given up and all its controllers are stopped.
            self.error = str(lost)
            self.trajectory.deactivate()
            return None
        return ended

    @property
    def running(self) -> bool:
        """Whether the controllers are active and the process that holds them does not hang."""
        return self.state is not None and not self.error and not self.frozen

    def reset_fault(self) -> bool:
        """The fault controller's service; it is stopped with the others."""
        return not self.error and not self.frozen and self._driver.reset_fault()
