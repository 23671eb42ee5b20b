"""Artifacts: bytes with a name in object storage, of which everybody else holds only a reference.

Layout of keys: `jobs/{job_id}/{token}/{name}` for what a job attempt writes, `inputs/{id}/{name}` for uploads. A job's
artifacts become visible with the guarded finish; those of a lost attempt stay unreferenced and are swept. All other
keys are the operator's own: data sets, models of before, results where a backend wants them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

from glowplug.errors import InvalidInput
from glowplug.lifecycle import Startable, in_thread

SCHEME = "artifact:"
KEPT_FOLDERS = frozenset({"jobs", "inputs", "calls", "uploads"})
"""What lies in these is written, shown and swept by the platform; all else in a store is its operator's."""
PIECE_BYTES = 1 << 20
MAX_KEY_LENGTH = 512
FILE_FORMAT, FOLDER_FORMAT = "artifact", "artifact-folder"
"""What JSON Schema says of a parameter that is a file, or a folder."""
DEEPEST_SCHEMA = 32
_REFERRING = frozenset({FILE_FORMAT, FOLDER_FORMAT})
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ +@=-]{0,127}")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A reference to stored bytes; never the bytes.

    `sha256` is the hex digest, `size_bytes` the length; both are of the whole object.
    """

    key: str
    size_bytes: int
    sha256: str
    media_type: str = "application/octet-stream"

    @property
    def uri(self) -> str:
        """Return the stable reference that travels in JSON: `artifact:<key>`."""
        return SCHEME + self.key

    @property
    def name(self) -> str:
        """Return the last part of the key."""
        return self.key.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Stat:
    """What a store knows of an object without reading it."""

    key: str
    size_bytes: int
    modified_at: datetime


def checked_key(key: str) -> str:
    """Return `key` if it is a plain relative path of safe parts, else raise `InvalidInput`."""
    if not is_key(key):
        raise InvalidInput(
            f"not an artifact key: {key[:80]!r}; use letters, digits, '.', '_', '-' and '/' between parts"
        )
    return key


def is_key(text: str) -> bool:
    """Say whether `checked_key` would take it."""
    return len(text) <= MAX_KEY_LENGTH and all(_PART.fullmatch(part) for part in text.split("/"))


def is_folder(key: str) -> bool:
    """Say whether a reference's key is of a folder, with all that lies below it: it ends in a slash."""
    return key.endswith("/")


def checked_folder(key: str) -> str:
    """Return a folder's key without its final slash, as `ArtifactStore.walk` takes it. Raises `InvalidInput`."""
    if not is_folder(key):
        raise InvalidInput(f"not the key of a folder: {key[:80]!r}; it ends in a slash")
    return checked_key(key[:-1])


def checked_range(start: int, end: int | None) -> None:
    """Raise `InvalidInput` unless `start` to `end` (exclusive) is a range of bytes, perhaps an empty one."""
    if start < 0 or (end is not None and end < start):
        raise InvalidInput(f"not a range of bytes: {start} to {end}")


def parse_uri(uri: str) -> str:
    """Return the key of an `artifact:` reference, else raise `InvalidInput`."""
    if not uri.startswith(SCHEME):
        raise InvalidInput(f"not an artifact reference: {uri[:80]!r}; it starts with '{SCHEME}'")
    return checked_key(uri.removeprefix(SCHEME))


def job_prefix(job_id: str, token: int) -> str:
    """Return the folder of one attempt of a job: stale attempts write beside it, never into it."""
    return f"jobs/{job_id}/{token}"


def references(value: Any) -> list[str]:
    """List the keys of all `artifact:` references inside a JSON value, in order, without repeats."""
    found: dict[str, None] = {}
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str) and item.startswith(SCHEME):
            found.setdefault(item.removeprefix(SCHEME))
        elif isinstance(item, Mapping):
            stack.extend(reversed(list(item.values())))
        elif isinstance(item, Sequence) and not isinstance(item, (str, bytes)):
            stack.extend(reversed(item))
    return list(found)


def files_in(value: Any, schema: Any) -> Iterator[str]:
    """Yield the texts within a JSON value that stand where its JSON Schema wants a file."""
    for text, form in _formats_in(value, schema, schema, DEEPEST_SCHEMA):
        if form == FILE_FORMAT:
            yield text


