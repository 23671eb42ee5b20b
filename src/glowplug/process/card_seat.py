"""A model's seat on a card: it asks for room and waits, says whether it is in use, and hears when it is to leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from glowplug.clock import Clock
from glowplug.errors import SettingsError
from glowplug.events import emit
from glowplug.lifecycle import in_thread
from glowplug.process.card_ledger import Edit, Ledger
from glowplug.process.cards import Card, CardSpec, Stand, Tenant, Wish, held_on, reason, rooms, settled
from glowplug.process.devices import CUDA, used_bytes

POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Use:
    """How a model is used: whether a call runs, how many it was given in all, and what it holds on its card."""

    busy: bool
    count: int
    held_bytes: int


class Seat:
    """The seat of the model called `name`; its page is there from the first `admit` to `close`."""

    def __init__(self, spec: CardSpec, name: str, clock: Clock) -> None:
        self._spec = spec
        self._clock = clock
        self._ledger = Ledger(spec.folder)
        self._mine = Tenant(self._ledger.page_id, name)
        self._count = 0
        self._awaited = False
        self._room_bytes = 0
        self._alone_since: float | None = None

    @property
    def held_bytes(self) -> int:
        """Return what the model holds on its card, as written down."""
        return self._mine.held_bytes

    @property
    def room_bytes(self) -> int:
        """Return what there was on the card for the model alone when it was let in."""
        return self._room_bytes

    async def admit(
        self, cards: Sequence[Card], wanted_bytes: int, asked: asyncio.Event, waits: Callable[[str], None]
    ) -> Card | None:
        """Wait for `wanted_bytes` more on one of `cards`, and take them; return the card.

        Others make room from the moment on in which `asked` is set: work waits for this model. Each new reason for
        which it is not let in is told to `waits`. None: it is itself to make room with what it holds in its sleep.
        """
        said, weighed = "", list[Card]()
        while True:
            weighed, before = [await self._weighed(card) for card in cards], weighed
            if weighed == before and not asked.is_set() and self._ledger.changed_at() == self._ledger.seen_at:
                await self._pause(asked)
                continue
            others, whom = await self._write(partial(self._wishing, weighed, wanted_bytes, asked.is_set()))
            if self._mine.stand is Stand.LOADING:
                card = next(card for card in weighed if card.identity == self._mine.card)
                there = rooms([card], self._spec.limit_bytes, others)[card.identity]
                self._room_bytes = max(0, there - held_on(others, card.identity))
                return card
            if whom:
                return None
            if (why := reason(self._mine, others, weighed)) != said:
                said = why
                waits(why)
            await self._pause(None if asked.is_set() else asked)

    async def awake(self, held_bytes: int, count: int) -> None:
        """Say that the model serves, what it holds, and that it has been given `count` calls."""
        self._count = count
        now = self._clock.monotonic()
        await self._be(replace(self._mine, stand=Stand.AWAKE, held_bytes=held_bytes, since=now, used_at=now, heard=now))

    async def until_unwanted(self, use: Callable[[], Use], asked: asyncio.Event | None = None) -> str:
        """Wait until the model is to make room, and return for whom; one that serves gets no new calls from then on.

        Nothing is returned when `asked` is set before.
        """
        while True:
            await self._pause(asked)
            if asked is not None and asked.is_set():
                return ""
            changed, used = self._ledger.changed_at() != self._ledger.seen_at, self._used(use())
            if not changed and not self._awaited and used.held_bytes == self._mine.held_bytes:
                self._mine = used
                continue
            _, whom = await self._write(partial(_as_it_is, used))
            if whom:
                return whom

    async def quiet(self) -> None:
        """Say that the last call has ended, and that the model is on its way out."""
        await self._be(replace(self._mine, busy=False))

    async def asleep(self, held_bytes: int) -> None:
        """Say that the model sleeps, and what is left of it on the card."""
        await self._be(replace(self._mine, stand=Stand.ASLEEP, held_bytes=held_bytes, since=self._clock.monotonic()))

    async def outside(self) -> None:
        """Say that nothing of the model is on any card."""
        self._mine = Tenant(self._mine.id, self._mine.name)
        try:
            # Always: what we know may be behind our page, where the last write was cancelled.
            await in_thread(None, self._ledger.write, partial(_as_it_is, self._mine))
        except (SettingsError, TimeoutError) as error:
            self._lost(error)
            # Without a page nothing is held either.
            await self.close()
        else:
            self._restored()

    async def close(self) -> None:
        """Take the page away."""
        await in_thread(None, self._ledger.close)

    async def remembered_bytes(self, key: str) -> int | None:
        """Return what a load that is known by `key` took the last time."""
        return await in_thread(None, self._ledger.remembered_bytes, key)

    async def remember_bytes(self, key: str, held_bytes: int) -> None:
        """Keep what a load took."""
        await in_thread(None, self._ledger.remember_bytes, key, held_bytes)

    def _wishing(self, cards: Sequence[Card], wanted_bytes: int, urgent: bool, others: list[Tenant]) -> Tenant:
        there = rooms(cards, self._spec.limit_bytes, [*others, self._mine])
        earlier, now = self._mine.wish, self._clock.monotonic()
        since = earlier.since if earlier is not None and earlier.urgent == urgent else now
        return replace(self._mine, wish=Wish(wanted_bytes, there, urgent, since))

    def _used(self, use: Use) -> Tenant:
        now, moved = self._clock.monotonic(), use.busy or use.count != self._count
        self._count = use.count
        held = use.held_bytes if self._mine.stand is Stand.AWAKE else self._mine.held_bytes
        mine = replace(self._mine, busy=use.busy, heard=now, served=self._mine.served or moved, held_bytes=held)
        return replace(mine, used_at=now) if moved else mine

    async def _be(self, mine: Tenant) -> None:
        await self._write(partial(_as_it_is, mine), decides=False)

    async def _write(self, edit: Edit, *, decides: bool = True) -> tuple[list[Tenant], str]:
        """Write our page, after what is decided for us if that is asked; return the others, and for whom we leave."""
        told: list[str] = []

        def write(others: list[Tenant]) -> Tenant:
            mine, whom = edit(others), ""
            if decides:
                mine, whom = settled(mine, others, self._clock.monotonic(), self._spec.turns)
            told.append(whom)
            return mine

        while True:
            try:
                self._mine, others = await in_thread(None, self._ledger.write, write)
                self._awaited = any(one.wish is not None and one.wish.urgent for one in others)
                self._restored()
                return others, told[-1]
            except TimeoutError as error:
                self._lost(error)
            except SettingsError as error:
                # A model that is loaded serves on: nobody can be told to make room, and nobody can ask for it.
                if self._mine.stand is Stand.OUTSIDE:
                    raise
                self._lost(error)
            await self._clock.sleep(POLL_SECONDS)

    def _lost(self, error: Exception) -> None:
        """Tell, once, that the model knows nothing of the others on its card, nor they of it."""
        if self._alone_since is None:
            self._alone_since = self._clock.monotonic()
            emit("cards.lost", model=self._mine.name, error=str(error))

    def _restored(self) -> None:
        if self._alone_since is not None:
            emit("cards.restored", model=self._mine.name, seconds=self._clock.monotonic() - self._alone_since)
            self._alone_since = None

    async def _weighed(self, card: Card) -> Card:
        if not card.device.startswith(CUDA) or card.used_bytes is None:
            return card
        used = await in_thread(None, used_bytes, card.identity)
        return card if used is None else replace(card, used_bytes=used)

    async def _pause(self, asked: asyncio.Event | None) -> None:
        waits: list[asyncio.Task[object]] = [asyncio.ensure_future(self._clock.sleep(POLL_SECONDS))]
        waits += [asyncio.ensure_future(asked.wait())] if asked is not None else []
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _as_it_is(mine: Tenant, others: list[Tenant]) -> Tenant:
    del others
    return mine
