"""Direct calls: a bare ASGI application between an HTTP server and a model's process, for `POST /v1/run/{task}`.

The body goes to the model's process unread: it is validated there. Only a body that names artifacts is parsed here.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from glowplug import events
from glowplug.artifact import SCHEME, ArtifactStore, named_in
from glowplug.clock import Clock
from glowplug.errors import GlowplugError, InvalidInput, NotFound, NotReady
from glowplug.job import OutcomeKind
from glowplug.lifecycle import Startable, stop_all
from glowplug.process.call import Call, CallEnd
from glowplug.process.host import Host
from glowplug.runtime.admission import Admission
from glowplug.runtime.asgi import (
    Application,
    ClientGone,
    Departure,
    EventStream,
    Receive,
    Scope,
    Send,
    answer_problem,
    read_body,
)
from glowplug.runtime.batcher import Batchers
from glowplug.runtime.direct_sink import DirectSink, answer_end, break_off
from glowplug.runtime.directory import Directory
from glowplug.runtime.folders import FolderLimits
from glowplug.runtime.inputs import fetch_inputs, file_keys
from glowplug.runtime.scratch import remove, sweep
from glowplug.runtime.uploads import put_once
from glowplug.store import TaskInfo

PATH = "/v1/run/"
_ARTIFACT = SCHEME.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectPolicy:
    """Limits of direct calls. `watch_after_seconds` is how long a call lasts before its caller is watched."""

    admission: Admission = Admission()
    body_bytes: int = 32 * 1024 * 1024
    waiting_calls: int = 1024
    grace_seconds: float = 20.0
    watch_after_seconds: float = 0.05
    folders: FolderLimits = FolderLimits()


@dataclass(frozen=True, slots=True)
class DirectParts:
    """What direct calls use. `scratch` is theirs alone; every other path goes to `otherwise`, such as the probes."""

    hosts: Sequence[Host]
    artifacts: ArtifactStore
    clock: Clock
    scratch: Path
    policy: DirectPolicy = DirectPolicy()
    otherwise: Application | None = None


@dataclass(frozen=True, slots=True)
class _Request:
    runner: Batchers
    task: TaskInfo
    body: bytes
    stream: EventStream | None


class DirectApp(Startable):
    """The ASGI application. Calls of one task that come close together go to the model together, if it batches."""

    def __init__(self, parts: DirectParts) -> None:
        self._parts = parts
        self._policy = parts.policy
        self._directory = Directory(parts.hosts)
        self._runners = {host: Batchers(host, parts.clock) for host in parts.hosts}
        self._put = put_once(parts.artifacts)
        # Unguessable, because the id is the folder of the call's artifacts.
        self._ids = (f"{secrets.token_hex(8)}-{number:x}" for number in itertools.count())
        self._open = True
        self._answering = 0
        self._empty = asyncio.Event()
        self.slot_taken: Callable[[], None] = _nobody
        self.slot_freed: Callable[[], None] = _nobody

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"].startswith(PATH):
            await self._timed(scope["path"][len(PATH) :], scope, receive, send)
        elif self._parts.otherwise is not None:
            await self._parts.otherwise(scope, receive, send)
        elif scope["type"] == "http":
            await answer_problem(send, NotFound(f"nothing is here; tasks are at {PATH}<task>"))

    async def leave(self) -> None:
        """Wait for the calls that run, for `grace_seconds` at most; new ones are told to go elsewhere."""
        self._open = False
        try:
            async with asyncio.timeout(self._policy.grace_seconds):
                while self._answering:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            return

    async def _start(self) -> None:
        await sweep(self._parts.scratch)
        for runner in self._runners.values():
            await runner.start()

    async def _stop(self) -> None:
        self._open = False
        await stop_all(self._runners.values())

    async def _timed(self, task: str, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), 200
        self._answering += 1
        try:
            await self._answer(task, scope, receive, send)
        except GlowplugError as error:
            status = error.status
            await answer_problem(send, error)
        except (ClientGone, OSError):
            # The caller closed the connection: there is nobody left to answer.
            status = 499
        finally:
            self._answering -= 1
            if not self._answering:
                self._empty.set()
            name = task if self._directory.knows(task) else "unknown"
            events.emit("call.done", task=name, status=status, seconds=time.perf_counter() - began)

    async def _answer(self, task: str, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        self._policy.admission.check(headers)
        if scope["method"] != "POST":
            raise NotFound(f"{task} is called with POST")
        host, info = self._directory.ready(task)
        self._check_room()
        body = await read_body(receive, headers, self._policy.body_bytes)
        stream = EventStream(send) if info.streams else None
        departure = Departure(receive, self._policy.watch_after_seconds, self.slot_taken)
        try:
            end = await self._perform(_Request(self._runners[host], info, body, stream), departure)
            await answer_end(end, stream, send)
        except GlowplugError as error:
            if departure.gone:
                # It was we who stopped the call, so its error tells nothing.
                raise ClientGone from error
            if stream is None or not stream.begun:
                raise
            await break_off(stream, error)
        finally:
            departure.close()
            # Of a short call too: somebody may have looked while it ran.
            self.slot_freed()

    def _check_room(self) -> None:
        if not self._open:
            raise NotReady("the worker is leaving; call again to reach another one", retry_after=1)
        if self._answering > self._policy.waiting_calls:
            raise NotReady("too many calls wait for this worker", retry_after=1)

    async def _perform(self, request: _Request, departure: Departure) -> CallEnd:
        call_id = next(self._ids)
        folder = self._parts.scratch / call_id
        call = Call(
            id=call_id,
            task=request.task.name,
            input_json=request.body or b"{}",
            scratch=folder,
            prefix=f"calls/{call_id}",
            timeout_seconds=request.task.timeout_seconds,
        )
        sink = DirectSink(self._put, request.stream)
        try:
            if _ARTIFACT in request.body:
                call = replace(call, files=await self._files(request, folder))
            departure.tell(lambda: request.runner.stop_call(call_id, OutcomeKind.CANCELED))
            if departure.gone:
                raise ClientGone
            end = await request.runner.run(call, sink)
            if end.kind is OutcomeKind.COMPLETED:
                await sink.uploads.settled()
            return end
        finally:
            await sink.uploads.close()
            await remove(folder)

    async def _files(self, request: _Request, folder: Path) -> dict[str, str]:
        try:
            keys = file_keys(named_in(msgspec.json.decode(request.body), request.task.input_schema))
        except msgspec.DecodeError as error:
            raise InvalidInput(f"the body is not JSON: {error}") from error
        return await fetch_inputs(self._parts.artifacts, keys, folder / "inputs", self._policy.folders)


def _nobody() -> None:
    """Stand in until a worker wants to know that slots change."""
