"""The way in: requests of one kind, from their queue into jobs, one after the other.

A request is acknowledged once its job, or its rejection, is durable, and never held through the run. What is wrong with
it for good makes it a dead letter; what may pass holds it here, unacknowledged, with growing pauses between the tries.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from glowplug.clock import Clock
from glowplug.door import Reception, Wish
from glowplug.doors.message_queues import Outlet, asked, close, dead_letter, ensure_queue
from glowplug.doors.message_requests import Kind, Request, read_request
from glowplug.drivers.amqp import AmqpConnection
from glowplug.errors import GlowplugError, SettingsError, UnknownTask, UserError
from glowplug.events import emit
from glowplug.job import Job
from glowplug.lifecycle import cancel, stop_if_canceled

DEAD = ".dlq"
LOOK_SECONDS = 5.0
PAUSE_BASE_SECONDS = 0.2
PAUSE_CAP_SECONDS = 15.0
MOST_SURPRISES = 5
LONGEST_SHOWN = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class KindOptions:
    """The queues of one kind of request, and the task that it stands for."""

    task: str
    request_queue: str
    update_queue: str
    result_queue: str

    @classmethod
    def of(cls, kind: Kind) -> KindOptions:
        """Return what a kind has unless somebody sets it otherwise."""
        return cls(
            task=f"detector.{kind}",
            request_queue=f"{kind}_request_q",
            update_queue=f"{kind}_update_q",
            result_queue=f"{kind}_result_q",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeParts:
    """What the intakes of a door share. `door` is the owner of the jobs; `prefetch` bounds what is held here.

    `tell_again` publishes the end of a job once more. Raises `GlowplugError`.
    """

    door: str
    connection: AmqpConnection
    outlet: Outlet
    reception: Reception
    tell_again: Callable[[Job], Awaitable[None]]
    clock: Clock
    prefetch: int
    limit_bytes: int


class Intake:
    """Consumes the requests of one kind while there is somebody who could do what they ask for."""

    def __init__(self, kind: Kind, options: KindOptions, parts: IntakeParts) -> None:
        self._kind = kind
        self._options = options
        self._queue = options.request_queue
        self._parts = parts
        self._news = asyncio.Event()

    def look(self) -> None:
        """Say that the task may be known by now."""
        self._news.set()

    async def run(self) -> None:
        """Consume, until canceled; a consumer that ends, for whatever reason, is made anew."""
        failures = 0
        while True:
            await self._until_known()
            await self._parts.connection.wait_connected()
            try:
                failures = 0 if await self._consume() else failures + 1
            except GlowplugError as error:
                stop_if_canceled()
                failures += 1
                if self._parts.connection.connected:
                    self._say_held(error.message)
            await self._parts.clock.sleep(_pause_seconds(failures))

    async def _until_known(self) -> None:
        task, told = self._options.task, False
        while not self._parts.reception.knows(task):
            if not told:
                told = True
                said = f"[RMQ] {self._queue} is not consumed yet: no worker has told of the task {task}"
                emit("messages.waiting", queue=self._queue, task=task, message=said)
            self._news.clear()
            await _either(self._news, self._parts.clock, LOOK_SECONDS)

    async def _consume(self) -> bool:
        """Work off what comes until the consumer ends; return whether anything came."""
        for name in (self._queue, self._options.update_queue, self._options.result_queue):
            await ensure_queue(self._parts.connection, name)
        channel = await self._parts.connection.channel(confirms=False)
        try:
            inbox = await self._open_inbox(channel)
            said = f"[RMQ] {self._queue} is consumed for {self._options.task}"
            emit("messages.consumed", queue=self._queue, task=self._options.task, message=said)
            came = False
            while (message := await inbox.get()) is not None:
                came = True
                await self._work_off(message, channel)
            return came
        finally:
            await close(channel)

    async def _open_inbox(self, channel: AbstractChannel) -> asyncio.Queue[AbstractIncomingMessage | None]:
        """Begin to consume; None in the inbox says that the consumer is over."""
        inbox: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
        channel.close_callbacks.add(lambda *_: inbox.put_nowait(None))
        below = await asked(channel.get_underlay_channel(), f"the queue {self._queue!r}")
        below.on_consumer_cancel_callbacks.add(lambda _: inbox.put_nowait(None))
        await asked(channel.set_qos(prefetch_count=self._parts.prefetch), "the prefetch")
        queue = await channel.get_queue(self._queue, ensure=False)

        async def put(message: AbstractIncomingMessage) -> None:
            inbox.put_nowait(message)

        await asked(queue.consume(put), f"the queue {self._queue!r}")
        return inbox

    async def _work_off(self, message: AbstractIncomingMessage, channel: AbstractChannel) -> None:
        """Bring a message to its end; one whose channel is gone comes again."""
        failures = surprises = 0
        verdict: str | None = None
        while not channel.is_closed:
            try:
                if verdict is None:
                    verdict = await self._judged(message)
                if verdict:
                    await self._refuse(message, verdict)
                await asked(message.ack(), f"the queue {self._queue!r}")
            except GlowplugError as error:
                said = error.message
            except Exception as error:  # noqa: BLE001 - a message that nobody can digest must not stop the others
                said = f"{type(error).__name__}: {error}"
                surprises += 1
                if surprises >= MOST_SURPRISES:
                    verdict = f"it could not be taken in {surprises} tries; {said}"
            else:
                return
            stop_if_canceled()
            failures += 1
            if failures == 1 and not channel.is_closed:
                self._say_held(said)
            await self._parts.clock.sleep(_pause_seconds(failures))

    async def _judged(self, message: AbstractIncomingMessage) -> str:
        """Queue the job that a message asks for; return why it never can be, the empty string if it is queued."""
        try:
            await self._submit(read_request(self._kind, message.body, self._parts.limit_bytes))
        except (UnknownTask, SettingsError):
            # Not the sender's doing: the names of tasks are ours.
            raise
        except UserError as error:
            return error.message
        return ""

    async def _submit(self, request: Request) -> None:
        wish = Wish(
            task=self._options.task,
            input=request.input,
            owner=self._parts.door,
            key=request.key,
            metadata={"job_id": request.job_id, "kind": request.kind.value},
        )
        submission = await self._parts.reception.submit(wish)
        job = submission.job
        if not submission.created:
            if job.done:
                await self._parts.tell_again(job)
            said = f"[Handler] {self._kind} {request.job_id} was asked for before: job {job.id} is {job.state}"
            emit("messages.repeated", kind=request.kind.value, job=job.id, message=said)
            return
        said = f"[Handler] {self._kind} {request.job_id} is job {job.id}"
        if request.ignored:
            said += f"; left out, because nobody here knows it: {', '.join(request.ignored)}"
        emit("messages.taken", kind=request.kind.value, job=job.id, message=said)

    async def _refuse(self, message: AbstractIncomingMessage, reason: str) -> None:
        dead = self._queue + DEAD
        await self._parts.outlet.publish(dead, dead_letter(message, reason, self._queue))
        shown = reason[:LONGEST_SHOWN]
        said = f"[Handler] a message of {self._queue} was put on {dead}: {shown}"
        emit("messages.refused", kind=self._kind.value, queue=self._queue, reason=shown, message=said)

    def _say_held(self, why: str) -> None:
        shown = why[:LONGEST_SHOWN]
        said = f"[Handler] {self._queue} is held up, and tried again: {shown}"
        emit("messages.held", queue=self._queue, error=shown, message=said)


def _pause_seconds(failures: int) -> float:
    ceiling = min(PAUSE_CAP_SECONDS, PAUSE_BASE_SECONDS * 2.0 ** min(failures, 30))
    # At least half of it, so that no row of good luck makes a hot loop.
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


async def _either(news: asyncio.Event, clock: Clock, seconds: float) -> None:
    waits = [asyncio.ensure_future(news.wait()), asyncio.ensure_future(clock.sleep(seconds))]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            await cancel(wait)
