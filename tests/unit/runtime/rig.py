"""A worker as the tests see it: the real one, against the real desk and store, with models that follow a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from glowplug import events
from glowplug.artifact import Artifact, ArtifactStore
from glowplug.artifacts.disk import DiskArtifacts
from glowplug.broker import Hint
from glowplug.brokers.rows import RowsBroker
from glowplug.clock import Clock, SystemClock
from glowplug.errors import Conflict, GlowplugError, LeaseLost, ModelCrashed, NotReady
from glowplug.gateway.parts import GatewayParts
from glowplug.gateway.policy import Access, GatewayPolicy
from glowplug.gateway.service import Gateway
from glowplug.job import Budget, Job, JobEvent, JobRequest, Outcome, OutcomeKind
from glowplug.lifecycle import Startable, running
from glowplug.link import Order, OrderKind
from glowplug.links.memory import MemoryLink
from glowplug.model import TaskOptions
from glowplug.process.call import Call, CallEnd, CallSink
from glowplug.readiness import Board, Status
from glowplug.runtime.direct import DirectApp
from glowplug.runtime.policy import WorkerIdentity, WorkerPolicy
from glowplug.runtime.web_inputs import WebReader
from glowplug.runtime.worker import Worker, WorkerParts
from glowplug.store import ModelInfo, Settlement, TaskInfo
from glowplug.stores.memory import MemoryStore

SECONDS = 20.0
QUICK = WorkerPolicy(
    notes_seconds=0.01, board_seconds=0.01, parking_seconds=0.01, retry_base_seconds=0.01, retry_cap_seconds=0.02
)


@dataclass
class Running:
    """A call inside a scripted model: what was asked, and whether it was told to stop."""

    call: Call
    sink: CallSink
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    kind: OutcomeKind | None = None

    async def until_stopped(self) -> CallEnd:
        """Run until somebody says stop, and end as told."""
        await self.stop.wait()
        return CallEnd(self.kind or OutcomeKind.CANCELED)


Script = Callable[[Running], Awaitable[CallEnd]]


async def done(run: Running) -> CallEnd:
    """End at once, giving back what came."""
    return CallEnd(OutcomeKind.COMPLETED, run.call.input_json)


async def endless(run: Running) -> CallEnd:
    """Run until stopped."""
    return await run.until_stopped()


def ends(*ends: CallEnd) -> Script:
    """Return a script that ends its calls as listed, one after the other; the last goes on for ever."""
    left = list(ends)

    async def script(run: Running) -> CallEnd:
        return left.pop(0) if len(left) > 1 else left[0]

    return script


class Gate:
    """A script that holds each call until it is opened, or until the call is told to stop."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, run: Running) -> CallEnd:
        waits = [asyncio.ensure_future(self.open.wait()), asyncio.ensure_future(run.stop.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return await done(run) if self.open.is_set() else CallEnd(run.kind or OutcomeKind.CANCELED)


class FakeHost(Startable):
    """A host without a process: its component, slots and stops are as real as a host's, its model is a script."""

    def __init__(self, board: Board, name: str = "echo", *, slots: int = 1, tasks: Iterable[TaskInfo] = ()) -> None:
        self.component = board.add(name, model=name)
        self.info: ModelInfo | None = ModelInfo(name, "1", tuple(tasks) or (TaskInfo(f"{name}.say"),))
        self.slots = slots
        self.script: Script = done
        self.runs: dict[str, Running] = {}
        self.calls: list[Call] = []
        self.most_at_once = 0
        self.stopped: list[tuple[str, OutcomeKind]] = []
        self.on_info: Callable[[ModelInfo], None] | None = None
        self.reloads = 0
        self.batches: list[int] = []
        self._places = asyncio.Semaphore(slots)
        self._news = asyncio.Condition()

    @property
    def free_slots(self) -> int:
        return self.slots - len(self.runs)

    async def run(self, call: Call, sink: CallSink | None = None) -> CallEnd:
        assert sink is not None
        if not self.component.status.can_serve:
            return CallEnd(OutcomeKind.FAILED, error=NotReady("not ready"))
        run = Running(call, sink)
        self.runs[call.id] = run
        self.calls.append(call)
        await self._told()
        try:
            async with self._places:
                self.most_at_once = max(self.most_at_once, len(self.runs))
                return await self.script(run)
        except LeaseLost as error:
            return CallEnd(OutcomeKind.CANCELED, error=error)
        except GlowplugError as error:
            return CallEnd(OutcomeKind.FAILED, error=error)
        finally:
            self.runs.pop(call.id, None)
            await self._told()

    @property
    def options(self) -> dict[str, TaskOptions]:
        assert self.info is not None
        return {task.name: TaskOptions(batch=task.batch) for task in self.info.tasks}

    async def run_batch(self, calls: Sequence[Call], sinks: Sequence[CallSink | None]) -> list[CallEnd]:
        self.batches.append(len(calls))
        return list(await asyncio.gather(*map(self.run, calls, sinks)))

    def stop_call(self, call_id: str, kind: OutcomeKind) -> None:
        self.stopped.append((call_id, kind))
        if run := self.runs.get(call_id):
            run.kind = run.kind or kind
            run.stop.set()

    async def reload(self) -> None:
        self.reloads += 1
        if not self.component.status.is_failed:
            raise Conflict("nothing to retry")
        self.load()

    async def _start(self) -> None:
        self.load()

    def load(self) -> None:
        """Become ready."""
        self.component.begin()
        self.component.ready()

    async def called(self, count: int = 1) -> Running:
        """Wait for the `count`-th call, and return the newest that runs."""
        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(lambda: len(self.calls) >= count and bool(self.runs))
        return list(self.runs.values())[-1]

    async def _told(self) -> None:
        async with self._news:
            self._news.notify_all()


class Events:
    """Everything that was emitted while a test ran."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self._news = asyncio.Event()

    def __call__(self, spec: events.EventSpec, fields: dict[str, Any]) -> None:
        self.seen.append((spec.name, dict(fields)))
        self._news.set()

    def names(self) -> list[str]:
        return [name for name, _ in self.seen]

    async def until(self, name: str, **fields: Any) -> dict[str, Any]:
        """Wait until an event was emitted with these fields."""
        async with asyncio.timeout(SECONDS):
            while True:
                for seen, said in self.seen:
                    if seen == name and said.items() >= fields.items():
                        return said
                self._news.clear()
                await self._news.wait()


@dataclass
class Rig:
    """A gateway in memory, a link that can be broken, and one worker."""

    clock: Clock
    store: MemoryStore
    broker: RowsBroker
    gateway: Gateway
    artifacts: ArtifactStore
    link: MemoryLink
    board: Board
    hosts: list[FakeHost]
    worker: Worker
    events: Events
    scratch: Path
    direct: DirectApp | None = None

    @property
    def host(self) -> FakeHost:
        return self.hosts[0]

    async def submit(self, task: str = "echo.say", count: int = 1, **fields: Any) -> list[Job]:
        """Queue jobs and hint at them."""
        budget = Budget(errors=fields.pop("budget_errors", 3), crashes=fields.pop("budget_crashes", 3))
        requests = [JobRequest(task=task, budget=budget, **({"input": {"n": n}} | fields)) for n in range(count)]
        jobs = [submission.job for submission in await self.store.submit(requests)]
        await self.broker.publish([Hint(job.id, job.task) for job in jobs])
        return jobs

    async def submit_one(self, task: str = "echo.say", **fields: Any) -> Job:
        (job,) = await self.submit(task, **fields)
        return job

    async def ended(self, job: Job) -> Job:
        """Wait until the job has ended for good."""
        async with asyncio.timeout(SECONDS):
            while not (found := await self.gateway.feed.done(job.id, timeout_seconds=SECONDS)).done:
                continue
            return found

    async def told(self, job: Job, kind: str, count: int = 1) -> list[JobEvent]:
        """Wait until the job's log has `count` events of a kind; return all of that kind."""
        with self.gateway.feed.watch(job.id) as channel:
            async with asyncio.timeout(SECONDS):
                while True:
                    bell = channel.bell
                    found = [event for event in await self.log(job) if event.type == kind]
                    if len(found) >= count:
                        return found
                    await bell.wait()

    async def worker_waits(self, task: str = "echo.say") -> None:
        """Wait until a claim of the worker waits at the desk."""
        async with asyncio.timeout(SECONDS):
            while not self.gateway.desk.free_slots(task):
                await asyncio.sleep(0)

    async def worker_is_known(self) -> None:
        """Wait until the gateway has heard that the models are ready."""
        await self.events.until("worker.status", status="ready")

    async def log(self, job: Job) -> list[JobEvent]:
        return await self.store.events(job.id)

    async def types(self, job: Job) -> list[str]:
        found = await self.log(job)
        assert [event.seq for event in found] == list(range(1, len(found) + 1))
        return [event.type for event in found]

    async def job(self, job: Job) -> Job:
        return await self.store.job(job.id)

    async def take_away(self, job: Job | None = None) -> None:
        """End the running attempts as lost, as the reaper does with an expired lease; of one job or of all."""
        holds = [hold for hold in await self.store.held_by("w1") if job is None or hold.job_id == job.id]
        await self.gateway.ledger.settle("", [Settlement(hold, Outcome(OutcomeKind.LOST)) for hold in holds])

    def order(self, kind: OrderKind, target: str = "") -> None:
        self.gateway.desk.order("w1", Order(kind, target))


async def bytes_of(artifacts: ArtifactStore, key: str) -> bytes:
    """Return what is stored under a key."""
    return b"".join([piece async for piece in artifacts.read(key)])


async def piece(data: bytes) -> AsyncIterator[bytes]:
    yield data


def saved_file(run: Running, name: str, data: bytes) -> tuple[Artifact, Path]:
    """Write a file into the run's scratch folder as `ctx.save` does."""
    assert run.call.scratch is not None
    folder = run.call.scratch / "saved"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return Artifact(f"{run.call.prefix}/{name}", len(data), "", "text/plain"), path


CRASH = CallEnd(OutcomeKind.CRASHED, error=ModelCrashed("died", exit=-11))


@asynccontextmanager
async def rig(
    folder: Path,
    *,
    clock: Clock | None = None,
    policy: WorkerPolicy = QUICK,
    lease_seconds: float = 60.0,
    hosts: Mapping[str, int] | None = None,
    tasks: Iterable[TaskInfo] = (),
    ready: bool = True,
    with_worker: bool = True,
    artifacts: ArtifactStore | None = None,
    web: WebReader | None = None,
) -> AsyncIterator[Rig]:
    """Run a gateway and a worker with one scripted host for each of `hosts` (name: slots)."""
    clock = clock or SystemClock()
    seen = Events()
    previous = events.set_sink(seen)
    store, broker = MemoryStore(clock=clock, jitter=lambda: 0.0), RowsBroker(clock=clock)
    artifacts = artifacts or DiskArtifacts(folder / "artifacts")
    own = Board(clock)
    policy_of_gateway = GatewayPolicy(access=Access(worker_token="secret"), lease_seconds=lease_seconds)
    parts = GatewayParts(
        store=store, broker=broker, artifacts=artifacts, board=own, clock=clock, policy=policy_of_gateway
    )
    gateway = Gateway(parts)
    link = MemoryLink(gateway.desk)
    board = Board(clock)
    made = [FakeHost(board, name, slots=slots, tasks=tasks) for name, slots in (hosts or {"echo": 1}).items()]
    identity = WorkerIdentity(instance_id="w1", incarnation="i1", pid=1)
    worker = Worker(
        WorkerParts(
            identity=identity,
            hosts=made,  # type: ignore[arg-type]
            link=link,
            artifacts=artifacts,
            board=board,
            clock=clock,
            scratch=folder / "scratch",
            policy=replace(policy),
            web=web,
        )
    )
    found = Rig(clock, store, broker, gateway, artifacts, link, board, made, worker, seen, folder / "scratch")
    lives: list[Startable] = [store, broker, artifacts, gateway, link]
    lives += [*made] if ready else []
    lives += [worker] if with_worker else []
    try:
        async with asyncio.timeout(60), running(lives):
            yield found
    finally:
        events.set_sink(previous)


def status_of(host: FakeHost) -> Status:
    return host.component.status
