"""How adapters reach RabbitMQ: an address from a URL, and a connection that comes back by itself, for ever.

aio-pika's own robust connection is not used: it re-makes channels and consumers behind their owner's back, and a hint
that comes in through one of those would be taken for a slot that is gone. Here the owner hears that the connection
changed, and makes anew what it still wants.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel
from yarl import URL

from glowplug.clock import Clock
from glowplug.drivers.kept_up import KeptUp
from glowplug.errors import SettingsError, Unreachable
from glowplug.lifecycle import stop_if_canceled

PORTS = {"amqp": 5672, "amqps": 5671}
HEARTBEAT_SECONDS = 60
CONNECT_SECONDS = 10.0
# What they log of each try, with tracebacks, `on_change` says once.
_LOUD = ("aiormq", "aio_pika")


@dataclass(frozen=True, kw_only=True)
class AmqpAddress:
    """Where a RabbitMQ server is, and who we are there. The password is in no text made of this."""

    host: str
    port: int
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    ssl: bool = False
    ca_file: Path | None = None
    heartbeat_seconds: int = HEARTBEAT_SECONDS

    @classmethod
    def parse(cls, url: str) -> AmqpAddress:
        """Read `amqp://user:password@host:port/vhost` or `amqps://…?cacertfile=PATH&heartbeat=SECONDS`.

        Raises:
            SettingsError: it is not such a URL; the message holds nothing of the password.
        """
        parts = urlsplit(url)
        if parts.scheme not in PORTS:
            raise SettingsError(f"an address of RabbitMQ begins with amqp:// or amqps://, not with {parts.scheme!r}")
        options = dict(parse_qsl(parts.query))
        unknown = sorted(set(options) - {"cacertfile", "heartbeat"})
        if unknown:
            raise SettingsError(f"an address of RabbitMQ takes ?cacertfile= and ?heartbeat=, not {', '.join(unknown)}")
        ca_file = options.get("cacertfile")
        return cls(
            host=parts.hostname or "localhost",
            port=_port(url),
            user=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            vhost=unquote(parts.path[1:]) or "/",
            ssl=parts.scheme == "amqps",
            ca_file=Path(ca_file) if ca_file else None,
            heartbeat_seconds=_heartbeat(options.get("heartbeat", str(HEARTBEAT_SECONDS))),
        )

    @property
    def shown(self) -> str:
        """Return the URL without the password, for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'amqps' if self.ssl else 'amqp'}://{self.user}@{host}:{self.port}/{self.vhost.removeprefix('/')}"

    @property
    def is_default_login(self) -> bool:
        """Say whether this is the login that every fresh RabbitMQ has."""
        return (self.user, self.password) == ("guest", "guest")

    def trust(self) -> SSLContext | None:
        """Return how the server's certificate is checked, None without TLS. Raises `SettingsError`."""
        if not self.ssl:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise SettingsError(f"the CA file {self.ca_file} of {self.shown} cannot be used: {error}") from error


