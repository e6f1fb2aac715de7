"""The policy's side of the activation handshake: both sides must mean the same robot and the same numbers."""

from __future__ import annotations

import time

import rclpy
from gr2_msgs.msg import WbcStatus
from gr2_msgs.srv import ActivatePolicy
from rclpy.node import Node

from gr2_policy.policy import Policy

_PATIENCE = 2.0  # [s] between two requests


class Handshake:
    """Asks the controller for a session, again and again until it grants one, and sees when it has ended.

    Args:
        node: whose client it is.
        wanted: False: run without a controller, e.g. on a replayed bag; a controller refuses such chunks.

    Attributes:
        session: granted by the controller, to be put into every chunk; empty: none.
        refused: why the controller refuses, in words; empty if it does not.
        refusals: chunks of this session that the controller has refused since it started; what a second publisher
            sends is of another session, and must not count.
    """

    def __init__(self, node: Node, wanted: bool) -> None:
        self.session = ""
        self.refused = ""
        self.refusals = 0
        self._node = node
        self._wanted = wanted
        self._client = node.create_client(ActivatePolicy, "/wbc/activate_policy")
        self._answer: rclpy.task.Future | None = None
        self._sent = 0.0
        self._wbc_session: str | None = None
        self._confirmed = False

    def begin(self) -> None:
        """Ask for a new session."""
        self.session = "" if self._wanted else "offline"
        self._answer, self._wbc_session, self._confirmed = None, None, False
        self._sent = 0.0

    def end(self) -> None:
        """Give the session up."""
        self.session = ""

    @property
    def lost(self) -> bool:
        """Whether the controller has ended the session."""
        return self._confirmed and self._wbc_session != self.session

    def on_status(self, status: WbcStatus) -> None:
        """A status of the controller."""
        self._wbc_session = status.session
        # A status sent before the session was granted may arrive after the grant.
        self._confirmed |= bool(self.session) and status.session == self.session
        refused = zip(status.refusal_names, status.refusal_counts, strict=False)
        self.refusals = sum(int(count) for name, count in refused if name != "unknown_session")

    def follow(self, policy: Policy) -> bool:
        """To be called regularly while there is no session; True when it has just been granted."""
        if self._answer is not None and self._answer.done():
            answer = self._answer.result()
            self._answer = None
            if answer is not None and answer.accepted:
                self.session, self.refused = answer.session, ""
                return True
            refused = f"the controller refuses this policy: {answer.message if answer else 'no answer'}"
            if refused != self.refused:
                self._node.get_logger().error(refused)
            self.refused = refused
        if time.monotonic() - self._sent < _PATIENCE or not self._client.service_is_ready():
            return False
        request = ActivatePolicy.Request(
            policy=str(policy.model_id),
            robot_id=str(policy.robot_id),
            action_space=str(policy.action_space),
            chunk_dt=float(policy.chunk_dt),
            normalization_hash=str(policy.normalization_hash),
        )
        self._answer = self._client.call_async(request)
        self._sent = time.monotonic()
        return False
