"""An HTTP server as a thing with a life: ours decides about signals, not the server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from glowplug.assembly.bounded_http import BoundedHttp
from glowplug.boot import Application
from glowplug.lifecycle import Startable, cancel

GRACE_SECONDS = 5


class _Server(uvicorn.Server):
    """uvicorn without its hands on the process's signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer(Startable):
    """Serves an application on a listening socket from `start` to `stop`."""

    def __init__(
        self, application: Application, listener: socket.socket, *, http: type[BoundedHttp] = BoundedHttp
    ) -> None:
        self._listener = listener
        config = uvicorn.Config(
            application,
            http=http,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ws_ping_interval=20,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def _start(self) -> None:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="http")
        while not self._server.started and not self._task.done():  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)
        if self._task.done():
            await self._task

    async def _stop(self) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=2 * GRACE_SECONDS)
            await cancel(self._task)
