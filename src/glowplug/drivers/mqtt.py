"""How adapters reach an MQTT 5 broker: a connection that comes back by itself, for ever, and says that it is there."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ssl import SSLContext
from typing import Any, TypeVar

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from glowplug.clock import Clock
from glowplug.drivers.kept_up import KeptUp
from glowplug.drivers.mqtt_address import ANSWER_SECONDS, MqttAddress, explain
from glowplug.errors import Unreachable
from glowplug.lifecycle import stop_if_canceled

T = TypeVar("T")
LEAVE_SECONDS = 1.0
KEEPALIVE_SECONDS = 30
ONLINE, OFFLINE = b"online", b"offline"
_QUIET = logging.getLogger("glowplug.drivers.mqtt.library")


class MqttConnection(KeptUp):
    """A connection to an MQTT broker that is kept up.

    The topic `presence` says `online` while it is up, and `offline` after that, by the broker itself if need be.
    """

    def __init__(
        self, address: MqttAddress, *, presence: str, clock: Clock, on_change: Callable[[str | None], None]
    ) -> None:
        super().__init__(address, clock=clock, on_change=on_change)
        self._address = address
        self._presence = presence
        self._client: _Client | None = None
        self._sending: set[asyncio.Future[None]] = set()

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
        await super()._start()

    async def _live(self, trust: SSLContext | None) -> str:
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
            stop_if_canceled()
            self._client = client
            self._came_up()
            async for message in client.messages:
                # Another gateway at the same topic has gone; this one is still there.
                if message.payload == OFFLINE:
                    await client.send(self._presence, ONLINE, True)
                    stop_if_canceled()
        finally:
            self._client = None
            for sending in list(self._sending):
                sending.cancel()
            # Who takes leave in order must say so: the broker does it only for those who do not.
            with suppress(aiomqtt.MqttError, TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await client.send(self._presence, OFFLINE, True)


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
