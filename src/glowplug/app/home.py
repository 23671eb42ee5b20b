"""Doing something on the event loop that a thing lives on, from whichever loop asks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from glowplug.errors import Draining

Result = TypeVar("Result")


def is_home(loop: asyncio.AbstractEventLoop | None) -> bool:
    """Say whether the caller runs on `loop`."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


async def at_home(loop: asyncio.AbstractEventLoop | None, work: Coroutine[Any, Any, Result]) -> Result:
    """Await `work` on `loop`; on the caller's own if that is None, because nothing runs yet.

    Raises:
        Draining: that loop has ended.
    """
    if loop is None or is_home(loop):
        return await work
    if loop.is_closed():
        work.close()
        raise Draining("the application has ended")
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
