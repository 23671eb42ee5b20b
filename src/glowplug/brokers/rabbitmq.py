"""Hints over RabbitMQ: a quorum queue for each model, and one consumer with a prefetch of one for each free slot.

What is wanted counts all that is here and not yet acknowledged. Say less as soon as a slot is taken, and no message
waits behind a long job; how short jobs are fast all the same is told in `rabbitmq_lanes.py`. To have the next hints
here before the slots are free, as fits tasks of a few milliseconds, want more than there are slots.

`why` says why the broker cannot be used just now, and `on_change` hears it: what a readiness picture of it needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from glowplug.broker import Arrival, Broker, Hint
from glowplug.brokers.messages import body_of, letter
from glowplug.brokers.rabbitmq_intake import Intake, IntakeParts
from glowplug.brokers.rabbitmq_publishing import Letter, Publisher, reason_headers
from glowplug.brokers.rabbitmq_queues import RabbitQueues
from glowplug.brokers.rows import RowsBroker
from glowplug.clock import Clock
from glowplug.drivers.amqp import AmqpAddress, AmqpConnection
from glowplug.errors import Unreachable
from glowplug.events import emit
from glowplug.job import Job
from glowplug.lifecycle import cancel

WATCH_SECONDS = 10.0


class RabbitBroker(Broker):
    """The queues `<prefix>.<model>` at `url`. A start does not wait for the server: it is tried for ever."""

    carries: ClassVar[bool] = True

    def __init__(self, url: str, *, clock: Clock, prefix: str = "glowplug") -> None:
        self._address = AmqpAddress.parse(url)
        self._clock = clock
        self._bell = RowsBroker(clock=clock)
        self._queues = RabbitQueues(prefix)
        self._publishing = self._connect("publish")
        self._consuming = self._connect("consume")
        self._publisher = Publisher(self._publishing, self._queues, self._rebuild)
        self._intakes: dict[str, Intake] = {}
        self._watch: asyncio.Task[None] | None = None
        self._lost_at: float | None = None
        self._stuck: set[str] = set()
        self.on_change: Callable[[str | None], None] = lambda _: None

    @property
    def why(self) -> str | None:
        """Return why hints cannot flow just now, with the fix; None while they can."""
        return self._publishing.why or self._consuming.why

    async def _start(self) -> None:
        if self._address.is_default_login:
            advice = "make a user of its own for glowplug (rabbitmqctl add_user), and delete guest"
            emit("broker.insecure", broker=self._address.shown, advice=advice)
        await self._bell.start()
        await self._publishing.start()
        await self._consuming.start()
        self._watch = asyncio.create_task(self._watch_over())

    async def _stop(self) -> None:
        await self._bell.stop()
        await cancel(self._watch)
        intakes, self._intakes = self._intakes, {}
        await asyncio.gather(*[intake.close() for intake in intakes.values()])
        await self._consuming.stop()
        await self._publishing.stop()
        self._lost_at = None

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Send hints; the server has written them down when this returns. Raises `Unreachable`."""
        if hints:
            await self._publisher.send([Letter(hint.model, body_of(hint).encode()) for hint in hints])

    def mark(self) -> int:
        """Return how many hints have arrived."""
        return self._bell.mark()

    async def wait(self, tasks: Sequence[str], *, since: int, timeout_seconds: float) -> bool:
        """Wait for the arrival of a hint for one of `tasks` after `since`."""
        return await self._bell.wait(tasks, since=since, timeout_seconds=timeout_seconds)

    def want(self, slots: Mapping[str, int]) -> None:
        """Say how many hints may be held now."""
        if not self.started:
            return
        for model in slots.keys() - self._intakes.keys():
            self._intakes[model] = self._make_intake(model)
        for model, intake in self._intakes.items():
            intake.want(slots.get(model, 0))

    def take(self, models: Mapping[str, int]) -> list[Arrival]:
        """Return what has arrived."""
        found = [(self._intakes.get(model), limit) for model, limit in models.items()]
        return [arrival for intake, limit in found if intake is not None for arrival in intake.take(limit)]

    async def acknowledge(self, arrivals: Sequence[Arrival]) -> None:
        """Forget hints for good, a moment from now; within it, a crash of ours has them handed out again."""
        for arrival in arrivals:
            if (intake := self._intakes.get(arrival.hint.model)) is not None:
                intake.acknowledge(arrival.tag)

    async def release(self, arrivals: Sequence[Arrival]) -> None:
        """Give hints back."""
        for arrival in arrivals:
            if (intake := self._intakes.get(arrival.hint.model)) is not None:
                intake.release(arrival.tag)

    async def waiting(self, model: str) -> int | None:
        """Return how many hints nobody holds."""
        return await self._queues.waiting(self._publishing, model)

    async def bury(self, jobs: Sequence[Job]) -> None:
        """Put a letter of each failed job on its model's queue of dead letters."""
        if jobs:
            await self._publisher.send([self._obituary(job) for job in jobs])

    def _obituary(self, job: Job) -> Letter:
        reason = f"{job.failure.code}: {job.failure.message}" if job.failure else job.state.value
        headers = reason_headers(reason, self._queues.hints(job.model))
        return Letter(job.model, letter(job).encode(), dead=True, headers=headers)

    def _connect(self, purpose: str) -> AmqpConnection:
        return AmqpConnection(
            self._address, name=f"glowplug {purpose}", clock=self._clock, on_change=lambda why: self._note(purpose, why)
        )

    def _make_intake(self, model: str) -> Intake:
        async def arrived(hint: Hint) -> None:
            self._stuck.discard(hint.model)
            await self._bell.publish([hint])

        async def bury(spoiled: Letter) -> None:
            await self._publisher.send([spoiled])

        return Intake(model, IntakeParts(self._consuming, self._queues, self._clock, arrived, bury))

    def _rebuild(self, model: str) -> None:
        # RabbitMQ does not always cancel the consumers of a queue that was deleted.
        if (intake := self._intakes.get(model)) is not None:
            intake.fall("its queue was deleted")

    def _note(self, purpose: str, why: str | None) -> None:
        if why is not None:
            self._queues.forget()
            for intake in self._intakes.values() if purpose == "consume" else ():
                intake.fall(why)
        if why is not None and self._lost_at is None:
            self._lost_at = self._clock.monotonic()
            emit("broker.lost", broker=self._address.shown, error=why)
        elif self.why is None and self._lost_at is not None:
            emit("broker.restored", broker=self._address.shown, seconds=self._clock.monotonic() - self._lost_at)
            self._lost_at = None
        self.on_change(self.why)

    async def _watch_over(self) -> None:
        """Rebuild what looks well and is dead: hints wait, slots wait, and nothing comes."""
        while True:
            await self._clock.sleep(WATCH_SECONDS)
            stuck = [model for model in list(self._intakes) if await self._is_stuck(model)]
            for model in set(stuck) - self._stuck:
                reason = f"hints waited, and none came in {WATCH_SECONDS:g} s"
                emit("broker.rebuilt", model=model, reason=reason)
            self._stuck.update(stuck)
            if stuck:
                await self._consuming.break_off()

    async def _is_stuck(self, model: str) -> bool:
        intake = self._intakes[model]
        quiet_since = intake.quiet_since
        if not intake.waits or quiet_since is None or self._clock.monotonic() < quiet_since + WATCH_SECONDS:
            return False
        try:
            waiting = await self._queues.waiting(self._publishing, model)
        except Unreachable:
            return False
        return bool(waiting) and intake.quiet_since == quiet_since
