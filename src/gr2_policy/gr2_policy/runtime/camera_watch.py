"""Notices cameras that have fallen silent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable


class CameraWatch:
    """Knows when each camera was last heard, on the steady clock.

    Args:
        cameras: their names.
        now: the steady clock [s].
    """

    def __init__(self, cameras: Iterable[str], now: Callable[[], float] = time.monotonic) -> None:
        self.silent: set[str] = set()
        self._now = now
        self._seen = dict.fromkeys(cameras, now())
        self._stamps: dict[str, float] = {}

    def restart(self) -> None:
        """From now on each camera has the full time to be heard."""
        self._seen = dict.fromkeys(self._seen, self._now())

    def heard(self, camera: str, stamp: float) -> None:
        """A usable image has come, taken at ``stamp`` [s]; the same one again and again is silence too."""
        if stamp != self._stamps.get(camera):
            self._stamps[camera] = stamp
            self._seen[camera] = self._now()

    def changes(self, limit: float) -> tuple[set[str], set[str]]:
        """Cameras that have just fallen silent for longer than ``limit`` [s], and those that have just come back."""
        now = self._now()
        silent = {camera for camera, at in self._seen.items() if now - at > limit}
        lost, back = silent - self.silent, self.silent - silent
        self.silent = silent
        return lost, back