def named_in(value: Any, schema: Any) -> list[str]:
    """List the keys that an input names: of references that stand where its JSON Schema wants a file or a folder.

    Anywhere else they are words like others. Where no schema says what there is, nobody can tell the two apart, so all
    of them count.
    """
    if not isinstance(schema, Mapping) or "properties" not in schema:
        return references(value)
    texts = (text for text, form in _formats_in(value, schema, schema, DEEPEST_SCHEMA) if form in _REFERRING)
    return list(dict.fromkeys(text.removeprefix(SCHEME) for text in texts if text.startswith(SCHEME)))


def _formats_in(value: Any, schema: Any, root: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield each text within a value, with the format that a schema wants there."""
    if not isinstance(schema, Mapping) or depth == 0:
        return
    if isinstance(value, str):
        yield value, schema.get("format")
    elif isinstance(value, Mapping):
        own = schema.get("properties", {})
        for key, item in value.items():
            yield from _formats_in(item, own.get(key, schema.get("additionalProperties")), root, depth - 1)
    elif isinstance(value, (list, tuple)):
        first = schema.get("prefixItems", ())
        for item, wanted in zip_longest(value, first[: len(value)], fillvalue=schema.get("items")):
            yield from _formats_in(item, wanted, root, depth - 1)
    for other in _alternatives(schema, root):
        yield from _formats_in(value, other, root, depth - 1)


def _alternatives(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Any]:
    for word in ("anyOf", "oneOf", "allOf"):
        yield from schema.get(word, ())
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        yield root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))


class FileChunks(AsyncIterator[bytes]):
    """The bytes of a local file, as `ArtifactStore.put` takes them; a sender that failed half-way may `reopen` it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0

    async def __anext__(self) -> bytes:
        piece = await in_thread(None, self._read_piece)
        if not piece:
            raise StopAsyncIteration
        self._position += len(piece)
        return piece

    def reopen(self) -> FileChunks:
        """Return the same bytes again, from the start."""
        return FileChunks(self.path)

    def _read_piece(self) -> bytes:
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(self._position)
            return stream.read(PIECE_BYTES)


class ArtifactStore(Startable, ABC):
    """Contract of object storage; it is used between `start` and `stop`.

    Every method raises `NotFound` for an absent key, `InvalidInput` for a bad one, `Unreachable` for a store that does
    not answer, and `Unauthorized` or `SettingsError` for one that refuses us.
    """

    @abstractmethod
    async def put(
        self, key: str, chunks: AsyncIterator[bytes], *, media_type: str = "application/octet-stream"
    ) -> Artifact:
        """Store the bytes durably (synced before this returns) and atomically: a reader sees all or nothing.

        A `put` that fails leaves nothing behind. Raises `DiskFull`.
        """

    @abstractmethod
    def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to `end` (exclusive; None is the end) in pieces of at most 1 MiB.

        A range is cut where the object ends, and one that lies behind the end is empty.
        """

    @abstractmethod
    async def stat(self, key: str) -> Stat:
        """Return size and time of change."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Delete; an absent key is fine."""

    @abstractmethod
    def walk(self, prefix: str = "") -> AsyncIterator[Stat]:
        """Yield every object below `prefix`, a folder or the empty string for all.

        What lies there under a name that is no key is left out; `strays` names it.
        """

    async def strays(self, prefix: str) -> AsyncIterator[str]:
        """Yield the name of everything below the folder `prefix` that `walk` leaves out: what is no object of ours."""
        checked_key(prefix)
        names: tuple[str, ...] = ()
        for name in names:
            yield name

    async def copy(self, key: str, target: str, *, media_type: str = "application/octet-stream") -> None:
        """Store the bytes of `key` under `target` too, as durably and atomically as `put`."""
        await self.put(checked_key(target), self.read(key), media_type=media_type)

    async def presign(self, key: str, method: str, expires: timedelta) -> str | None:
        """Return a URL that answers GET or PUT of `key` for `expires` without a token, or None if it cannot."""
        del method, expires
        checked_key(key)
        return None
