"""How punctual the node is while the whole simulated stack runs beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.running_stack import running_stack
from gr2_msgs.msg import WbcStatus

_INSTRUCTIONS = ("put the red block in the bin", "open the drawer", "press the red button", "lift the mug")
_PATIENCE = 20.0  # [s] for one instruction


def with_stack(ticks: int, domain: int) -> dict[str, Any]:
    """Run the stack until the controller has made so many cycles, carrying out instructions.

    Raises:
        SystemExit: the stack is not ready in time.
    """
    statuses: list[WbcStatus] = []
    with running_stack(domain) as (_, director):
        director.node.create_subscription(WbcStatus, "/wbc_status", statuses.append, 50)
        director.spin(1.0)

        def done() -> bool:
            return len(statuses) > 1 and statuses[-1].cycles - statuses[0].cycles >= ticks

        turn = 0
        while not done():
            director.say(_INSTRUCTIONS[turn % len(_INSTRUCTIONS)])
            turn += 1
            director.wait_until(
                lambda: done() or (director.outcome is not None and director.outcome.success), _PATIENCE
            )
            director.spin(0.5)
    first, last = statuses[0], statuses[-1]
    late = np.array(last.lateness_histogram, dtype=float) - np.array(first.lateness_histogram, dtype=float)
    return {
        "p50_us": 1e6 * float(np.median([status.cycle_time_p50 for status in statuses])),
        "p99_us": 1e6 * float(np.median([status.cycle_time_p99 for status in statuses])),
        "p99_worst_second_us": 1e6 * float(max(status.cycle_time_p99 for status in statuses)),
        "ticks": int(last.cycles - first.cycles),
        "missed": int(last.missed_cycles - first.missed_cycles),
        "lateness_edges_ms": [1e3 * edge for edge in last.lateness_edges],
        "lateness_share_percent": [round(100.0 * share, 3) for share in late / max(late.sum(), 1.0)],
        "state": last.state_name,
        "instructions": turn,
        "where": "wbc_node in the running stack",
    }
