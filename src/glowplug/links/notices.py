"""Posting notices to a backend that is not ours: plain JSON over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from glowplug.errors import DeadlineExceeded, RemoteError, Unauthorized, Unreachable
from glowplug.lifecycle import Startable

NOTICE_SECONDS = 10.0
_TAKEN = range(200, 300)


class BackendPost(Startable):
    """Posts to paths below `base_url`, with the worker's token if there is one."""

    def __init__(self, base_url: str, token: str | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def _start(self) -> None:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        timeout = aiohttp.ClientTimeout(total=NOTICE_SECONDS)
        self._session = aiohttp.ClientSession(headers=headers, timeout=timeout)

    async def _stop(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __call__(self, path: str, body: Mapping[str, Any]) -> None:
        """Post a body.

        Raises:
            Unreachable: nobody answered.
            DeadlineExceeded: nobody answered in ten seconds.
            Unauthorized: the backend wants another token.
            RemoteError: the backend refused.
        """
        if self._session is None:
            raise Unreachable("notices are not started")
        url = self._base_url + path
        try:
            async with self._session.post(url, data=msgspec.json.encode(dict(body)), allow_redirects=False) as response:
                status = response.status
        except TimeoutError as error:
            raise DeadlineExceeded(f"the backend at {url} did not answer within {NOTICE_SECONDS:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"cannot reach the backend at {url}: {error}; check BACKEND_URL") from error
        if status == 401:
            raise Unauthorized(f"the backend at {url} refuses the worker's token")
        if status not in _TAKEN:
            raise RemoteError(f"the backend at {url} answered {status}", status=status)
