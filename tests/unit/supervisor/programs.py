"""Small programs that play a worker, and what a test wants to know of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glowplug.clock import Clock, SystemClock
from glowplug.events import EventSpec, set_sink
from glowplug.runtime.backoff import Backoff
from glowplug.supervisor import Supervisor, SupervisorPolicy, WorkerPlan

LIMIT_SECONDS = 20

STAYS = "import time; print('up', flush=True); time.sleep(600)"
OBEDIENT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print('leaving', flush=True), sys.exit(0)))
print('up', flush=True)
time.sleep(600)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
time.sleep(600)
"""
# A grandchild in the same process group that holds the pipes open.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
print('child', child.pid, flush=True)
time.sleep(600)
"""


def ends(code: int, *lines: str) -> str:
    return "".join(f"print({line!r}); " for line in lines) + f"import sys; sys.stdout.flush(); sys.exit({code})"


def plan(program: str, target: str = "model.py", instance_id: str = "w1") -> WorkerPlan:
    return WorkerPlan(
        target=target, instance_id=instance_id, command=(sys.executable, "-u", "-c", program), environment={}
    )


@dataclass
class Crew:
    """A supervisor under test, with all that it said and did."""

    lines: list[str] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)
    exits: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    supervisor: Supervisor = field(init=False)

    def forward(self, which: WorkerPlan, line: str) -> None:
        self.lines.append(f"{which.instance_id}: {line}")
        self.changed.set()

    async def died(self, instance_id: str) -> bool:
        self.deaths.append(instance_id)
        self.changed.set()
        return False

    def heard(self, spec: EventSpec, fields: dict[str, Any]) -> None:
        if spec.name == "worker.exited":
            self.exits.append(fields)
            self.changed.set()

    async def until(self, true: Callable[[], object]) -> None:
        """Wait for something that shows in a line, a death or an exit."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not true():
                self.changed.clear()
                await self.changed.wait()

    def said(self, line: str) -> int:
        return self.lines.count(line)


def at_once(seconds: float = 0.0) -> Backoff:
    return Backoff(base_seconds=seconds, cap_seconds=seconds, random=lambda: 1.0)


@asynccontextmanager
async def crew(
    *plans: WorkerPlan,
    clock: Clock | None = None,
    backoff: Backoff | None = None,
    grace_seconds: float = 10.0,
    reload: bool = False,
    on_death: Callable[[Crew], Any] | None = None,
) -> AsyncIterator[Crew]:
    """Supervise the planned programs for the block."""
    made = Crew()
    policy = SupervisorPolicy(backoff=backoff or at_once(), grace_seconds=grace_seconds, reload=reload)
    made.supervisor = Supervisor(
        plans,
        on_death(made) if on_death else made.died,
        clock=clock or SystemClock(),
        policy=policy,
        forward=made.forward,
    )
    former = set_sink(made.heard)
    try:
        async with made.supervisor:
            yield made
    finally:
        set_sink(former)


def python_file(folder: Path, name: str, text: str = "") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def commands(plans: Sequence[WorkerPlan]) -> list[tuple[str, ...]]:
    return [one.command for one in plans]
