"""What the tests of a `Readiness` share: loads that wait for the test, and waiting for a component."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from glowplug.app import Readiness
from glowplug.clock import ManualClock
from glowplug.lifecycle import cancel
from glowplug.readiness import ComponentSnapshot, Status

SECONDS = 20.0
"""Long enough for anything here on a busy machine: only a failing test waits so long."""


class Gate:
    """A load in a thread that goes on when the test says so."""

    def __init__(self, value: Any = "value", error: BaseException | None = None) -> None:
        self.value = value
        self.error = error
        self.entered = threading.Event()
        self.open = threading.Event()
        self.contexts: list[Any] = []

    def __call__(self, ctx: Any) -> Any:
        self.contexts.append(ctx)
        self.entered.set()
        assert self.open.wait(SECONDS)
        if self.error is not None:
            raise self.error
        return self.value

    async def until_entered(self) -> None:
        """Wait until the load runs."""
        assert await asyncio.to_thread(self.entered.wait, SECONDS)


async def until(ready: Readiness, name: str, reached: Callable[[ComponentSnapshot], bool]) -> ComponentSnapshot:
    """Wait until a component is as wanted."""
    async with asyncio.timeout(SECONDS):
        async for snapshot in ready.subscribe():
            found = snapshot.find(name)
            if found is not None and reached(found):
                return found
    raise AssertionError("the board was closed")


async def until_status(ready: Readiness, name: str, status: Status) -> ComponentSnapshot:
    """Wait until a component has a status."""
    return await until(ready, name, lambda seen: seen.status is status)


async def until_ready(ready: Readiness, *names: str) -> None:
    """Wait until components are ready."""
    await ready.wait_until_ready(*names, timeout=SECONDS)


@asynccontextmanager
async def passing(clock: ManualClock) -> AsyncIterator[None]:
    """Let the time of `clock` pass, as fast as it can, while the block waits for something."""

    async def wind() -> None:
        while True:
            await clock.advance(1)
            await asyncio.sleep(0)

    winding = asyncio.create_task(wind())
    try:
        yield
    finally:
        await cancel(winding)
