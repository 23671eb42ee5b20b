"""A gateway as the tests see it: the real one over the store in memory, and workers played by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from glowplug.artifact import Artifact, ArtifactStore
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.broker import Broker
from glowplug.brokers.rows import RowsBroker
from glowplug.clock import Clock, ManualClock
from glowplug.events import EventSpec
from glowplug.gateway.app import build_app
from glowplug.gateway.parts import GatewayParts
from glowplug.gateway.policy import Access, GatewayPolicy
from glowplug.gateway.service import Gateway
from glowplug.job import Failure, Note, Outcome, OutcomeKind
from glowplug.lifecycle import running
from glowplug.link import Accepted, Claim, Claimed, Events, Finish, Grant, Link, Register, Registered, Renew
from glowplug.readiness import Board, ComponentSnapshot, ErrorClass, Gates, Snapshot, Status
from glowplug.readiness import Failure as LoadFailure
from glowplug.store import Hold, ModelInfo, Report, Settlement, Store, TaskInfo, Want
from glowplug.stores.memory import MemoryStore

WORKER_TOKEN = "worker-secret"
INPUT_SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "times": {"type": "integer", "minimum": 1}},
    "required": ["text"],
    "additionalProperties": False,
}
SAY = TaskInfo("echo.say", "Say it again", INPUT_SCHEMA, {"type": "string"}, example={"text": "hello"}, short=True)
ECHO = ModelInfo("echo", "1", (SAY,))
FILE_SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "file": {"type": "string", "format": "artifact"}},
    "additionalProperties": False,
}
"""Of a task that takes a text and a file, of which only one may be a reference."""
ECHO_OF_FILES = ModelInfo("echo", "1", (replace(SAY, input_schema=FILE_SCHEMA),))
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def picture(status: Status = Status.READY, *, draining: bool = False, **models: Status) -> dict[str, Any]:
    """Return the plain snapshot of a worker with the model echo, or with `models` by status."""
    chosen = models or {"echo": status}
    components = [
        ComponentSnapshot(
            name,
            model=name,
            status=one,
            percent=100.0 if one is Status.READY else 0.0,
            attempt=0 if one is Status.PENDING else 1,
            failure=LoadFailure("no weights") if one is Status.ERROR else None,
        )
        for name, one in chosen.items()
    ]
    return Snapshot.of(components, taken_at=MOMENT, draining=draining).to_dict()


def leaning(model: str) -> dict[str, Any]:
    """Return the snapshot of a worker whose model is well, while what it leans on is gone."""
    gone = LoadFailure("its server is gone", ErrorClass.TRANSIENT, retryable=True)
    one = ComponentSnapshot(
        model, model=model, status=Status.ERROR, gates=Gates.START, was_ready=True, attempt=1, failure=gone
    )
    return Snapshot.of([one], taken_at=MOMENT).to_dict()


class Told:
    """A sink that remembers: what was emitted, by name."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, spec: EventSpec, fields: dict[str, Any]) -> None:
        self.events.append((spec.name, fields))

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return the fields of every event called `name`."""
        return [fields for emitted, fields in self.events if emitted == name]


class HandWorker:
    """A worker whose every message a test sends itself."""

    def __init__(self, link: Link, instance_id: str = "w1", incarnation: str = "one") -> None:
        self.link = link
        self.instance_id = instance_id
        self.incarnation = incarnation
        self.sequence = 0

    async def register(self, snapshot: dict[str, Any] | None = None, **more: Any) -> Registered:
        self.sequence += 1
        more.setdefault("models", (ECHO,))
        return await self.link.register(
            Register(self.instance_id, self.incarnation, self.sequence, snapshot or picture(), **more)
        )

    async def claim(
        self, slots: int = 1, *, tasks: Sequence[str] = ("echo.say",), wait: float = 0.0, **more: Any
    ) -> Claimed:
        wants = (Want(tuple(tasks), slots),) if slots else ()
        return await self.link.claim(Claim(self.instance_id, self.incarnation, wants, wait, **more))

    async def one(self, **more: Any) -> Grant:
        """Claim exactly one job."""
        claimed = await self.claim(**more)
        assert len(claimed.grants) == 1
        return claimed.grants[0]

    async def renew(self, *grants: Grant) -> Any:
        holds = tuple(grant.hold for grant in grants)
        return await self.link.renew(Renew(self.instance_id, self.incarnation, holds))

    async def note(self, grant: Grant, *notes: Note) -> Accepted:
        return await self.link.events(Events(self.instance_id, (Report(grant.hold, notes),)))

    async def finish(self, grant: Grant, result: Any = None, artifacts: tuple[Artifact, ...] = ()) -> bool:
        return await self.end(grant.hold, Outcome(OutcomeKind.COMPLETED, result, artifacts=artifacts))

    async def fail(self, grant: Grant, *, retryable: bool = False) -> bool:
        failure = Failure("ValueError", "it did not work", retryable)
        return await self.end(grant.hold, Outcome(OutcomeKind.FAILED, failure=failure))

    async def end(self, hold: Hold, outcome: Outcome) -> bool:
        answer = await self.link.finish(Finish(self.instance_id, (Settlement(hold, outcome),)))
        return answer.accepted[0]


class House:
    """A running gateway, its HTTP side without a socket, and what a test wants to reach of it."""

    def __init__(self, gateway: Gateway, client: httpx.AsyncClient) -> None:
        self.gateway = gateway
        self.client = client
        self.parts = gateway.parts

    @property
    def clock(self) -> ManualClock:
        assert isinstance(self.parts.clock, ManualClock)
        return self.parts.clock

    @property
    def store(self) -> Store:
        return self.parts.store

    @property
    def artifacts(self) -> ArtifactStore:
        return self.parts.artifacts

    def worker(self, instance_id: str = "w1", incarnation: str = "one") -> HandWorker:
        return HandWorker(self.gateway.desk, instance_id, incarnation)

    async def ready_worker(self, instance_id: str = "w1") -> HandWorker:
        worker = self.worker(instance_id)
        await worker.register()
        return worker

    async def submit(self, text: str = "hello", **more: Any) -> dict[str, Any]:
        headers = more.pop("headers", {})
        body = {"task": "echo.say", "input": {"text": text}, **more}
        response = await self.client.post("/v1/jobs", json=body, headers=headers)
        assert response.status_code == 202, response.text
        return dict(response.json())

    async def job(self, job_id: str) -> dict[str, Any]:
        response = await self.client.get(f"/v1/jobs/{job_id}")
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def run_one(self, worker: HandWorker, result: Any = "done") -> dict[str, Any]:
        """Submit a job, let `worker` run it, and return its last view."""
        job = await self.submit()
        assert await worker.finish(await worker.one(), result)
        return await self.job(job["id"])


def policy(**more: Any) -> GatewayPolicy:
    """Return a policy for a gateway on loopback; `access` may be a dict of changes."""
    access = replace(Access(worker_token=WORKER_TOKEN, allowed_hosts=("testserver",)), **more.pop("access", {}))
    return GatewayPolicy(access=access, **more)


@asynccontextmanager
async def parts(folder: Path, clock: Clock, chosen: GatewayPolicy, **more: Any) -> AsyncIterator[GatewayParts]:
    """Yield started parts; `store`, `broker`, `artifacts` and the rest may be given."""
    store: Store = more.pop("store", None) or MemoryStore(clock=clock, jitter=lambda: 0.5)
    broker: Broker = more.pop("broker", None) or RowsBroker(clock=clock)
    artifacts: ArtifactStore = more.pop("artifacts", None) or DiskArtifacts(folder / "artifacts")
    async with running([store, broker, artifacts]):
        yield GatewayParts(
            store=store,
            broker=broker,
            artifacts=artifacts,
            board=Board(clock),
            clock=clock,
            policy=chosen,
            **more,
        )


@asynccontextmanager
async def house(
    folder: Path, clock: Clock | None = None, chosen: GatewayPolicy | None = None, **more: Any
) -> AsyncIterator[House]:
    """Yield a running gateway."""
    async with parts(folder, clock or ManualClock(), chosen or policy(), **more) as made:
        app = build_app(made)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        gateway: Gateway = app.state.gateway
        async with gateway, httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            yield House(gateway, client)


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(30):
        await asyncio.sleep(0)


def orders(answer: Claimed | Registered) -> list[tuple[str, str]]:
    """Return the orders of an answer in plain words."""
    return [(order.kind.value, order.target) for order in answer.orders]
