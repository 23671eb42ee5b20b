"""One HTTP POST to an address of somebody else's: no redirects, no cookies, a bound on time, no body read."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from glowplug.errors import DeadlineExceeded, RemoteError, Unreachable
from glowplug.lifecycle import Startable

POST_SECONDS = 15.0
_TAKEN = range(200, 300)


class HttpPost(Startable):
    """Posts to one URL; `shown` is how the URL is named in errors."""

    def __init__(self, url: str, shown: str, timeout_seconds: float = POST_SECONDS) -> None:
        self._url = url
        self._shown = shown
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "glowplug", "Content-Type": "application/json"},
        )

    async def _stop(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __call__(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Post a body; any 2xx will do.

        Raises:
            Unreachable: nobody answered.
            DeadlineExceeded: nobody answered in time.
            RemoteError: another status; it is in `data`, with `retry_after` in seconds if one was named, else 0.
        """
        if self._session is None:
            raise Unreachable(f"posts to {self._shown} are not started")
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                status, retry_after = response.status, response.headers.get("Retry-After", "")
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self._shown} did not answer within {self._timeout_seconds:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The library's own words may quote the address, and with it what only the two sides should know.
            raise Unreachable(f"cannot reach {self._shown}: {type(error).__name__}") from error
        if status not in _TAKEN:
            raise RemoteError(f"{self._shown} answered {status}", status=status, retry_after=_seconds(retry_after))


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdecimal() else 0.0
