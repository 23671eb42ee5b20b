"""HTTP POSTs to addresses that others have named: guarded, bounded, and with nothing followed or kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from glowplug.drivers.addresses import private
from glowplug.drivers.guarded_http import CONNECT_SECONDS, guarded_session, was_refused
from glowplug.lifecycle import Startable

PER_HOST = 16
READ_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a POST: a status, or the error in its place. `refused` says that it was not even tried."""

    status: int | None = None
    error: str = ""
    retry_after_seconds: float = 0.0
    refused: bool = False


class Outbound(Startable):
    """Posts to any URL. `resolver` looks names up, the system's own by default."""

    def __init__(
        self,
        *,
        allow_private: bool,
        timeout_seconds: float,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._timeout_seconds = timeout_seconds
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def _start(self) -> None:
        self._session = guarded_session(
            allow_private=self._allow_private,
            resolver=self._resolver,
            timeout=aiohttp.ClientTimeout(total=self._timeout_seconds, sock_connect=CONNECT_SECONDS),
            per_host=PER_HOST,
            header_bytes=READ_BYTES,
            headers={"Content-Type": "application/json"},
        )

    async def _stop(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], now: datetime) -> Answer:
        """Post a body and return what became of it. `now` is what a date in `Retry-After` is compared with."""
        if self._session is None:
            return Answer(error="webhooks are not started")
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                # Enough to use the connection again after a short answer; a long one is cut off.
                with suppress(aiohttp.ClientError):
                    await response.content.read(READ_BYTES)
                return _answer(response.status, response.headers.get("Retry-After", ""), now)
        except TimeoutError:
            return Answer(error=f"no answer within {self._timeout_seconds:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _unreachable(error, url)


def _answer(status: int, retry_after: str, now: datetime) -> Answer:
    if 200 <= status < 300:
        return Answer(status)
    error = f"answered {status}"
    if 300 <= status < 400:
        error += "; redirects are not followed: give the address itself"
    return Answer(status, error, seconds_until(retry_after, now))


def _unreachable(error: Exception, url: str) -> Answer:
    if was_refused(error):
        return Answer(error=private(urlsplit(url).hostname or ""), refused=True)
    if isinstance(error, aiohttp.InvalidURL):
        return Answer(error="the webhook's address cannot be called: no such host can be", refused=True)
    # The library's own words may quote the address, and with it what only the two sides should know.
    return Answer(error=f"cannot be reached: {type(error).__name__}")


def seconds_until(text: str, now: datetime) -> float:
    """Return the seconds that a `Retry-After` asks for, a number or a date; 0 for neither."""
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
