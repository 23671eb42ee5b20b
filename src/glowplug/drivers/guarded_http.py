"""HTTP to addresses that others have named: each connection is checked, nothing is kept, and nothing is unpacked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

import aiohttp
from aiohttp.abc import AbstractResolver

from glowplug.drivers.addresses import Refused, public_socket

CONNECT_SECONDS = 5.0
MOST_CONNECTIONS = 128


def guarded_session(
    *,
    allow_private: bool,
    resolver: AbstractResolver | None,
    timeout: aiohttp.ClientTimeout,
    per_host: int,
    header_bytes: int,
    headers: Mapping[str, str],
) -> aiohttp.ClientSession:
    """Return a session that connects to public addresses alone, unless `allow_private`.

    `resolver` looks names up, the system's own if it is None; what it finds is checked at each connection, so none is
    remembered. At most `per_host` connections go to one host, and an answer's header has at most `header_bytes` a line.
    """
    connector = aiohttp.TCPConnector(
        resolver=resolver,
        socket_factory=None if allow_private else public_socket,
        use_dns_cache=False,
        limit=MOST_CONNECTIONS,
        limit_per_host=per_host,
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "glowplug", **headers},
        # What is packed would unpack to any size.
        auto_decompress=False,
        max_line_size=header_bytes,
        max_field_size=header_bytes,
    )


def was_refused(error: BaseException) -> TypeGuard[aiohttp.ClientConnectorError]:
    """Say whether a call failed because its address is not public."""
    return isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, Refused)
