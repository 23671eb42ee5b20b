"""A host with a real process behind it, and a sink that remembers what it was told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from glowplug import events
from glowplug.artifact import Artifact
from glowplug.clock import Clock, SystemClock
from glowplug.job import Note
from glowplug.process.host import Call, CallEnd, Host, HostSpec, WeightsFetcher
from glowplug.readiness.board import Board
from glowplug.readiness.component import Component
from glowplug.readiness.component_snapshot import ComponentSnapshot
from glowplug.readiness.spec import Transition

MODELS = Path(__file__).parents[2] / "models"
SECONDS = 30.0
"""Long enough for anything here on a busy machine: only a failing test waits so long."""

Event = tuple[str, dict[str, Any]]


@dataclass
class Rig:
    """A host, its board, and what has happened."""

    host: Host
    board: Board
    transitions: list[Transition]
    events: list[Event]

    @property
    def component(self) -> Component:
        return self.host.component

    async def until(self, reached: Callable[[ComponentSnapshot], bool]) -> ComponentSnapshot:
        """Wait until the component is as wanted."""
        async with asyncio.timeout(SECONDS), self.board.subscribe() as news:
            async for snapshot in news:
                found = snapshot.find(self.component.name)
                if found is not None and reached(found):
                    return found
        raise AssertionError("the board was closed")

    async def until_ready(self, attempt: int = 1) -> ComponentSnapshot:
        """Wait until it serves, at the `attempt`-th load or later."""
        return await self.until(lambda seen: seen.status.can_serve and seen.attempt >= attempt)

    async def until_failed(self) -> ComponentSnapshot:
        """Wait until it has given up."""
        return await self.until(lambda seen: seen.status.is_failed)

    async def run(self, task: str, sink: Recorder | None = None, **values: Any) -> CallEnd:
        """Run a task of the model, with a time limit of the test's own."""
        async with asyncio.timeout(SECONDS):
            return await self.host.run(self.call(task, **values), sink)

    def call(self, task: str, *, call_id: str = "", **values: Any) -> Call:
        """Return a call with `values` as its input."""
        self._count += 1
        return Call(
            id=call_id or f"call-{self._count}",
            task=f"{self.model}.{task}",
            input_json=json.dumps(values).encode(),
        )

    _count = 0

    @property
    def model(self) -> str:
        assert self.host.info is not None
        return self.host.info.name

    def told(self, name: str) -> list[dict[str, Any]]:
        """Return the fields of every event `name` so far."""
        return [fields for known, fields in self.events if known == name]

    def pid(self) -> int:
        """Return the number of the newest process."""
        pid: int = self.told("model.spawned")[-1]["pid"]
        return pid


@dataclass
class Recorder:
    """A sink that keeps everything, and raises what it is told to."""

    notes: list[Note] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    checkpoints: list[tuple[int, bytes]] = field(default_factory=list)
    chunks: list[Any] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    fault: Exception | None = None
    gate: asyncio.Event | None = None

    async def note(self, note: Note) -> None:
        self.notes.append(note)
        await self._hear()

    async def saved(self, artifact: Artifact, path: Path) -> None:
        self.artifacts.append(artifact)
        self.files[artifact.key] = path.read_bytes()
        await self._hear()

    async def checkpoint(self, step: int, path: Path) -> None:
        self.checkpoints.append((step, path.read_bytes()))
        await self._hear()

    async def chunk(self, output_json: bytes) -> None:
        self.chunks.append(json.loads(output_json))
        await self._hear()

    async def _hear(self) -> None:
        self.heard.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault

    async def until_heard(self) -> None:
        """Wait for the first report."""
        async with asyncio.timeout(SECONDS):
            await self.heard.wait()

    def log(self) -> str:
        """Return the text of the log."""
        return "\n".join(note.data["text"] for note in self.notes if note.type == "log")


@asynccontextmanager
async def hosted(
    tmp_path: Path,
    model: str,
    *,
    clock: Clock | None = None,
    weights: WeightsFetcher | None = None,
    ready: bool = True,
    **spec: Any,
) -> AsyncIterator[Rig]:
    """Start a host for `tests/models/<model>.py`; nothing of it is left afterwards, which is checked."""
    transitions: list[Transition] = []
    told: list[Event] = []
    board = Board(clock or SystemClock(), on_transition=transitions.append)
    previous = events.set_sink(lambda known, fields: told.append((known.name, fields)))
    wanted = HostSpec(target=str(MODELS / f"{model}.py"), scratch=tmp_path / "scratch")
    wanted = replace(wanted, **{"cancel_grace_seconds": 1.0, **spec})
    host = Host(wanted, board.add(model), clock=clock or SystemClock(), weights=weights)
    rig = Rig(host, board, transitions, told)
    try:
        await host.start()
        if ready:
            await rig.until_ready()
        yield rig
    finally:
        async with asyncio.timeout(SECONDS):
            await host.stop()
        events.set_sink(previous)
    mine = [fields["pid"] for fields in rig.told("model.spawned") if fields["model"] == model]
    assert [pid for pid in mine if psutil.pid_exists(pid)] == []
    assert list((tmp_path / "scratch").glob("*/*")) == []
