"""What a million jobs that wait cost: each question that is asked of a store while it works, over and over.

`python -m benchmarks.million_rows [URL [ROWS]]` measures the store at that address, which must be empty; without one,
SQLite in a folder of its own. The rows of a SQL store are written by one statement, others are submitted.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import create_engine, text

from benchmarks.report import Figure, percentile, show
from glowplug.assembly.adapters import open_store
from glowplug.clock import SystemClock
from glowplug.errors import SettingsError
from glowplug.job import STRIDE, Job, JobRequest, JobState
from glowplug.store import JobFilter, Store, Want

ROWS = 1_000_000
OWNERS = (1, 100)
PRIORITIES = 3
ASKED = 400
TASK = "model.task"
LEASE = timedelta(seconds=60)
LIMITS_MS = {"sqlite": 50.0, "postgresql": 20.0}
PAST = timedelta(hours=1)

JOBS = """
INSERT INTO jobs (id, task, owner, state, created_at, run_at, priority, request_hash, attempt, token, last_seq, turn,
                  metadata, input)
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :rows)
SELECT '0123456789ab' || CAST(100000000000 + n AS CHAR(12)), :task, 'owner-' || CAST(n % :owners AS VARCHAR(9)),
       'queued', :at + n, :at + n, n % :priorities, '', 0, 0, 1,
       CAST(n / (:owners * :priorities) AS BIGINT) * :stride, '{}', '{"text":"a bicycle made of glass, at dusk"}'
FROM numbers
"""
EVENTS = "INSERT INTO events (job_id, seq, type, at, data) SELECT id, 1, 'queued', created_at, NULL FROM jobs"


@dataclass(frozen=True)
class Spell:
    """How long the answers to one question took, in milliseconds."""

    question: str
    milliseconds: list[float]


def measure() -> list[Figure]:
    """Return the figures of SQLite."""
    return [figure for owners in OWNERS for figure in _of_sqlite(owners)]


def _of_sqlite(owners: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(measure_store(f"sqlite:///{folder}/million.db", ROWS, owners))


async def measure_store(url: str, rows: int, owners: int) -> list[Figure]:
    """Fill the store at `url` and return what its answers took."""
    store = open_store(url, SystemClock())
    async with store:
        if (await store.jobs(JobFilter(), limit=1)).jobs:
            raise SettingsError("the store is not empty: this benchmark wants one of its own")
        begun = time.monotonic()
        await fill(store, url, rows, owners)
        print(f"  {rows:,} rows of {owners} owners: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        spells = await ask(store, owners)
    kind = url.partition(":")[0]
    return [figure_of(spell, kind, rows, owners) for spell in spells]


async def fill(store: Store, url: str, rows: int, owners: int) -> None:
    """Queue `rows` jobs: by one statement where there is SQL, else as callers do."""
    if url.startswith(("sqlite:", "postgresql:")):
        await asyncio.to_thread(_fill_tables, url, rows, owners)
        return
    for start in range(0, rows, 5_000):
        numbers = range(start, min(start + 5_000, rows))
        await store.submit([request(number % owners, number % PRIORITIES) for number in numbers])


def request(owner: int, priority: int = 0) -> JobRequest:
    """Return a request as all of them are."""
    words = {"text": "a bicycle made of glass, at dusk"}
    return JobRequest(task=TASK, input=words, owner=f"owner-{owner}", priority=priority)


def _fill_tables(url: str, rows: int, owners: int) -> None:
    at = int((SystemClock().now() - PAST).timestamp() * 1_000_000)
    values = {"rows": rows, "owners": owners, "priorities": PRIORITIES, "task": TASK, "at": at, "stride": STRIDE}
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text(JOBS), values)
        connection.execute(text(EVENTS))
    if url.startswith("postgresql:"):
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # What its own housekeeping would do within a minute.
            connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


async def ask(store: Store, owners: int) -> list[Spell]:
    """Ask each question many times."""
    chance = random.Random(1)
    want = [Want((TASK,), 1)]
    newest = await store.jobs(JobFilter(), limit=800)
    named, last = newest.jobs[:400], newest.jobs[400:]
    front = await store.undispatched([TASK], limit=200)
    middle = await _cursor_into(store, front)

    async def dispatch() -> None:
        await store.mark_dispatched([job.id for job in await store.undispatched([TASK], limit=4)])

    pages = [
        JobFilter(),
        JobFilter(states=(JobState.QUEUED,)),
        JobFilter(states=(JobState.RUNNING, JobState.FAILED)),
        JobFilter(task=TASK),
        JobFilter(owner="owner-0"),
        JobFilter(owner="owner-0", states=(JobState.QUEUED,)),
        JobFilter(owner="owner-0", states=(JobState.FAILED, JobState.CANCELED)),
    ]
    return [
        await _timed("claim of 1", lambda: store.claim("w", want, LEASE)),
        await _timed("claim of 8", lambda: store.claim("w", [Want((TASK,), 8)], LEASE), ASKED // 4),
        await _timed("claim by id", lambda: store.claim("w", want, LEASE, only=[chance.choice(named).id])),
        await _timed("list, 50 of each kind", lambda: store.jobs(chance.choice(pages))),
        await _timed("list, from the middle", lambda: store.jobs(chance.choice(pages), cursor=middle)),
        await _timed("position near the front", lambda: store.position(chance.choice(front).id)),
        await _timed("position beyond 10,000", lambda: store.position(chance.choice(last).id)),
        await _timed("undispatched and mark, 4", dispatch),
        await _timed("submit of 1", lambda: store.submit([request(chance.randrange(owners))])),
        await _timed("the owner's 60th newest", lambda: store.nth_newest("owner-0", 60, task=TASK)),
        await _timed("expire", store.expire),
        await _timed("next due", lambda: store.next_due_seconds([TASK, "model.other"])),
        await _timed("depths", store.depths, 20),
    ]


async def _cursor_into(store: Store, old: Sequence[Job]) -> str | None:
    """Return a cursor that many rows lie on both sides of."""
    middle = old[-1].created_at + timedelta(microseconds=ROWS // 2)
    return (await store.jobs(JobFilter(created_before=middle), limit=1)).next_cursor


async def _timed(question: str, ask_once: Callable[[], Awaitable[object]], times: int = ASKED) -> Spell:
    await ask_once()
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        await ask_once()
        taken.append((time.perf_counter() - begun) * 1000)
    return Spell(question, taken)


def figure_of(spell: Spell, kind: str, rows: int, owners: int) -> Figure:
    """Return a figure; claims and lists have a bar."""
    p99 = percentile(spell.milliseconds, 0.99)
    limit = LIMITS_MS.get(kind) if spell.question.startswith(("claim", "list")) else None
    return Figure(
        f"{kind}, {rows:,} queued of {owners} {'owner' if owners == 1 else 'owners'}: {spell.question}",
        f"p50 {statistics.median(spell.milliseconds):.2f} ms, p99 {p99:.2f} ms",
        "" if limit is None else f"p99 < {limit:.0f} ms",
        None if limit is None else p99 < limit,
        f"{len(spell.milliseconds)} one after the other",
    )


def main(url: str = "", rows: str = str(ROWS), owners: str = str(OWNERS[-1])) -> None:
    """Print the figures of the store at `url`, or of SQLite."""
    show(asyncio.run(measure_store(url, int(rows), int(owners))) if url else measure())


if __name__ == "__main__":
    main(*sys.argv[1:])
