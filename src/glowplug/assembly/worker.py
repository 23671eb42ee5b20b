"""A worker's process: the model's process is spawned first, the rest of this one is imported meanwhile."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from glowplug.assembly.opening import InteriorParts, make_telemetry, quick_switches
from glowplug.boot import bind
from glowplug.clock import SystemClock
from glowplug.data_folder import DataFolder
from glowplug.errors import SettingsError
from glowplug.process.cards import CardSpec, Turns
from glowplug.process.devices import AUTO
from glowplug.process.host import Host, HostSpec
from glowplug.process.weights import Weights
from glowplug.readiness import Board, HistoryFile
from glowplug.settings import Settings
from glowplug.supervisor.model_options import options_of, tell_idle_tables
from glowplug.supervisor.plan import guessed_name
from glowplug.telemetry import BoardEvents, component_readings

if TYPE_CHECKING:
    from glowplug.artifact import ArtifactStore
    from glowplug.assembly.worker_interior import WorkerInterior

FAILED = 1
WHERE_TO_FIND_IT = "point GLOWPLUG_WORKER_TOKEN_FILE at the gateway's tokens/worker"


async def serve_worker(settings: Settings, target: str, *, supervised: bool = False) -> int:
    """Load the model that `target` names and take work for it until a signal; return the exit code.

    Raises:
        SettingsError: no worker token, or the port is in use.
    """
    token = worker_token(settings)
    process = WorkerProcess(settings, target, token)
    # For the models of one supervisor it tells of them itself.
    if not supervised:
        tell_idle_tables((target,), settings.options)
    async with AsyncExitStack() as stack:
        stack.callback(process.sweep)
        await stack.enter_async_context(process.host)
        listener = bind(settings.worker.host, settings.worker.port)
        return await process.serve(stack, listener)


class WorkerProcess:
    """What `serve_worker` holds together."""

    def __init__(self, settings: Settings, target: str, token: str) -> None:
        self._settings = settings
        self._token = token
        self._clock = SystemClock()
        self._telemetry = make_telemetry(settings, token)
        self._telemetry.install()
        self._telemetry.add_source(lambda: component_readings(self._board.snapshot()))
        # Two workers of one machine share the data folder, never a scratch folder.
        self._scratch = own_scratch(DataFolder(settings.data).scratch)
        self._board = Board(
            self._clock, HistoryFile(settings.cache / "history" / "loads.json"), on_transition=BoardEvents()
        )
        self.host = self._make_host(target)

    def sweep(self) -> None:
        """Remove this process's scratch folder."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    async def serve(self, stack: AsyncExitStack, listener: socket.socket) -> int:
        """Register with the gateway and work; return the exit code."""
        # In a thread: the model's process is being brought up meanwhile, and asks for what it needs.
        with quick_switches():
            interior = await asyncio.to_thread(_import_interior)
        parts = InteriorParts(
            settings=self._settings,
            token=self._token,
            clock=self._clock,
            board=self._board,
            telemetry=self._telemetry,
            scratch=self._scratch,
        )
        rooms = interior(parts, self.host, listener)
        await stack.enter_async_context(rooms)
        return 0 if await rooms.serve() else FAILED

    def _make_host(self, target: str) -> Host:
        wanted = self._settings.worker
        name = guessed_name(target)
        spec = HostSpec(
            target=target,
            name=name,
            device=wanted.device,
            options=options_of(target, wanted.options, self._settings.options),
            preload=wanted.preload,
            slots=wanted.slots,
            startup_timeout_seconds=wanted.startup_timeout_seconds,
            stall_seconds=wanted.stall_seconds,
            warm_up_seconds=wanted.warm_up_seconds,
            memory_limit_bytes=wanted.memory_limit_bytes,
            load_attempts=wanted.load_attempts,
            max_restarts=wanted.max_restarts,
            cancel_grace_seconds=wanted.cancel_grace_seconds,
            scratch=self._scratch / "model",
            cards=CardSpec(
                folder=DataFolder(self._settings.data).cards,
                limit_bytes=wanted.device_memory_bytes,
                turns=Turns(turn_seconds=wanted.device_turn_seconds),
            ),
        )
        # Which device it is to be is known once the model's process has looked.
        component = self._board.add(name, model=name, device=None if wanted.device == AUTO else wanted.device)
        weights = Weights(self._settings.cache, open_weights, self._clock)
        return Host(spec, component, clock=self._clock, weights=weights)


def worker_token(settings: Settings) -> str:
    """Return the token that the gateway knows this worker by. Raises `SettingsError` if there is none."""
    if settings.worker.token is not None:
        return settings.worker.token.reveal()
    path = DataFolder(settings.data).worker_token
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"no worker token: {path}: {error.strerror}; {WHERE_TO_FIND_IT}") from error
    if not token:
        raise SettingsError(f"no worker token: {path} is empty; {WHERE_TO_FIND_IT}")
    return token


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


def _import_interior() -> type[WorkerInterior]:
    from glowplug.assembly.worker_interior import WorkerInterior

    return WorkerInterior
