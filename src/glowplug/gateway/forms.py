"""Forms with files: spooled to disk within limits as they arrive, and stored as artifacts for one call."""

from __future__ import annotations

import errno
import re
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from glowplug.errors import DiskFull, GlowplugError, InvalidInput, UnsupportedMediaType, UserError
from glowplug.gateway.bodies import too_large
from glowplug.gateway.downloads import stated_media_type
from glowplug.gateway.service import Gateway
from glowplug.gateway.subjects import Subject

MOST_FILES = 17
MOST_FIELDS = 64
FIELD_BYTES = 256 * 1024
PIECE_BYTES = 1 << 20
LONGEST_NAME = 100
FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
CHARSETS = (b"utf-8", b"us-ascii")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_SEPARATOR = re.compile(r"[/\\]")


@dataclass
class Form:
    """The fields of a form: texts by name, a list for those that are repeated or end in `[]`; and its files."""

    texts: dict[str, Any] = field(default_factory=dict)
    files: dict[str, list[UploadFile]] = field(default_factory=dict)

    @classmethod
    def of(cls, data: FormData) -> Form:
        """Sort the fields."""
        form = cls()
        for name, value in data.multi_items():
            plain = name.removesuffix("[]")
            if isinstance(value, UploadFile):
                form.files.setdefault(plain, []).append(value)
            elif name != plain or plain in form.texts:
                before = form.texts.get(plain, [])
                form.texts[plain] = [*(before if isinstance(before, list) else [before]), value]
            else:
                form.texts[plain] = value
        return form


@asynccontextmanager
async def read_form(request: Request, gateway: Gateway) -> AsyncIterator[Form]:
    """Yield the form in a request; its files are gone after the block.

    Raises:
        UnsupportedMediaType: the body is no multipart/form-data, or not in UTF-8.
        TooLarge: it has more bytes than a form may have.
        DiskFull: there is no room for it, or none any more while it comes.
        UserError: it is broken, or has too many parts.
    """
    media_type, parameters = parse_options_header(request.headers.get("content-type"))
    if media_type != b"multipart/form-data":
        raise UnsupportedMediaType("send a form with Content-Type: multipart/form-data")
    # Forms have none, but the parser would obey, and Python has some that give half characters or always fail.
    if parameters.get(b"charset", b"utf-8").lower() not in CHARSETS:
        raise UnsupportedMediaType("the texts of a form are UTF-8: leave the charset out")
    parser = MultiPartParser(
        request.headers,
        _limited(request, gateway),
        max_files=MOST_FILES,
        max_fields=MOST_FIELDS,
        max_part_size=FIELD_BYTES,
    )
    try:
        data = await parser.parse()
    except MultiPartException as error:
        raise UserError(f"the form cannot be read: {error.message}") from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _no_room() from error
    try:
        yield Form.of(data)
    finally:
        await data.close()


class Lent:
    """Files of one call as artifacts. They go with it, unless `keep` was said: then a job speaks of them."""

    def __init__(self, gateway: Gateway, subject: Subject) -> None:
        self._gateway = gateway
        self._subject = subject
        self._keys: list[str] = []

    async def __aenter__(self) -> Lent:
        return self

    async def __aexit__(self, *_: object) -> None:
        for key in self._keys:
            # Retention takes what cannot be deleted now.
            with suppress(GlowplugError):
                await self._gateway.shelf.delete(key, self._subject)

    async def add(self, file: UploadFile, parameter: str) -> str:
        """Store a file and return its reference. Raises `InvalidInput` for an empty one, `TooLarge`, `DiskFull`."""
        if not file.size:
            raise InvalidInput(f"{parameter}: the file is empty", fields=[{"path": parameter, "message": "is empty"}])
        media_type = stated_media_type(file.content_type)
        artifact = await self._gateway.shelf.upload(_safe_name(file.filename or ""), _pieces(file), media_type)
        self._keys.append(artifact.key)
        return artifact.uri

    def keep(self) -> None:
        """Let the files stay."""
        self._keys.clear()


def _safe_name(name: str) -> str:
    """Return the last part of a file's name as one that a key may end in."""
    plain = _UNSAFE.sub("_", _SEPARATOR.split(name)[-1])[-LONGEST_NAME:]
    return plain if plain[:1].isalnum() else "file" + plain


async def _limited(request: Request, gateway: Gateway) -> AsyncGenerator[bytes, None]:
    limit_bytes, room = gateway.policy.limits.form_bytes, gateway.room
    declared = request.headers.get("content-length", "")
    coming = int(declared) if declared.isdecimal() else 0
    if coming > limit_bytes:
        raise too_large(limit_bytes)
    # Small files stay in memory; what is larger lies in the folder for temporary files first, then among the artifacts.
    if coming > MultiPartParser.spool_max_size and gateway.parts.free_bytes(Path(tempfile.gettempdir())) < coming:
        raise _no_room()
    size = 0
    # Asked before anything is read, and again with each piece: a form may take long to come.
    room.check()
    async for chunk in request.stream():
        room.check()
        size += len(chunk)
        if size > limit_bytes:
            raise too_large(limit_bytes)
        yield chunk


def _no_room() -> DiskFull:
    return DiskFull("the gateway's folder for temporary files is full: free some room, or let TMPDIR name another one")


async def _pieces(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(PIECE_BYTES):
        yield piece
