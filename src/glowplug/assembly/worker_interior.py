"""The worker behind its model's process: the link, the artifacts, its own port and the job loop."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import AsyncExitStack

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from glowplug.artifacts.http import HttpArtifacts
from glowplug.assembly.opening import InteriorParts
from glowplug.assembly.server import HttpServer
from glowplug.boot import Application
from glowplug.lifecycle import Startable
from glowplug.links.http import HttpLink
from glowplug.process.host import Host
from glowplug.runtime.admission import Admission
from glowplug.runtime.direct import DirectApp, DirectParts, DirectPolicy
from glowplug.runtime.interruption import Interruptions, serve_until_left
from glowplug.runtime.policy import WorkerIdentity, WorkerPolicy
from glowplug.runtime.worker import Worker, WorkerParts
from glowplug.settings import Settings, is_loopback
from glowplug.web.probes import probe_routes


class WorkerInterior(Startable):
    """Everything of a worker but the model's process, which others start before it and stop after it."""

    def __init__(self, parts: InteriorParts, host: Host, listener: socket.socket) -> None:
        settings, token = parts.settings, parts.token
        self._telemetry = parts.telemetry
        self._link = HttpLink(settings.gateway_url, token)
        self._artifacts = HttpArtifacts(settings.gateway_url, token)
        local = is_loopback(settings.worker.host)
        self._direct = DirectApp(
            DirectParts(
                hosts=[host],
                artifacts=self._artifacts,
                scratch=parts.scratch / "calls",
                clock=parts.clock,
                policy=DirectPolicy(admission=Admission(token=None if local else token)),
                otherwise=self._probes(parts),
            )
        )
        self._server = HttpServer(self._direct, listener)
        self._worker = Worker(
            WorkerParts(
                identity=identity(settings, listener),
                hosts=[host],
                link=self._link,
                artifacts=self._artifacts,
                board=parts.board,
                clock=parts.clock,
                scratch=parts.scratch / "jobs",
                direct=self._direct,
                policy=WorkerPolicy(
                    lease_seconds=settings.gateway.lease_seconds, drain_seconds=settings.worker.drain_seconds
                ),
            )
        )
        self._interruptions = Interruptions()
        self._life = AsyncExitStack()

    async def serve(self) -> bool:
        """Work until told to leave; False if that was cut short."""
        return await serve_until_left(self._worker, self._interruptions)

    async def _start(self) -> None:
        # The port last and so the first to close: a drain is over by then.
        parts = (self._telemetry, self._link, self._artifacts, self._direct, self._worker, self._server)
        for part in (*parts, self._interruptions):
            await self._life.enter_async_context(part)

    async def _stop(self) -> None:
        await self._life.aclose()

    def _probes(self, parts: InteriorParts) -> Application:
        async def metrics(request: Request) -> Response:
            del request
            body, media_type = self._telemetry.metrics()
            return Response(body, media_type=media_type)

        return Starlette(routes=[*probe_routes(parts.board), Route("/metrics", metrics)])


def identity(settings: Settings, listener: socket.socket) -> WorkerIdentity:
    """Return who this worker is: its instance id as set, else the machine and the process."""
    machine, pid = socket.gethostname(), os.getpid()
    host, port = listener.getsockname()[:2]
    return WorkerIdentity(
        instance_id=settings.worker.instance_id or f"{machine}-{pid}",
        incarnation=secrets.token_hex(8),
        url=f"http://{host}:{port}",
        host=machine,
        pid=pid,
    )
