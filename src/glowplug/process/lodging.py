"""One model's stay on a card that it shares: let in before it loads, put to sleep for others, woken for work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from glowplug.clock import Clock
from glowplug.errors import NotReady
from glowplug.events import emit
from glowplug.process.calls import Calls
from glowplug.process.card_seat import Seat, Use
from glowplug.process.cards import Card, rooms, too_large
from glowplug.process.death import Death
from glowplug.process.devices import CUDA
from glowplug.process.life import Life
from glowplug.process.protocol import Needs, Placed, Serving, Sleep, Slept, Wake
from glowplug.process.slots import Slots
from glowplug.process.spec import HostSpec
from glowplug.readiness.component import Component
from glowplug.readiness.component_snapshot import ErrorClass

GUESSED_SHARE = 1.1
"""A load takes a little more than its files: buffers, and what the library keeps."""
SMALLEST_GUESS_BYTES = 512 << 20
"""What even a small model takes of a CUDA card: the context."""
WAITS_IN_MEMORY = "sleeps in host memory; wakes when work waits for it"
WAITS_OUTSIDE = "unloaded to make room; loads when work waits for it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lodger:
    """The model that stays: what shows its state, its calls and their places, and the order that it is wanted."""

    spec: HostSpec
    component: Component
    clock: Clock
    calls: Calls
    places: Slots
    asked: asyncio.Event


class Lodging:
    """The stay of one model. Without a bound on the memory of its device it comes and goes as it likes."""

    def __init__(self, lodger: Lodger) -> None:
        self._it = lodger
        self._seat: Seat | None = None
        self._needs: Needs | None = None
        self._card: Card | None = None
        self._short_of: int | None = None

    async def place(self, life: Life, needs: Needs, paths: Sequence[Path]) -> Placed | None:
        """Wait until there is room for the model, and take it; None once the process has been ended for want of it."""
        cards, limit = await self._bounded(needs), self._limit
        self._needs, self._card = needs, None
        if not cards:
            return Placed(needs.cards[0].device)
        assert self._seat is not None
        known = await self._seat.remembered_bytes(self._key(cards))
        largest = max(rooms([Card(card.device, card.identity, card.total_bytes) for card in cards], limit, ()).values())
        said = needs.estimate_bytes
        if known is not None:
            # What it once took may be of other weights or another card by now: with all the room there is, it may try.
            said = min(known, largest)
        elif said is not None and (why := too_large(said, cards, limit)):
            life.kill(Death(why, ErrorClass.OUT_OF_MEMORY))
            return None
        wanted = said if said is not None else min(_guess(cards[0].device, paths), largest)
        self._short_of = largest if wanted < largest and said is None else None
        self._card = await self._admitted(life, self._seat, cards, wanted)
        return Placed(self._card.device, self._seat.room_bytes)

    async def stay(self, life: Life) -> None:
        """Make room for others whenever that is due, and come back when work waits; ends with the process."""
        await life.answers.get()
        seat, card = self._seat, self._card
        if seat is None or card is None or life.held_bytes is None:
            await self.leave()
            return
        await seat.remember_bytes(self._key([card]), life.held_bytes)
        awake = True
        while awake:
            await seat.awake(life.held_bytes, self._it.calls.count)
            whom = await seat.until_unwanted(partial(self._use, life))
            await self._fall_silent(life, whom)
            full_bytes = seat.held_bytes
            await seat.remember_bytes(self._key([card]), full_bytes)
            awake = await self._lie_down(life, seat) and await self._wake(life, seat, card, full_bytes)

    async def judged(self, death: Death) -> Death:
        """Return what a death means: a load that had too little room by our guess gets all there is the next time."""
        full = death.error_class is ErrorClass.OUT_OF_MEMORY and not death.was_ready
        if not full or self._seat is None or self._card is None or self._short_of is None:
            return death
        await self._seat.remember_bytes(self._key([self._card]), self._short_of)
        self._short_of = None
        return replace(death, error_class=ErrorClass.TRANSIENT)

    async def leave(self) -> None:
        """Give up the room: nothing of the model is on the card any more."""
        if self._seat is not None:
            await self._seat.outside()

    async def close(self) -> None:
        """Leave for good."""
        if self._seat is not None:
            await self._seat.close()
            self._seat = None

    @property
    def _limit(self) -> int | None:
        spec = self._it.spec.cards
        return None if spec is None else spec.limit_bytes

    async def _bounded(self, needs: Needs) -> list[Card]:
        """Return the cards whose memory is counted; a model that may go to another just goes there."""
        spec = self._it.spec.cards
        if spec is None:
            return []
        there = rooms(needs.cards, spec.limit_bytes, ())
        if len(there) < len(needs.cards):
            await self.leave()
            return []
        if self._seat is None:
            self._seat = Seat(spec, self._it.component.name, self._it.clock)
        return list(needs.cards)

    async def _admitted(self, life: Life, seat: Seat, cards: Sequence[Card], wanted_bytes: int) -> Card:
        component, waited = self._it.component, False

        def waits(why: str) -> None:
            nonlocal waited
            waited = True
            component.sleep(why)
            emit("model.waits", model=component.name, reason=why)

        card = await seat.admit(cards, wanted_bytes, self._it.asked, waits)
        assert card is not None, "what holds nothing is not asked to leave"
        if waited:
            component.begin(life.attempt)
        return card

    def _use(self, life: Life) -> Use:
        return Use(self._it.calls.aloft > 0, self._it.calls.count, life.held_bytes or 0)

    async def _fall_silent(self, life: Life, whom: str) -> None:
        """Take no new calls, and wait for the end of those that run, and of a warm-up."""
        component, calls = self._it.component, self._it.calls
        component.sleep(f"makes room for {whom}")
        await calls.landed()
        life.serving = False
        self._it.places.close(NotReady(f"{component.name} makes room for {whom}; ask again", retry_after=1))
        await life.settled()

    async def _lie_down(self, life: Life, seat: Seat) -> bool:
        """Let the model sleep in host memory; one that cannot is unloaded: then the answer is False."""
        component, began, held = self._it.component, self._it.clock.monotonic(), seat.held_bytes
        await seat.quiet()
        if self._needs is None or not self._needs.can_sleep:
            await self._unload(life, held)
            return False
        life.send(Sleep())
        answer = await self._answered(life, "sleep")
        if not isinstance(answer, Slept) or answer.error is not None:
            await self._unload(life, held)
            return False
        left = answer.held_bytes or 0
        await seat.asleep(left)
        component.sleep(WAITS_IN_MEMORY)
        seconds = self._it.clock.monotonic() - began
        emit("model.asleep", model=component.name, freed_bytes=held - left, how="host memory", seconds=seconds)
        return True

    async def _wake(self, life: Life, seat: Seat, card: Card, full_bytes: int) -> bool:
        """Wait until work waits for the model and there is room, then wake it; False if it was unloaded meanwhile."""
        component, clock, asked = self._it.component, self._it.clock, self._it.asked
        wanted = max(0, full_bytes - seat.held_bytes)
        unwanted = await seat.until_unwanted(partial(self._use, life), asked)
        if unwanted or await seat.admit([card], wanted, asked, component.sleep) is None:
            await self._unload(life, seat.held_bytes)
            return False
        asked.clear()
        began = clock.monotonic()
        component.sleep(f"moves back onto {card.device}")
        life.send(Wake())
        answer = await self._answered(life, "wake")
        if isinstance(answer, Slept):
            why = answer.error.message if answer.error else "it sleeps on"
            life.kill(Death(f"it could not be woken: {why}", ErrorClass.TRANSIENT))
            return False
        emit("model.woke", model=component.name, seconds=clock.monotonic() - began)
        return True

    async def _answered(self, life: Life, step: str) -> Serving | Slept:
        try:
            async with asyncio.timeout(self._it.spec.warm_up_seconds):
                return await life.answers.get()
        except TimeoutError:
            life.kill(Death(f"Model {step} timeout", ErrorClass.STALLED))
            await life.ended()
            raise

    async def _unload(self, life: Life, held: int) -> None:
        """End the process in its own way; the next begins when work waits for the model."""
        component, began = self._it.component, self._it.clock.monotonic()
        life.put_away = True
        component.sleep(WAITS_OUTSIDE)
        life.unload()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._it.spec.cancel_grace_seconds):
                await life.ended()
        life.kill(Death("it did not unload in time", ErrorClass.TRANSIENT, blameless=True))
        seconds = self._it.clock.monotonic() - began
        emit("model.asleep", model=component.name, freed_bytes=held, how="unloaded", seconds=seconds)

    def _key(self, cards: Sequence[Card]) -> str:
        spec = self._it.spec
        said = "\n".join([spec.target, *(f"{name}={value}" for name, value in sorted(spec.options.items()))])
        kind = cards[0].device.partition(":")[0]
        return f"{self._it.component.name}@{kind}#{sha256(said.encode()).hexdigest()[:12]}"


def _guess(device: str, paths: Sequence[Path]) -> int:
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    guess = int(GUESSED_SHARE * sum(file.stat().st_size for file in files))
    return max(guess, SMALLEST_GUESS_BYTES) if device.startswith(CUDA) else guess
