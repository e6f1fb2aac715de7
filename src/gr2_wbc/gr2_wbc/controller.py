"""The whole-body controller: one object, one call a cycle, no ROS, no clock, no threads.

A cycle: where is the commanded state now (the last command evaluated at this instant) -> is it safe to go on -> where
is the reference -> solve the program for the next joint velocities, or brake -> check and hand out the command.
"""

from __future__ import annotations

import numpy as np

from gr2_wbc import kernels
from gr2_wbc.chunk import Chunk, ChunkRefused, Refusal
from gr2_wbc.collision import CollisionMonitor
from gr2_wbc.collision_model import build_collision_model
from gr2_wbc.command import Command, CommandGate, CommandRejected, CommandTrajectory
from gr2_wbc.config import ConfigError, ControllerConfig
from gr2_wbc.contributors import CycleState
from gr2_wbc.controller_motion import MotionPart
from gr2_wbc.controller_takeover import TakeOverPart
from gr2_wbc.intake import Handshake, Intake
from gr2_wbc.joint_motion import JointFollower
from gr2_wbc.kinematics import Kinematics
from gr2_wbc.limits import JointBounds, brake_velocities
from gr2_wbc.qp import QpRejected
from gr2_wbc.recovery import Recovery
from gr2_wbc.reference import Motion, Reference
from gr2_wbc.robot import Robot
from gr2_wbc.rotation import quaternion_of
from gr2_wbc.safety import ResetRefused, Safety, State
from gr2_wbc.state import Measurement, Status
from gr2_wbc.velocity_program import VelocityProgram

__all__ = ["Command", "Controller", "Measurement", "State", "Status"]

_AT_REST = (1e-3, 1e-2, 2e-3, 1e-2)  # lag [m], [rad] and tool speed [m/s], [rad/s] below which a path is done
_SETTLE_TIME = 1.0  # [s] after which HOLDING is entered even if the arm could not reach the path's end


