"""What the node tells on /diagnostics."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile

from gr2_wbc.control_clock import ControlClock
from gr2_wbc.controller import Controller
from gr2_wbc.node_messages import to_diagnostic
from gr2_wbc.realtime import CpuMeter, RealtimeReport
from gr2_wbc.safety import State
from gr2_wbc.state import Status
from gr2_wbc.timing import CycleStats

CHUNK_TOPIC = "/trajectory_chunk"
CHUNK_TYPE = "gr2_msgs/msg/TrajectoryChunk"


class Diagnostics:
    """Publishes three statuses: control, timing, and who sends chunks.

    Attributes:
        bad_messages: malformed input other than chunks, since start.
    """

    def __init__(self, node: Node, profile: QoSProfile) -> None:
        self._node = node
        self._out = node.create_publisher(DiagnosticArray, "/diagnostics", profile)
        self._sources = (DiagnosticStatus.OK, "")
        self._cpu = CpuMeter()
        self.bad_messages = 0

    def publish(
        self, controller: Controller, stats: CycleStats, clock: ControlClock, realtime: RealtimeReport, armed: bool
    ) -> None:
        """Publish the present state; a change for the worse among the senders of chunks is logged as well."""
        self._sources = self._check_sources()
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [
            _control(self._node.get_name(), controller.status(), armed),
            _timing(self._node.get_name(), stats, clock, realtime, controller.safety.overload, self._cpu.share()),
            to_diagnostic(f"{self._node.get_name()}: input", *self._sources, {"bad_messages": self.bad_messages}),
        ]
        self._out.publish(message)

    def senders(self) -> list[str]:
        """Names of the nodes that can send chunks."""
        found = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(CHUNK_TOPIC))
        return [f"{one.node_namespace.rstrip('/')}/{one.node_name}" for one in found if one.topic_type == CHUNK_TYPE]

    def _check_sources(self) -> tuple[bytes, str]:
        """Name second publishers and wrong types on the chunk topic: DDS only fails to match, silently."""
        topic = self._node.resolve_topic_name(CHUNK_TOPIC)
        sources = self._node.get_publishers_info_by_topic(topic)
        shown = [f"{source.node_namespace.rstrip('/')}/{source.node_name} ({source.topic_type})" for source in sources]
        wrong = [name for name, source in zip(shown, sources, strict=True) if source.topic_type != CHUNK_TYPE]
        if wrong:
            found = (DiagnosticStatus.WARN, f"incompatible type on {topic}: {', '.join(wrong)}, expected {CHUNK_TYPE}")
        elif len(sources) > 1:
            found = (DiagnosticStatus.WARN, f"{len(sources)} publishers on {topic}: {', '.join(shown)}")
        else:
            return DiagnosticStatus.OK, f"chunks from {', '.join(shown) or 'nobody'}"
        if found != self._sources:
            self._node.get_logger().warning(found[1])
        return found


def _control(node: str, status: Status, armed: bool) -> DiagnosticStatus:
    levels = {State.IDLE: DiagnosticStatus.WARN, State.STOPPED: DiagnosticStatus.ERROR}
    level = levels.get(status.state, DiagnosticStatus.OK if armed else DiagnosticStatus.WARN)
    values = {
        "armed": armed,
        "session": status.session,
        "policy": status.policy,
        "chunks_accepted": status.chunks_accepted,
        "last_refusal": status.last_refusal,
        "minimum_distance": status.minimum_distance,
        "minimum_distance_pair": status.minimum_distance_pair,
        "joint_tracking_error": status.joint_tracking_error,
        "qp_failures": status.qp_failures,
        "rejected_commands": status.rejected_commands,
        "resyncs": status.resyncs,
    }
    values.update({f"refused.{name}": count for name, count in status.refusals.items() if count})
    text = f"{status.state.name}: {status.reason}"
    return to_diagnostic(f"{node}: control", level, text if armed else f"DRY RUN, {text}", values)


def _timing(
    node: str, stats: CycleStats, clock: ControlClock, realtime: RealtimeReport, overload: str, cpu: float
) -> DiagnosticStatus:
    median, slow = stats.percentiles()
    level, text = DiagnosticStatus.OK, "in time"
    if slow > stats.period:
        level, text = DiagnosticStatus.WARN, f"cycles take up to {1e3 * slow:.1f} ms of {1e3 * stats.period:.1f} ms"
    if overload:
        level, text = DiagnosticStatus.WARN, f"{overload}; the path is followed more slowly"
    if clock.frozen:
        level, text = DiagnosticStatus.WARN, "ROS time stands still"
    values = {
        "real_time": str(realtime),
        "processor_share": cpu,
        "cycle_time_p50": median,
        "cycle_time_p99": slow,
        "missed_cycles": stats.missed,
        "clock_jumps": clock.jumps,
        "clock_frozen": clock.frozen,
    }
    return to_diagnostic(f"{node}: timing", level, text, values)
