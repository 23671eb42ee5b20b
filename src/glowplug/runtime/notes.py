"""What running attempts report, on its way to the gateway: gathered per attempt, progress thinned, all else kept."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from glowplug.errors import GlowplugError
from glowplug.job import Note
from glowplug.link import Events
from glowplug.runtime.bell import Bell
from glowplug.runtime.station import Station
from glowplug.runtime.uplink import AWAY, is_refusal
from glowplug.store import Hold, Report

MOST_FAULTS = 10


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
    faults: int = 0
    flushed: list[asyncio.Future[bool]] = field(default_factory=list)

    def turn(self) -> None:
        """Answer those who wait for an empty page, or for the news that it is lost."""
        if self.lost or not (self.pending or self.sending):
            self.urgent = False
            for waiter in self.flushed:
                if not waiter.done():
                    waiter.set_result(not self.lost)
            self.flushed.clear()

    def refuse(self, error: GlowplugError) -> None:
        """Tell those who wait that what was noted is not taken."""
        for waiter in self.flushed:
            if not waiter.done():
                waiter.set_exception(error)
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
        # Most progress comes in a row; here the row costs no memory, however long an outage lasts.
        if note.type == "progress" and page.pending and page.pending[-1].type == "progress":
            page.pending[-1] = note
        else:
            page.pending.append(note)
        self._bell.ring()

    async def flush(self, hold: Hold) -> bool:
        """Wait until all that was noted so far is delivered; False if the lease is lost.

        Raises:
            GlowplugError: the gateway does not take what was noted.
        """
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
            except GlowplugError:
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
        taken = {hold: self._take(hold) for hold in due if hold in self._pages}
        reports = tuple(Report(hold, tuple(notes)) for hold, notes in taken.items())
        if not reports:
            return
        try:
            answer = await self._station.link.events(Events(self._station.identity.instance_id, reports))
        except BaseException as error:
            self._put_back(taken)
            if isinstance(error, AWAY) or not isinstance(error, GlowplugError):
                raise
            await (self._send_apart(due) if len(due) > 1 else self._stumble(due[0], error))
            return
        for hold, accepted in zip(taken, answer.accepted, strict=True):
            self._delivered(hold, accepted)

    async def _send_apart(self, due: list[Hold]) -> None:
        """Find the page that the gateway stumbles over, so that it holds back no other."""
        fault: GlowplugError | None = None
        for hold in due:
            try:
                await self._send([hold])
            except AWAY:
                raise
            except GlowplugError as error:
                fault = error
        if fault is not None:
            raise fault

    async def _stumble(self, hold: Hold, error: GlowplugError) -> None:
        # The end of a job must not wait for ever for a note that nobody can take.
        page = self._pages.get(hold, _Page())
        page.faults += 1
        if is_refusal(error) or page.faults >= MOST_FAULTS:
            page.pending.clear()
            page.refuse(error)
            return
        raise error

    def _take(self, hold: Hold) -> list[Note]:
        page, limit = self._pages[hold], self._station.policy.notes_per_call
        notes = thinned(page.pending)
        page.pending = notes[limit:]
        page.sending, page.sent_at = True, self._station.clock.monotonic()
        return notes[:limit]

    def _put_back(self, taken: dict[Hold, list[Note]]) -> None:
        for hold, notes in taken.items():
            if page := self._pages.get(hold):
                page.pending, page.sending = notes + page.pending, False

    def _delivered(self, hold: Hold, accepted: bool) -> None:
        page = self._pages.get(hold)
        if page is None:
            return
        page.sending, page.lost, page.faults = False, not accepted, 0
        page.turn()
        if not accepted:
            self._on_lost(hold)
