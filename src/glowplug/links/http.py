"""The link over HTTP: one kept connection pool, JSON bodies, and the worker's token."""

from __future__ import annotations

from typing import Any, TypeVar

import aiohttp
import msgspec

from glowplug.errors import (
    DeadlineExceeded,
    Forbidden,
    GlowplugError,
    RemoteError,
    Unauthorized,
    Unreachable,
    error_classes,
)
from glowplug.link import Accepted, Claim, Claimed, Events, Finish, Link, Register, Registered, Renew, Renewed
from glowplug.links.codec import decode, encode

A = TypeVar("A")

PATH = "/api/internal/link/"
CALL_SECONDS = 10.0
CONNECT_SECONDS = 5.0
# Below the five seconds after which uvicorn closes an idle connection, so that none is used as it closes.
KEPT_SECONDS = 4.0
_AWAY = frozenset({502, 503, 504})


class HttpLink(Link):
    """A link to the gateway at `base_url`."""

    def __init__(self, base_url: str, token: str | None) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def _start(self) -> None:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connector = aiohttp.TCPConnector(keepalive_timeout=KEPT_SECONDS, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, headers=headers, auto_decompress=False)

    async def _stop(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def register(self, message: Register) -> Registered:
        """Announce the worker."""
        return await self._post("register", message, Registered)

    async def claim(self, message: Claim) -> Claimed:
        """Wait for work or orders."""
        return await self._post("claim", message, Claimed, seconds=message.wait_seconds + CALL_SECONDS)

    async def renew(self, message: Renew) -> Renewed:
        """Keep leases."""
        return await self._post("renew", message, Renewed)

    async def events(self, message: Events) -> Accepted:
        """Report notes of running attempts."""
        return await self._post("events", message, Accepted)

    async def finish(self, message: Finish) -> Accepted:
        """End attempts."""
        return await self._post("finish", message, Accepted)

    async def _post(self, name: str, message: object, kind: type[A], *, seconds: float = CALL_SECONDS) -> A:
        if self._session is None:
            raise Unreachable(f"the link to {self._base_url} is not started")
        timeout = aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS)
        url = f"{self._base_url}{PATH}{name}"
        try:
            async with self._session.post(url, data=encode(message), timeout=timeout) as response:
                status, body = response.status, await response.read()
        except TimeoutError as error:
            raise DeadlineExceeded(f"the gateway at {self._base_url} did not answer {name} in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"cannot reach the gateway at {self._base_url}: {error}") from error
        if status != 200:
            raise refusal(status, body, self._base_url)
        return decode(kind, body)


def refusal(status: int, body: bytes, base_url: str) -> GlowplugError:
    """Rebuild the error that an answer other than 200 stands for, by its problem code or else by its status."""
    problem = _problem(body)
    message = str(problem.get("detail") or f"the gateway at {base_url} answered {status}")
    if status == 401:
        return Unauthorized(message)
    kind = error_classes().get(str(problem.get("code", "")))
    if kind is not None:
        return kind(message, **{key: value for key, value in problem.items() if key not in _STANDARD})
    if status == 403:
        return Forbidden(message)
    return Unreachable(message) if status in _AWAY else RemoteError(message, status=status)


_STANDARD = frozenset({"type", "title", "status", "detail", "code", "retryable"})


def _problem(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}
