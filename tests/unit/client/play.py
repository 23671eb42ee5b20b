"""A real gateway on a real port, in a thread of its own, with a worker in it that plays a model."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import uvicorn

from glowplug.artifact import Artifact, job_prefix, parse_uri
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.boot import bind
from glowplug.brokers.rows import RowsBroker
from glowplug.clock import SystemClock
from glowplug.doors.job_webhook import JobWebhookOptions, JobWebhooks
from glowplug.gateway.app import build_app
from glowplug.gateway.parts import GatewayParts, ReadinessRoutes
from glowplug.gateway.policy import Access, GatewayPolicy, Limits
from glowplug.gateway.service import Gateway
from glowplug.gateway.upkeep import Upkeep
from glowplug.job import Failure, Note, Outcome, OutcomeKind, Progress
from glowplug.lifecycle import running
from glowplug.link import Claim, Events, Finish, Grant, OrderKind, Register
from glowplug.readiness import Board, ComponentSnapshot, MergedBoard, Snapshot, Status
from glowplug.readiness import Failure as LoadFailure
from glowplug.store import ModelInfo, Report, Settlement, TaskInfo, Want
from glowplug.stores.memory import MemoryStore
from glowplug.web.parts import ReadinessParts
from glowplug.web.permission import anyone
from glowplug.web.routes import readiness_routes

T = TypeVar("T")
LIMIT_SECONDS = 20
PICTURE = b"\x89PNG not really"


def _task(name: str, **properties: dict[str, Any]) -> TaskInfo:
    required = [key for key, schema in properties.items() if "default" not in schema]
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return TaskInfo(f"play.{name}", f"Play {name}", schema, {}, example=None, short=True)


PLAY = ModelInfo(
    "play",
    "3",
    (
        _task(
            "echo",
            text={"type": "string"},
            times={"type": "integer", "default": 1},
            loud={"type": "boolean", "default": False},
        ),
        _task("fail"),
        _task("steps", count={"type": "integer"}),
        _task("hold"),
        _task("picture", count={"type": "integer", "default": 1}),
        _task("measure", file={"type": "string", "format": "artifact"}),
        replace(_task("sing", text={"type": "string"}), streams=True),
    ),
)


class PlayWorker:
    """Takes every job of the model `play` and answers as a real one would."""

    def __init__(self, gateway: Gateway, released: asyncio.Event) -> None:
        self._gateway = gateway
        self._released = released
        self._running: dict[str, asyncio.Task[None]] = {}
        self._sequence = 0
        self.url: str | None = None

    async def register(self, status: Status = Status.READY, **more: Any) -> None:
        component = ComponentSnapshot("play", model="play", status=status, attempt=1, **more)
        picture = Snapshot.of([component], taken_at=datetime.now(UTC)).to_dict()
        self._sequence += 1
        await self._gateway.desk.register(Register("w1", "one", self._sequence, picture, models=(PLAY,), url=self.url))

    async def work(self) -> None:
        wants = (Want(tuple(task.name for task in PLAY.tasks), 4),)
        while True:
            claimed = await self._gateway.desk.claim(Claim("w1", "one", wants, 10.0))
            for order in claimed.orders:
                if order.kind is OrderKind.CANCEL and (run := self._running.get(order.target)):
                    run.cancel()
                if order.kind is OrderKind.RETRY:
                    await self.register()
            for grant in claimed.grants:
                self._running[grant.hold.job_id] = asyncio.create_task(self._run(grant))

    async def _run(self, grant: Grant) -> None:
        try:
            outcome = await self._outcome(grant, dict(grant.input))
        except asyncio.CancelledError:
            outcome = Outcome(OutcomeKind.CANCELED)
        await self._gateway.desk.finish(Finish("w1", (Settlement(grant.hold, outcome),)))
        self._running.pop(grant.hold.job_id, None)

    async def _outcome(self, grant: Grant, said: dict[str, Any]) -> Outcome:
        match grant.task:
            case "play.echo":
                text = said["text"] * said.get("times", 1)
                return Outcome(OutcomeKind.COMPLETED, text.upper() if said.get("loud") else text)
            case "play.steps":
                await self._steps(grant, said["count"])
                return Outcome(OutcomeKind.COMPLETED, said["count"])
            case "play.hold":
                await self._released.wait()
                return Outcome(OutcomeKind.COMPLETED, "released")
            case "play.picture":
                made = tuple([await self._picture(grant, number) for number in range(said.get("count", 1))])
                return Outcome(OutcomeKind.COMPLETED, [one.uri for one in made], artifacts=made)
            case "play.sing":
                return Outcome(OutcomeKind.COMPLETED, [f"{word} " for word in said["text"].split()])
            case "play.measure":
                key = parse_uri(said["file"])
                sizes = [len(chunk) async for chunk in self._gateway.parts.artifacts.read(key)]
                return Outcome(OutcomeKind.COMPLETED, sum(sizes))
        return Outcome(OutcomeKind.FAILED, failure=Failure("ValueError", "it did not work", retryable=False))

    async def _steps(self, grant: Grant, count: int) -> None:
        for number in range(1, count + 1):
            progress = Progress(number, count, f"step {number}")
            data = {"done": number, "total": count, "percent": progress.percent, "note": progress.note}
            notes = (Note("progress", data, progress=progress), Note("log", {"text": f"did {number}"}))
            await self._gateway.desk.events(Events("w1", (Report(grant.hold, notes),)))

    async def _picture(self, grant: Grant, number: int) -> Artifact:
        async def chunks() -> AsyncIterator[bytes]:
            yield PICTURE

        key = f"{job_prefix(grant.hold.job_id, grant.hold.token)}/picture-{number}.png"
        stored = await self._gateway.parts.artifacts.put(key, chunks(), media_type="image/png")
        assert stored.sha256 == hashlib.sha256(PICTURE).hexdigest()
        return stored


@dataclass
class Play:
    """The running gateway, and what a test does to it from outside of its thread."""

    url: str
    gateway: Gateway
    worker: PlayWorker
    loop: asyncio.AbstractEventLoop
    released: asyncio.Event
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def do(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the gateway's loop."""
        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(LIMIT_SECONDS)

    def ready(self) -> None:
        """Let the model be ready, and take work."""

        async def begin() -> None:
            await self.worker.register()
            if not self.tasks:
                self.tasks.append(asyncio.create_task(self.worker.work()))

        self.do(begin)

    def loading(self, **more: Any) -> None:
        self.do(lambda: self.worker.register(Status.LOADING, **more))

    def broken(self) -> None:
        self.do(lambda: self.worker.register(Status.ERROR, failure=LoadFailure("no weights")))

    def release(self) -> None:
        self.loop.call_soon_threadsafe(self.released.set)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _readiness(own: Board, models: MergedBoard, upkeep: Upkeep) -> ReadinessRoutes:
    return ReadinessRoutes(readiness_routes(ReadinessParts(own=own, models=models, actions=upkeep, permit=anyone())))


