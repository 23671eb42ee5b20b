"""One way to live for everything that lives: start, started, stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Startable:
    """A thing with a life: `start` may be awaited once more after `stop`; `stop` is safe twice and without `start`.

    Subclasses write `_start` and `_stop`; constructors only store arguments.
    """

    _running: bool = False

    async def start(self) -> None:
        """Begin; on an error everything begun is undone and the error is raised."""
        if self._running:
            return
        try:
            await self._start()
        except BaseException:
            with suppress(Exception):
                await self._stop()
            raise
        self._running = True

    @property
    def started(self) -> bool:
        """Say whether `start` has completed and `stop` has not begun."""
        return self._running

    async def stop(self) -> None:
        """End; idempotent."""
        if not self._running:
            return
        self._running = False
        await self._stop()

    async def _start(self) -> None:
        """Do the subclass's part of `start`; the default has nothing to do."""

    async def _stop(self) -> None:
        """Do the subclass's part of `stop`; called after a half-done `_start` too."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


@asynccontextmanager
async def running(parts: Iterable[Startable]) -> AsyncIterator[None]:
    """Start `parts` in order and stop them in the opposite order, also when one of them fails to start."""
    begun: list[Startable] = []
    try:
        for part in parts:
            await part.start()
            begun.append(part)
        yield
    finally:
        await stop_all(reversed(begun))


async def stop_all(parts: Iterable[Startable]) -> None:
    """Stop each part; the first error is raised once all have been tried."""
    failed: BaseException | None = None
    for part in parts:
        try:
            await part.stop()
        except Exception as error:  # noqa: BLE001 - the others must be stopped too
            failed = failed or error
    if failed is not None:
        raise failed


async def cancel(task: asyncio.Task[object] | None) -> None:
    """Cancel a background task and wait for its end; errors it ended with are not raised."""
    if task is None:
        return
    task.cancel()
    # Not awaited itself: then a cancellation of the waiter would look like the task's own, and be lost.
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


def stop_if_canceled() -> None:
    """End a task that was asked to: libraries lose a cancellation that meets an answer, or make an error of it.

    `asyncio.wait_for` does before Python 3.12; a loop that went on after it would be waited for without end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def in_thread(executor: Executor | None, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run blocking work in a thread of `executor` (None: the loop's own) and return its result.

    A canceled caller gets its cancellation only when the thread is done, so that it may close what the thread used.
    """
    work = asyncio.get_running_loop().run_in_executor(executor, partial(call, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({work})
        if not work.cancelled():
            work.exception()
        raise
