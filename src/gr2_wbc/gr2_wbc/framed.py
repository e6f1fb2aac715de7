"""Pickled objects through a socket between a process and its own child, without threads and without blocking.

A thread that reads for the control thread would hold the interpreter's lock at ordinary priority now and then, and the
control thread, at real-time priority, would wait for it.
"""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("<Q")
_CHUNK = 1 << 16
_READS = 8  # system calls a poll at most: half a megabyte


class Gone(ConnectionError):
    """The other end is gone."""


class FramedSocket:
    """One end."""

    def __init__(self, end: socket.socket, blocking: bool) -> None:
        """Set up; a blocking end waits in :meth:`receive`, the other is polled."""
        self._socket = end
        end.setblocking(blocking)
        self._inbox = bytearray()
        self._outbox = bytearray()

    def send(self, item: object) -> None:
        """Send an object, or as much of it as the socket takes now; :meth:`poll` sends the rest.

        Raises:
            Gone: there is nobody to take it.
        """
        data = pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL)
        self._outbox += _LENGTH.pack(len(data)) + data
        self._flush()

    def poll(self) -> Any | None:
        """The next object, if all of it has come.

        Raises:
            Gone: the other end is gone, and everything it has sent was taken.
        """
        self._flush()
        for _ in range(_READS):
            if self._complete():
                break
            try:
                self._read()
            except BlockingIOError:
                return None
        return self._take() if self._complete() else None

    def receive(self) -> Any:
        """The next object, waited for.

        Raises:
            Gone: the other end is gone.
        """
        while not self._complete():
            self._read()
        return self._take()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _flush(self) -> None:
        while self._outbox:
            try:
                count = self._socket.send(self._outbox)
            except BlockingIOError:
                return
            except OSError as error:
                raise Gone(str(error)) from error
            del self._outbox[:count]

    def _read(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            raise
        except OSError as error:
            raise Gone(str(error)) from error
        if not data:
            raise Gone("the other end was closed")
        self._inbox += data

    def _complete(self) -> bool:
        if len(self._inbox) < _LENGTH.size:
            return False
        return len(self._inbox) >= _LENGTH.size + _LENGTH.unpack_from(self._inbox)[0]

    def _take(self) -> Any:
        end = _LENGTH.size + _LENGTH.unpack_from(self._inbox)[0]
        item = pickle.loads(memoryview(self._inbox)[_LENGTH.size : end].tobytes())
        del self._inbox[:end]
        return item
