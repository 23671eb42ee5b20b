"""The intake: where the desk takes work from for a worker's claim. Here it is the rows themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from datetime import timedelta

from glowplug.broker import Broker, Hint
from glowplug.errors import RemoteError
from glowplug.gateway.ledger import Ledger
from glowplug.gateway.seats import Wants
from glowplug.job import Job
from glowplug.lifecycle import Startable
from glowplug.store import Store

Confirm = Callable[[], Awaitable[Wants]]


class Intake(Startable):
    """Takes due jobs out of the rows; a hint wakes those who wait."""

    def __init__(self, store: Store, broker: Broker, ledger: Ledger, lease: timedelta) -> None:
        self._store = store
        self._broker = broker
        self._ledger = ledger
        self._lease = lease

    def mark(self) -> int:
        """Return what `wait` needs to miss nothing; take it before `take`."""
        return self._broker.mark()

    async def wait(self, tasks: Sequence[str], *, since: int, timeout_seconds: float) -> bool:
        """Wait until there may be work of `tasks` that was not there at the mark `since`."""
        return await self._broker.wait(tasks, since=since, timeout_seconds=timeout_seconds)

    async def due_seconds(self, tasks: Sequence[str]) -> float | None:
        """Return when to look again although nobody hints: retries and jobs for later become due by themselves."""
        return await self._store.next_due_seconds(tasks)

    async def take(self, worker_id: str, wants: Wants, confirm: Confirm) -> list[Job]:
        """Claim work for a worker that wants it. `confirm` asks once more, at the last moment, what it may have."""
        wants = await confirm() if self._store.shared else wants
        return await self._ledger.claim(worker_id, wants, self._lease) if wants else []

    def changed(self, before: Wants, after: Wants) -> None:
        """Hear that a waiting claim offers other slots than before; the rows need not know."""

    async def wake(self, tasks: Collection[str]) -> None:
        """Wake those who wait here for work of `tasks`, which another gateway may have queued."""
        with suppress(RemoteError):
            await self._broker.publish([Hint("", task) for task in tasks])

    def shut(self) -> None:
        """Let nothing more come in."""
