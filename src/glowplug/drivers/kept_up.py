"""A connection that comes back by itself, for ever: the loop that every driver of a broker shares."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from ssl import SSLContext
from typing import Protocol

from glowplug.clock import Clock
from glowplug.lifecycle import Startable, cancel

RETRY_BASE_SECONDS = 0.1
RETRY_CAP_SECONDS = 3.0


class BrokerAddress(Protocol):
    """Where a broker is."""

    @property
    def shown(self) -> str:
        """Return the URL without the password, for people."""

    def trust(self) -> SSLContext | None:
        """Return how the certificate is checked, None without TLS. Raises `SettingsError`."""


class KeptUp(Startable, ABC):
    """A connection to `address` that is kept up: `start` returns at once, and tries go on until `stop`.

    `on_change` hears None when it is up, and else why it is not, once for each change.
    """

    def __init__(self, address: BrokerAddress, *, clock: Clock, on_change: Callable[[str | None], None]) -> None:
        self._clock = clock
        self._on_change = on_change
        self._where = address
        self._tried = asyncio.Event()
        self._told: str | None = None
        self._why = f"{address.shown} has not answered yet"
        self._keeper: asyncio.Task[None] | None = None

    @abstractmethod
    async def _live(self, trust: SSLContext | None) -> str:
        """Connect, call `_came_up`, and return what ended the connection or kept it from coming up."""

    async def _start(self) -> None:
        trust = await asyncio.to_thread(self._where.trust)
        self._tried.clear()
        self._keeper = asyncio.create_task(self._keep(trust), name=f"keep {self._where.shown}")

    async def _stop(self) -> None:
        await cancel(self._keeper)
        self._keeper = None
        self._tried.set()

    async def _keep(self, trust: SSLContext | None) -> None:
        failures = 0
        while True:
            try:
                why = await self._live(trust)
            except Exception as error:  # noqa: BLE001 - a fault that ended the loop would end the connection for good
                why = f"{self._where.shown} cannot be reached: {type(error).__name__}: {error}"
            failures = 0 if self._told is None else failures + 1
            self._tell(why)
            # Full jitter, so that the gateways do not all come back in the same moment.
            ceiling = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2.0 ** min(failures, 30))
            await self._clock.sleep(random.uniform(0, ceiling))  # noqa: S311 - no secret

    def _came_up(self) -> None:
        self._tell(None)

    def _tell(self, why: str | None) -> None:
        self._tried.set()
        before, self._told = self._told, why
        if why is not None:
            self._why = why
        if why is None or why != before:
            self._on_change(why)
