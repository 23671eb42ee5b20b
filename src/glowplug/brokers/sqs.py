"""Hints over SQS: long polls for models with free slots and for no more than those; deleted as soon as claimed.

A hint is hidden from others for a minute. What nobody here took by then is forgotten, for others see it again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from glowplug.broker import Arrival, Broker, Hint
from glowplug.brokers.messages import letter
from glowplug.brokers.rows import RowsBroker
from glowplug.brokers.sqs_intake import Intake, Lookout, Shared
from glowplug.brokers.sqs_messages import SqsAddress
from glowplug.brokers.sqs_queues import Receipt, SqsQueues
from glowplug.clock import Clock
from glowplug.drivers.aws import AwsClient, AwsPlace
from glowplug.errors import BugError, GlowplugError, Unreachable
from glowplug.job import Job
from glowplug.lifecycle import cancel

POLL_SECONDS = 5
CALLS_AT_ONCE = 6
POLLS_AT_ONCE = 24
ANSWER_SECONDS = 10.0


class SqsBroker(Broker):
    """The queues at `url`, like `sqs://eu-central-1/glowplug?endpoint=http://127.0.0.1:9324&fifo=true`.

    `poll_seconds` (1 to 20) is how long a poll waits, and so how long a stop may take: a poll that is broken off could
    take hints along, and nobody would see them for a minute.
    """

    carries: ClassVar[bool] = True

    def __init__(self, url: str, *, clock: Clock, poll_seconds: int = POLL_SECONDS) -> None:
        self._url = url
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._bell = RowsBroker(clock=clock)
        self._shared: Shared | None = None
        self._client: AwsClient | None = None
        self._intakes: dict[str, Intake] = {}
        self._polling: set[asyncio.Task[None]] = set()
        self._errands: set[asyncio.Task[None]] = set()

    async def _start(self) -> None:
        address = SqsAddress.parse(self._url)
        longest = self._poll_seconds + ANSWER_SECONDS
        place = AwsPlace("sqs", address.region, address.endpoint, read_timeout_seconds=longest)
        self._client = AwsClient(place, threads=CALLS_AT_ONCE + POLLS_AT_ONCE)
        self._client.open()
        self._shared = Shared(
            queues=SqsQueues(self._client, address),
            clock=self._clock,
            lookout=Lookout(str(place), self._clock),
            turns=asyncio.Semaphore(POLLS_AT_ONCE),
            ring=self._bell.publish,
            poll_seconds=self._poll_seconds,
        )
        await self._bell.start()

    async def _stop(self) -> None:
        await self._bell.stop()
        intakes, self._intakes = list(self._intakes.values()), {}
        for intake in intakes:
            intake.close()
        await _end(self._polling, self._poll_seconds + 2 * ANSWER_SECONDS)
        if self._shared is not None:
            with suppress(GlowplugError):
                await self._shared.queues.show([receipt for intake in intakes for receipt in intake.empty()])
        await _end(self._errands, ANSWER_SECONDS)
        self._shared = None
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Send hints, those of one model in their order."""
        by_model: defaultdict[str, list[Hint]] = defaultdict(list)
        for hint in hints:
            by_model[hint.model].append(hint)
        queues = self._parts.queues
        await self._told([queues.send(model, some) for model, some in by_model.items()])

    def mark(self) -> int:
        """Return how many hints have arrived here."""
        return self._bell.mark()

    async def wait(self, tasks: Sequence[str], *, since: int, timeout_seconds: float) -> bool:
        """Wait for the arrival of a hint for one of `tasks` after `since`."""
        return await self._bell.wait(tasks, since=since, timeout_seconds=timeout_seconds)

    def want(self, slots: Mapping[str, int]) -> None:
        """Poll for models that may have more here, and release what may not be here any more."""
        if self._shared is None:
            return
        for model in {*self._intakes, *slots}:
            count = max(0, slots.get(model, 0))
            if model in self._intakes or count:
                self._release_soon(self._intake(model).want(count))

    def take(self, models: Mapping[str, int]) -> list[Arrival]:
        """Return what arrived, the oldest first."""
        here = [(self._intakes[model], count) for model, count in models.items() if model in self._intakes]
        return [arrival for intake, count in here for arrival in intake.take(count)]

    async def acknowledge(self, arrivals: Sequence[Arrival]) -> None:
        """Delete the messages."""
        await self._settle(arrivals, SqsQueues.delete)

    async def release(self, arrivals: Sequence[Arrival]) -> None:
        """Show the messages to others at once."""
        await self._settle(arrivals, SqsQueues.show)

    async def waiting(self, model: str) -> int | None:
        """Return the service's own count, which may lag a little behind."""
        counted: list[int] = []

        async def count() -> None:
            counted.append(await self._parts.queues.waiting(model))

        await self._told([count()])
        return counted[0]

    async def bury(self, jobs: Sequence[Job]) -> None:
        """Put the jobs on their models' queues of dead letters."""
        queues = self._parts.queues
        reasons = [job.failure.message if job.failure else job.state.value for job in jobs]
        await self._told([queues.bury(job.model, letter(job), why) for job, why in zip(jobs, reasons, strict=True)])

    @property
    def _parts(self) -> Shared:
        if self._shared is None:
            raise BugError("the broker on SQS is used before start or after stop")
        return self._shared

    def _intake(self, model: str) -> Intake:
        if model not in self._intakes:
            self._intakes[model] = intake = Intake(model, self._parts)
            _begin(self._polling, intake.run())
        return self._intakes[model]

    async def _settle(self, arrivals: Sequence[Arrival], how: Any) -> None:
        if self._shared is None:
            return
        receipts = [arrival.tag for arrival in arrivals if isinstance(arrival.tag, Receipt)]
        for intake in self._intakes.values():
            intake.settled(receipts)
        with suppress(GlowplugError):
            await how(self._shared.queues, receipts)

    def _release_soon(self, receipts: Sequence[Receipt]) -> None:
        async def release() -> None:
            with suppress(GlowplugError):
                await self._parts.queues.show(receipts)

        if receipts:
            _begin(self._errands, release())

    async def _told(self, calls: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Make calls at once; whatever keeps the service from doing its part, it is not there for us."""
        lookout = self._parts.lookout
        results = await asyncio.gather(*calls, return_exceptions=True)
        for error in results:
            if isinstance(error, GlowplugError):
                lookout.failed(error)
                raise Unreachable(error.message, **error.data) from error
            if isinstance(error, BaseException):
                raise error
        lookout.fine()


def _begin(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _end(tasks: set[asyncio.Task[None]], seconds: float) -> None:
    if running := set(tasks):
        _, late = await asyncio.wait(running, timeout=seconds)
        for task in late:
            await cancel(task)
