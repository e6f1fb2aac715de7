"""Carries out what the page asks for. Each command answers whether it was done, and what happened in words.

Stop is published from whichever thread it arrives in, at once. Everything else runs in a thread of its own, one after
the other, so that a service that does not answer holds up nobody but the next command.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from gr2_msgs.srv import MoveTo, ResetScene
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from gr2_policy.instruction import BadInstruction, clean
from gr2_tools.console.mode import Mode, Surroundings, controls, mode_of
from gr2_tools.console.overview import Overview
from gr2_tools.console.policy_switch import PolicySwitch, SwitchFailed
from gr2_tools.console.recording import Recording, RecordingError

STOP_REPEATS = 3
STOP_SEEN = 1.0  # [s] within which the controller must report the latch


class Refused(RuntimeError):
    """A command is not carried out; the message says why."""


class Controls:
    """The console's hands.

    Args:
        node: publishes and calls; somebody else spins it.
        overview: what is known of the stack.
        recording: record on and off.
        policies: names of the installed policies.
    """

    def __init__(self, node: Node, overview: Overview, recording: Recording, policies: list[str]) -> None:
        self._node = node
        self._overview = overview
        self._recording = recording
        self.policies = policies
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._e_stop = node.create_publisher(Bool, "/e_stop", reliable)
        self._instructions = node.create_publisher(String, "/instruction", latched)
        self._reset = node.create_client(Trigger, "/wbc/reset")
        self._scene = node.create_client(ResetScene, "/sim/reset")
        self._move = node.create_client(MoveTo, "/wbc/move_to")
        self._policy_name = ""
        self._asked: Future[None] | None = None
        self._switch = PolicySwitch(node, self._call)
        self._workers = ThreadPoolExecutor(1, "command")
        self._commands: dict[str, Callable[[Mapping[str, str]], str]] = {
            "instruct": self._instruct,
            "reset": self._reset_controller,
            "home": self._home,
            "scene": self._reset_scene,
            "record": self._record,
            "policy": self._policy,
        }

    @property
    def policy(self) -> str:
        """Name of the policy that the policy node is set to; empty until it has answered."""
        if "/policy/change_state" not in self._overview.graph.services:
            self._policy_name = ""
        elif not self._policy_name and (self._asked is None or self._asked.done()):
            self._asked = self._workers.submit(self._ask_policy)
        return self._policy_name

    def _ask_policy(self) -> None:
        try:
            self._policy_name = self._switch.current()
        except TimeoutError:
            time.sleep(1.0)  # it is busy loading; asked again soon

    def close(self) -> None:
        """Wait for the command under way, and complete a recording."""
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._recording.close()

    async def command(self, name: str, form: Mapping[str, str]) -> tuple[bool, str]:
        """Carry out a command by its name."""
        if name == "stop":
            return await self._stop()
        if name not in self._commands:
            return False, f"there is no command '{name}'"
        return await asyncio.get_running_loop().run_in_executor(self._workers, self._carry_out, name, form)

    def _carry_out(self, name: str, form: Mapping[str, str]) -> tuple[bool, str]:
        allowed = controls(self._around())[name]
        try:
            if not allowed.enabled:
                raise Refused(allowed.why)
            done, what = True, self._commands[name](form)
        except (Refused, RecordingError, SwitchFailed) as refused:
            done, what = False, str(refused)
        except TimeoutError as late:
            done, what = False, f"no answer: {late}"
        self._overview.log.repeatable(time.time(), "operator" if done else "warning", f"console: {name}", what)
        return done, what

    def _around(self) -> Surroundings:
        return self._overview.around(time.time())

    # --- the commands ---

    async def _stop(self) -> tuple[bool, str]:
        """Stop, now; then see whether the controller has latched it."""
        for _ in range(STOP_REPEATS):
            self._e_stop.publish(Bool(data=True))
        begun = time.monotonic()
        self._overview.log.repeatable(time.time(), "operator", "console: stop", "STOP pressed")
        listeners = self._node.count_subscribers("/e_stop")
        while time.monotonic() - begun < STOP_SEEN:
            status = self._overview.fresh_status(time.time())
            if status is not None and status.e_stop:
                return True, f"stopped: {status.reason}"
            await asyncio.sleep(0.02)
        if listeners == 0:
            return False, "STOP was sent, but nobody listens on /e_stop: no controller runs in this ROS domain"
        return False, f"STOP was sent to {listeners} listener(s), but no controller has reported the latch"

    def _instruct(self, form: Mapping[str, str]) -> str:
        try:
            text = clean(form.get("text", ""))
        except BadInstruction as bad:
            raise Refused(str(bad)) from bad
        self._instructions.publish(String(data=text))
        return f"said: {text}" if text else "instruction withdrawn"

    def _reset_controller(self, form: Mapping[str, str]) -> str:
        """Only with the reason that was shown when it was confirmed: not a newer one that nobody has read."""
        status = self._overview.fresh_status(time.time())
        if status is None or form.get("reason", "") != status.reason:
            raise Refused("the reason has changed since it was shown; look again")
        self._instructions.publish(String(data=""))  # or the arm might go on by itself with what it was doing
        answer = self._call(self._reset, Trigger.Request(), 5.0)
        if not answer.success:
            raise Refused(f"the controller refuses: {answer.message}")
        return f"reset: {answer.message}"

    def _home(self, form: Mapping[str, str]) -> str:
        self._instructions.publish(String(data=""))  # or the policy would call it back
        answer = self._call(self._move, MoveTo.Request(name="home"), 5.0)
        if not answer.accepted:
            raise Refused(f"the controller refuses: {answer.message}")
        return f"moving home {answer.message}".strip()

    def _reset_scene(self, form: Mapping[str, str]) -> str:
        seed = form.get("seed", "0")
        if not seed.isdecimal() or int(seed) >= 2**64:
            raise Refused(f"the seed is {seed!r}; it must be a whole number from 0")
        self._instructions.publish(String(data=""))  # or the arm would carry out the old one in the new scene
        request = ResetScene.Request(scene=form.get("scene", ""), task=form.get("task", ""), seed=int(seed))
        answer = self._call(self._scene, request, 20.0)
        if not answer.success:
            raise Refused(f"the simulator refuses: {answer.message}")
        return f"scene laid anew: {answer.message}"

    def _record(self, form: Mapping[str, str]) -> str:
        if form.get("on") == "1":
            simulated = mode_of(self._around()) is Mode.SIMULATION
            return f"recording to {self._recording.begin(simulated)}"
        return f"recorded: {self._recording.end()}"

    def _policy(self, form: Mapping[str, str]) -> str:
        name = form.get("name", "")
        if name not in self.policies:
            raise Refused(f"policy '{name}' is not installed (there are: {', '.join(self.policies)})")
        if name == "teacher" and mode_of(self._around()) is not Mode.SIMULATION:
            raise Refused("the teacher reads the simulator's truth; there is none here")
        self._instructions.publish(String(data=""))  # a policy begins with nothing to do
        self._policy_name = ""
        self._switch.switch(name)
        return f"policy: {name}"

    def _call(self, client: Any, request: Any, timeout: float) -> Any:
        """A service's answer.

        Raises:
            TimeoutError: there is none in time; names the service.
        """
        deadline = time.monotonic() + timeout
        future = client.call_async(request) if client.wait_for_service(min(2.0, timeout)) else None
        answered = threading.Event()
        if future is not None:
            future.add_done_callback(lambda _: answered.set())
            if answered.wait(max(0.0, deadline - time.monotonic())):
                return future.result()
            client.remove_pending_request(future)
        raise TimeoutError(f"{client.srv_name} within {timeout:.0f} s")
