"""Another policy in the running policy node, by its life cycle: down, set the parameter, up again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.node import Node

LOADING = 120.0  # [s] a policy may take to load
HANDSHAKE = 10.0  # [s] until the controller has granted a session


class SwitchFailed(RuntimeError):
    """The policy was not switched; the message says why and what runs now."""


class PolicySwitch:
    """Switches the policy of one node.

    Args:
        node: makes the clients; somebody else spins it.
        call: (client, request, timeout [s]) -> response; raises TimeoutError.
        name: of the policy node.
    """

    def __init__(self, node: Node, call: Callable[[Any, Any, float], Any], name: str = "/policy") -> None:
        self._call = call
        self._change = node.create_client(ChangeState, f"{name}/change_state")
        self._state = node.create_client(GetState, f"{name}/get_state")
        self._set = node.create_client(SetParameters, f"{name}/set_parameters")
        self._get = node.create_client(GetParameters, f"{name}/get_parameters")

    def current(self) -> str:
        """Name of the policy that the node is set to.

        Raises:
            TimeoutError: the node does not answer.
        """
        answer = self._call(self._get, GetParameters.Request(names=["policy"]), 5.0)
        return str(answer.values[0].string_value) if answer.values else ""

    def switch(self, policy: str) -> None:
        """Switch; on failure the former policy is taken up again.

        Raises:
            SwitchFailed: see the class.
            TimeoutError: the node does not answer.
        """
        former = self.current()
        if former == policy and self._now() == State.PRIMARY_STATE_ACTIVE:
            return
        self._unload()
        problem = self._load(policy)
        if not problem:
            return
        self._unload()
        again = self._load(former)
        tail = f"; '{former}' did not come back either: {again}" if again else f"; '{former}' runs again"
        raise SwitchFailed(f"'{policy}' {problem}{tail}")

    def _unload(self) -> None:
        if self._now() == State.PRIMARY_STATE_ACTIVE:
            self._to(Transition.TRANSITION_DEACTIVATE, 10.0)
        if self._now() == State.PRIMARY_STATE_INACTIVE:
            self._to(Transition.TRANSITION_CLEANUP, 20.0)

    def _load(self, policy: str) -> str:
        """Load and activate; what went wrong, empty if nothing."""
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=policy)
        request = SetParameters.Request(parameters=[Parameter(name="policy", value=value)])
        result = self._call(self._set, request, 5.0).results[0]
        if not result.successful:
            return f"was refused as a parameter: {result.reason}"
        if not self._to(Transition.TRANSITION_CONFIGURE, LOADING):
            return "cannot be loaded (the policy node's log says why)"
        deadline = time.monotonic() + HANDSHAKE
        while self._now() != State.PRIMARY_STATE_ACTIVE:
            # Refused until the controller has granted a session, which the node asks for by itself.
            if self._to(Transition.TRANSITION_ACTIVATE, 10.0):
                break
            if time.monotonic() > deadline:
                return f"got no session from the controller within {HANDSHAKE:.0f} s"
            time.sleep(0.3)
        return ""

    def _now(self) -> int:
        return int(self._call(self._state, GetState.Request(), 5.0).current_state.id)

    def _to(self, transition: int, patience: float) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self._call(self._change, request, patience).success)