class Controller(MotionPart, TakeOverPart):
    """Whole-body controller of one robot. Not thread-safe: all calls from one thread."""

    def __init__(self, robot: Robot, config: ControllerConfig | None = None) -> None:
        """Set up.

        Raises:
            ConfigError: the rest configuration is not one of the robot's.
            RobotFileError: a collision pair names a geom that the model lacks.
        """
        config = config or ControllerConfig()
        qp = config.qp
        if qp.rest not in robot.configurations:
            known = ", ".join(robot.configurations)
            raise ConfigError(f"qp.rest: '{robot.robot_id}' has no configuration '{qp.rest}' (known: {known})")
        self.robot = robot
        self.config = config
        self.safety = Safety(config.safety, config.period)
        self.intake = Intake(config.intake, robot.robot_id, robot.base_frame)
        self._reference = Reference(config.reference, robot.tool_limits)
        self._kinematics = Kinematics(robot)
        self._collision = CollisionMonitor(build_collision_model(robot))
        self._gate = CommandGate(robot.limits)
        self._recovery = Recovery(robot.limits)
        self._mover = JointFollower(robot.limits, config.period)
        self.reserved, self.scene_version = "", robot.collision.environment.version
        self._hold = config.hold_periods * config.period
        self._bounds = JointBounds(robot.limits, config.period, self._hold - config.period, qp.joint_recovery_speed)
        self._program = VelocityProgram(robot, qp)
        self.contributors = self._program.contributors
        self._seeded = False  # the arm was taken over; before that the plan means nothing
        self._lost = False  # it was, but then jumped while moving
        self._plan = self._standing(0.0, np.zeros(robot.dof))
        self._state = CycleState(np.zeros(robot.dof), np.zeros(robot.dof), self._kinematics)
        self._error = np.zeros(6)
        self._gripper = 0.0
        self._now = 0.0
        self._measured: Measurement | None = None
        self._tracking_error = 0.0
        self._program.rows = 0
        self._settling_since: float | None = None
        self._cycles = 0
        self._rejected_commands = 0
        self._resyncs = 0

    # -- what others ask of the controller ---------------------------------------------------------------------

    def activate(
        self, policy: str, robot_id: str, action_space: str, chunk_dt: float, normalization_hash: str = ""
    ) -> str:
        """Begin a policy's session; the one before ends.

        Returns:
            The session to be put into every chunk.

        Raises:
            HandshakeRefused: policy and controller do not mean the same robot or numbers.
        """
        return self.intake.activate(Handshake(policy, robot_id, action_space, chunk_dt, normalization_hash))

    def accept(self, chunk: Chunk, now: float) -> None:
        """Take over a chunk at control time ``now`` [s]. One of horizon 0 asks to come to rest along the path.

        Raises:
            ChunkRefused: it is refused as a whole and counted; what was followed goes on.
        """
        blocked = None
        if self.safety.stopped:
            blocked = ChunkRefused(Refusal.STOPPED, f"the controller is stopped: {self.safety.reason}")
        elif not self._seeded:
            blocked = ChunkRefused(Refusal.NOT_READY, self.safety.reason)
        elif self.reserved or self._mover.active:
            blocked = ChunkRefused(Refusal.MOVING, self.reserved or self.safety.reason)
        if chunk.horizon == 0:
            self.intake.withdraw(chunk, blocked)
            self._reference.abandon()
            return
        now = max(now, self._now) if self._seeded else now
        position, rotation = self._kinematics.position, self._kinematics.rotation
        checked = self.intake.accept(chunk, now, position, quaternion_of(rotation), blocked)
        twist = self._kinematics.jacobian @ self._state.velocities
        self._reference.splice(checked, Motion(position, rotation, twist, np.zeros(6)))
        self._settling_since = None
        self.safety.follow(f"following '{checked.instruction}' of {checked.model_id}")

    def e_stop(self, reason: str) -> None:
        """Latch the e-stop: nothing is sent any more, the robot brakes on the tail of the last command."""
        self.safety.latch_e_stop(reason)

    def reset(self, now: float, measurement: Measurement, steady: float | None = None) -> None:
        """Leave STOPPED once the cause is gone. Does nothing in other states. The session is kept.

        Raises:
            ResetRefused: joint states are stale, or the arm still moves.
        """
        if not self.safety.stopped:
            return
        age = measurement.age(now, steady)
        if age > self.config.safety.joint_state_timeout:
            raise ResetRefused(f"joint states are stale: the newest is {age:.3f} s old")
        self._require_rest(measurement)
        # Where the executor stands, if that is where the arm is: no step of the size of the tracking error.
        commanded, _ = self._plan.evaluate(now)
        limits = self.robot.limits
        difference = limits.comparable(np.abs(limits.difference(commanded, measurement.positions)))
        if self._seeded and difference.max() <= self.config.safety.seed_tolerance:
            self._come_to_rest(now)
            reason = "reset"
        else:
            self._seed(now, measurement.positions.copy(), measurement.gripper_opening)
            reason = "reset; the arm was taken over where it stands"
        self.safety.reset(reason)
        self.intake.forget_before(measurement.stamp)

    def resync(self, measurement: Measurement, reason: str = "taken over where it stands") -> None:
        """Re-seed the commanded state from a measurement and hold; STOPPED stays latched.

        For the start and after a simulator's reset. The chunk being followed is dropped, and chunks computed from
        observations made before this measurement will be refused.
        """
        self._reseed(measurement.stamp, measurement, reason)

    def note_lateness(self, lateness: float) -> None:
        """Report how late [s] this cycle started; too many late ones stop the controller."""
        self.safety.note_lateness(lateness)

    # -- the control cycle ---------------------------------------------------------------------------------------

    def step(self, now: float, measurement: Measurement, steady: float | None = None) -> Command:
        """One control cycle.

        Args:
            now: control time [s].
            measurement: the newest one.
            steady: steady time [s] on the clock of ``measurement.received``; None: ages are told from ``now``.
        """
        self._cycles += 1
        fresh = self.safety.check_age(measurement.age(now, steady))
        if not self._seeded:
            if fresh:
                self._take_over(measurement)
            if not self._seeded:
                return self._inactive(now, measurement)
        if not 0.0 <= now - self._now <= self.config.safety.max_clock_step:
            self._clock_jumped(now)
        positions, velocities = self._plan.evaluate(now)
        if self._watch(now, measurement, positions):
            if not self._seeded:
                return self._inactive(now, measurement)
            positions, velocities = self._plan.evaluate(now)
        self._observe(positions, velocities)
        if self.safety.stopped:
            self._now = now
            return self._inactive(now, measurement)

        self._follow(now)
        command = self._emit(now, *self._next_velocities(now))
        self._now = now
        return command

    def status(self) -> Status:
        """What :class:`Status` describes, as of the last cycle."""
        reference, nearest = self._reference, self._collision.nearest
        chunk = reference.chunk
        return Status(
            stamp=self._now,
            state=self.safety.state,
            reason=self.safety.reason,
            e_stop=self.safety.e_stop,
            session=self.intake.session,
            policy=self.intake.policy,
            active_sequence=chunk.sequence if chunk is not None else 0,
            chunk_remaining=reference.remaining,
            path_speed_scale=reference.scale,
            position_error=kernels.part_norms(self._error)[0],
            orientation_error=kernels.part_norms(self._error)[1],
            joint_tracking_error=self._tracking_error,
            minimum_distance=nearest.distance,
            minimum_distance_pair=nearest.pair,
            active_constraints=self._program.rows,
            manipulability=self._state.manipulability,
            cycles=self._cycles,
            chunks_accepted=self.intake.accepted,
            refusals={reason.value: count for reason, count in self.intake.refused.items()},
            last_refusal=self.intake.last_refusal,
            qp_failures=self.safety.qp_failures,
            rejected_commands=self._rejected_commands,
            resyncs=self._resyncs,
            scene_version=self.scene_version,
            motion=self.reserved,
        )

    # -- steps of the cycle ----------------------------------------------------------------------------------------

    def _watch(self, now: float, measurement: Measurement, commanded: np.ndarray) -> bool:
        """Compare the measurement with the command and with the one before; whether the arm was taken over anew."""
        config, limits = self.config.safety, self.robot.limits
        taken_over = False
        errors = np.empty(self.robot.dof)
        worst = kernels.joint_errors(commanded, measurement.positions, limits.turning, limits.weights, errors)
        before, self._measured = self._measured, measurement
        if config.resync_on_jump and not self.safety.stopped:
            jumped = errors[worst] > config.tracking_error
            if before is not None and before is not measurement:
                moved = limits.difference(measurement.positions, before.positions)
                if not moved.dot(moved) <= config.joint_jump**2:  # else no single joint moved further either
                    reach = config.joint_jump + 2.0 * limits.velocity * abs(measurement.stamp - before.stamp)
                    jumped = jumped or bool(np.any(np.abs(moved) > reach))
            if jumped:
                self._jumped(now, measurement, worst)
                errors = np.zeros(self.robot.dof)
                taken_over = True
        self._tracking_error = float(errors[worst])
        if not self.safety.stopped:
            self.safety.check_tracking(worst, self._tracking_error, limits)
        return taken_over

    def _observe(self, positions: np.ndarray, velocities: np.ndarray) -> None:
        """Kinematics and distances of the commanded state."""
        self._state.positions, self._state.velocities = positions, velocities
        self._kinematics.update(positions)
        self._state.manipulability = self._kinematics.manipulability()
        self._collision.update(positions)

    def _follow(self, now: float) -> None:
        """Advance the reference and the state that depends on it."""
        reference, kinematics, period = self._reference, self._kinematics, self.config.period
        lag = kernels.part_norms(self._error)
        reference.speed_limit = self.config.safety.degrade_scale if self.safety.overload else 1.0
        if self._mover.active:
            self._follow_motion(now, reference.speed_limit)
            return
        reference.advance(now, period, self._hold, *lag)
        position, rotation, self._state.twist = reference.sample(period)
        self._error = self._state.error = error = np.empty(6)
        kernels.pose_error(position, rotation, kinematics.position, kinematics.rotation, error)
        gripper = reference.gripper()
        if gripper is not None:
            self._gripper = gripper
        if reference.chunk is None:
            return
        sequence = reference.chunk.sequence
        if reference.braking:
            why = "was given up" if reference.abandoned else "ends and no newer one has come"
            self.safety.enter(State.DECELERATING, f"chunk {sequence} {why}")
        if not reference.finished:
            return
        if self._settling_since is None:
            self._settling_since = now
        left = (*lag, *kernels.part_norms(kinematics.jacobian.dot(self._state.velocities)))
        settled = all(value < bound for value, bound in zip(left, _AT_REST, strict=True))
        if settled or now - self._settling_since > _SETTLE_TIME:
            reached = f"ended {1e3 * lag[0]:.1f} mm short of its last pose"
            if settled:
                reached = "was given up" if reference.abandoned else "is done"
            reference.hold(now, kinematics.position, kinematics.rotation)
            self._error = np.zeros(6)
            self.safety.enter(State.HOLDING, f"chunk {sequence} {reached}")

    def _next_velocities(self, now: float) -> tuple[np.ndarray | None, str | None]:
        """Joint velocities (n,) one period from now, the program's or braking ones, and what failed, if anything.

        None: the last command is braking already, and better than a new one could; it is left to run out.
        """
        lower, upper, too_fast = self._bounds.bounds(self._state.positions, self._state.velocities)
        if too_fast:
            return None, None
        failure = None
        active = self._reference.active or self._mover.active
        moving_out = not active and self._moving_out(now)
        if moving_out:
            slow = self.config.qp.joint_recovery_speed
            lower, upper = np.maximum(lower, np.minimum(-slow, upper)), np.minimum(upper, np.maximum(slow, lower))
        if active or moving_out:
            instead = self._mover.contributors if self._mover.active else None
            try:
                return self._program.solve(self._state, self._collision, lower, upper, instead), None
            except QpRejected as rejected:
                failure = str(rejected)
        self._program.rows = 0
        if self._plan.braking(now):
            return None, failure
        return brake_velocities(self._state.velocities, self.robot.limits, self.config.period), failure

    def _moving_out(self, now: float) -> bool:
        """Whether the standing arm moves out of a limit or distance that it violates; its place is then no aim."""
        recovery, kinematics = self._recovery, self._kinematics
        if recovery.update(self._state.positions, self._collision.clearance, self._collision.nearest.pair):
            self.safety.hold(recovery.reason or "moved out of where the arm must not be")
        if recovery.reason:
            self._reference.hold(now, kinematics.position, kinematics.rotation)
            self._error[:] = 0.0
        return bool(recovery.reason)

    def _emit(self, now: float, velocities: np.ndarray | None, failure: str | None) -> Command:
        """The command for these next velocities. If it fails the last check, the last command brakes by itself."""
        before = self._plan
        if velocities is not None:
            try:
                self._plan = self._gate.check(self._trajectory(now, velocities), self._plan)
            except CommandRejected as rejected:
                self._rejected_commands += 1
                failure = f"the last check refused the command: {rejected}"
        self.safety.note_cycle(failure)
        if self.safety.stopped:
            self._plan = before  # the new one is not sent: the robot is on the last one
        plan = self._plan
        positions, velocities = plan.positions[0], plan.velocities[0]
        if plan.stamp != now:
            positions, velocities = plan.evaluate(now + self.config.period)
        return self._command(not self.safety.stopped, positions, velocities, self._gripper)

    def _inactive(self, now: float, measurement: Measurement) -> Command:
        """Nothing is to be sent: where the robot stands (IDLE), or is on the tail of the last command (STOPPED)."""
        if not self._seeded:
            still = np.zeros(self.robot.dof)
            return self._command(False, measurement.positions.copy(), still, measurement.gripper_opening)
        return self._command(False, *self._plan.evaluate(now + self.config.period), self._gripper)

    def _command(self, active: bool, positions: np.ndarray, velocities: np.ndarray, gripper: float) -> Command:
        safety, plan = self.safety, self._plan
        return Command(active, positions, velocities, gripper, safety.state, safety.reason, plan, plan.stamp)

    def _standing(self, now: float, positions: np.ndarray) -> CommandTrajectory:
        still, config = np.zeros(self.robot.dof), self.config
        return CommandTrajectory(now, positions, still, still, self.robot.limits, config.period, config.hold_periods)

    def _trajectory(self, now: float, velocities: np.ndarray) -> CommandTrajectory:
        config, state = self.config, self._state
        return CommandTrajectory(
            now,
            state.positions,
            state.velocities,
            velocities,
            self.robot.limits,
            config.period,
            config.hold_periods,
        )
