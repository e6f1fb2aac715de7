"""A running console as a viewer without a browser sees it, and what its tests share."""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.browser import chromium

if TYPE_CHECKING:
    from tests.conftest import RunningStack

needs_chromium = pytest.mark.skipif(
    chromium() is None, reason="no Chromium here (Debian, Ubuntu: apt install chromium chromium-driver)"
)


def artefacts() -> Path:
    folder = Path(os.environ.get("GR2_ARTEFACTS") or Path(os.environ.get("GR2_ROOT", ".")) / "runs" / "console-test")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class ConsoleUnderTest:
    """The console's process, and a viewer without a browser."""

    def __init__(self, running: RunningStack) -> None:
        self._running = running
        log = running.folder / "log" / "console.log"

        def address() -> bool:
            return log.exists() and re.search(r"open (http://\S+)/", log.read_text()) is not None

        running.wait(address, 60.0, "the console prints no address")
        self.address = re.search(r"open (http://\S+)/", log.read_text()).group(1)  # type: ignore[union-attr]
        self.port = int(self.address.rsplit(":", 1)[1])
        page = self.get("/").decode()
        self.key = re.search(r'name="key" value="([^"]+)"', page).group(1)  # type: ignore[union-attr]
        self.ticket = re.search(r'name="scene-ticket" content="([^"]+)"', page).group(1)  # type: ignore[union-attr]
        self.pid = running.process("console").pid

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path, timeout=10.0) as answer:
            return bytes(answer.read())

    def frame(self, after: int = 0) -> dict[str, Any]:
        data = self.get(f"/frame?after={after}")
        return dict(json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])) if data else {}

    def rate(self, span: float) -> float:
        """Different frames a second that a viewer gets, over a time [s]."""
        seen, begun = [0], time.monotonic()
        while time.monotonic() - begun < span:
            seen.append(int(self.frame(seen[-1])["frame"]))
        return (len(set(seen)) - 1) / (time.monotonic() - begun)

    def post(self, command: str, **form: str) -> tuple[int, str]:
        body = urllib.parse.urlencode(form | {"key": self.key}).encode()
        try:
            with urllib.request.urlopen(f"{self.address}/{command}", body, timeout=60.0) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def cpu(self) -> float:
        """Processor time that its process has used [s]."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Resident memory [MB]."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
