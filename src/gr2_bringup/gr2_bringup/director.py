"""Talks to a running stack: is it ready, here is an instruction, did it happen, lay the scene anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

import rclpy
from gr2_msgs.msg import TaskOutcome, WbcStatus
from gr2_msgs.srv import ResetScene
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from gr2_policy.instruction import clean

STACK_NODES = frozenset({"sim", "wbc", "policy"})
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class StackError(RuntimeError):
    """The running stack does not do what was asked; the message says why."""


class Director:
    """A node of its own that gives instructions and watches the referee.

    Args:
        name: of the node.
        alive: called while waiting; raises to end the wait, e.g. because a process has died.
        domain_id: ROS domain; None for the environment's.

    Raises:
        StackError: ROS refuses, e.g. because the environment asks for security that cannot be had.
    """

    def __init__(self, name: str, alive: Callable[[], None] = lambda: None, domain_id: int | None = None) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain_id)
        self._alive = alive
        try:
            # No services of its own: an operator's enclave, in which it runs beside a secured stack, has none.
            self._node = rclpy.create_node(name, context=self._context, start_parameter_services=False)
        except RuntimeError as error:  # RCLError, which rclpy does not export
            rclpy.try_shutdown(context=self._context)
            raise StackError(f"ROS does not let us in: {str(error).splitlines()[0]}") from error
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self.status: WbcStatus | None = None
        self.outcome: TaskOutcome | None = None
        self._node.create_subscription(WbcStatus, "/wbc_status", self._on_status, 10)
        self._node.create_subscription(TaskOutcome, "/sim/outcome", self._on_outcome, LATCHED)
        self._instructions = self._node.create_publisher(String, "/instruction", LATCHED)

    def __enter__(self) -> Director:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    @property
    def node(self) -> Node:
        """The node, to add publishers and subscriptions to."""
        return self._node

    def _on_status(self, message: WbcStatus) -> None:
        self.status = message

    def _on_outcome(self, message: TaskOutcome) -> None:
        self.outcome = message

    def spin(self, seconds: float) -> None:
        """Handle messages for this long [s, wall clock]."""
        self.wait_until(lambda: False, seconds)

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Handle messages until the condition holds; False if it does not within ``timeout`` [s, wall clock]."""
        deadline = time.monotonic() + timeout
        while not condition():
            self._alive()
            left = deadline - time.monotonic()
            if left <= 0.0:
                return False
            self._executor.spin_once(timeout_sec=min(left, 0.05))
        return True

    def other_nodes(self, seconds: float = 1.0) -> set[str]:
        """Names of the stack's nodes that are already running in this domain."""
        self.wait_until(lambda: bool(STACK_NODES & set(self._node.get_node_names())), seconds)
        return set(STACK_NODES) & set(self._node.get_node_names())

    def ready(self) -> bool:
        """Whether the controller holds, a policy has been activated and the referee is watching."""
        status = self.status
        return (
            status is not None
            and status.state in (WbcStatus.HOLDING, WbcStatus.TRACKING, WbcStatus.DECELERATING)
            and bool(status.session)
            and self.outcome is not None
        )

    def not_ready_because(self) -> str:
        """What is still missing, in words."""
        if self.outcome is None:
            return "the simulator does not publish yet"
        if self.status is None:
            return "the controller does not publish yet"
        if not self.status.session:
            return "no policy has been activated"
        return f"the controller is {self.status.state_name}: {self.status.reason}"

    def say(self, instruction: str, timeout: float = 5.0) -> None:
        """Publish an instruction.

        Raises:
            StackError: nobody listens.
        """
        if not self.wait_until(lambda: self._instructions.get_subscription_count() > 0, timeout):
            raise StackError(
                f"nobody listens on /instruction (waited {timeout:.0f} s); is a stack running in this domain?"
            )
        self._instructions.publish(String(data=instruction))
        self._instructions.wait_for_all_acked(Duration(seconds=2))

    def follow(self, instruction: str, timeout: float, progress: Callable[[TaskOutcome], None]) -> TaskOutcome | None:
        """Wait until the referee has seen the instruction carried out.

        Args:
            instruction: as it was said.
            timeout: [s] of simulated time since the instruction; wall clock is allowed three times as long.
            progress: called with each outcome of this instruction.

        Returns:
            the last outcome; None if the referee never spoke of this instruction.
        """
        wanted = clean(instruction)
        seen: list[TaskOutcome] = []

        def done() -> bool:
            outcome = self.outcome
            if outcome is None or outcome.instruction != wanted:
                return False
            if not seen or seen[-1] is not outcome:
                seen[:] = [outcome]
                progress(outcome)
            return bool(outcome.success) or outcome.elapsed > timeout

        self.wait_until(done, 3.0 * timeout + 5.0)
        return seen[-1] if seen else None

    def reset_scene(self, scene: str = "", task: str = "", seed: int = 0, timeout: float = 20.0) -> str:
        """Lay the scene anew.

        Returns:
            an instruction of the task, empty where none was named.

        Raises:
            StackError: no simulator answers, or it refuses.
        """
        client = self._node.create_client(ResetScene, "/sim/reset")
        try:
            if not self.wait_until(client.service_is_ready, 5.0):
                raise StackError("no simulator answers on /sim/reset")
            future = client.call_async(ResetScene.Request(scene=scene, task=task, seed=int(seed)))
            if not self.wait_until(future.done, timeout):
                raise StackError(f"/sim/reset did not answer within {timeout:.0f} s")
            answer = future.result()
        finally:
            self._node.destroy_client(client)
        if not answer.success:
            raise StackError(f"the simulator refuses to reset: {answer.message}")
        return str(answer.instruction)
