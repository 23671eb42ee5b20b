"""The link over HTTP: what it sends, and what it makes of every kind of answer."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from tests.unit.links.servers import backend

from glowplug.errors import (
    BugError,
    Conflict,
    DeadlineExceeded,
    DiskFull,
    Forbidden,
    GlowplugError,
    NotFound,
    RemoteError,
    TooLarge,
    Unauthorized,
    Unreachable,
    UserError,
)
from glowplug.link import Claim, Claimed, Register, Registered, Renew, Renewed
from glowplug.links import http
from glowplug.links.http import HttpLink, refusal

RENEW = Renew("w1", "i1", ())
BOUND = 20


def problem(**fields: object) -> bytes:
    return json.dumps(fields).encode()


async def test_a_call_is_a_post_with_the_workers_token() -> None:
    async with asyncio.timeout(BOUND), backend() as it, HttpLink(it.url + "/", "sesame") as link:
        it.answers = [(200, b'{"lease_seconds": 30}')]
        assert await link.register(Register("w1", "i1", 1, {"state": "READY"})) == Registered(30.0)
        ((path, headers, body),) = it.asked
        assert path == "/api/internal/link/register"
        assert headers["Authorization"] == "Bearer sesame"
        assert headers["Content-Type"] == "application/json"
        assert (body["instance_id"], body["sequence"], body["protocol"]) == ("w1", 1, 1)


async def test_without_a_token_none_is_sent() -> None:
    async with asyncio.timeout(BOUND), backend() as it, HttpLink(it.url, None) as link:
        it.answers = [(200, b'{"renewals": []}')]
        assert await link.renew(RENEW) == Renewed(())
        assert "Authorization" not in it.asked[0][1]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", Unauthorized),
        (401, problem(code="unauthorized", detail="no"), Unauthorized),
        (403, b"", Forbidden),
        (404, problem(code="not_found", detail="no such job"), NotFound),
        (409, problem(code="conflict", detail="another release"), Conflict),
        (413, problem(code="too_large", detail="too much", limit_bytes=5), TooLarge),
        (500, problem(code="bug", detail="oops"), BugError),
        (507, problem(code="disk_full", detail="no room"), DiskFull),
        (502, b"<html>bad gateway</html>", Unreachable),
        (503, b"", Unreachable),
        (504, b"", Unreachable),
        (418, b"[1, 2]", UserError),
        (500, b"\xff", RemoteError),
        (200, b"<html>", RemoteError),
        (302, b"", RemoteError),
        (400, problem(code="from the future", detail="?"), UserError),
    ],
)
async def test_each_answer_is_an_error_of_ours(status: int, body: bytes, kind: type[GlowplugError]) -> None:
    async with asyncio.timeout(BOUND), backend() as it, HttpLink(it.url, "t") as link:
        it.answers = [(status, body)]
        with pytest.raises(GlowplugError) as caught:
            await link.renew(RENEW)
        assert type(caught.value) is kind


def test_an_error_keeps_its_message_and_its_data() -> None:
    body = problem(code="too_large", detail="too much", status=413, title="x", type="about:blank", limit_bytes=5)
    error = refusal(413, body, "http://x")
    assert (error.message, error.data) == ("too much", {"limit_bytes": 5})


def test_an_error_whose_data_has_the_name_of_an_argument_is_no_trouble() -> None:
    error = refusal(422, problem(code="invalid_input", detail="no", message="twice", self=1), "http://x")
    assert error.message == "no"


async def test_nobody_there_is_unreachable_and_the_address_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with asyncio.timeout(BOUND), HttpLink(f"http://127.0.0.1:{port}", "t") as link:
        with pytest.raises(Unreachable, match=str(port)):
            await link.renew(RENEW)


async def test_a_connection_that_breaks_while_an_answer_is_awaited_is_unreachable() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(BOUND), server, HttpLink(f"http://127.0.0.1:{port}", "t") as link:
        with pytest.raises(Unreachable):
            await link.renew(RENEW)


async def test_silence_is_a_deadline_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CALL_SECONDS", 0.05)
    async with asyncio.timeout(BOUND), backend() as it, HttpLink(it.url, "t") as link:
        it.hangs = True
        with pytest.raises(DeadlineExceeded):
            await link.claim(Claim("w1", "i1", (), wait_seconds=0.0))


async def test_a_claim_may_take_as_long_as_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CALL_SECONDS", 0.2)
    async with asyncio.timeout(BOUND), backend() as it, HttpLink(it.url, "t") as link:
        it.hangs = True

        async def answer_later() -> None:
            while not it.asked:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            it.silent.set()

        later = asyncio.create_task(answer_later())
        assert await link.claim(Claim("w1", "i1", (), wait_seconds=5.0)) == Claimed()
        await later


async def test_a_link_that_is_not_started_reaches_nobody_and_one_can_be_started_again() -> None:
    async with asyncio.timeout(BOUND), backend() as it:
        it.answers = [(200, b'{"renewals": []}')]
        link = HttpLink(it.url, "t")
        with pytest.raises(Unreachable):
            await link.renew(RENEW)
        for _ in range(2):
            async with link:
                assert await link.renew(RENEW) == Renewed(())


async def test_calls_share_a_kept_connection() -> None:
    async with asyncio.timeout(BOUND), backend() as it, HttpLink(it.url, "t") as link:
        it.answers = [(200, b'{"renewals": []}')]
        for _ in range(5):
            await link.renew(RENEW)
        assert (len(it.asked), len(it.callers)) == (5, 1)
