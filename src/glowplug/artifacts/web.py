"""Files at http and https addresses that callers name: fetched with a guard, a bound on size, and nothing kept.

No cookie, no password and no header of ours goes out. Redirects are followed, a few, and each connection is checked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
from aiohttp.abc import AbstractResolver

from glowplug.artifact import PIECE_BYTES
from glowplug.drivers.addresses import FILE, checked_url, private
from glowplug.drivers.guarded_http import CONNECT_SECONDS, guarded_session, was_refused
from glowplug.errors import BugError, InvalidInput, RemoteError, TooLarge
from glowplug.lifecycle import Startable

IDLE_SECONDS = 20.0
TOTAL_SECONDS = 300.0
MOST_REDIRECTS = 4
HEADER_BYTES = 16 * 1024
PER_HOST = 8


class WebFiles(Startable):
    """Reads URLs, of at most `limit_bytes` each. `resolver` looks names up, the system's own by default."""

    def __init__(self, *, limit_bytes: int, allow_private: bool, resolver: AbstractResolver | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._allow_private = allow_private
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def _start(self) -> None:
        self._session = guarded_session(
            allow_private=self._allow_private,
            resolver=self._resolver,
            timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=IDLE_SECONDS),
            per_host=PER_HOST,
            header_bytes=HEADER_BYTES,
            headers={"Accept-Encoding": "identity"},
        )

    async def _stop(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def read(self, url: str) -> AsyncIterator[bytes]:
        """Yield the bytes of a file.

        Raises:
            InvalidInput: the address may not be called, or there is no such file.
            TooLarge: the file is larger than the limit.
            RemoteError: nobody answers, or with an error of his own; it may pass.
        """
        if self._session is None:
            raise BugError("files of the web are read before start or after stop")
        shown = _shown(url)
        checked_url(url, allow_private=self._allow_private, use=FILE)
        try:
            async with self._session.get(url, max_redirects=MOST_REDIRECTS) as answer:
                self._check(answer, shown)
                async for piece in self._bounded(answer, shown):
                    yield piece
        except TimeoutError as error:
            raise RemoteError(f"{shown} did not answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _translated(error, shown) from error

    def _check(self, answer: aiohttp.ClientResponse, shown: str) -> None:
        if answer.status >= 500 or answer.status in (408, 429):
            raise RemoteError(f"{shown} answered {answer.status}")
        if answer.status != 200:
            raise InvalidInput(f"{shown} answered {answer.status}: there is no file for us")
        if (answer.content_length or 0) > self._limit_bytes:
            raise self._too_large(shown)

    async def _bounded(self, answer: aiohttp.ClientResponse, shown: str) -> AsyncIterator[bytes]:
        size = 0
        async for piece in answer.content.iter_chunked(PIECE_BYTES):
            size += len(piece)
            if size > self._limit_bytes:
                raise self._too_large(shown)
            yield piece

    def _too_large(self, shown: str) -> TooLarge:
        return TooLarge(
            f"{shown} has more than {self._limit_bytes} bytes (GLOWPLUG_WORKER_MAX_URL_BYTES); put it into the bucket",
            limit_bytes=self._limit_bytes,
        )


def _translated(error: Exception, shown: str) -> RemoteError | InvalidInput:
    if was_refused(error):
        return InvalidInput(f"{shown}: {private(error.host, FILE)}")
    if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, aiohttp.TooManyRedirects)):
        return InvalidInput(f"{shown} cannot be called: {type(error).__name__}")
    # The library's own words may quote the address, whose query may be a secret.
    return RemoteError(f"{shown} cannot be reached: {type(error).__name__}")


def _shown(url: str) -> str:
    """Return a URL as errors may show it: what signs it stands in the query."""
    return url.partition("?")[0].partition("#")[0][:200]
