"""The door to a RabbitMQ that hears of every job: an exchange to which anybody binds a queue of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractExchange

from glowplug.clock import Clock
from glowplug.door import Door, Reception, Told
from glowplug.doors.job_events import HOME, STRUCTURED, encoded
from glowplug.doors.message_queues import asked, close
from glowplug.drivers.amqp import AmqpAddress, AmqpConnection
from glowplug.errors import Unreachable
from glowplug.events import emit
from glowplug.job import Follower, Job, JobEvent, JobRequest

# What RabbitMQ 4 takes unless somebody allows more.
LARGEST_BYTES = 16 * 1024 * 1024


def routing_key(event: JobEvent) -> str:
    """Return what bindings choose by: `job.*.completed`, or `job.<id>.#`."""
    return f"job.{event.job_id}.{event.type}"


class EventExchange(Door):
    """Publishes every event of every job to a durable topic exchange, confirmed by the broker."""

    name: ClassVar[str] = "events"
    longest_pause_seconds: ClassVar[float] = 5.0

    def __init__(self, url: str, exchange: str, *, clock: Clock, source: str = HOME) -> None:
        self._address = AmqpAddress.parse(url)
        self._exchange_name = exchange
        self._source = source
        self._connection = AmqpConnection(self._address, name="glowplug events", clock=clock, on_change=self._changed)
        self._channel: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None
        self._opening = asyncio.Lock()
        self._leaving = False

    def welcome(self, reception: Reception) -> None:
        """Do nothing: nobody comes in here."""

    def follower(self, request: JobRequest) -> Follower | None:
        """Follow every job, whoever asked for it."""
        del request
        return Follower(self.name)

    async def tell(self, job: Job, events: Sequence[JobEvent]) -> Told:
        """Publish the events, each confirmed before the next; an event that nobody has bound a queue for is taken."""
        told = events[0].seq - 1
        try:
            for event in events:
                exchange = await self._open()
                sending = exchange.publish(self._message(job, event), routing_key(event), mandatory=False)
                await asked(sending, f"the exchange {self._exchange_name!r}")
                told = event.seq
        except Unreachable as error:
            return Told(told, error.message)
        return Told(told)

    def _message(self, job: Job, event: JobEvent) -> aio_pika.Message:
        return aio_pika.Message(
            encoded(job, event, self._source, LARGEST_BYTES),
            content_type=STRUCTURED,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=f"{job.id}:{event.seq}",
            type=f"glowplug.job.{event.type}",
            timestamp=event.at,
            app_id="glowplug",
        )

    async def _open(self) -> AbstractExchange:
        async with self._opening:
            if self._exchange is None or self._channel is None or self._channel.is_closed:
                await self._ensure()
                self._channel = await self._connection.channel(confirms=True)
                self._exchange = await self._channel.get_exchange(self._exchange_name, ensure=False)
            return self._exchange

    async def _ensure(self) -> None:
        # A refusal closes the channel, so the question has one of its own.
        channel = await self._connection.channel(confirms=False)
        what = f"the exchange {self._exchange_name!r}"
        try:
            await asked(channel.declare_exchange(self._exchange_name, "topic", durable=True), what)
        except Unreachable as error:
            if not isinstance(error.__cause__, aiormq.exceptions.ChannelAccessRefused):
                advice = "it must be a durable topic exchange; delete it, or set events.exchange to another name"
                raise Unreachable(f"{error.message}: {advice}") from error
            await self._look(what)
        finally:
            await close(channel)

    async def _look(self, what: str) -> None:
        """Make sure that somebody else has made the exchange, where we may not."""
        channel = await self._connection.channel(confirms=False)
        try:
            await asked(channel.get_exchange(self._exchange_name), what)
        except Unreachable as error:
            advice = "it is not there, and we may not make it: make it, or rabbitmqctl set_permissions … '.*' '.*' '.*'"
            raise Unreachable(f"{what}: {advice}") from error
        finally:
            await close(channel)

    async def _start(self) -> None:
        self._leaving = False
        await self._connection.start()

    async def _stop(self) -> None:
        self._leaving = True
        self._channel = self._exchange = None
        await self._connection.stop()

    def _changed(self, why: str | None) -> None:
        if self._leaving:
            return
        if why is None:
            emit("door.connected", door=self.name, target=self._address.shown)
        else:
            emit("door.lost", door=self.name, target=self._address.shown, error=why)
