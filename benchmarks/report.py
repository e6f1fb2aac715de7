"""What all benchmarks share: the machine they ran on, and a report written aside and renamed."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path


def machine() -> dict[str, object]:
    """Processor, cores, system, Python, and the load at this moment."""
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def processor_name() -> str:
    """Name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def write_json(path: Path, report: dict[str, object]) -> None:
    """Write a report; an older one is replaced only once this one is complete."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(json.dumps(report, indent=1) + "\n")
    aside.replace(path)
