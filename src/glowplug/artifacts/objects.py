"""Artifacts in object storage: S3 and what speaks like it, Google Cloud Storage, Azure; all through obstore.

A writer that is killed half-way may leave the parts of its upload in the bucket, unseen but paid for: give the bucket a
lifecycle rule that ends incomplete multipart uploads.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    BaseError,
    GenericError,
    InvalidPathError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, S3Store, from_url

from glowplug.artifact import PIECE_BYTES, Artifact, ArtifactStore, Stat, checked_key, checked_range, is_key
from glowplug.errors import (
    BugError,
    GlowplugError,
    InvalidInput,
    NotFound,
    RemoteError,
    SettingsError,
    Unauthorized,
    Unreachable,
)
from glowplug.lifecycle import cancel, in_thread

SCHEMES = ("s3", "gs", "az")
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 4
MAX_RETRIES = 5
LIST_BATCH = 1000
# S3's own limit for a copy in one request.
LARGEST_COPY_BYTES = 5 << 30
TAKE_BACK_SECONDS = 10.0
MAX_LINK_LIFE = timedelta(days=7)
PROBE_PREFIX = "glowplug-probe"

NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|specified (bucket|container) does not exist", re.IGNORECASE)
REFUSED = re.compile(r"status code: 40[13]\b")
BEHIND_THE_END = re.compile(r"status code: 416\b")
NO_ANSWER = re.compile(r"HTTP error|status code: (5\d\d|408|429)\b")
# Without keys, the cloud's address for a machine's own credentials is asked; off that cloud nobody answers.
NO_CREDENTIALS = re.compile(r"169\.254\.\d+\.\d+|metadata\.google|metadata/identity")
BAD_PATH = re.compile(r"Path (\"[^\n]{1,200}\")")
CODE = re.compile(r"<Code>(\w+)</Code>")

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta

Remote = S3Store | GCSStore | AzureStore


class ObjectArtifacts(ArtifactStore):
    """Artifacts below `url`: `s3://bucket/folder`, `gs://…` or `az://container/…`.

    `options` are obstore's for that kind of store, such as `endpoint`, `region`, `access_key_id`. What they leave out
    is found as the cloud's own tools find it: environment, or the machine's identity. A lost connection is tried again
    for `retry_seconds`.
    """

    def __init__(self, url: str, options: Mapping[str, str] | None = None, *, retry_seconds: float = 30.0) -> None:
        self._url = url.rstrip("/")
        self._options = dict(options or {})
        self._retry_seconds = retry_seconds
        self._opened: Remote | None = None

    async def _start(self) -> None:
        self._opened = self._open()
        with self._translating(""), suppress(StopAsyncIteration):
            await anext(obstore.list(self._remote, PROBE_PREFIX, chunk_size=1))

    async def _stop(self) -> None:
        self._opened = None

    async def put(
        self, key: str, chunks: AsyncIterator[bytes], *, media_type: str = "application/octet-stream"
    ) -> Artifact:
        """Send the bytes, in parts if they are many; they appear when the last part is confirmed."""
        checked_key(key)
        source = _Source(chunks)
        with self._translating(key):
            await self._send(key, source, {"Content-Type": media_type})
        return Artifact(key, source.size_bytes, source.digest.hexdigest(), media_type)

    async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes of one request, so that what is put meanwhile does not mix in."""
        checked_key(key)
        checked_range(start, end)
        if start == end:
            await self.stat(key)
            return
        with self._translating(key):
            try:
                found = await obstore.get_async(self._remote, key, options=_range_options(start, end))
            except GenericError as error:
                if BEHIND_THE_END.search(str(error)):
                    return
                raise
            async for block in found.stream(min_chunk_size=PIECE_BYTES):
                for begin in range(0, len(block), PIECE_BYTES):
                    yield bytes(memoryview(block)[begin : begin + PIECE_BYTES])

    async def stat(self, key: str) -> Stat:
        """Return what a HEAD request tells."""
        checked_key(key)
        with self._translating(key):
            found = await obstore.head_async(self._remote, key)
        return Stat(key, found["size"], found["last_modified"])

    async def delete(self, key: str) -> None:
        """Delete the object; the stores differ in whether an absent one is an error."""
        checked_key(key)
        with self._translating(key), suppress(FileNotFoundError):
            await obstore.delete_async(self._remote, key)

    async def walk(self, prefix: str = "") -> AsyncIterator[Stat]:
        """Yield what the store lists, page by page."""
        if prefix:
            checked_key(prefix)
        async for found in self._listed(prefix):
            with suppress(InvalidInput):
                yield Stat(checked_key(found["path"]), found["size"], found["last_modified"])

    async def strays(self, prefix: str) -> AsyncIterator[str]:
        """Yield what the store lists under names that are no keys."""
        checked_key(prefix)
        async for found in self._listed(prefix):
            if not is_key(found["path"]):
                yield found["path"]

    async def copy(self, key: str, target: str, *, media_type: str = "application/octet-stream") -> None:
        """Have the store copy it; what is too large for that goes through here."""
        checked_key(target)
        if (await self.stat(key)).size_bytes > LARGEST_COPY_BYTES:
            await super().copy(key, target, media_type=media_type)
            return
        with self._translating(key):
            await obstore.copy_async(self._remote, key, target)

    async def presign(self, key: str, method: str, expires: timedelta) -> str | None:
        """Return a signed URL, at most seven days good, as S3 has it."""
        checked_key(key)
        if method not in ("GET", "PUT") or not timedelta() < expires <= MAX_LINK_LIFE:
            raise InvalidInput("a link is for GET or PUT, and for at most seven days")
        with self._translating(key):
            return await obstore.sign_async(self._remote, "GET" if method == "GET" else "PUT", key, expires)

    async def _listed(self, prefix: str) -> AsyncIterator[ObjectMeta]:
        """Yield what is listed but the empty objects that consoles write for folders: `a/`, which comes as `a`."""
        empty: ObjectMeta | None = None
        async for found in self._everything(prefix):
            if empty is not None and not found["path"].startswith(f"{empty['path']}/"):
                yield empty
            empty = found if found["size"] == 0 and found["path"] != prefix else None
            if found["size"]:
                yield found
        if empty is not None:
            yield empty

    async def _everything(self, prefix: str) -> AsyncIterator[ObjectMeta]:
        with self._translating(prefix):
            async for batch in obstore.list(self._remote, prefix or None, chunk_size=LIST_BATCH):
                for found in batch:
                    yield found

    async def _send(self, key: str, source: _Source, attributes: dict[Any, str]) -> None:
        head = await source.take_head()
        if source.ended:
            await obstore.put_async(self._remote, key, head, attributes=attributes, use_multipart=False)
            return
        sending = asyncio.ensure_future(
            obstore.put_async(
                self._remote,
                key,
                source.rest(head),
                attributes=attributes,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
        )
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            # Canceling obstore would leave the parts in the bucket; a source that fails makes it take them back.
            source.abandon()
            await asyncio.wait({sending}, timeout=TAKE_BACK_SECONDS)
            raise
        finally:
            await cancel(sending)

    @property
    def _remote(self) -> Remote:
        if self._opened is None:
            raise BugError(f"the artifact store {self._url} is used before start or after stop")
        return self._opened

    def _open(self) -> Remote:
        parts = urlsplit(self._url)
        if parts.scheme not in SCHEMES or not parts.netloc:
            known = ", ".join(f"{scheme}://bucket/folder" for scheme in SCHEMES)
            raise SettingsError(f"not the address of an artifact store: {self._url!r}; use {known}")
        client: dict[str, Any] = {"timeout": "1h", "read_timeout": "2m", "connect_timeout": "5s"}
        # Clouds are asked by HTTPS all the same; an operator whose own endpoint says otherwise, here or in the
        # environment, which obstore reads itself, means it.
        client["allow_http"] = True
        retry = {"max_retries": MAX_RETRIES, "retry_timeout": timedelta(seconds=self._retry_seconds)}
        try:
            opened: Any = from_url(self._url, config=self._options, client_options=client, retry_config=retry)  # type: ignore[call-overload]
        except (BaseError, ValueError, TypeError) as error:
            raise SettingsError(f"the artifact store {self._url} cannot be opened: {_first_line(error)}") from error
        return cast("Remote", opened)

    @contextmanager
    def _translating(self, key: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            raise self._translated(error, key) from error

    def _translated(self, error: Exception, key: str) -> GlowplugError:
        text = str(error)
        if NO_BUCKET.search(text):
            return SettingsError(f"there is no bucket for {self._url}; create it, or correct the address")
        if isinstance(error, InvalidPathError):
            named = BAD_PATH.search(text)
            what = named[1] if named else "an object"
            return InvalidInput(f"{what} in {self._url} has a name that no file can have; rename it")
        if isinstance(error, FileNotFoundError):
            return NotFound(f"no artifact {key!r}", key=key)
        if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or REFUSED.search(text):
            code = CODE.search(text)
            why = f" ({code[1]})" if code else ""
            return Unauthorized(f"{self._url} refuses us{why}; check the key, its secret and what it may do")
        if NO_CREDENTIALS.search(text):
            return SettingsError(f"there are no credentials for {self._url}; set a key and its secret")
        if NO_ANSWER.search(text):
            return Unreachable(f"{self._url} does not answer: {_first_line(error)}")
        return RemoteError(f"{self._url} fails: {_first_line(error)}")


class _Abandoned(Exception):
    """Nobody wants the upload any more."""


class _Source:
    """The bytes of a put on their way: counted, hashed, and made to fail when the put is canceled."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._reader: asyncio.Task[Any] | None = None
        self._abandoned = False
        self.digest = hashlib.sha256()
        self.size_bytes = 0
        self.ended = False

    async def take_head(self) -> bytes:
        """Return the first part's worth of bytes; `ended` says whether that was all."""
        head: list[bytes] = []
        while not self.ended and self.size_bytes < PART_BYTES:
            head.append(await self._take())
        return b"".join(head)

    async def rest(self, head: bytes) -> AsyncIterator[bytes]:
        """Yield `head` and all that follows, to whatever task obstore asks from."""
        yield head
        while not self.ended:
            self._reader = asyncio.current_task()
            try:
                chunk = await self._take()
            except asyncio.CancelledError as error:
                raise _Abandoned from error
            finally:
                self._reader = None
            if self._abandoned:
                raise _Abandoned
            if chunk:
                yield chunk

    def abandon(self) -> None:
        """Make `rest` fail, at once if it waits."""
        self._abandoned = True
        if self._reader is not None:
            self._reader.cancel()

    async def _take(self) -> bytes:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self.ended = True
            return b""
        await in_thread(None, self.digest.update, chunk)
        self.size_bytes += len(chunk)
        return chunk


def object_source(url: str, options: Mapping[str, str] | None = None) -> tuple[ObjectArtifacts, str]:
    """Return the store of the whole bucket that `url` lies in, not yet started, and the key or folder within it."""
    parts = urlsplit(url)
    return ObjectArtifacts(f"{parts.scheme}://{parts.netloc}", options), parts.path.strip("/")


def _range_options(start: int, end: int | None) -> GetOptions:
    if end is not None:
        return {"range": (start, end)}
    return {"range": {"offset": start}} if start else {}


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
