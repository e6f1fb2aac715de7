"""The console's web server: page, frames and commands, and a tunnel to the 3-D view. One asyncio loop in one thread.

Viewers **pull**: each asks for the next frame when it has shown the last one, so nothing ever queues up for a slow
browser, and whoever stops reading is cut off after :data:`PATIENCE`. The loop never calls into ROS except for the
commands themselves.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib import resources

from gr2_tools.console import http_message
from gr2_tools.console.gate import COOKIE, Gate
from gr2_tools.console.http_message import BadRequest, Request, Response, text

PATIENCE = 10.0  # [s] for a request to be complete, and for a client to take a response
IDLE = 60.0  # [s] a connection may stay open without a request
MOST_CONNECTIONS = 24  # from one address: nobody can use up those of the operator
CHUNK = 65_536  # [byte] forwarded at once between a browser and the 3-D view
PORTS_TRIED = 40
# Nothing is fetched from, sent to or framed by anybody else: the browser itself enforces it.
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'none'"
)
SCENE_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob: data:; "
    "connect-src {origin} blob: data:; frame-ancestors 'self'; base-uri 'self'"
)
FILES = {
    "/console.css": ("console.css", "text/css; charset=utf-8"),
    "/console.js": ("console.js", "text/javascript; charset=utf-8"),
    "/plots.js": ("plots.js", "text/javascript; charset=utf-8"),
}
LOCKED = """<!doctype html><meta charset="utf-8"><title>gr2 console</title>
<style>body{font:16px system-ui;background:#14171c;color:#dde3ea;margin:15vh auto;max-width:26em}
input,button{font:inherit;padding:.4em}</style>
<h2>gr2 console</h2><p>This console asks for a token. It was printed where the stack was started.</p>
<form method="get" action="/"><input name="token" type="password" autofocus aria-label="token">
<button>open</button></form>"""


class PortTaken(OSError):
    """No port could be had; the message names them."""


@dataclass(frozen=True)
class Services:
    """What the server serves, given from outside.

    Attributes:
        frame: the frame after the one of this number, when there is one, or the newest after a while.
        command: carries out a command: (name, form) -> (whether it was done, what happened in words).
        scene_port: port of the 3-D view on this machine; 0 while it is being built.
        scene_page: its page.
    """

    frame: Callable[[int], Awaitable[bytes]]
    command: Callable[[str, Mapping[str, str]], Awaitable[tuple[bool, str]]]
    scene_port: Callable[[], int]
    scene_page: Callable[[], bytes]


class ConsoleServer:
    """Serves the console until :meth:`stop`.

    Args:
        host, port: to listen on; 0 takes any port, others the first free one from there on.

    Raises:
        PortTaken: none is free.
    """

    def __init__(self, gate: Gate, services: Services, host: str, port: int) -> None:
        self._gate = gate
        self._services = services
        self._page = (resources.files("gr2_tools.console") / "page" / "index.html").read_text(encoding="utf-8")
        self._socket = _listen(host, port)
        self.port = int(self._socket.getsockname()[1])
        self._connections: dict[asyncio.Task[None], str] = {}  # and the address of each
        self.loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close all connections and end the thread."""
        self.loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(5.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._serve())
        self.loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._socket, limit=http_message.LARGEST_HEAD)
        await self._ended.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        address = str((writer.get_extra_info("peername") or [""])[0])
        self._connections[task] = address
        try:
            if list(self._connections.values()).count(address) > MOST_CONNECTIONS:
                full = text(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections from your address")
                await _send(writer, full, keep_alive=False)
            else:
                await self._converse(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.CancelledError, OSError):
            pass  # the client has gone, or does not take what it asked for
        finally:
            del self._connections[task]
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE):
                    request = await http_message.read_request(reader, PATIENCE)
                if request is None:
                    return
                if request.upgrade:
                    await self._tunnel(request, reader, writer)
                    return
                response, keep = await self._answer(request), request.keep_alive
            except BadRequest as bad:
                response, keep = text(bad.status, str(bad)), False
            await _send(writer, response, keep)
            if not keep:
                return

    async def _answer(self, request: Request) -> Response:
        gate = self._gate
        if request.method == "GET" and gate.may_see_scene(request.path):
            if not self._services.scene_port():
                return text(HTTPStatus.SERVICE_UNAVAILABLE, "the 3-D view is being built")
            host = request.headers.get("host", "")  # 'self' means nothing to a sandboxed frame
            headers = {"Content-Security-Policy": SCENE_POLICY.format(origin=f"ws://{host} wss://{host}")}
            return Response(self._services.scene_page(), "text/html; charset=utf-8", headers=headers)
        if not gate.admits(request.headers, request.query):
            if request.method == "GET" and request.path == "/":
                return Response(LOCKED.encode(), "text/html; charset=utf-8", HTTPStatus.UNAUTHORIZED)
            return text(HTTPStatus.FORBIDDEN, "this console asks for a token, or for its own host name")
        if request.method == "POST":
            return await self._command(request)
        if request.method != "GET":
            return text(HTTPStatus.METHOD_NOT_ALLOWED, "GET or POST")
        if request.path == "/":
            return self._front(request)
        if request.path == "/frame":
            after = request.query.get("after", "0")
            data = await self._services.frame(int(after) if after.isdecimal() else 0)
            return Response(data, "application/octet-stream")
        if request.path in FILES:
            name, kind = FILES[request.path]
            return Response((resources.files("gr2_tools.console") / "page" / name).read_bytes(), kind)
        return text(HTTPStatus.NOT_FOUND, "not found")

    def _front(self, request: Request) -> Response:
        """The page; a token in the address moves into a cookie, out of sight."""
        if "token" in request.query and self._gate.token is not None:
            cookie = f"{COOKIE}={self._gate.token}; HttpOnly; SameSite=Strict; Path=/"
            return Response(status=HTTPStatus.SEE_OTHER, headers={"Location": "/", "Set-Cookie": cookie})
        page = self._page.replace("{{key}}", self._gate.key).replace("{{ticket}}", self._gate.ticket)
        return Response(page.encode(), "text/html; charset=utf-8", headers={"Content-Security-Policy": POLICY})

    async def _command(self, request: Request) -> Response:
        form = request.form()
        key = form.pop("key", "") or request.headers.get("x-console-key", "")
        if not self._gate.may_command(request.headers, request.query, key):
            return text(HTTPStatus.FORBIDDEN, "commands are taken from the console's own page alone")
        done, what = await self._services.command(request.path.strip("/"), form)
        return text(HTTPStatus.OK if done else HTTPStatus.CONFLICT, what)

    async def _tunnel(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward a websocket to the 3-D view. Bounded by the sockets' own buffers in both directions."""
        port = self._services.scene_port()
        if not port or not self._gate.may_see_scene(request.path):
            await _send(writer, text(HTTPStatus.FORBIDDEN, "no"), keep_alive=False)
            return
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            back.write(request.raw)
            done, waiting = await asyncio.wait(
                [asyncio.ensure_future(_pump(reader, back)), asyncio.ensure_future(_pump(there, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in waiting:
                task.cancel()
            await asyncio.gather(*done, *waiting, return_exceptions=True)
        finally:
            back.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(CHUNK):
        sink.write(data)
        await sink.drain()


async def _send(writer: asyncio.StreamWriter, response: Response, keep_alive: bool) -> None:
    writer.write(response.encode(keep_alive))
    async with asyncio.timeout(PATIENCE):
        await writer.drain()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    candidates = [0] if port == 0 else range(port, port + PORTS_TRIED)
    for candidate in candidates:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            listener.listen(64)
        except OSError as error:
            listener.close()
            if candidate == candidates[-1]:
                raise PortTaken(f"cannot listen on {host}, ports {port} to {candidate}: {error.strerror}") from None
            continue
        return listener
    raise AssertionError("unreachable")
