"""Puts what was imagined, and how surprising the truth was, on topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gr2_msgs.msg import Surprise as SurpriseMessage
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from gr2_policy import conversions
from gr2_policy.policy import Frame, Imagines
from gr2_policy.runtime.imagination import ImaginationWorker
from gr2_policy.runtime.surprise import Surprise
from gr2_policy.runtime.surprise_gate import GateConfig, Reaction, SurpriseGate


class ImaginationOutlet:
    """The imagination of one policy, its topics, and what surprise leads to.

    Args:
        node: whose topics they are.
        frame_ids: camera name -> frame of its images, as last seen.
        gate: what surprise leads to.
        on_reaction: called on the thread of imagination, unless there is nothing to do.
    """

    def __init__(
        self, node: Node, frame_ids: Mapping[str, str], gate: GateConfig, on_reaction: Callable[[Reaction], None]
    ) -> None:
        self.gate = SurpriseGate(gate)
        self.worker: ImaginationWorker | None = None
        self.last_score = 0.0
        self._off = "off"
        self._node = node
        self._frame_ids = frame_ids
        self._on_reaction = on_reaction
        newest = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
        self._images = {
            camera: node.create_publisher(Image, f"/imagination/{camera}", newest) for camera in ("head", "wrist")
        }
        self._surprise = node.create_publisher(SurpriseMessage, "/imagination/surprise", 10)

    def begin(self, policy: Imagines, rate: float) -> ImaginationWorker:
        """Imagine with this policy, at most ``rate`` instants per second."""
        self.worker = ImaginationWorker(policy, rate, self._on_imagined, self._on_surprise, self._on_error)
        self._off = ""
        return self.worker

    def rest(self, reason: str) -> None:
        """Imagine nothing, for this reason."""
        if self.worker is not None:
            self.worker.rest()
        self._off = reason

    def end(self) -> bool:
        """Imagine no more; False if the policy does not return from an imagination."""
        worker, self.worker = self.worker, None
        self._off = "off"
        return worker is None or worker.stop()

    def values(self) -> dict[str, object]:
        """For the diagnostics."""
        if self.worker is None or self._off:
            return {"imagination": self._off}
        statistics = self.worker.statistics
        p50, p99 = statistics.percentiles()
        return {
            "imagined": statistics.imagined,
            "imagination_p50_s": f"{p50:.4f}",
            "imagination_p99_s": f"{p99:.4f}",
            "imagination_cpu_s": f"{statistics.cpu:.2f}",
            "imagined_given_up": statistics.given_up,
            "imagined_compared": statistics.compared,
            "imagined_never_seen": statistics.never_seen,
            "imagination_failures": statistics.failures,
            "imagination_last_error": statistics.last_error,
            "surprise": f"{self.last_score:.2f}",
            "surprise_replans": self.gate.replans,
            "surprise_holds": self.gate.holds,
            "surprise_holding": self.gate.holding,
        }

    def _on_imagined(self, frame: Frame) -> None:
        for camera, image in frame.images.items():
            if camera in self._images:
                frame_id = self._frame_ids.get(camera, "")
                self._images[camera].publish(conversions.image_message(image, frame.stamp, frame_id))

    def _on_surprise(self, surprises: list[Surprise]) -> None:
        for surprise in surprises:
            self._surprise.publish(conversions.surprise_message(surprise, self._frame_ids.get(surprise.camera, "")))
        self.last_score = max(surprise.score for surprise in surprises)
        reaction = self.gate.feel(surprises)
        if reaction is not Reaction.NONE:
            self._on_reaction(reaction)

    def _on_error(self, text: str) -> None:
        self._node.get_logger().error(text, throttle_duration_sec=2.0)
