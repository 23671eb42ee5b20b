"""Leadership: where several gateways share a store, one of them does each duty.

A leader holds its duty for a term and renews it each third of that. It counts the term from before it asked and stops
somewhat early, on its own monotonic clock: so it has stopped before the store lets anybody else begin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

from glowplug.clock import Clock
from glowplug.errors import RemoteError
from glowplug.events import emit
from glowplug.gateway.dispatch import Duty
from glowplug.lifecycle import Startable, cancel
from glowplug.store import Store

# The part of a term after which a leader that could not renew does nothing more: what it began must still end in time.
USED = 0.8


class Leadership(Startable):
    """Which of `duties` this gateway, called `holder`, leads. Of a store that is not shared it leads them all.

    `on_change` hears the name of a duty that was won or lost.
    """

    def __init__(self, store: Store, clock: Clock, holder: str, duties: Sequence[str], term_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._holder = holder
        self._duties = duties
        self._term = timedelta(seconds=term_seconds)
        self._until: dict[str, float] = {}
        self._led: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self.on_change: Callable[[str], None] = lambda duty: None

    def leads(self, duty: str) -> bool:
        """Say whether `duty` may be done here now."""
        return not self._store.shared or self._clock.monotonic() < self._until.get(duty, 0.0)

    async def _start(self) -> None:
        if self._store.shared:
            await self._campaign()
            self._task = asyncio.create_task(self._keep(), name="leadership")

    async def _stop(self) -> None:
        await cancel(self._task)
        self._task = None
        held, self._until = list(self._until), {}
        self._tell()
        for duty in held:
            with suppress(RemoteError):
                await self._store.resign(duty, self._holder)

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(self._term.total_seconds() / 3)
            try:
                await self._campaign()
            except Exception as error:  # noqa: BLE001 - who stopped asking would leave every duty undone for ever
                emit("duty.failed", duty="leadership", error=f"{type(error).__name__}: {error}", exception=error)

    async def _campaign(self) -> None:
        await asyncio.gather(*(self._ask_for(duty) for duty in self._duties))
        self._tell()

    async def _ask_for(self, duty: str) -> None:
        asked_at = self._clock.monotonic()
        try:
            won = await self._store.lead(duty, self._holder, self._term)
        except RemoteError:
            # What is left of the term is kept; after it, leads() says no by itself.
            return
        if won:
            self._until[duty] = asked_at + self._term.total_seconds() * USED
        else:
            self._until.pop(duty, None)

    def _tell(self) -> None:
        now = {duty for duty in self._duties if self._store.shared and self.leads(duty)}
        changed, self._led = self._led ^ now, now
        for duty in sorted(changed):
            emit("duty.led" if duty in now else "duty.left", duty=duty, gateway=self._holder)
            self.on_change(duty)


class Led(Duty):
    """A duty that only its leader does; the others let their turns pass."""

    def __init__(self, duty: Duty, leads: Callable[[str], bool]) -> None:
        super().__init__(duty.every_seconds, duty.first_seconds)
        self.name = duty.name
        self._duty = duty
        self._leads = leads

    async def turn(self) -> None:
        """Do it once, as the leader."""
        if self._leads(self.name):
            await self._duty.turn()
