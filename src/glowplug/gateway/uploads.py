"""Uploads in parts: each part is an object of its own, so what has arrived outlives a client, a gateway, a network.

`uploads/{id}/upload.json` says what is to come, `uploads/{id}/part-{number}` is what came. The whole appears under
`inputs/` when it is complete and its hash is right. What nobody completes is swept after a day.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakValueDictionary

import msgspec

from glowplug.artifact import Artifact, ArtifactStore, checked_key
from glowplug.errors import Conflict, Corrupt, InvalidInput, NotFound
from glowplug.gateway.bodies import too_large
from glowplug.gateway.downloads import stated_media_type
from glowplug.gateway.policy import Limits
from glowplug.gateway.room import Room
from glowplug.gateway.upload_views import SubmitUpload
from glowplug.lifecycle import in_thread
from glowplug.model import guess_media_type

FOLDER = "uploads"
MAX_PARTS = 1000
MISSING_NAMED = 20
_ID = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload is going to be, as it is stored beside its parts."""

    id: str
    name: str
    size_bytes: int
    part_bytes: int
    media_type: str
    sha256: str | None = None
    artifact: Artifact | None = None

    @property
    def count(self) -> int:
        """Return how many parts there are."""
        return -(-self.size_bytes // self.part_bytes)

    def span(self, number: int) -> tuple[int, int]:
        """Return offset and size of a part; the first is number 1. Raises `InvalidInput` for one that is none."""
        if not 1 <= number <= self.count:
            raise InvalidInput(f"upload {self.id} has parts 1 to {self.count}, and no part {number}")
        offset = (number - 1) * self.part_bytes
        return offset, min(self.part_bytes, self.size_bytes - offset)

    def key(self, number: int) -> str:
        """Return where a part is kept."""
        return f"{FOLDER}/{self.id}/part-{number:05}"

    @property
    def record_key(self) -> str:
        """Return where this very value is kept."""
        return _record_key(self.id)


@dataclass(frozen=True, slots=True)
class Arrived:
    """An upload and the numbers of its parts that have come."""

    upload: Upload
    received: frozenset[int]

    @property
    def missing(self) -> list[int]:
        """Return the numbers of the parts that have not come, in order."""
        return [number for number in range(1, self.upload.count + 1) if number not in self.received]


_decoder = msgspec.json.Decoder(Upload)


class Uploads:
    """What comes in parts. `secret` keeps one caller's uploads apart from another's."""

    def __init__(self, artifacts: ArtifactStore, room: Room, limits: Limits, secret: str) -> None:
        self._artifacts = artifacts
        self._room = room
        self._limits = limits
        self._secret = secret.encode()
        self._completing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def begin(self, wish: SubmitUpload, caller: str) -> tuple[Arrived, bool]:
        """Return the upload of this file by this caller, and whether it is new. Raises `InvalidInput`, `TooLarge`."""
        planned = self._planned(wish, caller)
        with suppress(NotFound):
            known = await self.look(planned.id)
            if known.upload == planned:
                return known, False
            # It is complete, and this is the same file once more; or parts have another size than they had.
            await self.discard(planned.id)
        self._room.check()
        await self._keep(planned)
        return Arrived(planned, frozenset()), True

    async def look(self, upload_id: str) -> Arrived:
        """Return how far an upload is. Raises `NotFound`."""
        upload = await self._read(upload_id)
        if upload.artifact is not None:
            return Arrived(upload, frozenset())
        sizes = {stat.key: stat.size_bytes async for stat in self._artifacts.walk(f"{FOLDER}/{upload_id}")}
        numbers = range(1, upload.count + 1)
        return Arrived(upload, frozenset(one for one in numbers if sizes.get(upload.key(one)) == upload.span(one)[1]))

    async def take(
        self, upload_id: str, number: int, chunks: AsyncIterator[bytes], *, length: int | None, sha256: str | None
    ) -> Artifact:
        """Store one part; one that is there is replaced. `length` and `sha256` are what its sender says of it.

        Raises:
            InvalidInput: there is no such part, or it is of another size or hash than it should be.
            NotFound, Conflict, DiskFull: no such upload, it is complete already, or there is no room.
        """
        upload = await self._read(upload_id)
        if upload.artifact is not None:
            raise Conflict(f"upload {upload_id} is complete")
        size_bytes = upload.span(number)[1]
        if length not in (None, size_bytes):
            raise _wrong_size(number, size_bytes)
        self._room.check()
        checked = _checked_part(chunks, number, size_bytes, sha256)
        return await self._artifacts.put(upload.key(number), checked)

    async def complete(self, upload_id: str) -> Artifact:
        """Join the parts, check the hash of the whole, and return the artifact; asked again, return the same one.

        Raises:
            Conflict: parts are missing; `data["missing"]` says which.
            InvalidInput: the whole is not what was announced; it has to be sent again from the start.
            NotFound, DiskFull: no such upload, or there is no room.
        """
        lock = self._completing.setdefault(upload_id, asyncio.Lock())
        async with lock:
            arrived = await self.look(upload_id)
            if arrived.upload.artifact is not None:
                return arrived.upload.artifact
            if missing := arrived.missing:
                raise Conflict(_told_missing(missing), missing=missing[:MISSING_NAMED])
            self._room.check()
            return await self._join(arrived.upload)

    async def discard(self, upload_id: str) -> None:
        """Forget an upload and what has come of it. Raises `NotFound`."""
        upload = await self._read(upload_id)
        await self._delete_parts(upload)
        await self._artifacts.delete(upload.record_key)

    async def _join(self, upload: Upload) -> Artifact:
        key = checked_key(f"inputs/{secrets.token_hex(8)}/{upload.name}")
        try:
            artifact = await self._artifacts.put(key, self._whole(upload), media_type=upload.media_type)
        except Corrupt as error:
            await self.discard(upload.id)
            raise InvalidInput(error.message) from error
        except NotFound as error:
            # Another gateway was asked the same, and was faster.
            if (made := (await self._read(upload.id)).artifact) is not None:
                return made
            raise Conflict("parts went away while they were joined; look which are missing") from error
        await self._keep(msgspec.structs.replace(upload, artifact=artifact))
        await self._delete_parts(upload)
        return artifact

    async def _whole(self, upload: Upload) -> AsyncIterator[bytes]:
        """Yield the parts one after the other; if they are not what they should be, fail, and so does the whole."""
        digest, size_bytes = hashlib.sha256(), 0
        for number in range(1, upload.count + 1):
            async for piece in self._artifacts.read(upload.key(number)):
                await in_thread(None, digest.update, piece)
                size_bytes += len(piece)
                yield piece
        if size_bytes != upload.size_bytes or upload.sha256 not in (None, digest.hexdigest()):
            raise Corrupt(
                f"{upload.name} did not arrive as it was announced: {size_bytes} bytes with the SHA-256 "
                f"{digest.hexdigest()}; send it again"
            )

    def _planned(self, wish: SubmitUpload, caller: str) -> Upload:
        if "/" in wish.name:
            raise InvalidInput("an artifact's name is a plain file name, without folders")
        checked_key(f"inputs/{'0' * 16}/{wish.name}")
        if wish.size_bytes < 0 or (wish.sha256 is not None and not _SHA256.fullmatch(wish.sha256)):
            raise InvalidInput("size_bytes is a number of bytes, sha256 is 64 hex digits in lower case")
        if wish.size_bytes > self._limits.artifact_bytes:
            raise too_large(self._limits.artifact_bytes)
        media_type = stated_media_type(wish.media_type) or guess_media_type(wish.name)
        return Upload(
            id=self._id(wish, media_type, caller),
            name=wish.name,
            size_bytes=wish.size_bytes,
            part_bytes=max(self._limits.part_bytes, -(-wish.size_bytes // MAX_PARTS)),
            media_type=media_type,
            sha256=wish.sha256,
        )

    def _id(self, wish: SubmitUpload, media_type: str, caller: str) -> str:
        # The same file of the same caller has the same id, so that who lost it along with its process finds it again.
        if wish.sha256 is None:
            return secrets.token_hex(16)
        said = "\0".join([caller, wish.name, str(wish.size_bytes), wish.sha256, media_type])
        return hmac.new(self._secret, said.encode(), hashlib.sha256).hexdigest()[:32]

    async def _read(self, upload_id: str) -> Upload:
        if not _ID.fullmatch(upload_id):
            raise _unknown(upload_id)
        try:
            said = b"".join([piece async for piece in self._artifacts.read(_record_key(upload_id))])
        except NotFound as error:
            raise _unknown(upload_id) from error
        try:
            return _decoder.decode(said)
        except msgspec.DecodeError as error:
            raise Corrupt(f"what is stored of upload {upload_id} cannot be read; begin it again") from error

    async def _keep(self, upload: Upload) -> None:
        await self._artifacts.put(upload.record_key, _once(msgspec.json.encode(upload)), media_type="application/json")

    async def _delete_parts(self, upload: Upload) -> None:
        # Listed first: not every store likes to lose what it is just listing.
        for stat in [stat async for stat in self._artifacts.walk(f"{FOLDER}/{upload.id}")]:
            if stat.key != upload.record_key:
                await self._artifacts.delete(stat.key)


async def _checked_part(
    chunks: AsyncIterator[bytes], number: int, size_bytes: int, sha256: str | None
) -> AsyncIterator[bytes]:
    digest, left = hashlib.sha256(), size_bytes
    async for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            break
        digest.update(chunk)
        yield chunk
    if left:
        raise _wrong_size(number, size_bytes)
    if sha256 is not None and sha256.lower() != digest.hexdigest():
        raise InvalidInput(f"part {number} did not arrive as it was announced; send it again")


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _record_key(upload_id: str) -> str:
    return f"{FOLDER}/{upload_id}/upload.json"


def _unknown(upload_id: str) -> NotFound:
    return NotFound(f"no upload {upload_id[:40]!r}; it may have been completed long ago, or given up: begin it again")


def _wrong_size(number: int, size_bytes: int) -> InvalidInput:
    return InvalidInput(f"part {number} has {size_bytes} bytes, no more and no less", size_bytes=size_bytes)


def _told_missing(missing: list[int]) -> str:
    named = ", ".join(map(str, missing[:MISSING_NAMED]))
    return f"{len(missing)} parts are missing: {named}{', …' if len(missing) > MISSING_NAMED else ''}"
