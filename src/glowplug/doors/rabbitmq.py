"""The door to backends that speak RabbitMQ and nothing else: train, convert and infer by message.

Requests come in as jobs (`message_intake`), and what becomes of them goes out as the messages that such a backend knows
(`message_replies`). Without its broker the door waits and tries; whatever else the gateway does goes on.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import aio_pika
import msgspec

from glowplug.clock import Clock
from glowplug.door import Door, Reception, Told
from glowplug.doors.message_intake import Intake, IntakeParts, KindOptions
from glowplug.doors.message_outputs import wanted_places
from glowplug.doors.message_queues import Outlet
from glowplug.doors.message_replies import TOLD_TYPES, Reply, Seen, needs_the_past, reply
from glowplug.doors.message_requests import Kind
from glowplug.drivers.amqp import AmqpAddress, AmqpConnection
from glowplug.errors import (
    BugError,
    GlowplugError,
    InvalidInput,
    NotFound,
    SettingsError,
    TooLarge,
    Unreachable,
)
from glowplug.events import emit
from glowplug.job import Follower, Job, JobEvent, JobRequest
from glowplug.lifecycle import stop_all
from glowplug.store import WorkerRecord

PAGE_EVENTS = 500
MOST_PAGES = 20
CANCEL_SECONDS = 0.2
# What RabbitMQ 4 takes unless somebody allows more.
LARGEST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class RabbitDoorOptions:
    """Where the broker is, and what each kind of request stands for.

    `prefetch` requests of a kind at most are held here at a time; larger ones than `largest_request_bytes` are refused.
    In `production` the login of a fresh RabbitMQ is refused unless the broker is on this machine.
    """

    address: AmqpAddress
    train: KindOptions = KindOptions.of(Kind.TRAIN)
    convert: KindOptions = KindOptions.of(Kind.CONVERT)
    infer: KindOptions = KindOptions.of(Kind.INFER)
    production: bool = False
    prefetch: int = 8
    largest_request_bytes: int = 1024 * 1024

    @property
    def kinds(self) -> Mapping[Kind, KindOptions]:
        """Return the options of each kind."""
        return {Kind.TRAIN: self.train, Kind.CONVERT: self.convert, Kind.INFER: self.infer}

    def check(self) -> None:
        """Raise `SettingsError`, which names the fix, for queues with two uses and for a login that everybody has."""
        _check_queues(self.kinds.values())
        if self.production and self.address.is_default_login and not _is_local(self.address.host):
            raise SettingsError(
                f"{self.address.shown} has the login of every fresh RabbitMQ, which production does not take: "
                "make a user with rabbitmqctl add_user, and set RABBITMQ_USER and RABBITMQ_PASSWORD"
            )


class RabbitDoor(Door):
    """Takes requests from the request queues, tells progress on the update queues and ends on the result queues."""

    name: ClassVar[str] = "rabbitmq"
    longest_pause_seconds: ClassVar[float] = 5.0

    def __init__(self, options: RabbitDoorOptions, *, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        address = options.address
        # Apart: a broker that is short of memory blocks who publishes, and acknowledgments must still get through.
        self._incoming = AmqpConnection(address, name="glowplug requests", clock=clock, on_change=self._changed)
        self._outgoing = AmqpConnection(address, name="glowplug replies", clock=clock, on_change=lambda why: None)
        self._outlet = Outlet(self._outgoing)
        self._reception: Reception | None = None
        self._intakes: list[Intake] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._was_up = False
        self._leaving = False

    def welcome(self, reception: Reception) -> None:
        """Hand the door what it may ask of the gateway."""
        self._reception = reception
        reception.follow_workers(self._worker_changed)

    def follower(self, request: JobRequest) -> Follower | None:
        """Follow the jobs that came in here; of the others nobody here has heard."""
        if request.owner != self.name or _caller(request.metadata) is None:
            return None
        return Follower(self.name, TOLD_TYPES)

    async def tell(self, job: Job, events: Sequence[JobEvent]) -> Told:
        """Publish the messages that the events come to, each confirmed before the next."""
        kind = _caller(job.metadata)
        told = events[0].seq - 1
        if kind is None:
            return Told(told, "the job did not come by message", gone=True)
        try:
            for event in events:
                seen = await self._seen(job, event) if needs_the_past(kind, event) else Seen()
                made = reply(kind, job, event, seen, await self._placed(kind, job, event))
                if made is not None:
                    await self._send(kind, job, event, made)
                told = event.seq
        except GlowplugError as error:
            return Told(told, error.message, gone=isinstance(error, TooLarge))
        return Told(told)

    async def _placed(self, kind: Kind, job: Job, event: JobEvent) -> dict[str, str]:
        """Lay what a job has made where its caller wants it; return what lies there, by its own keys."""
        placed = {}
        for key, target in wanted_places(kind, job, event).items():
            try:
                await self._known_reception.place(key, target)
            except (NotFound, InvalidInput) as error:
                said = f"[Handler] {kind} {job.metadata['job_id']}: {key} stays where it is: {error.message}"
                emit("messages.left", kind=kind.value, job=job.id, message=said)
            else:
                placed[key] = target
        return placed

    async def _send(self, kind: Kind, job: Job, event: JobEvent, made: Reply) -> None:
        body = msgspec.json.encode(made.body)
        if len(body) > LARGEST_BYTES:
            raise TooLarge(f"the result has {len(body)} bytes, too many for a message: let the task ctx.save() it")
        options = self._options.kinds[kind]
        message = aio_pika.Message(
            body,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=f"{job.id}:{event.seq}",
            correlation_id=made.body["job_id"],
            type=made.body["type"],
            timestamp=event.at,
            app_id="glowplug",
        )
        await self._outlet.publish(options.result_queue if made.final else options.update_queue, message)
        said = f"[Handler] {kind} {made.body['job_id']}: {made.body['type']}"
        emit("messages.result" if made.final else "messages.update", kind=kind.value, job=job.id, message=said)

    async def _tell_again(self, job: Job) -> None:
        # Not by way of the store: who asks again may do so before it is written down that the first tell was taken.
        for event in (await self._known_reception.events(job.id, after=job.last_seq - 1))[-1:]:
            told = await self.tell(job, [event])
            if told.error:
                raise TooLarge(told.error) if told.gone else Unreachable(told.error)

    async def _seen(self, job: Job, event: JobEvent) -> Seen:
        """Look back in the job's log, as far as it takes, for the last epoch and what it came to."""
        seen, before = Seen(), event.seq
        for _ in range(MOST_PAGES):
            if seen.is_whole or before <= 1:
                break
            after = max(0, before - 1 - PAGE_EVENTS)
            events = await self._known_reception.events(job.id, after=after)
            seen = seen.preceded_by([one for one in events if one.seq < before])
            before = after + 1
        return seen

    async def _start(self) -> None:
        self._options.check()
        self._warn()
        self._was_up = self._leaving = False
        parts = IntakeParts(
            door=self.name,
            connection=self._incoming,
            outlet=self._outlet,
            reception=self._known_reception,
            tell_again=self._tell_again,
            clock=self._clock,
            prefetch=self._options.prefetch,
            limit_bytes=self._options.largest_request_bytes,
        )
        self._intakes = [Intake(kind, options, parts) for kind, options in self._options.kinds.items()]
        await self._outgoing.start()
        await self._incoming.start()
        self._tasks = [asyncio.create_task(one.run(), name="messages in") for one in self._intakes]

    async def _stop(self) -> None:
        self._leaving = True
        await asyncio.gather(*(_ended(task) for task in self._tasks))
        self._tasks, self._intakes = [], []
        await stop_all([self._incoming, self._outgoing])

    def _warn(self) -> None:
        address = self._options.address
        if address.is_default_login:
            said = "[RMQ] Insecure: RabbitMQ has its default login guest; set RABBITMQ_USER and RABBITMQ_PASSWORD"
            emit("messages.insecure", target=address.shown, message=said)

    def _changed(self, why: str | None) -> None:
        if self._leaving:
            return
        target = self._options.address.shown
        if why is None:
            self._was_up = True
            emit("messages.connected", target=target, message=f"[RMQ] RabbitMQ consumer started on {target}")
            return
        said = f"[RMQ] RabbitMQ was lost: {why}" if self._was_up else f"[RMQ] Failed to connect to RabbitMQ: {why}"
        self._was_up = False
        emit("messages.lost", target=target, error=why, message=f"{said}; HTTP goes on meanwhile")

    def _worker_changed(self, record: WorkerRecord) -> None:
        del record
        for intake in self._intakes:
            intake.look()

    @property
    def _known_reception(self) -> Reception:
        if self._reception is None:
            raise BugError("the door was started before it was welcomed")
        return self._reception


async def _ended(task: asyncio.Task[None]) -> None:
    # Asked again and again: the AMQP libraries lose a cancellation that comes together with an answer.
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_SECONDS)


def _caller(metadata: Mapping[str, object]) -> Kind | None:
    """Return the kind of request that a job came as, None if it came by no message."""
    kind = metadata.get("kind")
    if not isinstance(metadata.get("job_id"), str) or kind not in [*Kind]:
        return None
    return Kind(str(kind))


def _check_queues(kinds: Iterable[KindOptions]) -> None:
    """Refuse names by which requests would be taken twice, or replies taken for requests."""
    kinds = list(kinds)
    requests = [one.request_queue for one in kinds]
    others = {name for one in kinds for name in (one.update_queue, one.result_queue)}
    wrong = {name for name, times in Counter(requests).items() if times > 1} | (others & set(requests))
    if wrong:
        raise SettingsError(
            f"the queue {min(wrong)!r} has two uses: each kind's request queue is its own, "
            "and no update or result goes there (TRAIN_REQUEST_QUEUE and the like)"
        )


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
