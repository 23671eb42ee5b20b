"""News of what any gateway wrote, from the change stream of the jobs: only replica sets and shards have one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError

from glowplug.clock import Clock
from glowplug.lifecycle import Startable, cancel
from glowplug.store import News
from glowplug.stores.mongo.rooms import Collection

Listener = Callable[[Sequence[News]], None]

RECONNECT_SECONDS = 1.0
_HEARD = "updateDescription.updatedFields.heard"
_PIPELINE: list[Mapping[str, Any]] = [
    {"$match": {"$or": [{"fullDocument.heard": {"$exists": True}}, {_HEARD: {"$exists": True}}]}},
    {"$project": {"documentKey": 1, "fullDocument.heard": 1, _HEARD: 1}},
]


class NewsStream(Startable):
    """Follows the collection of jobs and tells the listeners; a stream that breaks is opened again where it was."""

    def __init__(self, jobs: Collection, listeners: Sequence[Listener], clock: Clock) -> None:
        self._jobs = jobs
        self._listeners = listeners
        self._clock = clock
        self._resume_after: Mapping[str, Any] | None = None
        self._waiting: list[News] = []
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[object] | None = None

    async def _start(self) -> None:
        self._stopping.clear()
        opened = asyncio.Event()
        self._task = asyncio.create_task(self._follow(opened))
        await opened.wait()

    async def _stop(self) -> None:
        # Asked for beside the cancellation, which the driver may lose while it connects.
        self._stopping.set()
        await cancel(self._task)

    async def _follow(self, opened: asyncio.Event) -> None:
        while not self._stopping.is_set():
            try:
                await self._read(opened)
            except OperationFailure:
                # The place is no longer in the server's log; what was missed is found by those who look now and then.
                self._resume_after = None
            except PyMongoError:
                pass
            finally:
                opened.set()
            await self._clock.sleep(RECONNECT_SECONDS)

    async def _read(self, opened: asyncio.Event) -> None:
        async with await self._jobs.watch(_PIPELINE, resume_after=self._resume_after) as stream:
            opened.set()
            while not self._stopping.is_set():
                change = await stream.try_next()
                self._resume_after = stream.resume_token
                if change is not None:
                    self._hear(change)

    def _hear(self, change: Mapping[str, Any]) -> None:
        if not self._waiting:
            # What the server sent together is told together.
            asyncio.get_running_loop().call_soon(self._tell)
        self._waiting.append(news_of(change))

    def _tell(self) -> None:
        news, self._waiting = self._waiting, []
        for listener in self._listeners:
            listener(news)


def news_of(change: Mapping[str, Any]) -> News:
    """Return the news that a change stands for."""
    document = change.get("fullDocument") or change["updateDescription"]["updatedFields"]
    _, _, task = document["heard"].partition(" ")
    return News(change["documentKey"]["_id"], task)
