"""What running attempts report, on its way to the gateway: gathered per attempt, progress thinned, all else kept."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from glowplug import events
from glowplug.errors import GlowplugError
from glowplug.job import Note
from glowplug.link import Events
from glowplug.runtime.bell import Bell
from glowplug.runtime.station import Station
from glowplug.runtime.uplink import AWAY
from glowplug.store import Hold, Report


def thinned(notes: list[Note]) -> list[Note]:
    """Drop every progress but the last; all else stays, in order."""
    last = max((place for place, note in enumerate(notes) if note.type == "progress"), default=-1)
    return [note for place, note in enumerate(notes) if note.type != "progress" or place == last]


@dataclass(slots=True)
class _Page:
    pending: list[Note] = field(default_factory=list)
    sent_at: float = -math.inf
    sending: bool = False
    urgent: bool = False
    lost: bool = False
    flushed: list[asyncio.Future[bool]] = field(default_factory=list)

    def turn(self) -> None:
        """Answer those who wait for an empty page, or for the news that it is lost."""
        if self.lost or not (self.pending or self.sending):
            self.urgent = False
            for waiter in self.flushed:
                if not waiter.done():
                    waiter.set_result(not self.lost)
            self.flushed.clear()


class Notebook:
    """One page for each running attempt; all pages travel together, each at most once per `notes_seconds`.

    Notes are delivered at least once: when an answer is lost they are sent again.
    """

    def __init__(self, station: Station, on_lost: Callable[[Hold], None]) -> None:
        self._station = station
        self._on_lost = on_lost
        self._bell = Bell(station.clock)
        self._pages: dict[Hold, _Page] = {}

    def add(self, hold: Hold, note: Note) -> None:
        """Write a note down; it is sent soon."""
        page = self._pages.setdefault(hold, _Page())
        if note.type == "progress" and page.pending and page.pending[-1].type == "progress":
            page.pending[-1] = note
        else:
            page.pending.append(note)
        self._bell.ring()

    async def flush(self, hold: Hold) -> bool:
        """Wait until all that was noted so far is delivered; False if the lease is lost."""
        page = self._pages.get(hold)
        if page is None:
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        page.flushed.append(waiter)
        page.urgent = True
        page.turn()
        self._bell.ring()
        return await waiter

    def close(self, hold: Hold) -> None:
        """Throw the page away, with what is still on it."""
        page = self._pages.pop(hold, None)
        if page is not None:
            page.lost = True
            page.turn()

    async def run(self) -> None:
        """Deliver, until canceled."""
        failures = 0
        while True:
            due = self._due()
            if not due:
                await self._bell.wait(self._pause_seconds())
                continue
            try:
                await self._send(due)
                failures = 0
            except AWAY:
                failures += 1
                await self._station.clock.sleep(self._station.backoff.delay_seconds(failures))

    def _due(self) -> list[Hold]:
        latest = self._station.clock.monotonic() - self._station.policy.notes_seconds
        return [hold for hold, page in self._pages.items() if page.pending and (page.urgent or page.sent_at <= latest)]

    def _pause_seconds(self) -> float | None:
        sent = [page.sent_at for page in self._pages.values() if page.pending]
        if not sent:
            return None
        return max(0.001, min(sent) + self._station.policy.notes_seconds - self._station.clock.monotonic())

    async def _send(self, due: list[Hold]) -> None:
        taken: dict[Hold, list[Note]] = {}
        for hold in due:
            page, limit = self._pages[hold], self._station.policy.notes_per_call
            page.pending = thinned(page.pending)
            taken[hold], page.pending = page.pending[:limit], page.pending[limit:]
            page.sending, page.sent_at = True, self._station.clock.monotonic()
        try:
            accepted = await self._deliver(taken)
        except BaseException:
            self._put_back(taken)
            raise
        for hold, taken_in in zip(taken, accepted, strict=True):
            self._delivered(hold, taken_in)

    async def _deliver(self, taken: dict[Hold, list[Note]]) -> tuple[bool, ...]:
        reports = tuple(Report(hold, tuple(notes)) for hold, notes in taken.items())
        try:
            return (await self._station.link.events(Events(self._station.identity.instance_id, reports))).accepted
        except AWAY:
            raise
        except (GlowplugError, TypeError) as error:
            if len(taken) == 1:
                # A note that the gateway cannot take must not hold back the end of its job.
                events.emit("link.refused", worker=self._station.identity.instance_id, call="events", error=str(error))
                return (True,)
            return tuple([(await self._deliver({hold: notes}))[0] for hold, notes in taken.items()])

    def _put_back(self, taken: dict[Hold, list[Note]]) -> None:
        for hold, notes in taken.items():
            if page := self._pages.get(hold):
                page.pending, page.sending = notes + page.pending, False

    def _delivered(self, hold: Hold, accepted: bool) -> None:
        page = self._pages.get(hold)
        if page is None:
            return
        page.sending, page.lost = False, not accepted
        page.turn()
        if not accepted:
            self._on_lost(hold)
