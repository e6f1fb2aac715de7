"""The policy as a lifecycle node: messages in, chunks out. The thinking is in :mod:`gr2_policy.runtime`.

configure loads the policy and asks the controller for a session (the activation handshake), activate starts to
publish chunks. With ``autostart`` the node does both by itself and again whenever the controller was restarted.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from gr2_msgs.msg import RobotState, SceneTruth, TrajectoryChunk, WbcStatus
from gr2_msgs.srv import ActivatePolicy
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from std_msgs.msg import String

from gr2_policy import conversions
from gr2_policy.instruction import BadInstruction, clean
from gr2_policy.policy import ActionChunk, Observation, Policy, UnknownPolicy, load_policy
from gr2_policy.runtime.image import BadImage
from gr2_policy.runtime.observation_buffer import BufferConfig, ObservationBuffer
from gr2_policy.runtime.worker import InferenceWorker

CAMERAS = {"head": "/head_camera/image_raw", "wrist": "/wrist_camera/image_raw"}
QUIET = 2.0  # [s] between two complaints about the same topic
PARAMETERS: dict[str, object] = {
    "policy": "teacher",  # name in the entry-point group gr2.policies
    "policy_options": [""],  # "key=value" strings, given to the policy's factory
    "robot_id": "gen3_2f85",  # what this stack drives; the policy must have been made for it
    "replan_rate": 5.0,  # [Hz] chunks per second of image time
    "image_width": 256,  # [pixel] 0: any
    "image_height": 256,
    "image_timeout": 1.0,  # [s] a camera silent for longer is reported, and no chunk is made meanwhile
    "autostart": True,
    "handshake": True,  # false: run without a controller, e.g. on a replayed bag; a controller refuses such chunks
}


class PolicyNode(LifecycleNode):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__("policy")
        for name, default in PARAMETERS.items():
            self.declare_parameter(name, default)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._policy: Policy | None = None
        self._worker: InferenceWorker | None = None
        self._buffer = ObservationBuffer(BufferConfig())
        self._instruction = ""
        self._instruction_problem = ""
        self._last_instruction_source: tuple[int, str] | None = None
        self._session = ""
        self._handshake: rclpy.task.Future | None = None
        self._handshake_sent = 0.0
        self._refused = ""
        self._wbc_session: str | None = None
        self._session_confirmed = False
        self._sequence = 0
        self._publishing = threading.Lock()  # chunks come from the worker's thread, withdrawals from this one
        self._turn = -1  # of the newest observation, counted in replanning periods
        self._autostart = bool(self._value("autostart"))
        self._active_since = time.monotonic()
        self._image_seen: dict[str, float] = {}
        self._silent: set[str] = set()
        self._complained: dict[str, float] = {}
        self._bad_images = 0
        self._bad_messages = 0
        self._chunks = 0
        self._chunk_age = 0.0
        self._connect()

    def _connect(self) -> None:
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        for camera, topic in CAMERAS.items():
            self.create_subscription(
                Image,
                topic,
                partial(self._on_image, camera),
                qos_profile_sensor_data,
            )
        self.create_subscription(RobotState, "/robot_state", self._on_state, 10)
        self.create_subscription(WbcStatus, "/wbc_status", self._on_wbc_status, 10)
        # A transient-local subscription does not match `ros2 topic pub`, a volatile one misses what was said
        # before it began: so both, and what comes twice is taken once.
        self.create_subscription(String, "/instruction", self._on_instruction, 10)  # type: ignore[arg-type]
        self.create_subscription(String, "/instruction", self._on_instruction, latched)  # type: ignore[arg-type]
        self._truth_subscription: Subscription | None = None
        self._chunk_publisher = self.create_lifecycle_publisher(TrajectoryChunk, "/trajectory_chunk", newest)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._activate_client = self.create_client(ActivatePolicy, "/wbc/activate_policy")
        self.create_timer(0.1, self._supervise, clock=self._steady)
        self.create_timer(1.0, self._publish_diagnostics, clock=self._steady)

    # --- lifecycle ---

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy and begin the handshake."""
        name = self._value("policy")
        options = dict(item.split("=", 1) for item in self._value("policy_options") if "=" in item)
        try:
            policy = load_policy(name, **options)
        except UnknownPolicy as error:
            self.get_logger().fatal(str(error))
            return TransitionCallbackReturn.FAILURE
        except (OSError, ValueError, TypeError, ImportError) as error:
            self.get_logger().fatal(f"policy '{name}' cannot be loaded: {error}")
            return TransitionCallbackReturn.FAILURE
        if policy.robot_id != self._value("robot_id"):
            self.get_logger().fatal(
                f"policy '{name}' was made for robot '{policy.robot_id}', this is '{self._value('robot_id')}'"
            )
            return TransitionCallbackReturn.FAILURE
        self._policy = policy
        self._buffer = ObservationBuffer(BufferConfig(needs_truth=policy.privileged, history=policy.history))
        self._worker = InferenceWorker(policy, self._on_chunk, self._on_unknown_instruction, self._on_policy_error)
        if self._instruction:
            self._worker.set_instruction(self._instruction)
        if policy.privileged:
            self._truth_subscription = self.create_subscription(SceneTruth, "/sim/truth", self._on_truth, 10)
            self.get_logger().warning(
                f"'{policy.model_id}' is a scripted policy that reads the simulator's ground truth; nothing is learned"
            )
        self._begin_handshake()
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start publishing chunks; refused until the controller has granted a session."""
        if not self._session:
            self.get_logger().error(self._refused or "the controller (/wbc) has not answered the handshake yet")
            return TransitionCallbackReturn.FAILURE
        self._active_since = time.monotonic()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop publishing chunks; the controller finishes the last one and holds."""
        self._session = ""
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
        self._worker = None
        self._policy = None
        self._session = ""
        if self._truth_subscription is not None:
            self.destroy_subscription(self._truth_subscription)
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
        if self._state == "inactive" and self._session and self._autostart:
            self._autostart = False  # who deactivates the node by hand wants it to stay so
            self.trigger_activate()
            self.get_logger().info(f"active with policy '{self._policy.model_id}'" if self._policy else "active")
        lost = self._session_confirmed and self._wbc_session != self._session
        if self._state == "active" and lost:
            self._autostart = True
            self.get_logger().warning("the controller has ended this policy's session; asking for a new one")
            self.trigger_deactivate()
            self._begin_handshake()
        self._watch_cameras()

    def _begin_handshake(self) -> None:
        self._session = "" if self._value("handshake") else "offline"
        self._handshake, self._wbc_session, self._session_confirmed = None, None, False
        self._handshake_sent = 0.0

    def _follow_handshake(self) -> None:
        if self._policy is None or self._session or self._state not in {"inactive", "unconfigured"}:
            return
        if self._handshake is not None and self._handshake.done():
            answer = self._handshake.result()
            self._handshake = None
            if answer is not None and answer.accepted:
                self._session, self._sequence, self._refused = answer.session, 0, ""
                return
            refused = f"the controller refuses this policy: {answer.message if answer else 'no answer'}"
            if refused != self._refused:
                self.get_logger().error(refused)
            self._refused = refused
        if time.monotonic() - self._handshake_sent < 2.0 or not self._activate_client.service_is_ready():
            return
        policy = self._policy
        request = ActivatePolicy.Request(
            policy=str(policy.model_id),
            robot_id=str(policy.robot_id),
            action_space=str(policy.action_space),
            chunk_dt=float(policy.chunk_dt),
            normalization_hash=str(policy.normalization_hash),
        )
        self._handshake = self._activate_client.call_async(request)
        self._handshake_sent = time.monotonic()

    # --- messages in ---

    def _on_image(self, camera: str, message: Image) -> None:
        width, height = int(self._value("image_width")), int(self._value("image_height"))
        try:
            stamp, image = conversions.image(message, (width, height) if width and height else None)
        except BadImage as error:
            self._bad_images += 1
            self._complain(CAMERAS[camera], f"image ignored: {error}")
            return
        self._image_seen[camera] = time.monotonic()
        self._buffer.add_image(camera, stamp, image)
        self._think()

    def _on_state(self, message: RobotState) -> None:
        try:
            sample = conversions.robot_state(message)
        except ValueError as error:
            self._bad("/robot_state", error)
            return
        self._buffer.add_state(sample)
        self._think()

    def _on_truth(self, message: SceneTruth) -> None:
        try:
            truth = conversions.scene_truth(message)
        except ValueError as error:
            self._bad("/sim/truth", error)
            return
        self._buffer.add_truth(truth)
        self._think()

    def _on_wbc_status(self, message: WbcStatus) -> None:
        self._wbc_session = message.session
        # A status sent before the session was granted may arrive after the grant.
        self._session_confirmed |= bool(self._session) and message.session == self._session

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
        if self._worker is not None:
            self._worker.set_instruction(text)
        if text:
            self.get_logger().info(f"instruction: {text}")
        else:
            self.get_logger().info("empty instruction: stopping")
            self._withdraw()

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
        rate = float(self._value("replan_rate"))
        for observation in self._buffer.take(self._instruction):
            # Turns count on the clock of the images, not from the instruction: a replayed bag takes the same ones.
            turn = int(observation.stamp * rate + 1e-3)
            if turn == self._turn:
                continue
            self._turn = turn
            if self._instruction and self._worker is not None and self._state == "active":
                self._worker.submit(observation)

    # --- chunks out ---

    def _on_chunk(self, observation: Observation, chunk: ActionChunk, duration: float) -> None:
        """Called on the worker's thread."""
        with self._publishing:
            if self._policy is None or not self._session or observation.instruction != self._instruction:
                return
            self._sequence += 1
            self._chunk_publisher.publish(
                conversions.chunk_message(chunk, observation, self._session, self._sequence, self._policy.model_id)
            )
        self._chunks += 1
        self._chunk_age = self.get_clock().now().nanoseconds * 1e-9 - observation.stamp

    def _withdraw(self) -> None:
        """Ask the controller to come to rest."""
        with self._publishing:
            if self._policy is None or not self._session:
                return
            self._sequence += 1
            stamp = self.get_clock().now().to_msg()
            self._chunk_publisher.publish(conversions.withdrawal(stamp, self._policy, self._session, self._sequence))

    def _on_unknown_instruction(self, text: str) -> None:
        self._instruction_problem = text
        self._withdraw()

    def _on_policy_error(self, text: str) -> None:
        self.get_logger().error(text, throttle_duration_sec=2.0)

    # --- health ---

    def _watch_cameras(self) -> None:
        now, limit = time.monotonic(), float(self._value("image_timeout"))
        for camera, topic in CAMERAS.items():
            silent = now - self._image_seen.get(camera, self._active_since) > limit
            if silent and camera not in self._silent and self._state == "active":
                self._silent.add(camera)
                self.get_logger().error(f"{topic}: no usable image for {limit:.1f} s; no chunks until it is back")
            elif not silent and camera in self._silent:
                self._silent.discard(camera)
                self.get_logger().info(f"{topic}: images are back")

    def _publish_diagnostics(self) -> None:
        level, text = DiagnosticStatus.OK, self._state
        if self._refused:
            level, text = DiagnosticStatus.ERROR, self._refused
        elif self._silent:
            level, text = (
                DiagnosticStatus.ERROR,
                "no images from " + ", ".join(CAMERAS[c] for c in self._silent),
            )
        elif self._instruction_problem:
            level, text = DiagnosticStatus.WARN, self._instruction_problem
        values: dict[str, object] = {
            "policy": self._policy.model_id if self._policy else "",
            "instruction": self._instruction,
            "session": self._session,
            "chunks": self._chunks,
            "chunk_age_s": f"{self._chunk_age:.3f}",
            "bad_images": self._bad_images,
            "bad_messages": self._bad_messages,
            "time_jumps": self._buffer.time_jumps,
        }
        if self._worker is not None:
            statistics = self._worker.statistics
            p50, p99 = statistics.percentiles()
            values |= {
                "inferences": statistics.inferences,
                "inference_p50_s": f"{p50:.4f}",
                "inference_p99_s": f"{p99:.4f}",
                "observations_replaced": statistics.replaced,
                "chunks_outdated": statistics.outdated,
                "failures": statistics.failures,
                "last_error": statistics.last_error,
            }
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status.append(
            DiagnosticStatus(
                level=level,
                name=f"{self.get_name()}: runtime",
                message=text,
                hardware_id=str(self._value("robot_id")),
                values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
            )
        )
        self._diagnostics.publish(message)

    def _value(self, name: str):  # type: ignore[no-untyped-def]
        return self.get_parameter(name).value


def main() -> int:
    """Run the node until it is told to stop; returns the exit code."""
    sys.setswitchinterval(1e-3)
    # Python's own KeyboardInterrupt would strike anywhere, also inside a message conversion.
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = PolicyNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        node.unload()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
