"""How adapters reach an MQTT 5 broker: an address from a URL, and a connection that comes back by itself, for ever."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from glowplug.clock import Clock
from glowplug.errors import SettingsError, Unreachable
from glowplug.lifecycle import Startable, cancel

T = TypeVar("T")
PORTS = {"mqtt": 1883, "mqtts": 8883}
ANSWER_SECONDS = 10.0
LEAVE_SECONDS = 1.0
KEEPALIVE_SECONDS = 30
RETRY_BASE_SECONDS = 0.1
RETRY_CAP_SECONDS = 3.0
ONLINE, OFFLINE = b"online", b"offline"
_WRONG_PROTOCOL, _BAD_LOGIN, _NOT_AUTHORIZED = 132, 134, 135
_QUIET = logging.getLogger("glowplug.drivers.mqtt.library")


@dataclass(frozen=True, kw_only=True)
class MqttAddress:
    """Where an MQTT broker is, and who we are there. The password is in no text made of this."""

    host: str
    port: int
    user: str | None = None
    password: str = field(default="", repr=False)
    tls: bool = False
    ca_file: Path | None = None

    @classmethod
    def parse(cls, url: str, *, ca_file: Path | None = None) -> MqttAddress:
        """Read `mqtt://user:password@host:port` or `mqtts://…`. Raises `SettingsError`, without the password."""
        parts = urlsplit(url)
        if parts.scheme not in PORTS:
            raise SettingsError(f"an address of an MQTT broker begins with mqtt:// or mqtts://, not {parts.scheme!r}")
        if parts.path.strip("/") or parts.query:
            raise SettingsError("an address of an MQTT broker ends with the port; topics are set by mqtt.prefix")
        try:
            port = parts.port or PORTS[parts.scheme]
        except ValueError as error:
            raise SettingsError("the port in the address of the MQTT broker is not a number up to 65535") from error
        return cls(
            host=parts.hostname or "localhost",
            port=port,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password or ""),
            tls=parts.scheme == "mqtts",
            ca_file=ca_file,
        )

    @property
    def shown(self) -> str:
        """Return the URL without the password, for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{f'{self.user}@' if self.user else ''}{host}:{self.port}"

    def trust(self) -> SSLContext | None:
        """Return how the broker's certificate is checked, None without TLS. Raises `SettingsError`."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise SettingsError(f"the CA file {self.ca_file} of {self.shown} cannot be used: {error}") from error
        context.sslsocket_class = _SecureSocket
        return context


class _SecureSocket(ssl.SSLSocket):
    """A socket that paho need not close when nobody could agree, which it forgets."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class MqttConnection(Startable):
    """A connection that is kept up: `start` returns at once, and tries go on until `stop`.

    The topic `presence` says `online` while it is up, and `offline` after that, by the broker itself if need be.
    `on_change` hears None when it is up, and else why it is not, once for each change.
    """

    def __init__(
        self, address: MqttAddress, *, presence: str, clock: Clock, on_change: Callable[[str | None], None]
    ) -> None:
        self._address = address
        self._presence = presence
        self._clock = clock
        self._on_change = on_change
        self._client: _Client | None = None
        self._sending: set[asyncio.Future[None]] = set()
        self._tried = asyncio.Event()
        self._told: str | None = None
        self._why = f"{address.shown} has not answered yet"
        self._keeper: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Say whether the connection is up."""
        return self._client is not None

    async def publish(
        self, topic: str, body: bytes, *, retain: bool = False, expiry_seconds: int | None = None
    ) -> None:
        """Send a message; the broker has acknowledged it when this returns. Raises `Unreachable`, with the fix."""
        if self.started:
            await self._tried.wait()
        client = self._client
        if client is None:
            raise Unreachable(self._why)
        sending = asyncio.ensure_future(client.send(topic, body, retain, expiry_seconds))
        self._sending.add(sending)
        try:
            await sending
        except aiomqtt.MqttError as error:
            raise Unreachable(explain(error, self._address)) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise Unreachable(f"the connection to {self._address.shown} was lost") from error
        finally:
            self._sending.discard(sending)

    async def _start(self) -> None:
        _QUIET.setLevel(logging.CRITICAL)
        trust = await asyncio.to_thread(self._address.trust)
        self._tried.clear()
        self._keeper = asyncio.create_task(self._keep(trust), name="mqtt")

    async def _stop(self) -> None:
        await cancel(self._keeper)
        self._keeper = None
        self._tried.set()

    async def _keep(self, trust: SSLContext | None) -> None:
        failures = 0
        while True:
            why = await self._live(trust)
            failures = 0 if self._told is None else failures + 1
            self._tell(why)
            # Full jitter, so that the gateways do not all come back in the same moment.
            ceiling = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2.0 ** min(failures, 30))
            await self._clock.sleep(random.uniform(0, ceiling))  # noqa: S311 - no secret

    async def _live(self, trust: SSLContext | None) -> str:
        """Connect, and return what ended the connection or kept it from coming up."""
        client = _client(self._address, self._presence, trust)
        try:
            await _enter(client)
            await self._be_present(client)
        except aiomqtt.MqttError as error:
            return explain(error, self._address)
        finally:
            await _leave(client)
        return f"the connection to {self._address.shown} was lost"

    async def _be_present(self, client: _Client) -> None:
        try:
            await client.send(self._presence, ONLINE, True)
            await client.subscribe(self._presence, options=SubscribeOptions(qos=1, noLocal=True, retainHandling=2))
            self._client = client
            self._tell(None)
            async for message in client.messages:
                # Another gateway at the same topic has gone; this one is still there.
                if message.payload == OFFLINE:
                    await client.send(self._presence, ONLINE, True)
        finally:
            self._client = None
            for sending in list(self._sending):
                sending.cancel()
            # Who takes leave in order must say so: the broker does it only for those who do not.
            with suppress(aiomqtt.MqttError, TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await client.send(self._presence, OFFLINE, True)

    def _tell(self, why: str | None) -> None:
        self._tried.set()
        before, self._told = self._told, why
        if why is not None:
            self._why = why
        if why is None or why != before:
            self._on_change(why)


class _Client(aiomqtt.Client):
    """A client whose publishing fails when the broker takes the message and throws it away."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._refused: dict[int, ReasonCode] = {}

    async def send(self, topic: str, body: bytes, retain: bool, expiry_seconds: int | None = None) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if expiry_seconds is not None:
            properties.MessageExpiryInterval = expiry_seconds
        await self.publish(topic, body, qos=1, retain=retain, properties=properties)

    @contextmanager
    def _pending_call(self, mid: int, value: T, pending_dict: dict[int, T]) -> Iterator[None]:
        with super()._pending_call(mid, value, pending_dict):
            yield
        if (reason := self._refused.pop(mid, None)) is not None:
            raise aiomqtt.MqttCodeError(reason)

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: ReasonCode, properties: Any) -> None:
        if reason_code.is_failure:
            self._refused[mid] = reason_code
        super()._on_publish(client, userdata, mid, reason_code, properties)


