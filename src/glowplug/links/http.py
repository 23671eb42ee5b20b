"""The link over HTTP: one kept connection pool, JSON bodies, and the worker's token."""

from __future__ import annotations

from typing import TypeVar

import aiohttp

from glowplug.drivers.gateway import CONNECT_SECONDS, open_session, refusal
from glowplug.errors import DeadlineExceeded, Unreachable
from glowplug.link import Accepted, Claim, Claimed, Events, Finish, Link, Register, Registered, Renew, Renewed
from glowplug.links.codec import decode, encode

A = TypeVar("A")

PATH = "/api/internal/link/"
CALL_SECONDS = 10.0


class HttpLink(Link):
    """A link to the gateway at `base_url`."""

    def __init__(self, base_url: str, token: str | None) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def _start(self) -> None:
        self._session = open_session(self._token, **{"Content-Type": "application/json", "Accept": "application/json"})

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
            async with self._session.post(
                url, data=encode(message), timeout=timeout, allow_redirects=False
            ) as response:
                status, body = response.status, await response.read()
        except TimeoutError as error:
            raise DeadlineExceeded(f"the gateway at {self._base_url} did not answer {name} in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"cannot reach the gateway at {self._base_url}: {error}") from error
        if status != 200:
            raise refusal(status, body, self._base_url)
        return decode(kind, body)
