"""A broker that carries hints, in memory, with the manners of real ones: it repeats, reorders, loses and goes away."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from glowplug.broker import Arrival, Broker, Hint
from glowplug.brokers.messages import letter
from glowplug.clock import Clock
from glowplug.errors import Unreachable
from glowplug.gateway.waits import first_of
from glowplug.job import Job


class Exchange:
    """The server: queues by model, and what it does wrong on purpose.

    Each hint is enqueued `copies` times, every `loses`-th publish is accepted and lost, `shuffles` hands hints out in
    any order, and while it is `down` nothing is answered.
    """

    def __init__(self, *, copies: int = 1, loses: int = 0, shuffles: bool = False) -> None:
        self.copies = copies
        self.loses = loses
        self.down = False
        self.queues: defaultdict[str, list[Hint]] = defaultdict(list)
        self.letters: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.published: list[Hint] = []
        self.acknowledged: Counter[str] = Counter()
        self.released: Counter[str] = Counter()
        self.brokers: list[CarryingBroker] = []
        self._random = random.Random(7) if shuffles else None
        self._turn = 0

    def broker(self, clock: Clock) -> CarryingBroker:
        """Return one more connection to this server."""
        return CarryingBroker(self, clock)

    def check(self) -> None:
        """Raise `Unreachable` while the server is away."""
        if self.down:
            raise Unreachable("the broker does not answer")

    def enqueue(self, hints: Sequence[Hint]) -> None:
        """Accept hints, and lose some."""
        self.check()
        for hint in hints:
            self.published.append(hint)
            if self.loses and len(self.published) % self.loses == 0:
                continue
            self.queues[hint.model] += [hint] * self.copies
        self.deliver()

    def wipe(self) -> None:
        """Forget every hint that waits."""
        self.queues.clear()

    def go(self) -> None:
        """Be gone, as after a kill: what was handed out and not acknowledged is in the queues again."""
        self.down = True
        for broker in self.brokers:
            broker.drop()

    def come(self) -> None:
        """Be there again."""
        self.down = False
        self.deliver()

    def deliver(self) -> None:
        """Hand out what fits, each time beginning with another gateway."""
        self._turn += 1
        at = self._turn % len(self.brokers) if self.brokers else 0
        for broker in [*self.brokers[at:], *self.brokers[:at]]:
            broker.pull()

    def next(self, model: str) -> Hint | None:
        """Take the next hint of a model."""
        queue = self.queues[model]
        if self.down or not queue:
            return None
        return queue.pop(self._random.randrange(len(queue)) if self._random else 0)


class CarryingBroker(Broker):
    """One gateway's connection to an `Exchange`."""

    carries = True

    def __init__(self, exchange: Exchange, clock: Clock) -> None:
        self._exchange = exchange
        self._clock = clock
        self._count = 0
        self._last: dict[str, int] = {}
        self._bell = asyncio.Event()
        self._wanted: dict[str, int] = {}
        self._held: list[Arrival] = []
        self._taken: dict[int, Arrival] = {}
        self._tag = 0
        self.wanted: list[dict[str, int]] = []

    async def _start(self) -> None:
        self._exchange.brokers.append(self)

    async def _stop(self) -> None:
        self.drop()
        self._wanted = {}
        if self in self._exchange.brokers:
            self._exchange.brokers.remove(self)
        self._ring()
        self._exchange.deliver()

    async def publish(self, hints: Sequence[Hint]) -> None:
        self._exchange.enqueue(hints)

    def mark(self) -> int:
        return self._count

    async def wait(self, tasks: Sequence[str], *, since: int, timeout_seconds: float) -> bool:
        deadline = self._clock.monotonic() + timeout_seconds
        while not any(self._last.get(task, 0) > since for task in tasks):
            left, bell = deadline - self._clock.monotonic(), self._bell
            if left <= 0 or not self.started:
                return False
            await first_of(bell.wait(), self._clock.sleep(left))
        return True

    def _ring(self) -> None:
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    def want(self, slots: Mapping[str, int]) -> None:
        self._wanted = dict(slots)
        self.wanted.append(dict(slots))
        for model in {arrival.hint.model for arrival in self._held}:
            of_model = [arrival for arrival in self._held if arrival.hint.model == model]
            self._give_back(of_model[self._wanted.get(model, 0) :])
        self._exchange.deliver()

    def take(self, models: Mapping[str, int]) -> list[Arrival]:
        found: list[Arrival] = []
        for model, count in models.items():
            found += [arrival for arrival in self._held if arrival.hint.model == model][: max(count, 0)]
        for arrival in found:
            self._held.remove(arrival)
            self._taken[arrival.tag] = arrival
        return found

    async def acknowledge(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            if self._taken.pop(arrival.tag, None) is not None:
                self._exchange.acknowledged[arrival.hint.job_id] += 1
        self.pull()

    async def release(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            if self._taken.pop(arrival.tag, None) is not None:
                self._exchange.released[arrival.hint.job_id] += 1
                self._exchange.queues[arrival.hint.model].insert(0, arrival.hint)
        self._exchange.deliver()

    async def waiting(self, model: str) -> int | None:
        self._exchange.check()
        return len(self._exchange.queues[model])

    async def bury(self, jobs: Sequence[Job]) -> None:
        self._exchange.check()
        for job in jobs:
            self._exchange.letters[job.model].append(json.loads(letter(job)))

    def pull(self) -> None:
        """Take hints from the server as far as they are wanted."""
        for model, slots in self._wanted.items():
            mine = [*self._held, *self._taken.values()]
            room = slots - sum(arrival.hint.model == model for arrival in mine)
            while room > 0 and (hint := self._exchange.next(model)) is not None:
                self._tag += 1
                self._held.append(Arrival(hint, self._tag))
                self._count += 1
                self._last[hint.task] = self._count
                room -= 1
        self._ring()

    def drop(self) -> None:
        """Lose the connection, and with it all that is not acknowledged."""
        self._give_back(self._held)
        for arrival in self._taken.values():
            self._exchange.queues[arrival.hint.model].insert(0, arrival.hint)
        self._taken.clear()

    def _give_back(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in reversed(list(arrivals)):
            self._held.remove(arrival)
            self._exchange.queues[arrival.hint.model].insert(0, arrival.hint)
