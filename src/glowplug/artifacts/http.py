"""Artifacts as a worker sees them: kept by the gateway, and asked for over its internal routes."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from glowplug.artifact import PIECE_BYTES, Artifact, ArtifactStore, FileChunks, Stat, checked_key, checked_range
from glowplug.clock import Clock, SystemClock
from glowplug.drivers.gateway import CONNECT_SECONDS, open_session, refusal
from glowplug.errors import BugError, Corrupt, DeadlineExceeded, GlowplugError, NotReady, RemoteError, Unreachable
from glowplug.lifecycle import in_thread

R = TypeVar("R")

PATH = "/api/internal/artifacts"
DIGEST_HEADER = "X-Content-SHA256"
IDLE_SECONDS = 60.0
ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
TEMPORARY = (Unreachable, DeadlineExceeded, NotReady, Corrupt)


class HttpArtifacts(ArtifactStore):
    """The artifacts of the gateway at `base_url`.

    What can be sent or asked for again is, `attempts` times with growing pauses: every call but `walk` and the `put` of
    a long stream that is no `FileChunks`. A `read` goes on where the connection broke.
    """

    def __init__(
        self, base_url: str, token: str | None, *, clock: Clock | None = None, attempts: int = ATTEMPTS
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._clock = clock or SystemClock()
        self._attempts = attempts
        self._session: aiohttp.ClientSession | None = None

    async def _start(self) -> None:
        self._session = open_session(self._token, **{"Accept-Encoding": "identity"})

    async def _stop(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def put(
        self, key: str, chunks: AsyncIterator[bytes], *, media_type: str = "application/octet-stream"
    ) -> Artifact:
        """Send the bytes; the digest goes ahead of them where it is known, and is compared afterwards in any case.

        Raises:
            Corrupt: the gateway got other bytes than were sent; it keeps none of them.
        """
        checked_key(key)
        body = await _body_of(chunks)
        if not body.again:
            return await self._send(key, body, media_type)
        return await self._repeated(lambda: self._send(key, body, media_type))

    async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes; after a broken connection the missing ones are asked for, if they are of the same object."""
        checked_key(key)
        checked_range(start, end)
        if start == end:
            await self.stat(key)
            return
        reading = _Reading(start, end)
        failures = 0
        while not reading.complete:
            try:
                async for piece in self._stream(key, reading):
                    failures = 0
                    yield piece
            except TEMPORARY as error:
                failures += 1
                await self._pause(failures, error)

    async def stat(self, key: str) -> Stat:
        """Return what a HEAD request tells."""
        checked_key(key)

        async def ask() -> Stat:
            async with self._request("HEAD", key) as answer:
                size_bytes = int(answer.headers["Content-Length"])
                return Stat(key, size_bytes, parsedate_to_datetime(answer.headers["Last-Modified"]))

        return await self._repeated(ask)

    async def delete(self, key: str) -> None:
        """Have the gateway delete it."""
        checked_key(key)

        async def ask() -> None:
            async with self._request("DELETE", key, fine=(404,)):
                return

        await self._repeated(ask)

    async def walk(self, prefix: str = "") -> AsyncIterator[Stat]:
        """Yield what the gateway lists, one line of JSON for each object."""
        if prefix:
            checked_key(prefix)
        async with self._request("GET", "", query={"prefix": prefix}) as answer:
            async for line in answer.content:
                found = json.loads(line)
                modified_at = datetime.fromisoformat(found["modified_at"])
                yield Stat(found["key"], found["size_bytes"], modified_at.astimezone(UTC))

    async def strays(self, prefix: str) -> AsyncIterator[str]:
        """Yield what the gateway names, one line of JSON for each."""
        query = {"prefix": checked_key(prefix), "strays": "true"}
        async with self._request("GET", "", query=query) as answer:
            async for line in answer.content:
                # A gateway that does not know them yet lists its objects instead.
                if (name := json.loads(line).get("stray")) is not None:
                    yield name

    async def _send(self, key: str, body: _Body, media_type: str) -> Artifact:
        headers = {"Content-Type": media_type}
        if body.sha256 is not None:
            headers |= {DIGEST_HEADER: body.sha256, "Content-Length": str(body.size_bytes)}
        sending = _Sending(body.source())
        # A stream of unknown length is announced first, or a refusal would get lost in what is already under way.
        data = body.whole if body.whole is not None else sending.chunks()
        try:
            async with self._request("PUT", key, headers=headers, data=data, expect100=body.whole is None) as answer:
                stored = await answer.json()
        except RemoteError:
            if sending.failed is not None:
                raise sending.failed from None
            raise
        sent = body.sha256 or sending.digest.hexdigest()
        if stored["sha256"] != sent:
            await self.delete(key)
            raise Corrupt(f"the gateway got other bytes of {key!r} than were sent", key=key)
        return Artifact(key, stored["size_bytes"], sent, media_type)

    async def _stream(self, key: str, reading: _Reading) -> AsyncIterator[bytes]:
        async with self._request("GET", key, headers=reading.headers(), fine=(416,)) as answer:
            if answer.status != 416:
                reading.check(answer.status, answer.headers, key)
                async for piece in answer.content.iter_chunked(PIECE_BYTES):
                    reading.position += len(piece)
                    yield piece
            reading.complete = True

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        fine: tuple[int, ...] = (),
        **options: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request; an answer that is an error, or none at all, is raised as one of ours."""
        if self._session is None:
            raise BugError(f"the artifact store {self._base_url} is used before start or after stop")
        path = f"{PATH}/{quote(key)}" if key else f"{PATH}?{urlencode(query or {})}"
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=IDLE_SECONDS)
        try:
            url = URL(self._base_url + path, encoded=True)
            # Nothing is followed: the token is for this gateway alone.
            request = self._session.request(method, url, timeout=timeout, allow_redirects=False, **options)
            async with request as answer:
                if answer.status >= 300 and answer.status not in fine:
                    raise refusal(answer.status, await answer.read(), self._base_url)
                yield answer
        except TimeoutError as error:
            raise DeadlineExceeded(f"the gateway at {self._base_url} did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"cannot reach the gateway at {self._base_url}: {error}") from error

    async def _repeated(self, call: Callable[[], Awaitable[R]]) -> R:
        failures = 0
        while True:
            try:
                return await call()
            except TEMPORARY as error:
                failures += 1
                await self._pause(failures, error)

    async def _pause(self, failures: int, error: GlowplugError) -> None:
        if failures >= self._attempts:
            raise error
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**failures)
        await self._clock.sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, guards nothing


@dataclass(frozen=True, slots=True)
class _Body:
    """What a put sends: `whole` if it is small, else from `source`; `again` says whether it can be sent twice.

    Digest and size are known if it can.
    """

    source: Callable[[], AsyncIterator[bytes]]
    whole: bytes | None = None
    sha256: str | None = None
    size_bytes: int | None = None

    @property
    def again(self) -> bool:
        return self.sha256 is not None


async def _body_of(chunks: AsyncIterator[bytes]) -> _Body:
    head: list[bytes] = []
    size_bytes = 0
    async for chunk in chunks:
        head.append(chunk)
        size_bytes += len(chunk)
        if size_bytes > PIECE_BYTES:
            return await _long_body(head, chunks)
    whole = b"".join(head)
    return _Body(lambda: _chained([whole]), whole, hashlib.sha256(whole).hexdigest(), size_bytes)


async def _long_body(head: list[bytes], chunks: AsyncIterator[bytes]) -> _Body:
    if not isinstance(chunks, FileChunks):
        return _Body(lambda: _chained(head, chunks))
    sha256, size_bytes = await in_thread(None, _digest_and_size, chunks.path)
    return _Body(chunks.reopen, None, sha256, size_bytes)


async def _chained(head: list[bytes], rest: AsyncIterator[bytes] | None = None) -> AsyncIterator[bytes]:
    for chunk in head:
        yield chunk
    if rest is not None:
        async for chunk in rest:
            yield chunk


def _digest_and_size(path: Path) -> tuple[str, int]:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest(), stream.tell()


class _Sending:
    """One sending of a body: hashed as it goes, and its own failure kept apart from the connection's."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self.digest = hashlib.sha256()
        self.failed: BaseException | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._source:
                await in_thread(None, self.digest.update, chunk)
                yield chunk
        except Exception as error:
            self.failed = error
            raise


class _Reading:
    """How far a read has come, and of which version of the object."""

    def __init__(self, start: int, end: int | None) -> None:
        self.position = start
        self.complete = False
        self._start = start
        self._end = end
        self._version: str | None = None

    def headers(self) -> dict[str, str]:
        if self.position == 0 and self._end is None:
            return {}
        last = "" if self._end is None else str(self._end - 1)
        headers = {"Range": f"bytes={self.position}-{last}"}
        if self.position > self._start and self._version is not None:
            headers["If-Range"] = self._version
        return headers

    def check(self, status: int, headers: Mapping[str, str], key: str) -> None:
        """Remember the version at the first answer; raise if a later one is of another."""
        version = headers.get("ETag")
        if self.position > self._start and (status != 206 or version != self._version):
            raise RemoteError(f"the artifact {key!r} was replaced while it was read; read it again", key=key)
        if self.headers() and status != 206:
            raise RemoteError(f"the gateway answered the whole of {key!r} where a range was asked for")
        self._version = version
