"""Just enough HTTP/1.1 for one page: requests in, responses out, both bounded in size and time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

LARGEST_HEAD = 16_384  # [byte]
LARGEST_BODY = 65_536


class BadRequest(ValueError):
    """A request that is refused before anybody looks at what it wants.

    Attributes:
        status: the HTTP status to answer with.
    """

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Request:
    """One request; header names are in lower case, ``raw`` is its head as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    raw: bytes

    @property
    def upgrade(self) -> bool:
        """Whether it asks for a websocket."""
        return self.headers.get("upgrade", "").lower() == "websocket"

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open for another request."""
        return "close" not in self.headers.get("connection", "").lower()

    def form(self) -> dict[str, str]:
        """The fields of a posted form.

        Raises:
            BadRequest: it is not UTF-8.
        """
        try:
            return dict(parse_qsl(self.body.decode(), keep_blank_values=True))
        except UnicodeDecodeError:
            raise BadRequest(HTTPStatus.BAD_REQUEST, "the form is not UTF-8") from None


@dataclass(frozen=True)
class Response:
    """One response."""

    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self, keep_alive: bool) -> bytes:
        """As sent."""
        head = {
            "Content-Type": self.kind,
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Connection": "keep-alive" if keep_alive else "close",
        } | self.headers
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}", *(f"{k}: {v}" for k, v in head.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + self.body


def text(status: HTTPStatus, message: str) -> Response:
    """A line of plain text."""
    return Response((message + "\n").encode(), status=status)


async def read_request(reader: asyncio.StreamReader, patience: float) -> Request | None:
    """Read one request.

    Args:
        reader: its limit must be :data:`LARGEST_HEAD`.
        patience: [s] that the whole request may take once its first byte has come.

    Returns:
        None at the end of the connection.

    Raises:
        BadRequest: malformed, too large or too slow.
    """
    first = await reader.read(1)
    if not first:
        return None
    try:
        async with asyncio.timeout(patience):
            raw = first + await reader.readuntil(b"\r\n\r\n")
            method, target, headers = _head(raw)
            body = await reader.readexactly(_length(headers))
    except asyncio.LimitOverrunError:
        raise BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"head over {LARGEST_HEAD} bytes") from None
    except asyncio.IncompleteReadError:
        return None
    except TimeoutError:
        raise BadRequest(HTTPStatus.REQUEST_TIMEOUT, f"not complete after {patience:g} s") from None
    parts = urlsplit(target)
    return Request(method, parts.path, dict(parse_qsl(parts.query)), headers, body, raw)


def _head(raw: bytes) -> tuple[str, str, dict[str, str]]:
    lines = raw.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "not an HTTP/1.1 request")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, sign, value = line.partition(":")
        if sign:
            headers[name.strip().lower()] = value.strip()
    return words[0], words[1], headers


def _length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequest(HTTPStatus.NOT_IMPLEMENTED, "transfer-encoding is not supported")
    text = headers.get("content-length", "0")
    if not text.isdecimal():
        raise BadRequest(HTTPStatus.BAD_REQUEST, f"content-length is {text!r}")
    if int(text) > LARGEST_BODY:
        raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {LARGEST_BODY} bytes of body")
    return int(text)
