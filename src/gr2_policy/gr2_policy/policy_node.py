"""The policy as a lifecycle node: messages in, chunks out. The thinking is in :mod:`gr2_policy.runtime`.

configure loads the policy, warms it up and asks the controller for a session (the activation handshake), activate
starts to publish chunks. With ``autostart`` the node does both by itself and again whenever the controller was
restarted. All of it is explained in docs/runtime.md.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from gr2_msgs.msg import RobotState, SceneTruth, WbcStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from gr2_policy import conversions
from gr2_policy.chunk_outlet import ChunkOutlet
from gr2_policy.handshake import Handshake
from gr2_policy.imagination_outlet import ImaginationOutlet
from gr2_policy.inbox import Inbox
from gr2_policy.instruction import BadInstruction, clean
from gr2_policy.parameters import PARAMETERS
from gr2_policy.policy import Imagines, Policy, UnknownPolicy, load_policy
from gr2_policy.runtime.camera_watch import CameraWatch
from gr2_policy.runtime.delivery import DeliveryConfig
from gr2_policy.runtime.image import BadImage
from gr2_policy.runtime.observation_buffer import BufferConfig, ObservationBuffer
from gr2_policy.runtime.surprise_gate import GateConfig, Reaction
from gr2_policy.runtime.worker import InferenceWorker, Result
from gr2_policy.warming import blank_observation, no_time_to_imagine, warm_up

CAMERAS = {"head": "/head_camera/image_raw", "wrist": "/wrist_camera/image_raw"}
QUIET = 2.0  # [s] between two complaints about the same topic


class PolicyNode(LifecycleNode):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__("policy")
        for name, default in PARAMETERS.items():
            self.declare_parameter(name, default)
        self._policy: Policy | None = None
        self._worker: InferenceWorker | None = None
        self._buffer = ObservationBuffer(BufferConfig())
        self._instruction = ""
        self._instruction_problem = ""
        self._last_instruction_source: tuple[int, str] | None = None
        self._handshake = Handshake(self, wanted=bool(self._value("handshake")))
        self._unfit = ""  # why no policy can be activated
        self.loading = False
        self._turn = -1  # of the newest observation, counted in replanning periods
        self._replan = False  # use the next observation, due or not
        self._time_jumps = 0
        self._autostart = bool(self._value("autostart"))
        self._cameras = CameraWatch(CAMERAS)
        self._complained: dict[str, float] = {}
        self._bad_images = 0
        self._bad_messages = 0
        self._frame_ids: dict[str, str] = {}
        self._chunks = ChunkOutlet(self, lambda: self._handshake.session, self._wanted, self._complain)
        self.inbox = Inbox(self)
        self._connect()
        gate = GateConfig(*(self._value(f"surprise_{name}") for name in ("action", "threshold", "calm")))
        self._imagination = ImaginationOutlet(self, self._frame_ids, gate, self._on_surprise)

    def _connect(self) -> None:
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        subscribe = self.inbox.subscribe
        kind, ending = (CompressedImage, "/compressed") if self._value("compressed_images") else (Image, "")
        for camera, topic in CAMERAS.items():
            subscribe(kind, topic + ending, partial(self._on_image, camera), qos_profile_sensor_data)
        subscribe(RobotState, "/robot_state", self._on_state, 10)
        subscribe(WbcStatus, "/wbc_status", self._on_wbc_status, 10)
        # A transient-local subscription does not match `ros2 topic pub`, a volatile one misses what was said
        # before it began: so both, and what comes twice is taken once.
        subscribe(String, "/instruction", self._on_instruction, 10)
        subscribe(String, "/instruction", self._on_instruction, latched)
        self._truth_subscription: Subscription | None = None
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.inbox.every(0.1, self._supervise)
        self.inbox.every(1.0, self._publish_diagnostics)

    # --- lifecycle ---

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy, begin to warm it up, and begin the handshake."""
        try:
            policy = self._load()
        except UnknownPolicy as error:
            return self._unusable(str(error))
        except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:
            return self._unusable(f"policy '{self._value('policy')}' cannot be loaded: {error}")
        if policy.robot_id != self._value("robot_id"):
            here = self._value("robot_id")
            return self._unusable(
                f"policy '{policy.model_id}' was made for robot '{policy.robot_id}', this is '{here}'"
            )
        self._policy, self._unfit = policy, ""
        self._buffer = ObservationBuffer(BufferConfig(needs_truth=policy.privileged, history=policy.history))
        self._chunks.begin(policy, DeliveryConfig(float(self._value("deadline")), float(self._value("delay"))))
        rate = float(self._value("imagination_rate"))
        imagines = isinstance(policy, Imagines) and rate > 0.0
        self._worker = InferenceWorker(
            policy,
            self._chunks.publish,
            self._on_unknown_instruction,
            self._on_policy_error,
            prepare=partial(self._warm_up, policy, rate if imagines else 0.0),
            now=self._chunks.now,
            delay=lambda: self._chunks.delivery.delay,
            refusals=lambda: self._handshake.refusals,
            imagination=self._imagination.begin(policy, rate) if imagines else None,  # type: ignore[arg-type]
        )
        if self._instruction:
            self._worker.set_instruction(self._instruction)
        if policy.privileged:
            self._truth_subscription = self.inbox.subscribe(SceneTruth, "/sim/truth", self._on_truth, 10)
            self.get_logger().warning(
                f"'{policy.model_id}' is a scripted policy that reads the simulator's ground truth; nothing is learned"
            )
        if getattr(policy, "notice", ""):
            self.get_logger().warning(policy.notice)  # type: ignore[attr-defined]
        self._handshake.begin()
        return TransitionCallbackReturn.SUCCESS

    def _load(self) -> Policy:
        options = dict(item.split("=", 1) for item in self._value("policy_options") if "=" in item)
        self.loading = True
        try:
            return load_policy(self._value("policy"), **options)
        finally:
            self.loading = False

    def _unusable(self, reason: str) -> TransitionCallbackReturn:
        self._unfit = reason
        self.get_logger().fatal(reason)
        return TransitionCallbackReturn.FAILURE

    def _warm_up(self, policy: Policy, imagination_rate: float) -> None:
        """Called on the worker's thread, before anything depends on the policy."""
        height, width = (int(self._value(f"image_{side}")) or 256 for side in ("height", "width"))
        log = self.get_logger()
        blank = blank_observation(CAMERAS, height, width)
        rate = float(self._value("replan_rate"))
        took = warm_up(policy, blank, rate, imagination_rate, log.info, log.warning)
        if reason := no_time_to_imagine(took, rate, imagination_rate):
            wanted = self._value("surprise_action") != "none"
            log.warning(f"imagination {'will come late' if wanted else 'is off'}: {reason}")
            if not wanted:
                self._imagination.rest(reason)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start publishing chunks; refused until the policy is warm and the controller has granted a session."""
        if not self._handshake.session:
            warm = self._worker is not None and self._worker.ready.is_set()
            waiting = "the controller (/wbc) has not answered the handshake yet" if warm else "not warmed up yet"
            self.get_logger().error(self._unfit or self._handshake.refused or waiting)
            return TransitionCallbackReturn.FAILURE
        self._cameras.restart()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop publishing chunks; the controller finishes the last one and holds."""
        self._handshake.end()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unload the policy."""
        self.unload()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unload the policy."""
        self.unload()
        return TransitionCallbackReturn.SUCCESS

    def unload(self) -> None:
        """Let the policy go."""
        if self._worker is not None and not self._worker.stop():
            self.get_logger().error("the policy does not return from an inference; its thread is left behind")
        if not self._imagination.end():
            self.get_logger().error("the policy does not return from imagining; its thread is left behind")
        self._worker = None
        self._policy = None
        self._chunks.begin(None, DeliveryConfig())
        self._handshake.end()
        if self._truth_subscription is not None:
            self.inbox.unsubscribe(self._truth_subscription)
            self._truth_subscription = None

    @property
    def _state(self) -> str:
        return self._state_machine.current_state[1]

    def _supervise(self) -> None:
        """Autostart, the handshake's answer, the loss of the session, silent cameras."""
        if (
            self._state == "unconfigured"
            and self._autostart
            and self.trigger_configure() != TransitionCallbackReturn.SUCCESS
        ):
            raise SystemExit(1)
        self._follow_handshake()
        if self._state == "inactive" and self._handshake.session and self._autostart:
            self._autostart = False  # who deactivates the node by hand wants it to stay so
            self.trigger_activate()
            self.get_logger().info(f"active with policy '{self._policy.model_id}'" if self._policy else "active")
        if self._state == "active" and self._handshake.lost:
            self._autostart = True
            self.get_logger().warning("the controller has ended this policy's session; asking for a new one")
            self.trigger_deactivate()
            self._handshake.begin()
        self._watch_cameras()

    def _follow_handshake(self) -> None:
        """Ask for a session, once the policy is warm."""
        if self._policy is None or self._worker is None or self._state not in {"inactive", "unconfigured"}:
            return
        if self._worker.unfit and not self._unfit:
            self._unusable(self._worker.unfit)
            if self._autostart:
                raise SystemExit(1)
        if not self._worker.ready.is_set() or self._handshake.session:
            return
        if self._handshake.follow(self._policy):
            self._chunks.new_session()

    # --- messages in ---

    def _on_image(self, camera: str, message: Image | CompressedImage, _info: object) -> None:
        width, height = int(self._value("image_width")), int(self._value("image_height"))
        try:
            stamp, image = conversions.image(message, (width, height) if width and height else None)
        except BadImage as error:
            self._bad_images += 1
            self._complain(CAMERAS[camera], f"image ignored: {error}")
            return
        self._cameras.heard(camera, stamp)
        self._frame_ids[camera] = message.header.frame_id
        self._buffer.add_image(camera, stamp, image)
        self._think()

    def _on_state(self, message: RobotState, _info: object) -> None:
        try:
            sample = conversions.robot_state(message)
        except ValueError as error:
            self._bad("/robot_state", error)
            return
        self._buffer.add_state(sample)
        self._think()

    def _on_truth(self, message: SceneTruth, _info: object) -> None:
        try:
            truth = conversions.scene_truth(message)
        except ValueError as error:
            self._bad("/sim/truth", error)
            return
        self._buffer.add_truth(truth)
        self._think()

    def _on_wbc_status(self, message: WbcStatus, _info: object) -> None:
        self._handshake.on_status(message)

    def _on_instruction(self, message: String, info: Any) -> None:
        source = (int(info["source_timestamp"]), message.data)
        if source == self._last_instruction_source:
            return
        self._last_instruction_source = source
        try:
            text = clean(message.data)
        except BadInstruction as error:
            self._bad("/instruction", error)
            return
        self._instruction, self._instruction_problem = text, ""
        self._imagination.gate.clear()
        if self._worker is not None:
            self._worker.set_instruction(text)
        if text:
            self.get_logger().info(f"instruction: {text}")
        else:
            self.get_logger().info("empty instruction: stopping")
            self._chunks.withdraw()

    def _bad(self, topic: str, reason: object) -> None:
        self._bad_messages += 1
        self._complain(topic, f"message ignored: {reason}")

    def _complain(self, topic: str, text: str) -> None:
        """One line a topic every few seconds (rclpy's own throttle would count all topics as one)."""
        now = time.monotonic()
        if now - self._complained.get(topic, -QUIET) >= QUIET:
            self._complained[topic] = now
            self.get_logger().error(f"{topic}: {text}")

    def _think(self) -> None:
        """Give the worker each complete observation that is due."""
        if self._buffer.time_jumps != self._time_jumps:
            self._time_jumps = self._buffer.time_jumps
            if self._worker is not None:
                self._worker.set_instruction(self._instruction)  # what was seen lies in the future now
        rate = float(self._value("replan_rate"))
        for observation in self._buffer.take(self._instruction):
            if self._imagination.worker is not None:
                self._imagination.worker.saw(observation)
            # Turns count on the clock of the images, not from the instruction: a replayed bag takes the same ones.
            turn = int(observation.stamp * rate + 1e-3)
            if turn == self._turn and not self._replan:
                continue
            self._turn, self._replan = turn, False
            if self._instruction and self._worker is not None and self._state == "active":
                self._worker.submit(observation)

    # --- chunks out ---

    def _wanted(self, result: Result) -> bool:
        return result.observation.instruction == self._instruction and not self._imagination.gate.holding

    def _on_surprise(self, reaction: Reaction) -> None:
        """Called on the thread of imagination."""
        score = self._imagination.last_score
        if reaction is Reaction.REPLAN:
            self._replan = True
            self.get_logger().info(f"surprised ({score:.1f}): planning anew")
        elif reaction is Reaction.HOLD:
            self.get_logger().warning(f"surprised ({score:.1f}): holding until the world is as expected")
            self._chunks.withdraw()
        else:
            self.get_logger().info("the world is as expected again: going on")

    def _on_unknown_instruction(self, text: str) -> None:
        self._instruction_problem = text
        self._chunks.withdraw()

    def _on_policy_error(self, text: str) -> None:
        self.get_logger().error(text, throttle_duration_sec=2.0)

    # --- health ---

    def _watch_cameras(self) -> None:
        limit = float(self._value("image_timeout"))
        if self._state != "active":
            return
        lost, back = self._cameras.changes(limit)
        for camera in lost:
            self.get_logger().error(f"{CAMERAS[camera]}: no usable image for {limit:.1f} s; no chunks until it is back")
        for camera in back:
            self.get_logger().info(f"{CAMERAS[camera]}: images are back")

    def _publish_diagnostics(self) -> None:
        level, text = DiagnosticStatus.OK, self._state
        if self._unfit or self._handshake.refused:
            level, text = DiagnosticStatus.ERROR, self._unfit or self._handshake.refused
        elif self._cameras.silent:
            silent = ", ".join(CAMERAS[camera] for camera in sorted(self._cameras.silent))
            level, text = DiagnosticStatus.ERROR, f"no images from {silent}"
        elif self._instruction_problem:
            level, text = DiagnosticStatus.WARN, self._instruction_problem
        elif self._imagination.gate.holding:
            level, text = DiagnosticStatus.WARN, "surprised: holding until the world is as expected"
        values: dict[str, object] = {
            "policy": self._policy.model_id if self._policy else "",
            "instruction": self._instruction,
            "session": self._handshake.session,
            "bad_images": self._bad_images,
            "bad_messages": self._bad_messages,
            "time_jumps": self._buffer.time_jumps,
        }
        values |= self._chunks.values()
        values |= self._imagination.values()
        if self._worker is not None:
            values |= self._worker.statistics.values()
        name, robot = f"{self.get_name()}: runtime", str(self._value("robot_id"))
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(conversions.diagnostic_message(stamp, name, robot, level, text, values))

    def _value(self, name: str):  # type: ignore[no-untyped-def]
        return self.get_parameter(name).value


def main() -> int:
    """Run the node until it is told to stop; returns the exit code."""
    sys.setswitchinterval(1e-3)
    # Python's own KeyboardInterrupt would strike anywhere, also inside a message conversion.
    signals: list[int] = []  # not an Event: a second signal would wait for the lock that the first one holds
    nodes: list[PolicyNode] = []

    def finish(number: int, _frame: object) -> None:
        signals.append(number)
        if nodes and nodes[0].loading:
            raise SystemExit(0)  # loading takes seconds, and there is nothing to finish yet

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, finish)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = PolicyNode()
    except ValueError as error:
        print(f"policy: {error}", file=sys.stderr)
        return 2
    nodes.append(node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    code = 0
    try:
        node.inbox.run(executor, lambda: bool(signals))
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        node.unload()
        node.destroy_node()
        rclpy.try_shutdown()
    if "torch" in sys.modules:
        # nothing is left to do, and taking a learning framework apart takes seconds on a busy machine
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
