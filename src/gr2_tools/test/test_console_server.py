"""The console's web server, with sockets and without a stack."""

import asyncio
import http.client
import socket
import time
import urllib.parse
from collections.abc import Iterator, Mapping

import pytest

from gr2_tools.console import frames as frames_module
from gr2_tools.console import server as module
from gr2_tools.console.frames import Frames
from gr2_tools.console.gate import Gate
from gr2_tools.console.server import ConsoleServer, PortTaken, Services

TOKEN = "a-token-of-sufficient-length"


class Served:
    """A server, what it was commanded, and a client."""

    def __init__(self, gate: Gate, scene_port: int = 0) -> None:
        self.gate = gate
        self.commands: list[tuple[str, dict[str, str]]] = []
        self.frames = Frames()
        services = Services(self.frames.get, self._command, lambda: scene_port, lambda: b"<html>scene</html>")
        self.server = ConsoleServer(gate, services, "127.0.0.1", 0)

    async def _command(self, name: str, form: Mapping[str, str]) -> tuple[bool, str]:
        self.commands.append((name, dict(form)))
        return name != "refused", f"{name} it is"

    def ask(
        self, method: str, path: str, form: Mapping[str, str] | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        client = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=5.0)
        body = None if form is None else urllib.parse.urlencode(form)
        client.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = client.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())


@pytest.fixture
def local() -> Iterator[Served]:
    served = Served(Gate())
    yield served
    served.server.stop()


@pytest.fixture
def remote() -> Iterator[Served]:
    served = Served(Gate(TOKEN))
    yield served
    served.server.stop()


def test_page_comes_with_its_key_and_forbids_strangers(local: Served) -> None:
    status, page, headers = local.ask("GET", "/")
    assert status == 200
    assert local.gate.key.encode() in page
    assert b"{{" not in page
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers
    for file in ("/console.js", "/console.css", "/plots.js"):
        assert local.ask("GET", file)[0] == 200
    assert local.ask("GET", "/../console_node.py")[0] == 404
    assert local.ask("GET", "/", host="evil.example")[0] in (401, 403)


def test_commands(local: Served) -> None:
    key = local.gate.key
    assert local.ask("POST", "/stop", {"key": key})[:2] == (200, b"stop it is\n")
    assert local.ask("POST", "/instruct", {"key": key, "text": "lift the mug"})[0] == 200
    assert local.ask("POST", "/refused", {"key": key})[0] == 409
    assert local.commands == [("stop", {}), ("instruct", {"text": "lift the mug"}), ("refused", {})]


def test_no_command_without_the_key_or_from_elsewhere(local: Served) -> None:
    assert local.ask("POST", "/stop", {})[0] == 403
    assert local.ask("POST", "/stop", {"key": "x"})[0] == 403
    assert local.ask("POST", "/stop", {"key": local.gate.key}, origin="http://evil.example")[0] == 403
    assert local.ask("POST", "/stop", {"key": local.gate.key}, host="evil.example")[0] == 403
    assert local.ask("PUT", "/stop", {"key": local.gate.key})[0] == 405
    assert local.commands == []


def test_with_a_token_nothing_without_it(remote: Served) -> None:
    key, ticket = remote.gate.key, remote.gate.ticket
    status, page, _ = remote.ask("GET", "/")
    assert status == 401
    assert key.encode() not in page
    assert ticket.encode() not in page
    for path in ("/frame", "/console.js", "/scene/x"):
        assert remote.ask("GET", path)[0] == 403
    assert remote.ask("POST", "/stop", {"key": key})[0] == 403, "not even stop, and not even with the key"
    status, _, headers = remote.ask("GET", f"/?token={TOKEN}")
    assert status == 303
    assert "HttpOnly" in headers["Set-Cookie"]
    cookie = headers["Set-Cookie"].split(";")[0]
    status, page, _ = remote.ask("GET", "/", cookie=cookie)
    assert status == 200
    assert TOKEN.encode() not in page
    assert remote.ask("POST", "/stop", {"key": key}, cookie=cookie)[0] == 200
    assert remote.commands == [("stop", {})]


def test_websocket_needs_the_ticket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as scene:
        served = Served(Gate(TOKEN), scene.getsockname()[1])
        try:
            for path in ("/scene/", "/scene/x", f"/scene/{served.gate.key}", "/"):
                assert served.ask("GET", path, upgrade="websocket", connection="Upgrade")[0] == 403
            with socket.create_connection(("127.0.0.1", served.server.port)) as client:
                head = f"GET /scene/{served.gate.ticket} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n".encode()
                client.sendall(head)
                inside, _ = scene.accept()
                assert inside.recv(4096) == head, "the head goes through as it came"
                inside.sendall(b"answer")
                assert client.recv(6) == b"answer"
                inside.close()
                assert client.recv(1) == b"", "one end closed closes the other"
        finally:
            served.server.stop()


def test_frames_are_the_newest_and_wait_for_a_new_one(local: Served) -> None:
    assert not local.frames.wanted
    assert local.ask("GET", "/frame")[1] == b""
    assert local.frames.wanted
    for number in range(3):
        local.frames.put({"number": number}, b"JPEG")
    _, data, _ = local.ask("GET", "/frame?after=0")
    assert b'"number":2' in data
    assert data.endswith(b"JPEG")
    begun = time.monotonic()
    assert b'"frame":3' in local.ask("GET", "/frame?after=3")[1]
    assert time.monotonic() - begun > 0.5, "nothing new: it waits"


def test_who_does_not_read_is_cut_off(local: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    local.frames.put({}, bytes(3_000_000))
    with socket.create_connection(("127.0.0.1", local.server.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /frame?after=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 10)
        time.sleep(0.1)
        assert len(local.server._connections) == 1
        assert local.ask("GET", "/console.js")[0] == 200, "others are served meanwhile"
        deadline = time.monotonic() + 5.0
        while local.server._connections:
            assert time.monotonic() < deadline, "still connected"
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"POST /stop HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", 413),
        (b"POST /stop HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /stop HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
    ],
)
def test_garbage_is_refused(local: Served, request_text: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", local.server.port), timeout=5.0) as client:
        client.sendall(request_text)
        assert client.recv(64).startswith(f"HTTP/1.1 {status} ".encode())


def test_one_address_cannot_use_up_all_connections(local: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 3)
    held = [socket.create_connection(("127.0.0.1", local.server.port)) for _ in range(3)]
    time.sleep(0.2)
    assert local.ask("GET", "/")[0] == 503
    for connection in held:
        connection.close()
    time.sleep(0.2)
    assert local.ask("GET", "/")[0] == 200


def test_port_taken_takes_the_next_or_says_so(local: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PORTS_TRIED", 1)
    with pytest.raises(PortTaken, match=str(local.server.port)):
        ConsoleServer(local.gate, local.server._services, "127.0.0.1", local.server.port)


def test_who_comes_after_a_while_does_not_get_a_frame_of_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "WANTED", 0.1)
    frames = Frames()

    async def visit() -> tuple[bytes, bytes]:
        await frames.get(0)
        frames.put({"number": 1}, b"")
        soon = await frames.get(0)
        await asyncio.sleep(0.2)
        asyncio.get_running_loop().call_later(0.1, frames.put, {"number": 2}, b"")
        return soon, await frames.get(0)

    soon, later = asyncio.run(visit())
    assert b'"number":1' in soon
    assert b'"number":2' in later


def test_frames_give_up_waiting() -> None:
    frames = Frames()
    assert asyncio.run(frames.get(0)) == b""