def _client(address: MqttAddress, presence: str, trust: SSLContext | None) -> _Client:
    client = _Client(
        hostname=address.host,
        port=address.port,
        username=address.user,
        password=address.password if address.user else None,
        identifier=f"glowplug-{secrets.token_hex(6)}",
        protocol=aiomqtt.ProtocolVersion.V5,
        will=aiomqtt.Will(presence, OFFLINE, qos=1, retain=True),
        keepalive=KEEPALIVE_SECONDS,
        timeout=ANSWER_SECONDS,
        tls_context=trust,
        logger=_QUIET,
    )
    # Many jobs are told of at the same time: that is no reason for a warning.
    client.pending_calls_threshold = 1_000_000
    return client


async def _enter(client: _Client) -> None:
    entering = asyncio.create_task(client.__aenter__())
    try:
        await asyncio.shield(entering)
    except asyncio.CancelledError:
        # A thread connects, and cannot be called off: what it opens must be closed.
        client.timeout = LEAVE_SECONDS
        await asyncio.wait([entering])
        entering.cancelled() or entering.exception()
        raise


async def _leave(client: _Client) -> None:
    client.timeout = LEAVE_SECONDS
    with suppress(aiomqtt.MqttError, OSError, ValueError):
        await client.__aexit__(None, None, None)


def explain(error: aiomqtt.MqttError, address: MqttAddress) -> str:
    """Say in words why the broker cannot be used, and what mends it."""
    where = f"the MQTT broker at {address.shown}"
    cause = error.__context__
    if isinstance(error, aiomqtt.MqttCodeError) and isinstance(error.rc, ReasonCode):
        return _explain_code(error, error.rc, where, address)
    match cause:
        case ssl.SSLCertVerificationError():
            return f"{where}: its certificate is not trusted ({cause.verify_message}); give its CA as mqtt.ca_file"
        case ssl.SSLError():
            return f"{where} does not speak TLS there ({cause.reason}): check the port, or use mqtt://"
        case ConnectionResetError() if address.tls:
            return f"{where} hung up: check the port; one without TLS wants mqtt://"
        case ConnectionRefusedError():
            return f"{where} refused the connection: start it, or check host and port"
        case OSError() if not isinstance(cause, TimeoutError):
            return f"{where} cannot be reached: {cause.strerror or cause}"
    if isinstance(error, aiomqtt.MqttCodeError) or "Disconnected" in str(error):
        return f"the connection to {address.shown} was lost"
    return f"{where} did not answer within {ANSWER_SECONDS:g} s: check host and port; one with TLS wants mqtts://"


def _explain_code(error: aiomqtt.MqttCodeError, code: ReasonCode, where: str, address: MqttAddress) -> str:
    connecting = isinstance(error, aiomqtt.exceptions.MqttConnectError)
    if connecting and code.value in (_BAD_LOGIN, _NOT_AUTHORIZED):
        if address.user is None:
            return f"{where} wants a login: write it into mqtt.url, as in mqtt://user:password@host"
        return f"{where} refused the login of {address.user!r}: check user and password in mqtt.url"
    if connecting and code.value == _WRONG_PROTOCOL:
        return f"{where} does not speak MQTT 5: update it, or use another one"
    if code.value == _NOT_AUTHORIZED:
        return f"{where} does not let {address.user or 'us'!r} publish: allow it to write below mqtt.prefix"
    return f"{where} refused: {code}"
