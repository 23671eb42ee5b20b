"""What a call saves, on its way to the artifact store: in order, beside the run."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

from glowplug.artifact import Artifact, ArtifactStore, FileChunks
from glowplug.clock import Clock
from glowplug.errors import LeaseLost
from glowplug.runtime.backoff import Backoff, until_reached
from glowplug.runtime.scratch import disk_error

Put = Callable[[Artifact, Path], Awaitable[Artifact]]


def put_once(artifacts: ArtifactStore) -> Put:
    """Return a put that tries once: for a caller who waits."""

    async def put(artifact: Artifact, path: Path) -> Artifact:
        try:
            return await artifacts.put(artifact.key, FileChunks(path), media_type=artifact.media_type)
        except OSError as error:
            raise disk_error(error, path) from error

    return put


def put_patiently(artifacts: ArtifactStore, clock: Clock, backoff: Backoff) -> Put:
    """Return a put that waits for a store that does not answer: for a job, whose lease bounds the patience."""
    once = put_once(artifacts)

    async def put(artifact: Artifact, path: Path) -> Artifact:
        return await until_reached(lambda: once(artifact, path), clock, backoff)

    return put


class Uploads:
    """The files of one call. The first error ends it for good; `settled` raises it."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self._steps: deque[tuple[Artifact, Path] | Callable[[], None]] = deque()
        self._task: asyncio.Task[None] | None = None
        self.stored: dict[str, Artifact] = {}

    def add(self, artifact: Artifact, path: Path) -> None:
        """Store a file after those before it."""
        self._steps.append((artifact, path))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="uploads")

    def after(self, act: Callable[[], None]) -> None:
        """Act once everything added so far is stored: at once if it is."""
        if self._task is None or self._task.done():
            act()
        else:
            self._steps.append(act)

    async def store(self, artifact: Artifact, path: Path) -> Artifact:
        """Store a file after those before it, and wait for it."""
        self.add(artifact, path)
        await self.settled()
        return self.stored[artifact.key]

    async def settled(self) -> None:
        """Wait until everything is stored.

        Raises:
            LeaseLost: it was abandoned.
            GlowplugError: a file could not be stored.
        """
        while (task := self._task) is not None:
            await asyncio.wait([task])
            if task.cancelled():
                raise LeaseLost("the files are not stored: the attempt was given up")
            task.result()

    def abandon(self) -> None:
        """Stop at once; what is not stored yet will not be."""
        self._steps.clear()
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """Stop and wait for the end, so that the files may be removed."""
        self.abandon()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while self._steps:
            step = self._steps.popleft()
            if callable(step):
                step()
            else:
                artifact, path = step
                self.stored[artifact.key] = await self._put(artifact, path)
        self._task = None
