"""What the ROS graph says about the stack around the console."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from gr2_tools.console.mode import Surroundings

# Who listens to instructions without acting on them.
BYSTANDERS = frozenset({"sim", "console", "recorder", "gr2_recorder", "console_recorder", "gr2_test", "gr2_director"})
SERVICES = ("/wbc/reset", "/wbc/move_to", "/sim/reset", "/policy/change_state")


def look_around(node: Node) -> Surroundings:
    """Ask the graph."""
    return Surroundings(
        status_sources=_names(node.get_publishers_info_by_topic("/wbc_status")),
        joint_sources=_names(node.get_publishers_info_by_topic("/joint_states")),
        services=frozenset(name for name in SERVICES if node.count_services(name)),
        instruction_listeners=_names(node.get_subscriptions_info_by_topic("/instruction")) - BYSTANDERS,
    )


def _names(endpoints: Any) -> frozenset[str]:
    return frozenset(str(endpoint.node_name) for endpoint in endpoints)
