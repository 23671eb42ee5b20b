"""Telling a backend of somebody else's that the models are ready, or that they failed: once per change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from glowplug import events
from glowplug.clock import Clock
from glowplug.errors import GlowplugError
from glowplug.lifecycle import Startable, cancel
from glowplug.readiness.board import Board
from glowplug.readiness.snapshot import Snapshot
from glowplug.readiness.state import State
from glowplug.runtime.backoff import Backoff
from glowplug.runtime.bell import Bell
from glowplug.runtime.policy import WorkerIdentity

READY_PATH = "/api/internal/ai-service-ready"
ERROR_PATH = "/api/internal/ai-service-error"

Post = Callable[[str, Mapping[str, Any]], Awaitable[None]]
"""Sends a JSON body to a path of the backend; raises an error of ours when it was not taken."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What the backend is told, and where."""

    path: str
    body: Mapping[str, Any]


def notice_of(snapshot: Snapshot, identity: WorkerIdentity, timestamp: float) -> Notice | None:
    """Return what is to be told of a worker that stands like this; None while it loads. Times are Unix seconds."""
    said = {
        "instance_id": identity.instance_id,
        "timestamp": timestamp,
        **({"url": identity.url} if identity.url else {}),
    }
    if snapshot.state is State.ERROR:
        return Notice(ERROR_PATH, {**said, "status": "error", "error": "; ".join(snapshot.errors)})
    if not snapshot.ready:
        return None
    models = [one for one in snapshot.components if one.required and one.model] or list(snapshot.components)
    load_ms = max((one.timings.load_time_ms or 0.0 for one in models), default=0.0)
    name = (models[0].model or models[0].name) if models else ""
    return Notice(READY_PATH, {**said, "status": "ready", "model_name": name, "load_time": round(load_ms / 1000, 3)})


def occasion(snapshot: Snapshot) -> tuple[object, ...]:
    """Return what makes a notice worth sending again: becoming ready, or failing, in another attempt."""
    return (snapshot.state, tuple(one.attempt for one in snapshot.components), snapshot.errors)


@dataclass(frozen=True, slots=True)
class NoticeParts:
    """What notices are made of and sent with."""

    board: Board
    identity: WorkerIdentity
    post: Post
    clock: Clock
    backoff: Backoff = field(default_factory=lambda: Backoff(1.0, 60.0))


class Notices(Startable):
    """Sends a notice until it is taken or a newer one replaces it; a backend that is away is a warning, no more."""

    def __init__(self, parts: NoticeParts) -> None:
        self._parts = parts
        self._bell = Bell(parts.clock)
        self._pending: Notice | None = None
        self._seen: tuple[object, ...] | None = None
        self._moved = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def delivered(self) -> None:
        """Wait until the backend knows how the board stands now; that may be long."""
        while self._pending is not None or self._seen != occasion(self._parts.board.snapshot()):
            self._moved.clear()
            await self._moved.wait()

    async def _start(self) -> None:
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._send())]

    async def _stop(self) -> None:
        for task in self._tasks:
            await cancel(task)

    async def _watch(self) -> None:
        async for snapshot in self._parts.board.watch():
            now, seen = occasion(snapshot), self._seen
            self._seen = now
            if now != seen:
                self._pending = notice_of(snapshot, self._parts.identity, self._parts.clock.now().timestamp())
                self._bell.ring()
                self._moved.set()

    async def _send(self) -> None:
        failures = 0
        while True:
            notice = self._pending
            if notice is None:
                await self._bell.wait()
                failures = 0
                continue
            self._bell.hush()
            try:
                await self._parts.post(notice.path, notice.body)
                self._pending = None if self._pending is notice else self._pending
                self._moved.set()
                failures = 0
            except GlowplugError as error:
                if failures == 0:
                    events.emit("notice.failed", target=notice.path, error=error.message)
                failures += 1
                newer = await self._bell.wait(self._parts.backoff.delay_seconds(failures))
                failures = 0 if newer else failures