class AmqpConnection(KeptUp):
    """A connection to RabbitMQ that is kept up, under a `name` that its operator sees."""

    def __init__(
        self, address: AmqpAddress, *, name: str, clock: Clock, on_change: Callable[[str | None], None]
    ) -> None:
        super().__init__(address, clock=clock, on_change=on_change)
        self._address = address
        self._name = name
        self._connection: aio_pika.Connection | None = None
        self._up = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Say whether the connection is up."""
        return self._up.is_set()

    @property
    def why(self) -> str | None:
        """Return why the connection is down, with the fix; None while it is up."""
        return None if self.connected else self._why

    async def wait_connected(self) -> None:
        """Wait until the connection is up."""
        await self._up.wait()

    async def channel(self, *, confirms: bool) -> AbstractChannel:
        """Open a channel; with `confirms`, publishing waits for the broker, and raises if nobody gets the message.

        Raises:
            Unreachable: the connection is not up; the message says why, and the fix.
        """
        if self.started:
            # The first try takes some milliseconds, and says more than that nobody has tried.
            await self._tried.wait()
        connection = self._connection
        if connection is None or not self.connected:
            raise Unreachable(self._why)
        channel = connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        with self.speaking():
            async with asyncio.timeout(CONNECT_SECONDS):
                await channel.initialize()
        return channel

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """Turn what the libraries raise, inside the block, into `Unreachable` with the reason and the fix."""
        try:
            yield
            stop_if_canceled()
        except asyncio.CancelledError as error:
            # aiormq cancels what waits for an answer when the connection ends: that is no cancellation of ours.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise Unreachable(self.why or explain(None, self._address)) from error
        except (TimeoutError, RuntimeError, OSError, aiormq.exceptions.AMQPError) as error:
            raise Unreachable(explain(error, self._address)) from error

    async def break_off(self) -> None:
        """Drop the connection, so that it is made anew."""
        if self._connection is not None:
            await _close(self._connection)

    async def _start(self) -> None:
        for name in _LOUD:
            if (library := logging.getLogger(name)).level == logging.NOTSET:
                library.setLevel(logging.CRITICAL)
        await super()._start()

    async def _live(self, trust: SSLContext | None) -> str:
        lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

        def note_end(_: object, error: BaseException | None) -> None:
            self._up.clear()
            if not lost.done():
                lost.set_result(error)

        try:
            connection = await self._connect(trust, note_end)
        except Unreachable as refused:
            stop_if_canceled()
            return refused.message
        try:
            stop_if_canceled()
            if not lost.done():
                self._connection = connection
                self._up.set()
                self._came_up()
            return explain(await lost, self._address)
        finally:
            self._up.clear()
            self._connection = None
            await _close(connection)
            stop_if_canceled()

    async def _connect(
        self, trust: SSLContext | None, note_end: Callable[[object, BaseException | None], None]
    ) -> aio_pika.Connection:
        address = self._address
        # The socket is opened here and not by aiormq, which logs an error at each try.
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                streams = await asyncio.open_connection(address.host, address.port, ssl=trust)
                connection = _Connection(_url(address, self._name), streams)
                connection.close_callbacks.add(note_end)
                await connection.connect()
        except (TimeoutError, RuntimeError, OSError, aiormq.exceptions.AMQPError) as error:
            raise Unreachable(explain(error, address)) from error
        return connection


class _Open(aiormq.connection.TransportFactory):
    """Hands over a socket that is open already."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._streams = streams

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return self._streams


class _Connection(aio_pika.Connection):
    def __init__(self, url: URL, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        super().__init__(url)
        self.kwargs = {**self.kwargs, "transport_factory": _Open(streams)}


async def _close(connection: aio_pika.Connection) -> None:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await connection.close()
    except (TimeoutError, RuntimeError, OSError, aiormq.exceptions.AMQPError):
        # It was broken already.
        return


def explain(error: BaseException | None, address: AmqpAddress) -> str:
    """Say in words why RabbitMQ cannot be used, and what mends it."""
    where = f"RabbitMQ at {address.shown}"
    said = str(error) if error is not None else ""
    match error:
        case aiormq.exceptions.ProbableAuthenticationError():
            return f"{where} refused the login of {address.user!r}: check user and password (guest works locally only)"
        case aiormq.exceptions.DeliveryError():
            return f"{where} refused a message: {said}"
        case ssl.SSLCertVerificationError():
            return f"{where}: its certificate is not trusted ({said}); give its CA by ?cacertfile=PATH"
        case ssl.SSLError():
            return f"{where} does not speak TLS there ({said}): check the port, or use amqp://"
        case TimeoutError():
            return f"{where} did not answer within {CONNECT_SECONDS:g} s: check host, port and firewall"
    # aiormq keeps nothing of the server's reason here.
    if "Connection.OpenOk" in said:
        mend = f"rabbitmqctl add_vhost {address.vhost}; rabbitmqctl set_permissions -p {address.vhost} {address.user} …"
        return f"{where} has no vhost {address.vhost!r}, or does not let {address.user!r} into it: {mend}"
    if "Connect call failed" in said:
        return f"{where} refused the connection: start it, or check host and port"
    if isinstance(error, OSError) and not isinstance(error, aiormq.exceptions.AMQPError):
        return f"{where} cannot be reached: {error.strerror or said}"
    return f"the connection to {where} was lost: {said or 'it was closed'}"


def _url(address: AmqpAddress, name: str) -> URL:
    return URL.build(
        scheme="amqps" if address.ssl else "amqp",
        user=address.user,
        password=address.password,
        host=address.host,
        port=address.port,
        path="/" if address.vhost == "/" else f"/{address.vhost}",
        query={"heartbeat": str(address.heartbeat_seconds), "name": name},
    )


def _port(url: str) -> int:
    parts = urlsplit(url)
    try:
        return parts.port or PORTS[parts.scheme]
    except ValueError as error:
        raise SettingsError("the port in the address of RabbitMQ is not a number from 1 to 65535") from error


def _heartbeat(text: str) -> int:
    if not text.isdecimal() or not 5 <= int(text) <= 3600:
        raise SettingsError(f"the heartbeat of RabbitMQ is 5 to 3600 seconds, not {text!r}")
    return int(text)
