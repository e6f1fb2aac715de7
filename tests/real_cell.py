"""A running stack of the real arm on the fake driver, for tests, and what an operator does with it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from control_msgs.msg import JointTrajectoryControllerState
from diagnostic_msgs.msg import DiagnosticArray
from gr2_msgs.srv import MoveTo
from rclpy.qos import qos_profile_sensor_data
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from gr2_bringup import stack
from gr2_bringup.supervisor import Supervisor
from gr2_wbc.robots import load_robot

ROBOT = load_robot("gen3_2f85")
INSTRUCTION = "put the red block in the bin"
SMALL = {"policy": "teacher", "driver": "fake", "armed": True, "image_width": 128, "image_height": 128, "seed": 3}


def real(**given: object) -> list[stack.Node]:
    return stack.real(stack.defaults(stack.REAL) | SMALL | given)


class Cell:
    """A running stack on the fake driver, and what an operator does with it."""

    def __init__(self, running: Any) -> None:
        self.running = running
        self.director = running.director
        self.node = running.director.node
        self.values: dict[str, str] = {}
        self.reference: np.ndarray | None = None
        self._inject = self.node.create_publisher(String, "/fake_kortex/inject", 10)
        self._e_stop = self.node.create_publisher(Bool, "/e_stop", 10)
        self._clients = {
            name: self.node.create_client(kind, name)
            for name, kind in (("/wbc/reset", Trigger), ("/arm/reset_fault", Trigger), ("/wbc/move_to", MoveTo))
        }
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self.node.create_subscription(
            JointTrajectoryControllerState,
            "/joint_trajectory_controller/controller_state",
            self._on_controller,
            qos_profile_sensor_data,
        )
        self.more: list[Supervisor] = []

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "arm: fake kortex":
                self.values = {pair.key: pair.value for pair in status.values} | {"message": status.message}

    def _on_controller(self, message: JointTrajectoryControllerState) -> None:
        self.reference = np.array(message.reference.positions)

    @property
    def state(self) -> str:
        return self.director.status.state_name if self.director.status else ""

    @property
    def reason(self) -> str:
        return self.director.status.reason if self.director.status else ""

    @property
    def positions(self) -> np.ndarray:
        """Measured, (7,) -pi ... pi [rad]."""
        return self.running.motion[-1][2]

    @property
    def lost(self) -> float:
        """Time [s] that the simulated arm has lost on a busy machine: it then moves more slowly than it is told."""
        return float(self.values.get("time_lost", "0 s").split()[0])

    def until(self, state: str, timeout: float = 5.0) -> None:
        self.running.wait(lambda: self.state == state, timeout, f"not {state} but {self.state} ({self.reason})")

    def inject(self, fault: str) -> float:
        """Make something go wrong; when [s of steady time]."""
        self.running.wait(lambda: self._inject.get_subscription_count() > 0, 10.0, "no fake driver")
        log = self.running.folder / "log" / "arm.log"
        before = log.read_text().count(f"injected '{fault}'")
        self._inject.publish(String(data=fault))
        begun = time.monotonic()
        self.running.wait(lambda: log.read_text().count(f"injected '{fault}'") > before, 5.0, "nothing is injected")
        return begun

    def stop(self) -> None:
        self._e_stop.publish(Bool(data=True))
        self.until("STOPPED")

    def call(self, name: str, request: Any = None, timeout: float = 20.0) -> Any:
        client = self._clients[name]
        assert client.wait_for_service(timeout), name
        future = client.call_async(request or client.srv_type.Request())
        self.running.wait(future.done, timeout, f"no answer from {name}")
        return future.result()

    def reset(self, timeout: float = 10.0) -> None:
        """Leave STOPPED, as soon as the controller finds nothing in the way."""
        end = time.monotonic() + timeout
        while not (answer := self.call("/wbc/reset")).success:
            assert time.monotonic() < end, f"{answer.message}\n{self.running.logs()}"
            self.director.spin(0.1)
        # A policy with an instruction goes on at once.
        self.running.wait(lambda: self.state in ("HOLDING", "TRACKING"), 5.0, "not reset")

    def go(self, **positions: float) -> None:
        """Move joints to these positions [rad], through the controller's planner, and wait until they stand there."""
        goal = self.positions.copy()
        for name, value in positions.items():
            goal[ROBOT.joint_names.index(name)] = value
        names = list(ROBOT.joint_names)
        answer = self.call("/wbc/move_to", MoveTo.Request(joint_names=names, positions=goal.tolist(), speed=1.0))
        assert answer.accepted, answer.message
        self.until("TRACKING")
        self.until("HOLDING", 30.0)
        away = ROBOT.limits.difference(self.positions, goal)
        assert np.abs(away).max() < 0.03, f"{away}: {self.reason}"

    def sweep(self) -> None:
        """Get the arm under way without a policy: joint_1 to the other side."""
        goal = self.positions.copy()
        goal[0] = -0.6 if goal[0] > 0.0 else 0.6
        names = list(ROBOT.joint_names)
        answer = self.call("/wbc/move_to", MoveTo.Request(joint_names=names, positions=goal.tolist(), speed=1.0))
        assert answer.accepted, answer.message
        self.running.wait(self.running.moving, 10.0, "the arm does not move")

    def move(self, instruction: str = INSTRUCTION) -> None:
        """Get the arm under way with the policy."""
        self.director.outcome = None
        self.director.say(instruction)
        self.running.wait(self.running.moving, 20.0, "the arm does not move")

    def done(self, timeout: float = 90.0) -> None:
        """The instruction is carried out."""
        director = self.director
        self.running.wait(lambda: director.outcome is not None and director.outcome.success, timeout, "not done")

    def rest(self, timeout: float = 3.0) -> np.ndarray:
        """Wait until the arm has stood for half a second from now on, by the driver's stamps; where it then is."""
        begun = time.time()

        def resting() -> bool:
            newest = self.running.motion[-1][1] if self.running.motion else 0.0
            recent = [v for _, stamp, _, v in self.running.motion if stamp > max(newest - 0.5, begun)]
            return newest > begun + 0.5 and bool(recent) and float(np.abs(recent).max()) < 0.02

        self.running.wait(resting, timeout, "the arm does not rest")
        return self.positions

    def stands(self, seconds: float, where: np.ndarray, within: float = 0.02) -> None:
        """The arm does not move for a while, neither there nor on the way, by the driver's stamps."""
        begun = time.time()
        self.director.spin(seconds)
        moved = [ROBOT.limits.difference(q, where) for _, stamp, q, _ in self.running.motion if stamp >= begun]
        assert len(moved) > 20
        assert np.abs(moved).max() < within, f"{np.abs(moved).max(axis=0)}"

    def again(self, name: str) -> None:
        """Another process of this node."""
        found = next(node for node in self.running.nodes if node.name == name)
        log = self.running.folder / f"{name}-again{len(self.more)}"
        made = Supervisor([found], self.running.env, stack.share_folder(), log, lambda *_: None)
        made.start()
        self.more.append(made)

    def close(self) -> None:
        for one in self.more:
            assert one.stop() == []
