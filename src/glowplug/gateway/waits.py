"""Waiting for the first of several things, on a clock that tests can wind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from glowplug.clock import Clock
from glowplug.errors import RemoteError


async def first_of(*waits: Coroutine[Any, Any, Any]) -> None:
    """Return when the first of `waits` has ended, and cancel the others.

    What they return is lost. A `RemoteError` of one counts as its end, any other error is raised.
    """
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        with suppress(RemoteError, asyncio.CancelledError):
            task.result()


async def woken(event: asyncio.Event, clock: Clock, seconds: float) -> bool:
    """Wait for `event`, at most `seconds`; say whether it came."""
    if not event.is_set() and seconds > 0:
        await first_of(event.wait(), clock.sleep(seconds))
    return event.is_set()
