"""Forms where there is no room for them, or nobody who sends the rest."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from starlette import formparsers
from tests.unit.gateway.house import House, house, policy
from tests.unit.gateway.served import served, until

from glowplug.gateway.policy import Limits

BEGINNING = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
END = b"\r\n--b--\r\n"
LARGE = 3 << 20
PATHS = ["/v1/images/edits", "/v1/audio/transcriptions"]


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which large forms lie while they come; it is this test's alone."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def left(spool: Path) -> list[str]:
    """Return what lies in a folder, and what is open there without a name."""
    found = list(spool.iterdir())
    for opened in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(opened.readlink())
    return [str(one) for one in found if one.is_relative_to(spool)]


class Sender:
    """A form as it is sent, and how much of it somebody has asked for."""

    def __init__(self, before_each: Callable[[int], None] = lambda number: None) -> None:
        self.sent = 0
        self._before_each = before_each

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield BEGINNING
        for number in range(LARGE >> 16):
            self._before_each(number)
            self.sent += 1
            yield b"x" * (1 << 16)
        yield END


async def send(home: House, sender: Sender, path: str = PATHS[0], **headers: str) -> Any:
    headers = {"content-type": "multipart/form-data; boundary=b", **headers}
    answer = await home.client.post(path, content=aiter(sender), headers=headers)
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_disk_that_is_nearly_full_takes_in_no_form(tmp_path: Path, spool: Path, path: str) -> None:
    chosen = policy(data_folder=tmp_path, min_free_bytes=100)
    async with house(tmp_path, chosen=chosen, free_bytes=lambda folder: 50) as home:
        sender = Sender()
        assert await send(home, sender, path) == (507, "disk_full")
        assert sender.sent == 0


async def test_a_form_is_not_begun_for_which_there_is_no_room(tmp_path: Path, spool: Path) -> None:
    def free(folder: Path) -> int:
        return LARGE - 1 if folder == spool else 1 << 40

    async with house(tmp_path, free_bytes=free) as home:
        sender = Sender()
        assert await send(home, sender, **{"content-length": str(LARGE)}) == (507, "disk_full")
        assert sender.sent == 0


async def test_nor_gone_on_with_once_the_room_is_gone(tmp_path: Path, spool: Path) -> None:
    room = 1 << 40

    def fill(number: int) -> None:
        nonlocal room
        if number == 30:
            room = 0
            home.gateway.room.look()

    chosen = policy(data_folder=tmp_path, min_free_bytes=100)
    async with house(tmp_path, chosen=chosen, free_bytes=lambda folder: room) as home:
        sender = Sender(fill)
        assert await send(home, sender) == (507, "disk_full")
        assert (sender.sent, left(spool)) == (31, [])


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EIO, 500)])
async def test_a_folder_that_is_full_before_its_time_is_told_so(
    home: House, spool: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    class Full(tempfile.SpooledTemporaryFile[bytes]):
        def rollover(self) -> None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(formparsers, "SpooledTemporaryFile", Full)
    assert (await send(home, Sender()))[0] == status
    assert left(spool) == []


async def test_a_small_form_needs_no_room_on_the_disk(tmp_path: Path, spool: Path) -> None:
    async with house(tmp_path, free_bytes=lambda folder: 0) as home:
        answer = await home.client.post(PATHS[0], data={"model": "art", "prompt": "a"}, files={"image": b"x"})
        assert answer.status_code == 404


async def test_a_sender_that_leaves_in_the_middle_leaves_nothing_behind(tmp_path: Path, spool: Path) -> None:
    async with asyncio.timeout(20), served(tmp_path) as home:
        _, writer = await asyncio.open_connection(home.client.base_url.host, home.client.base_url.port)
        writer.write(b"POST /v1/images/edits HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n")
        writer.write(b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + BEGINNING + b"x" * LARGE)
        await writer.drain()
        await until(lambda: left(spool))
        writer.close()
        await until(lambda: not left(spool))


async def test_what_is_beyond_the_limit_leaves_nothing_behind(tmp_path: Path, spool: Path) -> None:
    async with house(tmp_path, chosen=policy(limits=Limits(form_bytes=LARGE - 1))) as home:
        assert await send(home, Sender()) == (413, "too_large")
        assert left(spool) == []
