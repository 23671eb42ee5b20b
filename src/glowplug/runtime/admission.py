"""Who may make a direct call, decided from the headers alone."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from glowplug.errors import Forbidden, InvalidInput, Unauthorized

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The rules. `token` is None on loopback; then `hosts` keeps web pages of other sites out, None allowing any."""

    token: str | None = None
    hosts: frozenset[str] | None = LOOPBACK_HOSTS

    def check(self, headers: dict[bytes, bytes]) -> None:
        """Let the request pass.

        Raises:
            Unauthorized: no token, or another one.
            Forbidden: the request names a host that is not this one.
            InvalidInput: the body is not said to be JSON, as a form of a web page would be.
        """
        if self.token is not None:
            # Bytes, because a header may hold what is not ASCII, and compare_digest takes no such text.
            if not hmac.compare_digest(headers.get(b"authorization", b""), b"Bearer " + self.token.encode()):
                raise Unauthorized("this worker needs its token: send 'Authorization: Bearer ...'")
        elif self.hosts is not None and _host(headers.get(b"host", b"")) not in self.hosts:
            raise Forbidden("this worker answers to its own address only; set a worker token to open it")
        if not headers.get(b"content-type", b"").startswith(b"application/json"):
            raise InvalidInput("the body must be JSON: send 'Content-Type: application/json'")


def _host(header: bytes) -> str:
    text = header.decode("latin-1").lower()
    bare, colon, port = text.rpartition(":")
    return bare if colon and port.isdigit() else text
