"""Who may look and who may command: loopback by default, a token beyond it, and a key in every command.

Three separate checks, because they stop three different things:

* the **token** stops people on the network who were not invited (only asked for beyond loopback);
* the **host name** of each request stops foreign pages whose name was pointed at this machine (DNS rebinding);
* the **key**, which only our own page carries, stops foreign pages in the operator's browser from sending commands.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

COOKIE = "gr2_console"
SHORTEST_TOKEN = 16
SCENE = "/scene"
_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


class BadToken(ValueError):
    """A token that is too short to protect anything; the message says how long it must be."""


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """A random token of 128 bits."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True)
class Gate:
    """Decides about requests.

    Attributes:
        token: what a viewer must show; None where only this machine can connect.
        key: what every command must carry; part of the page, new in every run.
        ticket: part of the 3-D view's address. That view is framed as a stranger (sandboxed, so that it has a process
            of its own in the browser and cannot touch the page); strangers send no cookies, so its address must do.

    Raises:
        BadToken: the token is shorter than 16 characters.
    """

    token: str | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    ticket: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise BadToken(f"the token has {len(self.token)} characters; it needs at least {SHORTEST_TOKEN}")

    def admits(self, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """Whether this request may see anything.

        Args:
            headers: names in lower case.
            query: of the address.
        """
        if self.token is None:
            return _name(headers.get("host", "")) in _LOCAL_NAMES
        return _same(query.get("token", ""), self.token) or _same(cookies(headers).get(COOKIE, ""), self.token)

    def may_command(self, headers: Mapping[str, str], query: Mapping[str, str], key: str) -> bool:
        """Whether this request may command something: it is admitted, comes from our page and carries its key."""
        return self.admits(headers, query) and self.same_origin(headers) and _same(key, self.key)

    def may_see_scene(self, path: str) -> bool:
        """Whether an address ``/scene/TICKET`` holds the right ticket."""
        return _same(path.rstrip("/"), f"{SCENE}/{self.ticket}")

    def same_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether the page that sends this request is ours; programs that are no browsers name none."""
        origin = headers.get("origin")
        return origin is None or urlsplit(origin).netloc == headers.get("host", "")


def cookies(headers: Mapping[str, str]) -> dict[str, str]:
    """The cookies of a request."""
    pairs = (item.partition("=") for item in headers.get("cookie", "").split(";"))
    return {name.strip(): value.strip() for name, sign, value in pairs if sign}


def _name(host: str) -> str:
    """``[::1]:80`` -> ``::1``, ``localhost:80`` -> ``localhost``."""
    return urlsplit(f"//{host}").hostname or ""


def _same(first: str, second: str) -> bool:
    return hmac.compare_digest(first.encode(), second.encode())
