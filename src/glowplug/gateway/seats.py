"""Seats: a worker's place at the desk, with its pending orders and the one claim of it that counts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from glowplug.gateway.catalog import model_of
from glowplug.job import Job
from glowplug.link import Order
from glowplug.store import Want

Wants = tuple[Want, ...]


def _ignore(before: Wants, after: Wants) -> None:
    del before, after


class Turn:
    """One waiting claim; the newest of a worker counts, those before it are over."""

    def __init__(self) -> None:
        self._over = False
        self.bell = asyncio.Event()

    def is_over(self) -> bool:
        """Say whether the claim must answer with nothing."""
        return self._over

    def end(self) -> None:
        """Let the claim return with nothing, now."""
        self._over = True
        self.bell.set()


class Seat:
    """A worker's place at the desk.

    `claiming` lets one claim of the worker look into the store at a time. `undelivered` are jobs that were claimed
    for a claim which was over before it could answer: the next one takes them, or they are released. `wants` is what
    the waiting claim would take now; `on_wants` hears each change of it.
    """

    def __init__(self, on_wants: Callable[[Wants, Wants], None] = _ignore) -> None:
        self.claiming = asyncio.Lock()
        self.undelivered: list[Job] = []
        self._wants: Wants = ()
        self._on_wants = on_wants
        self._orders: dict[Order, None] = {}
        self._turn: Turn | None = None

    @property
    def wants(self) -> Wants:
        """Return what the waiting claim would take now."""
        return self._wants

    def offer(self, wants: Wants) -> None:
        """Say what the waiting claim would take from now on."""
        before, self._wants = self._wants, wants
        self._on_wants(before, wants)

    def open_turn(self) -> Turn:
        """Begin a claim; the one before is over."""
        if self._turn is not None:
            self._turn.end()
        self._turn = Turn()
        return self._turn

    def close_turn(self, turn: Turn) -> None:
        """End a claim; a newer one goes on."""
        turn.end()
        if self._turn is turn:
            self._turn = None
            self.offer(())

    @property
    def is_empty(self) -> bool:
        """Say whether no claim of the worker waits."""
        return self._turn is None

    def wake(self) -> None:
        """Let the waiting claim look again."""
        if self._turn is not None:
            self._turn.bell.set()

    def dismiss(self) -> None:
        """End the waiting claim: the worker is gone, or the gateway is closing."""
        if self._turn is not None:
            self._turn.end()

    def order(self, orders: Iterable[Order]) -> None:
        """Give orders, delivered by the next answer; the same one twice is one."""
        self._orders.update(dict.fromkeys(orders))
        self.wake()

    def take_orders(self) -> tuple[Order, ...]:
        """Hand the pending orders out."""
        orders, self._orders = tuple(self._orders), {}
        return orders

    def free_slots(self, task: str) -> int:
        """Return how many jobs of `task` the waiting claim would take."""
        return sum(want.slots for want in self.wants if task in want.tasks)


def fitting(jobs: Sequence[Job], wants: Sequence[Want]) -> tuple[list[Job], list[Job]]:
    """Split jobs into those that `wants` have room for and the rest."""
    room = {number: want.slots for number, want in enumerate(wants)}
    fit: list[Job] = []
    rest: list[Job] = []
    for job in jobs:
        place = next((n for n, want in enumerate(wants) if job.task in want.tasks and room[n] > 0), None)
        if place is None:
            rest.append(job)
        else:
            room[place] -= 1
            fit.append(job)
    return fit, rest


def slots_by_model(wants: Wants) -> Counter[str]:
    """Return how many jobs of each model `wants` have room for."""
    slots: Counter[str] = Counter()
    for want in wants:
        slots.update(dict.fromkeys({model_of(task) for task in want.tasks}, want.slots))
    return slots
