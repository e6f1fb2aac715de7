"""Frames on their way from the thread that makes them to the viewers who ask for them: only ever the newest one."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

WANTED = 2.0  # [s] after the last viewer has asked, frames are no longer made
LONGEST_WAIT = 1.0  # [s] a viewer waits for a new frame before it gets the old one again


class Frames:
    """Holds the newest frame. One thread puts, the loop of the server gives."""

    def __init__(self) -> None:
        self._newest = b""
        self._number = 0
        self._asked = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def wanted(self) -> bool:
        """Whether anybody has asked lately."""
        return time.monotonic() - self._asked < WANTED

    def put(self, description: dict[str, Any], pictures: bytes) -> None:
        """Pack a frame: 4 bytes length of the JSON (little endian), JSON, pictures."""
        self._number += 1
        head = json.dumps(description | {"frame": self._number}, separators=(",", ":"), allow_nan=False).encode()
        self._newest = len(head).to_bytes(4, "little") + head + pictures
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    async def get(self, after: int) -> bytes:
        """The newest frame, once its number is not ``after``; empty if there has been none."""
        self._loop = asyncio.get_running_loop()
        old = not self.wanted  # then none has been made since somebody last asked
        self._asked = time.monotonic()
        if self._number == after or not self._newest or old:
            future = self._loop.create_future()
            self._waiting.add(future)
            try:
                await asyncio.wait_for(future, LONGEST_WAIT)
            except TimeoutError:
                pass
            finally:
                self._waiting.discard(future)
        return self._newest

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
