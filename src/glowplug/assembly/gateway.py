"""The gateway's process, with local workers or without: opened in the order in which others wait for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from glowplug.assembly.opening import make_telemetry, quick_switches
from glowplug.assembly.signals import StopSignal
from glowplug.assembly.users import rates_of, users_of
from glowplug.boot import Doorman, bind
from glowplug.clock import SystemClock
from glowplug.data_folder import DataFolder, GatewayLock
from glowplug.events import emit
from glowplug.lifecycle import Startable, stop_all
from glowplug.settings import Settings
from glowplug.supervisor import (
    Supervisor,
    SupervisorPolicy,
    WorkerPlan,
    guessed_name,
    handed_down,
    plan_workers,
    tell_idle_tables,
)

if TYPE_CHECKING:
    import socket

    from glowplug.assembly.interior import Interior
    from glowplug.gateway.service import Gateway


async def serve_gateway(settings: Settings, *, targets: Sequence[str] = ()) -> int:
    """Run a gateway until a signal, with a supervised local worker for each of `targets`; return the exit code.

    Raises:
        SettingsError: the data folder is taken, the port is in use, or a URL names no adapter.
        Corrupt: the database is damaged.
    """
    stop = StopSignal()
    # What is wrong with these is said before anything is begun.
    users_of(settings), rates_of(settings.limits)
    folder = DataFolder(settings.data)
    folder.prepare()
    if settings.worker.token is not None:
        folder.keep_worker_token(settings.worker.token.reveal())
    token = folder.read_worker_token()
    with GatewayLock(folder) as lock:
        listener = bind(settings.gateway.host, settings.gateway.port)
        settings = on_port(settings, listener.getsockname()[1])
        process = GatewayProcess(settings, folder, token)
        async with AsyncExitStack() as stack:
            # The workers first: their models begin to load while the rest of this process is being imported.
            await stack.enter_async_context(process.supervising(targets))
            await stack.enter_async_context(process.answering(listener))
            lock.announce(settings.local_url)
            emit("gateway.listening", url=settings.local_url)
            if await stop.allows(stack.enter_async_context(process.opened())):
                await stop.wait()
    return 0


class GatewayProcess:
    """What `serve_gateway` holds together."""

    def __init__(self, settings: Settings, folder: DataFolder, worker_token: str) -> None:
        self._settings = settings
        self._folder = folder
        self._worker_token = worker_token
        self._clock = SystemClock()
        self._doorman = Doorman(settings.not_ready_status)
        self._telemetry = make_telemetry(settings, worker_token, *(user.token for user in users_of(settings)))
        self._telemetry.install()
        self._gateway: Gateway | None = None
        self._server: Startable = Startable()
        self._supervisor: Supervisor | None = None
        self._plans: tuple[WorkerPlan, ...] = ()

    @asynccontextmanager
    async def supervising(self, targets: Sequence[str]) -> AsyncIterator[None]:
        """Keep a worker for each target alive while the block runs."""
        log_format = "logfmt" if self._settings.log.format == "pretty" else self._settings.log.format
        additions = self._settings.for_workers(self._settings.local_url, self._folder.worker_token, log_format)
        said, tables = self._settings.worker.options, self._settings.options
        if targets:
            tell_idle_tables(targets, tables)
        options = {target: handed_down(target, said, tables) for target in targets}
        self._plans = plan_workers(targets, os.environ, additions, options)
        self._supervisor = Supervisor(
            self._plans,
            self._worker_died,
            clock=self._clock,
            policy=SupervisorPolicy(reload=self._settings.worker.reload),
        )
        async with self._supervisor:
            yield

    @asynccontextmanager
    async def answering(self, listener: socket.socket) -> AsyncIterator[None]:
        """Answer the liveness probe, and whatever the doorman passes on, while the block runs."""
        from glowplug.assembly.server import HttpServer

        self._server = HttpServer(self._doorman, listener)
        async with self._server:
            yield

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Import the gateway beside the running loop, start it, and open the door to it."""
        with quick_switches():
            interior = await asyncio.to_thread(_import_interior)
            rooms = await asyncio.to_thread(interior, self._settings, self._clock, self._worker_token, self._telemetry)
            await rooms.start()
        self._gateway = rooms.gateway
        for plan in self._plans:
            rooms.gateway.expect(plan.instance_id, guessed_name(plan.target))
        self._doorman.open(rooms.application)
        try:
            yield
        finally:
            rooms.drain()
            # Workers leave while there is still a gateway to bring their results and checkpoints to.
            if self._supervisor is not None:
                await self._supervisor.stop()
            self._gateway = None
            # Else a stream that is opened meanwhile would hold the server up.
            self._doorman.shut()
            rooms.gateway.hang_up()
            # Whoever is inside still has a store to write to.
            await stop_all([self._server, rooms])

    async def _worker_died(self, instance_id: str) -> bool:
        return self._gateway is not None and await self._gateway.worker_died(instance_id)


def on_port(settings: Settings, port: int) -> Settings:
    """Return the settings with the port that was really taken."""
    return replace(settings, gateway=replace(settings.gateway, port=port))


def _import_interior() -> type[Interior]:
    from glowplug.assembly.interior import Interior

    return Interior
