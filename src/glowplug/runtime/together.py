"""Several awaitables at a time, and none left running."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from glowplug.lifecycle import cancel

T = TypeVar("T")


async def each(items: Iterable[T], act: Callable[[T], Awaitable[None]], count: int) -> None:
    """Act on each item, `count` at a time; the first error ends it, with the others stopped."""
    waiting = iter(items)

    async def some() -> None:
        for item in waiting:
            await act(item)

    tasks = [asyncio.create_task(some()) for _ in range(count)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            await cancel(task)
