"""A worker's process: the model's process is spawned first, the rest of this one is imported meanwhile."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from glowplug.boot import bind
from glowplug.clock import SystemClock
from glowplug.data_folder import DataFolder
from glowplug.errors import SettingsError
from glowplug.process.host import Host, HostSpec
from glowplug.process.weights import Weights
from glowplug.readiness import Board, HistoryFile
from glowplug.settings import Settings, is_loopback
from glowplug.telemetry import BoardEvents, Telemetry, component_readings

if TYPE_CHECKING:
    from glowplug.artifact import ArtifactStore
    from glowplug.runtime.policy import WorkerIdentity, WorkerPolicy

FAILED = 1


async def serve_worker(settings: Settings, target: str) -> int:
    """Load the model that `target` names and take work for it until a signal; return the exit code.

    Raises:
        SettingsError: no worker token, or the port is in use.
    """
    token = worker_token(settings)
    process = WorkerProcess(settings, target, token)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(process.host)
        listener = bind(settings.worker.host, settings.worker.port)
        return await process.serve(stack, listener)


class WorkerProcess:
    """What `serve_worker` holds together."""

    def __init__(self, settings: Settings, target: str, token: str) -> None:
        self._settings = settings
        self._token = token
        self._clock = SystemClock()
        self._telemetry = Telemetry(settings.log.level, settings.log.format, secrets=[token])
        self._telemetry.install()
        # Two workers of one machine share the data folder, never a scratch folder.
        self._scratch = own_scratch(DataFolder(settings.data).scratch)
        self._board = Board(
            self._clock, HistoryFile(settings.cache / "history" / "loads.json"), on_transition=BoardEvents()
        )
        self.host = self._make_host(target)

    async def serve(self, stack: AsyncExitStack, listener: socket.socket) -> int:
        """Register with the gateway and work; return the exit code."""
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import Response
        from starlette.routing import Route

        from glowplug.artifacts.http import HttpArtifacts
        from glowplug.assembly.server import HttpServer
        from glowplug.links.http import HttpLink
        from glowplug.runtime.admission import Admission
        from glowplug.runtime.direct import DirectApp, DirectParts, DirectPolicy
        from glowplug.runtime.interruption import Interruptions, serve_until_left
        from glowplug.runtime.worker import Worker, WorkerParts
        from glowplug.web.probes import probe_routes

        async def metrics(request: Request) -> Response:
            del request
            body, media_type = self._telemetry.metrics()
            return Response(body, media_type=media_type)

        settings = self._settings
        self._telemetry.add_source(lambda: component_readings(self._board.snapshot()))
        link = HttpLink(settings.gateway_url, self._token)
        artifacts = HttpArtifacts(settings.gateway_url, self._token)
        local = is_loopback(settings.worker.host)
        direct = DirectApp(
            DirectParts(
                hosts=[self.host],
                artifacts=artifacts,
                scratch=self._scratch / "calls",
                clock=self._clock,
                policy=DirectPolicy(admission=Admission(token=None if local else self._token)),
                otherwise=Starlette(routes=[*probe_routes(self._board), Route("/metrics", metrics)]),
            )
        )
        worker = Worker(
            WorkerParts(
                identity=self._identity(listener),
                hosts=[self.host],
                link=link,
                artifacts=artifacts,
                board=self._board,
                clock=self._clock,
                scratch=self._scratch / "jobs",
                direct=direct,
                policy=self._policy(),
            )
        )
        interruptions = Interruptions()
        for part in (self._telemetry, link, artifacts, HttpServer(direct, listener), worker, interruptions):
            await stack.enter_async_context(part)
        return 0 if await serve_until_left(worker, interruptions) else FAILED

    def _make_host(self, target: str) -> Host:
        wanted = self._settings.worker
        name = guessed_name(target)
        spec = HostSpec(
            target=target,
            name=name,
            device=wanted.device,
            slots=wanted.slots,
            startup_timeout_seconds=wanted.startup_timeout_seconds,
            stall_seconds=wanted.stall_seconds,
            warm_up_seconds=wanted.warm_up_seconds,
            memory_limit_bytes=wanted.memory_limit_bytes,
            load_attempts=wanted.load_attempts,
            max_restarts=wanted.max_restarts,
            cancel_grace_seconds=wanted.cancel_grace_seconds,
            scratch=self._scratch / "model",
        )
        component = self._board.add(name, model=Path(target).name, device=wanted.device)
        weights = Weights(self._settings.cache, open_weights, self._clock)
        return Host(spec, component, clock=self._clock, weights=weights)

    def _identity(self, listener: socket.socket) -> WorkerIdentity:
        from glowplug.runtime.policy import WorkerIdentity

        machine, pid = socket.gethostname(), os.getpid()
        host, port = listener.getsockname()[:2]
        return WorkerIdentity(
            instance_id=self._settings.worker.instance_id or f"{machine}-{pid}",
            incarnation=secrets.token_hex(8),
            url=f"http://{host}:{port}",
            host=machine,
            pid=pid,
        )

    def _policy(self) -> WorkerPolicy:
        from glowplug.runtime.policy import WorkerPolicy

        return WorkerPolicy(
            lease_seconds=self._settings.gateway.lease_seconds, drain_seconds=self._settings.worker.drain_seconds
        )


def worker_token(settings: Settings) -> str:
    """Return the token that the gateway knows this worker by. Raises `SettingsError` if there is none."""
    if settings.worker.token is not None:
        return settings.worker.token.reveal()
    path = DataFolder(settings.data).worker_token
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(
            f"no worker token: there is no {path}; point GLOWPLUG_WORKER_TOKEN_FILE at the gateway's tokens/worker"
        ) from error


def guessed_name(target: str) -> str:
    """Return what to call a model of which nothing but its target is known yet."""
    place, _, name = target.partition(":")
    return (name or Path(place).stem.rpartition(".")[2] or place).lower()


def own_scratch(root: Path) -> Path:
    """Return this process's scratch folder, and remove those of workers that are gone."""
    for folder in root.glob("worker-*"):
        pid = folder.name.removeprefix("worker-")
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
    return root / f"worker-{os.getpid()}"


def open_weights(url: str) -> tuple[ArtifactStore, str]:
    """Return the store that an address of weights lies in, and its key or folder there."""
    from glowplug.artifacts.objects import object_source

    return object_source(url)
