"""Puts chunks on their topic: which are published, under which number, and how old they were."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gr2_msgs.msg import TrajectoryChunk
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy

from gr2_policy import conversions
from gr2_policy.policy import Policy
from gr2_policy.runtime.delivery import Delivery, DeliveryConfig, Verdict
from gr2_policy.runtime.latency import LatencyLog, Timing
from gr2_policy.runtime.worker import Result


class ChunkOutlet:
    """Publishes on /trajectory_chunk. Chunks come from the worker's thread, withdrawals from any.

    Args:
        node: whose topic it is.
        session: the controller's session at this moment; empty: none.
        wanted: whether a finished inference is still wanted.
        complain: says why a chunk was dropped.
    """

    def __init__(
        self,
        node: LifecycleNode,
        session: Callable[[], str],
        wanted: Callable[[Result], bool],
        complain: Callable[[str, str], None],
    ) -> None:
        self.delivery = Delivery(DeliveryConfig())
        self.published = 0
        self._latency = LatencyLog()
        self._sequence = 0
        self._age = 0.0
        self._policy: Policy | None = None
        self._node = node
        self._session = session
        self._wanted = wanted
        self._complain = complain
        self._lock = threading.Lock()
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._publisher = node.create_lifecycle_publisher(TrajectoryChunk, "/trajectory_chunk", newest)

    def now(self) -> float:
        """ROS time [s]."""
        return float(self._node.get_clock().now().nanoseconds) * 1e-9

    def begin(self, policy: Policy | None, config: DeliveryConfig) -> None:
        """Publish chunks of this policy; None: of no policy any more."""
        with self._lock:
            self._policy = policy
            self.delivery = Delivery(config)

    def new_session(self) -> None:
        """Count from 1 again."""
        with self._lock:
            self._sequence = 0

    def publish(self, result: Result) -> bool:
        """Publish a chunk if it is of use; whether it is."""
        chunk, stamp = result.chunk, result.observation.stamp
        with self._lock:
            session = self._session()
            if self._policy is None or not session or not self._wanted(result):
                return False
            age = self.now() - stamp
            verdict = self.delivery.judge(chunk, age, result.bound)
            if verdict is not Verdict.PUBLISH:
                self._complain(
                    "/trajectory_chunk",
                    f"a chunk was dropped: its image is {age:.2f} s old"
                    if verdict is Verdict.TOO_OLD
                    else "a chunk was dropped: it goes on from one that the controller has refused",
                )
                return False
            self._sequence += 1
            self._publisher.publish(
                conversions.chunk_message(chunk, result.observation, session, self._sequence, self._policy.model_id)
            )
        publishing, inference = time.monotonic() - result.ended, result.ended - result.begun
        self._latency.add(Timing(result.waited, inference, publishing, age))
        self.published += 1
        self._age = age
        return True

    def withdraw(self) -> None:
        """Ask the controller to come to rest."""
        with self._lock:
            session = self._session()
            if self._policy is None or not session:
                return
            self._sequence += 1
            stamp = self._node.get_clock().now().to_msg()
            self._publisher.publish(conversions.withdrawal(stamp, self._policy, session, self._sequence))

    def values(self) -> dict[str, object]:
        """For the diagnostics."""
        values: dict[str, object] = {
            "chunks": self.published,
            "chunk_age_s": f"{self._age:.3f}",
            "delay_s": f"{self.delivery.delay:.3f}",
            "chunks_too_old": self.delivery.too_old,
            "chunks_broken_prefix": self.delivery.broken_prefix,
        }
        for stage, (p50, p99) in self._latency.percentiles().items():
            values |= {f"{stage}_p50_s": f"{p50:.4f}", f"{stage}_p99_s": f"{p99:.4f}"}
        return values