@asynccontextmanager
async def _gateway(folder: Path, policy: GatewayPolicy) -> AsyncIterator[Play]:
    clock = SystemClock()
    store, broker, artifacts = MemoryStore(clock=clock), RowsBroker(clock=clock), DiskArtifacts(folder / "artifacts")
    async with running([store, broker, artifacts]):
        app = build_app(
            GatewayParts(
                store=store,
                broker=broker,
                artifacts=artifacts,
                board=Board(clock),
                clock=clock,
                policy=policy,
                doors=[JobWebhooks(JobWebhookOptions(allow_private=True), clock=clock)],
                probes=_readiness,
            )
        )
        listener = bind("127.0.0.1", 0)
        config = uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, timeout_graceful_shutdown=1)
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        gateway, released = app.state.gateway, asyncio.Event()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        play = Play(url, gateway, PlayWorker(gateway, released), asyncio.get_running_loop(), released)
        try:
            yield play
        finally:
            released.set()
            for task in play.tasks:
                task.cancel()
            await asyncio.gather(*play.tasks, return_exceptions=True)
            gateway.hang_up()
            server.should_exit = True
            await serving


@contextmanager
def playing(folder: Path, *, token: str | None = None, upload_bytes: int = 1 << 20) -> Iterator[Play]:
    """Serve a gateway in a thread while the block runs; its model is not registered yet."""
    access = Access(worker_token="worker-secret", api_token=token)
    policy = replace(GatewayPolicy(access=access), limits=Limits(artifact_bytes=upload_bytes))
    up, made, ended = threading.Event(), [], []

    async def main() -> None:
        stop = asyncio.Event()
        async with _gateway(folder, policy) as play:
            made.append(play)
            ended.append(stop)
            up.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="play")
    thread.start()
    assert up.wait(LIMIT_SECONDS)
    try:
        yield made[0]
    finally:
        made[0].loop.call_soon_threadsafe(ended[0].set)
        thread.join(LIMIT_SECONDS)
        assert not thread.is_alive()
