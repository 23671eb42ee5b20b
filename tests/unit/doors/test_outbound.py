"""Posts to addresses that strangers name: what is refused at the socket, and what an answer may do to us."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from tests.unit.doors.receiver import receiver

from glowplug.doors.outbound import Outbound, seconds_until
from glowplug.drivers.addresses import Refused, public_socket

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BOUND = 20


class Names(AbstractResolver):
    """A name server of the test's own: `answers` are given one after the other, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


def outbound(names: AbstractResolver | None = None, *, allow_private: bool = False) -> Outbound:
    return Outbound(allow_private=allow_private, timeout_seconds=5, resolver=names)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "localhost", "0x7f.1"])
async def test_nothing_reaches_this_machine_however_it_is_spelled(host: str) -> None:
    async with asyncio.timeout(BOUND), receiver() as it, outbound() as out:
        answer = await out.post(f"http://{host}:{it.port}/", b"{}", {}, NOW)
        assert (answer.refused, answer.status) == (True, None)
        assert "GLOWPLUG_WEBHOOKS_ALLOW_PRIVATE" in answer.error
        assert it.asked == []


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0177.0.0.1"])
async def test_numbers_that_some_take_for_addresses_are_refused(host: str) -> None:
    async with asyncio.timeout(BOUND), receiver() as it, outbound() as out:
        answer = await out.post(f"http://{host}:{it.port}/", b"{}", {}, NOW)
        assert answer.refused
        assert it.asked == []


async def test_where_private_addresses_are_allowed_they_are_called() -> None:
    async with asyncio.timeout(BOUND), receiver() as it, outbound(allow_private=True) as out:
        assert (await out.post(it.url, b"{}", {}, NOW)).status == 204


async def test_a_name_that_stands_for_a_private_address_is_refused() -> None:
    async with asyncio.timeout(BOUND), receiver() as it, outbound(Names(["127.0.0.1"])) as out:
        answer = await out.post(f"http://hook.example:{it.port}/", b"{}", {}, NOW)
        assert answer.refused
        assert "hook.example" in answer.error
        assert it.asked == []


async def test_a_name_that_stands_for_several_private_addresses_is_refused() -> None:
    async with asyncio.timeout(BOUND), outbound(Names(["127.0.0.1", "::1", "10.0.0.1"])) as out:
        assert (await out.post("http://hook.example:9/", b"{}", {}, NOW)).refused


async def test_a_name_that_changes_its_mind_gains_nothing() -> None:
    # Public when somebody checks it, private when it is called: DNS rebinding. Each lookup is of the call itself.
    names = Names(["192.0.2.1"], ["127.0.0.1"])
    async with asyncio.timeout(BOUND), receiver() as it, outbound(names) as out:
        for _ in range(2):
            answer = await out.post(f"http://hook.example:{it.port}/", b"{}", {}, NOW)
            assert answer.refused
        assert names.asked == ["hook.example", "hook.example"]
        assert it.asked == []


def test_the_socket_is_where_an_address_is_refused() -> None:
    for address in ("127.0.0.1", "169.254.169.254", "127.1"):
        with pytest.raises(Refused):
            public_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 80)))
    with pytest.raises(Refused):
        public_socket((socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::ffff:10.0.0.1", 80, 0, 0)))
    public_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 80))).close()


async def test_a_redirect_is_not_followed_wherever_it_leads() -> None:
    async with asyncio.timeout(BOUND), receiver() as it, outbound(allow_private=True) as out:
        it.answers = [(307, {"Location": f"{it.url}/secret"})]
        answer = await out.post(f"{it.url}/hook", b"{}", {}, NOW)
        assert (answer.status, "redirects are not followed" in answer.error) == (307, True)
        it.answers = [(302, {"Location": "http://169.254.169.254/latest/meta-data/"})]
        assert (await out.post(f"{it.url}/hook", b"{}", {}, NOW)).status == 302
        assert len(it.asked) == 2


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        except ConnectionError:
            closed.set()
            raise

    closed = asyncio.Event()
    app = web.Application()
    app.router.add_post("/", endless)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with asyncio.timeout(BOUND), outbound(allow_private=True) as out:
            answer = await out.post(f"http://127.0.0.1:{runner.addresses[0][1]}/", b"{}", {}, NOW)
            assert (answer.status, answer.error) == (200, "")
            await closed.wait()
    finally:
        await runner.cleanup()


async def test_one_connection_serves_many_posts() -> None:
    async with asyncio.timeout(BOUND), receiver() as it, outbound(allow_private=True) as out:
        assert out._session is not None
        for _ in range(5):
            assert (await out.post(it.url, b"{}", {}, NOW)).status == 204
        pool = out._session.connector
        assert pool is not None
        assert sum(len(connections) for connections in pool._conns.values()) == 1


async def test_nobody_there_is_an_error_that_does_not_quote_the_address() -> None:
    async with asyncio.timeout(BOUND), outbound(allow_private=True) as out:
        answer = await out.post("http://127.0.0.1:9/token-in-the-path", b"{}", {}, NOW)
    assert (answer.status, answer.refused) == (None, False)
    assert "token-in-the-path" not in answer.error


async def test_silence_is_an_error_after_a_bound() -> None:
    async with asyncio.timeout(BOUND), receiver() as it:
        it.hangs = True
        async with Outbound(allow_private=True, timeout_seconds=0.05) as out:
            assert "no answer within 0.05 s" in (await out.post(it.url, b"{}", {}, NOW)).error


async def test_before_the_start_nothing_is_posted() -> None:
    assert (await outbound().post("http://8.8.8.8/", b"{}", {}, NOW)).error


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("1e9", 0),
        ("9" * 50, 0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0),
        ("Thu, 01 Jan 2026 00:00:30", 30),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float) -> None:
    assert seconds_until(text, NOW) == seconds
