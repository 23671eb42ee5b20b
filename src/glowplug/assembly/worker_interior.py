"""The worker behind its model's process: the link, the artifacts, its own port and the job loop."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from contextlib import AsyncExitStack, suppress

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from glowplug.artifacts.http import HttpArtifacts
from glowplug.artifacts.web import WebFiles
from glowplug.assembly.alerts import alerts_of
from glowplug.assembly.bounded_http import PatientHttp
from glowplug.assembly.opening import InteriorParts
from glowplug.assembly.server import HttpServer
from glowplug.boot import Application
from glowplug.lifecycle import Startable, cancel
from glowplug.links.http import HttpLink
from glowplug.links.notices import NOTICE_SECONDS, BackendPost
from glowplug.process.host import Host
from glowplug.readiness import State
from glowplug.runtime.admission import Admission
from glowplug.runtime.direct import DirectApp, DirectParts, DirectPolicy
from glowplug.runtime.folders import FolderLimits
from glowplug.runtime.interruption import Interruptions, Notice, serve_until_left
from glowplug.runtime.notices import NoticeParts, Notices
from glowplug.runtime.policy import WorkerIdentity, WorkerPolicy
from glowplug.runtime.upkeep import Upkeep
from glowplug.runtime.worker import Worker, WorkerParts
from glowplug.settings import Settings, is_loopback
from glowplug.web.parts import ReadinessParts
from glowplug.web.permission import local_only
from glowplug.web.routes import readiness_routes


class WorkerInterior(Startable):
    """Everything of a worker but the model's process, which others start before it and stop after it."""

    def __init__(self, parts: InteriorParts, host: Host, listener: socket.socket) -> None:
        settings, token = parts.settings, parts.token
        self._parts = parts
        self._host = host
        self._link = HttpLink(settings.gateway_url, token)
        self._artifacts = HttpArtifacts(settings.gateway_url, token)
        self._web = WebFiles(
            limit_bytes=settings.worker.max_url_bytes, allow_private=settings.worker.allow_private_urls
        )
        direct = DirectApp(
            DirectParts(
                hosts=[host],
                artifacts=self._artifacts,
                scratch=parts.scratch / "calls",
                clock=parts.clock,
                policy=direct_policy(settings, token),
                otherwise=own_routes(parts, host),
            )
        )
        self._server = HttpServer(direct, listener, http=PatientHttp)
        who = identity(settings, listener)
        self._worker = Worker(
            WorkerParts(
                identity=who,
                hosts=[host],
                link=self._link,
                artifacts=self._artifacts,
                board=parts.board,
                clock=parts.clock,
                scratch=parts.scratch / "jobs",
                direct=direct,
                web=self._web,
                policy=WorkerPolicy(
                    lease_seconds=settings.gateway.lease_seconds,
                    drain_seconds=settings.worker.drain_seconds,
                    folders=folder_limits(settings),
                ),
            )
        )
        self._backend = backend_of(settings, token)
        self._notices = Notices(NoticeParts(parts.board, who, self._backend, parts.clock)) if self._backend else None
        self._alerts = alerts_of(settings, parts.board, parts.clock, who.instance_id)
        self._interruptions = Interruptions()
        self._failed = False
        self._life = AsyncExitStack()

    async def serve(self) -> bool:
        """Work until told to leave; False if that was cut short, or if it left because its model had failed."""
        leaves = self._parts.settings.worker.exit_on_load_failure
        watch = asyncio.create_task(self._leave_on_failure()) if leaves else None
        try:
            return await serve_until_left(self._worker, self._interruptions) and not self._failed
        finally:
            await cancel(watch)

    async def _leave_on_failure(self) -> None:
        await self._host.wait_given_up()
        if not self._host.component.required or self._parts.board.state is State.DRAINING:
            return
        self._failed = True
        if self._notices is not None:
            # The backend hears why before the worker is gone; one that is away is not waited for.
            with suppress(TimeoutError):
                async with asyncio.timeout(NOTICE_SECONDS):
                    await self._notices.delivered()
        self._interruptions.notify(Notice("the model could not be loaded"))

    async def _start(self) -> None:
        telling = [one for one in (self._backend, self._notices) if one is not None]
        opened = (self._parts.telemetry, *self._alerts, self._link, self._artifacts, self._web)
        await self._enter(*opened, self._server)
        # On the way out this comes after the worker, which follows the board itself, and before the server, which
        # waits for its streams.
        self._life.callback(self._parts.board.hang_up)
        await self._enter(self._worker, *telling, self._interruptions)

    async def _enter(self, *parts: Startable) -> None:
        for part in parts:
            await self._life.enter_async_context(part)

    async def _stop(self) -> None:
        await self._life.aclose()


def direct_policy(settings: Settings, token: str) -> DirectPolicy:
    """Return who may call this worker directly: on loopback everybody, else who has the worker token."""
    admission = Admission(token=None if is_loopback(settings.worker.host) else token)
    return DirectPolicy(admission=admission, folders=folder_limits(settings))


def folder_limits(settings: Settings) -> FolderLimits:
    """Return how much one folder of an input may hold."""
    return FolderLimits(files=settings.worker.max_folder_files, size_bytes=settings.worker.max_folder_bytes)


def own_routes(parts: InteriorParts, host: Host) -> Application:
    """Return what the worker answers besides calls: how ready it is, and its metrics."""
    telemetry, settings = parts.telemetry, parts.settings
    readiness = ReadinessParts(
        own=parts.board,
        actions=Upkeep([host], parts.board),
        permit=local_only(None if is_loopback(settings.worker.host) else parts.token),
        early_status=settings.not_ready_status,
        clock=parts.clock,
    )

    async def metrics(request: Request) -> Response:
        del request
        body, media_type = telemetry.metrics()
        return Response(body, media_type=media_type)

    return Starlette(routes=[*readiness_routes(readiness), Route("/metrics", metrics)])


def backend_of(settings: Settings, token: str) -> BackendPost | None:
    """Return who is told of the model by notices, None if nobody is.

    A token that was made here for the gateway alone is shown to nobody else.
    """
    url = settings.worker.backend_url
    if url is None:
        return None
    shown = settings.worker.token is not None or url.rstrip("/") == settings.gateway_url
    return BackendPost(url, token if shown else None)


def identity(settings: Settings, listener: socket.socket) -> WorkerIdentity:
    """Return who this worker is: its instance id as set, else the machine and the process."""
    machine, pid = socket.gethostname(), os.getpid()
    host, port = listener.getsockname()[:2]
    # An address that stands for all of them is one to listen on, not one to call.
    host = machine if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104 - compared only
    return WorkerIdentity(
        instance_id=settings.worker.instance_id or f"{machine}-{pid}",
        incarnation=secrets.token_hex(8),
        url=f"http://{host}:{port}",
        host=machine,
        pid=pid,
    )
