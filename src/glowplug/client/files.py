"""Files to and from the gateway."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from glowplug.artifact import parse_uri
from glowplug.client.exchange import Ask, Exchange
from glowplug.client.parted_upload import PartedUpload
from glowplug.client.pieces import read_piece
from glowplug.client.views import ArtifactView, JobView, Result
from glowplug.errors import Corrupt, DiskFull, NotFound, SettingsError

PIECE_BYTES = 1 << 18
LONGEST_NAME = 100
TRANSFER_TIMEOUT_SECONDS = 300.0
PARTED_FROM_BYTES = 16 << 20
_UNSAFE = re.compile(r"[^A-Za-z0-9._ +@=-]")

Source = str | os.PathLike[str] | IO[bytes]


class Files:
    """Uploads and downloads over an exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def upload(self, source: Source, name: str | None) -> ArtifactView:
        """Send a file under `name`, by default its own; a large one in parts, and only those that are missing.

        Raises:
            NotFound, TooLarge, InvalidInput: there is no such file, it is too large, or it changed meanwhile.
        """
        path = Path(source) if isinstance(source, (str, os.PathLike)) else None
        if path is not None and not path.is_file():
            raise NotFound(f"there is no file {path}")
        called = name or Path(str(path if path is not None else getattr(source, "name", "upload"))).name
        if path is not None and path.stat().st_size > PARTED_FROM_BYTES:
            return await PartedUpload(self._exchange, path, safe_name(called)).send()
        ask = Ask(
            "PUT",
            f"/v1/artifacts/{quote(safe_name(called))}",
            content=_pieces(source),
            headers={"Content-Type": "application/octet-stream"},
            # A stream that somebody else opened cannot be read from its start again.
            repeatable=path is not None,
            timeout_seconds=TRANSFER_TIMEOUT_SECONDS,
        )
        return await self._exchange.read(ask, ArtifactView)

    async def uploaded(self, value: Any) -> Any:
        """Return the input `value` with each path and open file in it replaced by the reference of its upload."""
        if isinstance(value, os.PathLike) or hasattr(value, "read"):
            return (await self.upload(value, None)).uri
        if isinstance(value, Mapping):
            return {key: await self.uploaded(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [await self.uploaded(item) for item in value]
        return value

    async def download(self, view: ArtifactView, target: Path) -> Path:
        """Save an artifact as the file, or into the folder, `target`; return the file.

        Raises:
            NotFound, Corrupt, DiskFull: it is not there, arrived damaged, or there is no room.
        """
        target = _file_in(target, view)
        ask = Ask("GET", f"/v1/artifacts/{quote(parse_uri(view.uri))}", timeout_seconds=TRANSFER_TIMEOUT_SECONDS)
        async with self._exchange.stream(ask) as answer:
            with _appearing(target) as stream:
                digest = hashlib.sha256()
                async for chunk in self._exchange.chunks(answer):
                    digest.update(chunk)
                    await asyncio.to_thread(stream.write, chunk)
                if view.sha256 is not None and digest.hexdigest() != view.sha256:
                    raise Corrupt(f"{target.name} did not arrive as it was stored; download it again")
        return target

    async def save(self, result: Result | JobView, folder: Path) -> list[Path]:
        """Save every file of a result into `folder`; a name that is taken gets a number."""
        if result.artifacts:
            _make_folder(folder)
        return [await self.download(view, _free(_file_in(folder, view))) for view in result.artifacts]


def safe_name(name: str) -> str:
    """Return `name` as a plain file name: no folders, no odd characters, not hidden, its ending kept."""
    plain = _UNSAFE.sub("_", name.replace("\\", "/").rpartition("/")[2]).lstrip("._ +@=-")
    return plain[-LONGEST_NAME:].lstrip("._ +@=-") or "file"


def _pieces(source: Source) -> Callable[[], AsyncIterator[bytes]]:
    async def read() -> AsyncIterator[bytes]:
        if isinstance(source, (str, os.PathLike)):
            sent = 0
            while piece := await asyncio.to_thread(read_piece, source, sent, PIECE_BYTES):
                sent += len(piece)
                yield piece
        else:
            while piece := await asyncio.to_thread(source.read, PIECE_BYTES):
                yield piece

    return read


def _file_in(target: Path, view: ArtifactView) -> Path:
    return target / safe_name(view.name or parse_uri(view.uri)) if target.is_dir() else target


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot save into {folder}: {error.strerror}; choose another folder") from error


@contextmanager
def _appearing(target: Path) -> Iterator[IO[bytes]]:
    """Lend a file that becomes `target` if all goes well, and nothing at all if not."""
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.")
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
            # mkstemp's mode is for secrets; a download is an ordinary file.
            partial.chmod(0o644)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else SettingsError
        raise kind(f"cannot write {target}: {error.strerror}; free some room or choose another folder") from error


def _free(path: Path) -> Path:
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free
