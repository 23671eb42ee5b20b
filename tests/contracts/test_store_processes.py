"""What a store on disk promises when several processes use it, and when one is killed in the middle of it."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from glowplug.clock import SystemClock
from glowplug.job import TERMINAL_TYPES, Job, JobEvent
from glowplug.store import JobFilter
from glowplug.stores.sql import SqlStore
from glowplug.testing.work import request

CHILD = Path(__file__).parent / "store_child.py"
SECONDS = 100.0


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(SECONDS):
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "glowplug.db"


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


async def child(*words: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, str(CHILD), *words, stdin=PIPE, stdout=PIPE)


async def read(process: Process) -> list[tuple[str, Any]]:
    """Return what the process has acknowledged and not been read yet, to its end."""
    assert process.stdout is not None
    lines = (await process.stdout.read()).split(b"\n")
    await process.wait()
    # The last piece is what was cut off in the middle of a line, or nothing.
    return [(what, value) for what, value in map(json.loads, lines[:-1])]


async def test_processes_that_claim_at_once_never_share_a_job(path: Path) -> None:
    store = SqlStore(url_of(path), clock=SystemClock())
    async with store:
        made = {submission.job.id for submission in await store.submit([request() for _ in range(500)])}
        workers = [await child("drain", url_of(path), f"w{number}") for number in range(3)]
        for worker in workers:
            assert worker.stdout is not None
            assert await worker.stdout.readline() == b"ready\n"
        answers = await asyncio.gather(*(worker.communicate(b"\n") for worker in workers))
        claimed = [json.loads(line)[1] for out, _ in answers for line in out.splitlines()]
        taken = [job_id for jobs in claimed for job_id in jobs]
        assert len(taken) == 500
        assert set(taken) == made
        for job_id in made:
            await check_job(store, await store.job(job_id))


@pytest.mark.parametrize("seed", range(4))
async def test_what_was_acknowledged_before_a_kill_is_there_after_it(path: Path, seed: int) -> None:
    await kill_campaign(path, random.Random(seed), rounds=2)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
async def test_what_was_acknowledged_before_two_hundred_kills_is_there_after_them(path: Path) -> None:
    async with asyncio.timeout(1800):
        await kill_campaign(path, random.Random(), rounds=200)


async def kill_campaign(path: Path, chance: random.Random, *, rounds: int) -> None:
    said: list[tuple[str, Any]] = []
    for number in range(rounds):
        process = await child("work", url_of(path), str(chance.random()))
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 60)):
            what, value = json.loads(await process.stdout.readline())
            said.append((what, value))
        process.kill()
        said += await read(process)
        if number % 20 == 0 or number == rounds - 1:
            await check_store(path, said)


async def check_store(path: Path, said: Sequence[tuple[str, Any]]) -> None:
    """Check that everything acknowledged is there, and that every job's story is whole."""
    store = SqlStore(url_of(path), clock=SystemClock())
    async with store:
        jobs = {job.id: job for job in await every_job(store)}
        logs = {job.id: await check_job(store, job) for job in jobs.values()}
        for what, value in said:
            check_acknowledged(what, value, jobs, logs)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def check_acknowledged(what: str, value: Any, jobs: dict[str, Job], logs: dict[str, list[JobEvent]]) -> None:
    if what == "submitted":
        assert all(job_id in jobs for job_id in value)
    elif what == "claimed":
        for job_id, token in value:
            assert token in {attempt.token for attempt in jobs[job_id].attempts}
    elif what == "noted":
        for job_id, _, step in value:
            assert any(event.type == "checkpoint" and event.data["step"] == step for event in logs[job_id])
    else:
        for job_id, token, kind in value:
            (attempt,) = [attempt for attempt in jobs[job_id].attempts if attempt.token == token]
            assert attempt.outcome == kind


async def every_job(store: SqlStore) -> list[Job]:
    jobs: list[Job] = []
    cursor: str | None = None
    while True:
        page = await store.jobs(JobFilter(), cursor=cursor, limit=200)
        jobs += page.jobs
        cursor = page.next_cursor
        if cursor is None:
            return jobs


async def check_job(store: SqlStore, job: Job) -> list[JobEvent]:
    """Check that a job's log has no gap, agrees with its row, and ends once."""
    log = await store.events(job.id, limit=10_000)
    types = [event.type for event in log]
    assert [event.seq for event in log] == list(range(1, job.last_seq + 1))
    assert types.count("started") == job.token == job.attempt
    assert sum(kind in TERMINAL_TYPES for kind in types) == job.done
    assert not job.done or types[-1] == job.state.value
    await check_told(store, job, log)
    return log


async def check_told(store: SqlStore, job: Job, log: Sequence[JobEvent]) -> None:
    """Check that every door is to be told if one of its events was written, and no other: they share a commit."""
    due = {delivery.door for delivery in await store.deliveries(job.id) if delivery.due_at is not None}
    wanted = {one.door for one in job.followers if any(one.wants(event.type) for event in log)}
    assert due == wanted
