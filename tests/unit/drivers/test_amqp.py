"""Addresses of RabbitMQ, and a connection to a real one that is kept up."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiormq
import pytest
from tests.servers.rabbitmq import RabbitServer, rabbitmq

from glowplug.clock import ManualClock, SystemClock
from glowplug.drivers.amqp import AmqpAddress, AmqpConnection, explain
from glowplug.errors import SettingsError, Unreachable

__all__ = ["rabbitmq"]

ADDRESS = AmqpAddress(host="rabbit.example", port=5672, user="ada", password="s3cret", vhost="works")


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://", AmqpAddress(host="localhost", port=5672)),
        ("amqp://rabbit", AmqpAddress(host="rabbit", port=5672)),
        ("amqp://rabbit:5673/", AmqpAddress(host="rabbit", port=5673)),
        (
            "amqp://ada:p%40ss@rabbit/works",
            AmqpAddress(host="rabbit", port=5672, user="ada", password="p@ss", vhost="works"),
        ),
        ("amqp://rabbit/%2F", AmqpAddress(host="rabbit", port=5672)),
        ("amqp://rabbit/a%2Fb", AmqpAddress(host="rabbit", port=5672, vhost="a/b")),
        ("amqp://[::1]/", AmqpAddress(host="::1", port=5672)),
        ("amqps://rabbit", AmqpAddress(host="rabbit", port=5671, ssl=True)),
        (
            "amqps://rabbit?cacertfile=/etc/ca.pem&heartbeat=30",
            AmqpAddress(host="rabbit", port=5671, ssl=True, ca_file=Path("/etc/ca.pem"), heartbeat_seconds=30),
        ),
    ],
)
def test_an_address_is_read(url: str, expected: AmqpAddress) -> None:
    assert AmqpAddress.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://ada:s3cret@rabbit", "begins with amqp:// or amqps://"),
        ("amqp://ada:s3cret@rabbit:99999", "port"),
        ("amqp://ada:s3cret@rabbit:port", "port"),
        ("amqp://ada:s3cret@rabbit?verify=no", "not verify"),
        ("amqp://ada:s3cret@rabbit?heartbeat=0", "5 to 3600 seconds"),
        ("amqp://ada:s3cret@rabbit?heartbeat=soon", "5 to 3600 seconds"),
    ],
)
def test_an_address_that_is_none_is_refused_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as refused:
        AmqpAddress.parse(url)
    assert "s3cret" not in str(refused.value)


def test_no_text_of_an_address_has_the_password() -> None:
    assert "s3cret" not in f"{ADDRESS!r} {ADDRESS} {ADDRESS.shown}"
    assert ADDRESS.shown == "amqp://ada@rabbit.example:5672/works"
    assert AmqpAddress(host="::1", port=1, ssl=True).shown == "amqps://guest@[::1]:1/"


def test_the_login_that_every_server_has_is_known() -> None:
    assert AmqpAddress.parse("amqp://rabbit").is_default_login
    assert not ADDRESS.is_default_login


def test_trust_is_checked_with_the_ca_that_was_given(tmp_path: Path) -> None:
    assert ADDRESS.trust() is None
    found = AmqpAddress.parse("amqps://rabbit").trust()
    assert found is not None
    assert (found.verify_mode, found.check_hostname) == (ssl.CERT_REQUIRED, True)
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    with pytest.raises(SettingsError, match=r"ca\.pem"):
        AmqpAddress.parse(f"amqps://rabbit?cacertfile={broken}").trust()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (aiormq.exceptions.ProbableAuthenticationError("no"), "refused the login of 'ada': check user and password"),
        (aiormq.exceptions.InvalidFrameError("Expected one of ['Connection.OpenOk']"), "add_vhost works"),
        (ssl.SSLCertVerificationError(1, "self-signed"), "cacertfile"),
        (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), "does not speak TLS there"),
        (ConnectionRefusedError(111, "Connect call failed"), "refused the connection: start it"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed"), "refused the connection: start it"),
        (socket.gaierror(-2, "Name or service not known"), "cannot be reached: Name or service not known"),
        (TimeoutError(), "did not answer within 10 s"),
        (aiormq.exceptions.AMQPConnectionError("reset"), "was lost: reset"),
        (aiormq.exceptions.DeliveryError(None, aiormq.spec.Basic.Nack(delivery_tag=1)), "refused a message"),
        (None, "was lost: it was closed"),
    ],
)
def test_each_trouble_is_said_in_words(error: BaseException | None, words: str) -> None:
    said = explain(error, ADDRESS)
    assert words in said
    assert "rabbit.example" in said
    assert "s3cret" not in said


def connection(url: str, heard: list[str | None], clock: ManualClock | SystemClock) -> AmqpConnection:
    return AmqpConnection(AmqpAddress.parse(url), name="test", clock=clock, on_change=heard.append)


async def test_a_connection_says_once_that_it_is_up(rabbitmq: RabbitServer) -> None:
    heard: list[str | None] = []
    async with connection(rabbitmq.url(), heard, SystemClock()) as made:
        await made.wait_connected()
        assert (made.connected, made.why, heard) == (True, None, [None])
        channel = await made.channel(confirms=True)
        assert not channel.is_closed
    assert not made.connected


async def test_a_channel_may_be_asked_for_at_once(rabbitmq: RabbitServer) -> None:
    async with connection(rabbitmq.url(), [], SystemClock()) as made:
        await made.channel(confirms=False)


async def test_a_connection_that_was_not_started_says_so(rabbitmq: RabbitServer) -> None:
    with pytest.raises(Unreachable, match="has not answered yet"):
        await connection(rabbitmq.url(), [], SystemClock()).channel(confirms=False)


async def test_a_connection_that_is_closed_from_the_other_side_comes_back(rabbitmq: RabbitServer) -> None:
    heard: list[str | None] = []
    async with connection(rabbitmq.url(), heard, SystemClock()) as made:
        await made.wait_connected()
        channel = await made.channel(confirms=False)
        rabbitmq.close_connections("maintenance")
        while heard[-1:] != [None] or len(heard) < 3:
            await asyncio.sleep(0.01)
        assert channel.is_closed
        await made.channel(confirms=False)
    assert heard[0] is heard[2] is None
    assert "maintenance" in str(heard[1])


async def test_a_connection_that_is_broken_off_comes_back(rabbitmq: RabbitServer) -> None:
    heard: list[str | None] = []
    async with connection(rabbitmq.url(), heard, SystemClock()) as made:
        await made.wait_connected()
        await made.break_off()
        while len(heard) < 3:
            await asyncio.sleep(0.01)
        await made.channel(confirms=False)


async def test_a_connection_can_be_started_again(rabbitmq: RabbitServer) -> None:
    made = connection(rabbitmq.url(), [], SystemClock())
    for _ in range(2):
        async with made:
            await made.channel(confirms=False)


async def test_what_the_library_cancels_is_an_answer_that_never_comes(rabbitmq: RabbitServer) -> None:
    async with connection(rabbitmq.url(), [], SystemClock()) as made:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(answer.cancel)
        with pytest.raises(Unreachable, match=r"lost|has not answered"), made.speaking():
            await answer


async def test_a_cancellation_of_our_own_stays_one(rabbitmq: RabbitServer) -> None:
    async with connection(rabbitmq.url(), [], SystemClock()) as made:

        async def wait() -> None:
            with made.speaking():
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_server_that_is_not_there_is_tried_again_and_again_and_told_of_once(closed_port: int) -> None:
    heard: list[str | None] = []
    clock = ManualClock()
    async with connection(f"amqp://127.0.0.1:{closed_port}", heard, clock) as made:
        for _ in range(5):
            with pytest.raises(Unreachable, match="start it"):
                await made.channel(confirms=False)
            await clock.advance(10)
        assert not made.connected
    assert len(heard) == 1


async def test_a_host_that_can_be_no_name_is_told_and_tried_again() -> None:
    heard: list[str | None] = []
    clock = ManualClock()
    async with connection("amqp://a..b", heard, clock) as made:
        for _ in range(3):
            with pytest.raises(Unreachable, match=r"a\.\.b"):
                await made.channel(confirms=False)
            await clock.advance(10)
    assert len(heard) == 1


async def test_a_stop_does_not_wait_for_the_server(closed_port: int) -> None:
    made = connection(f"amqp://127.0.0.1:{closed_port}", [], ManualClock())
    await made.start()
    await made.stop()
    with pytest.raises(Unreachable):
        await made.channel(confirms=False)


async def test_a_wrong_port_that_speaks_no_amqp_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with connection(f"amqp://ada:s3cret@127.0.0.1:{port}", [], SystemClock()) as made:
            with pytest.raises(Unreachable, match=r"127\.0\.0\.1"):
                await made.channel(confirms=False)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_cancellation_that_the_library_lost_is_found_again(closed_port: int) -> None:
    made = connection(f"amqp://127.0.0.1:{closed_port}", [], ManualClock())

    async def lose() -> None:
        with made.speaking(), suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    task = asyncio.create_task(lose())
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait([task])
    assert task.cancelled()
