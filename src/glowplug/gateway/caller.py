"""The gateway's own HTTP client: probes of workers, and direct calls passed on to them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from glowplug.errors import DeadlineExceeded, RemoteError, Unreachable
from glowplug.lifecycle import Startable

CONNECT_SECONDS = 5.0
PROBE_SECONDS = 5.0
# Below the five seconds after which uvicorn closes an idle connection, so that none is used as it closes.
KEPT_SECONDS = 4.0
HEALTH_BYTES = 256 * 1024


class Timing(msgspec.Struct, frozen=True):
    """What a worker says of one model's warm-up."""

    warmup_time_ms: float | None = None
    error: str | None = None


class _Warmed(msgspec.Struct, frozen=True):
    services: dict[str, Timing] = {}


_warmed = msgspec.json.Decoder(_Warmed)


class NoConnection(Unreachable):
    """The other side could not be connected to: nothing was sent, so the call may go elsewhere."""


class Caller(Startable):
    """Keeps connections to the workers. `token` is theirs."""

    def __init__(self, token: str, *, call_seconds: float, warm_up_seconds: float) -> None:
        self._token = token
        self._call_seconds = call_seconds
        self._warm_up_seconds = warm_up_seconds
        self._opened: aiohttp.ClientSession | None = None

    async def _start(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_SECONDS)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        self._opened = aiohttp.ClientSession(connector=connector, headers=headers, auto_decompress=False)

    async def _stop(self) -> None:
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def health(self, url: str) -> Mapping[str, Any] | None:
        """Return what a worker says at `/health`, None if it does not answer as one."""
        # Redirects are not followed: the address was checked, what it points to was not.
        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
        try:
            async with self._session.get(f"{url}/health", timeout=timeout, allow_redirects=False) as answer:
                body = json.loads(await answer.content.read(HEALTH_BYTES))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
        return body if answer.status < 500 and isinstance(body, dict) else None

    async def warm_up(self, url: str) -> Mapping[str, Timing]:
        """Let a worker warm its models up again; return what it says of each.

        Raises:
            DeadlineExceeded: no answer in time.
            Unreachable: the connection could not be made, or broke.
            RemoteError: it refused, or answered as no worker of ours does.
        """
        timeout = aiohttp.ClientTimeout(total=self._warm_up_seconds, sock_connect=CONNECT_SECONDS)
        try:
            async with self._session.post(f"{url}/api/warmup", timeout=timeout, allow_redirects=False) as answer:
                status, body = answer.status, await answer.content.read(HEALTH_BYTES)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{url} gave no answer in {timeout.total:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"cannot reach {url}: {error}") from error
        if status != 200:
            raise RemoteError(f"{url} answered the warm-up with {status}", status=status)
        try:
            return _warmed.decode(body).services
        except msgspec.DecodeError as error:
            raise RemoteError(f"{url} answered the warm-up with something else: {error}") from error

    @asynccontextmanager
    async def call(
        self, url: str, task: str, body: bytes, *, seconds: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a direct call and yield the answer, its body not read yet.

        Raises:
            NoConnection: nothing was sent.
            DeadlineExceeded: no answer in time.
            Unreachable: the connection broke; whether the call ran is not known.
        """
        timeout = aiohttp.ClientTimeout(total=seconds or self._call_seconds, sock_connect=CONNECT_SECONDS)
        try:
            async with self._session.post(
                f"{url}/v1/run/{task}", data=body, timeout=timeout, allow_redirects=False
            ) as answer:
                yield answer
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NoConnection(f"cannot connect to the worker at {url}") from error
        except TimeoutError as error:
            raise DeadlineExceeded(f"{task} gave no answer in {timeout.total:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"the worker went away while it ran {task}") from error

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            raise Unreachable("the gateway is not started")
        return self._opened
