"""Who may start a warm-up or a retry: what costs compute is not for everybody who can reach the port."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from glowplug.errors import Forbidden, Unauthorized

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
FIX = "set a token, and send it as Authorization: Bearer TOKEN"
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_HOST = re.compile(r"(?:([\w.-]+)|\[([0-9A-Fa-f:.]+)\])(?::\d{1,5})?", re.ASCII)


def anyone() -> Callable[[HTTPConnection], None]:
    """Return a permission for everybody, where something in front of the application decides."""
    return _anyone


def local_only(token: str | None = None) -> Callable[[HTTPConnection], None]:
    """Return a permission for those who show `token`; without one, for programs and pages of this machine alone.

    It raises `Unauthorized` or `Forbidden`. This machine means: both ends of the connection are loopback addresses, no
    proxy stands between, and the caller asked for this machine by name, which a page of another site cannot.
    """
    if not token:
        return _loopback
    secret = token.encode()

    def bearer(connection: HTTPConnection) -> None:
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        # Headers are read as Latin-1, so this gives back the bytes that were sent.
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), secret):
            raise Unauthorized("a token is needed: Authorization: Bearer TOKEN")

    return bearer


def _anyone(connection: HTTPConnection) -> None:
    del connection


def _loopback(connection: HTTPConnection) -> None:
    scope, headers = connection.scope, connection.headers
    ends = (scope.get("client"), scope.get("server"))
    if not all(end and is_loopback(end[0]) for end in ends):
        raise Forbidden(f"only callers on this machine may do this; from elsewhere, {FIX}")
    if proxies := [name for name in _FORWARDED if name in headers]:
        raise Forbidden(f"this came through a proxy ({proxies[0]}), so who asks is unknown; {FIX}")
    # A page of another site can name this machine by a host name of its own: the name that was asked for tells.
    hosts = headers.getlist("host")
    if len(hosts) != 1 or _name(hosts[0]) not in LOOPBACK_NAMES:
        raise Forbidden(f"this was not asked of localhost, so a page of another site may be behind it; {FIX}")
    # The page of a WebSocket (ws, wss) came by HTTP.
    scheme = str(scope.get("scheme", "http")).replace("ws", "http")
    _same_origin(headers, f"{scheme}://{hosts[0]}")


def _same_origin(headers: Headers, own: str) -> None:
    if any(origin.lower() != own.lower() for origin in headers.getlist("origin")):
        raise Forbidden(f"a page of another origin may not do this; {FIX}")


def is_loopback(host: str) -> bool:
    """Say whether an address, or `localhost`, is this machine's own."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _name(host: str) -> str:
    match = _HOST.fullmatch(host)
    return (match[1] or match[2]).lower() if match else ""
