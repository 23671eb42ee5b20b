"""A large file on its way to the gateway: in parts, several at once, going on where an earlier try stopped.

Nothing is remembered here. The gateway knows a file by its hash, so whoever sends it again goes on with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

from glowplug.client.exchange import Ask, Exchange
from glowplug.client.pieces import read_piece
from glowplug.client.views import ArtifactView, UploadPartView, UploadView
from glowplug.errors import Conflict, Corrupt, Forbidden, InvalidInput, NotReady, Unreachable
from glowplug.lifecycle import cancel

PIECE_BYTES = 1 << 18
PARTS_AT_ONCE = 4
# Longer than a gateway needs to start again.
PATIENCE_SECONDS = 60.0
ROUNDS = 3
PART_SECONDS = 300.0
JOIN_SECONDS = 900.0


class PartedUpload:
    """The sending of one file."""

    def __init__(
        self, exchange: Exchange, path: Path, name: str, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._exchange = exchange
        self._path = path
        self._name = name
        self._patience_seconds = patience_seconds
        self._moved_at = time.monotonic()

    async def send(self) -> ArtifactView:
        """Send what is missing, and return the artifact. Raises `Corrupt`, and whatever a request of it does."""
        sha256, size_bytes = await asyncio.to_thread(_digest_and_size, self._path)
        wish = {"name": self._name, "size_bytes": size_bytes, "sha256": sha256}
        begin = Ask("POST", "/v1/uploads", json=wish)
        for last in (*[False] * (ROUNDS - 1), True):
            upload = await self._exchange.read(begin, UploadView)
            try:
                await self._send_parts(upload.id, iter(upload.missing))
                stored = await self._exchange.read(_complete(upload), ArtifactView)
            except (Conflict, Forbidden):
                # A part got lost, or a link to the store ran out: what is missing is asked for again.
                if last:
                    raise
                continue
            if stored.sha256 != sha256:
                raise Corrupt(f"{self._path} did not arrive as it is here; send it again")
            return stored
        raise AssertionError("the last round returns or raises")

    async def _send_parts(self, upload_id: str, parts: Iterator[UploadPartView]) -> None:
        async def send_some() -> None:
            for part in parts:
                await self._send_part(part, _place(upload_id, part))

        self._moved_at = time.monotonic()
        lanes = [asyncio.create_task(send_some()) for _ in range(PARTS_AT_ONCE)]
        try:
            await asyncio.gather(*lanes)
        finally:
            for lane in lanes:
                await cancel(lane)

    async def _send_part(self, part: UploadPartView, place: str) -> None:
        ask = Ask(
            "PUT",
            place,
            content=partial(_bytes_of, self._path, part),
            # Object stores take no body of unknown length.
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(part.size_bytes)},
            timeout_seconds=PART_SECONDS,
        )
        while True:
            try:
                await self._exchange.send(ask)
            except (Unreachable, NotReady):
                if time.monotonic() - self._moved_at > self._patience_seconds:
                    raise
            else:
                self._moved_at = time.monotonic()
                return


def _complete(upload: UploadView) -> Ask:
    return Ask("POST", f"/v1/uploads/{upload.id}/complete", timeout_seconds=JOIN_SECONDS)


def _place(upload_id: str, part: UploadPartView) -> str:
    # The gateway may call itself by another name than the one that we reach it by; the store's links stay as they are.
    own = f"/v1/uploads/{upload_id}/{part.number}"
    return own if part.url is None or part.url.endswith(own) else part.url


async def _bytes_of(path: Path, part: UploadPartView) -> AsyncIterator[bytes]:
    sent = 0
    while sent < part.size_bytes:
        piece = await asyncio.to_thread(read_piece, path, part.offset + sent, min(PIECE_BYTES, part.size_bytes - sent))
        if not piece:
            raise InvalidInput(f"{path} became shorter while it was sent; send it again")
        sent += len(piece)
        yield piece


def _digest_and_size(path: Path) -> tuple[str, int]:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest(), stream.tell()
