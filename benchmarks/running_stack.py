"""The whole simulated stack, for as long as a benchmark needs it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gr2_bringup import stack
from gr2_bringup.director import Director
from gr2_bringup.supervisor import Supervisor

_PATIENCE = 90.0  # [s]


@contextmanager
def running_stack(
    domain: int, values: Mapping[str, object] | None = None, bag: bool = False
) -> Iterator[tuple[Supervisor, Director]]:
    """Start it, wait until it is ready and has run for 3 s, and stop it in the end.

    Args:
        domain: ROS domain.
        values: arguments that differ from the defaults.
        bag: record all of it.

    Raises:
        SystemExit: it is not ready in time; the text says why.
    """
    env = dict(os.environ) | {"ROS_DOMAIN_ID": str(domain)}
    with tempfile.TemporaryDirectory() as folder:
        chosen = stack.defaults(stack.SIMULATION) | {"policy": "teacher", "seed": 3} | dict(values or {})
        if bag:
            chosen["record"] = str(Path(folder) / "bag")
        nodes = stack.simulation(chosen)
        supervisor = Supervisor(nodes, env, stack.share_folder(), Path(folder) / "log", lambda *_: None)
        director = Director("bench", domain_id=domain)
        try:
            supervisor.start()
            if not director.wait_until(director.ready, _PATIENCE):
                raise SystemExit(f"the stack is not ready: {director.not_ready_because()}")
            director.spin(3.0)
            yield supervisor, director
        finally:
            director.close()
            supervisor.stop()
