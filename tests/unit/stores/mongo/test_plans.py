"""Every question to MongoDB is answered from an index: none reads all jobs, and those in an order need no sorting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from tests.servers.mongod import MongodServer, mongo_url, mongod

from glowplug.clock import ManualClock
from glowplug.job import Follower, JobState
from glowplug.store import JobFilter, Store, Want
from glowplug.stores.mongo import MongoStore
from glowplug.testing.work import LEASE, claim, request

__all__ = ["mongo_url", "mongod"]

Ask = Callable[[Store], Awaitable[Any]]
BEFORE = ManualClock().now() - timedelta(hours=1)


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(60):
        yield


@pytest.fixture
async def store(mongo_url: str, mongod: MongodServer) -> AsyncIterator[Store]:
    """A store with jobs in every state."""
    clock = ManualClock()
    async with MongoStore(mongo_url, clock=clock, server_time=False) as store:
        soon, later = clock.now() + timedelta(seconds=5), clock.now() + timedelta(hours=1)
        await store.submit([request(followers=(Follower("door"),), key=f"k{n}", batch_id="b") for n in range(60)])
        await store.submit([request(task=f"m.{n}", owner=f"o{n}") for n in range(40)])
        await store.submit([request(run_at=at, expires_at=later) for at in (soon, later) for _ in range(20)])
        for job in await claim(store, slots=20):
            await store.cancel(job.id)
        for job in (await store.jobs(JobFilter(states=(JobState.QUEUED,)), limit=10)).jobs:
            await store.cancel(job.id)
        await store.mark_dispatched([job.id for job in await store.undispatched(["model.task"], limit=5)])
        await clock.advance(6)
        yield store


@pytest.fixture
def watched(mongod: MongodServer) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Let the server note every command; return what it noted of the jobs and the events."""
    with mongod.client() as client:
        database = client["glowplug"]

        def noted() -> list[dict[str, Any]]:
            rooms = {"ns": {"$in": ["glowplug.jobs", "glowplug.events"]}}
            return list(database["system.profile"].find({**rooms, "planSummary": {"$exists": True}}))

        database["system.profile"].drop()
        yield noted
        mongod.command("glowplug", profile=0)
        database["system.profile"].drop()


ASKED: dict[str, Ask] = {
    "claim": lambda store: claim(store, "model.task", "m.1", slots=3),
    "claim of some": lambda store: store.claim("w", [Want(("model.task",), 2)], LEASE, only=["0" * 24]),
    "undispatched": lambda store: store.undispatched(["model.task", "m.2"], limit=5),
    "mark lost": lambda store: store.mark_lost(["model.task"], BEFORE),
    "next due": lambda store: store.next_due_seconds(["model.task", "m.none"]),
    "depths": lambda store: store.depths(),
    "expire": lambda store: store.expire(limit=5),
    "expired": lambda store: store.expired(limit=5),
    "held by": lambda store: store.held_by("w1"),
    "clean": lambda store: store.clean(BEFORE, limit=5),
    "undelivered": lambda store: store.undelivered("door", limit=5),
    "next delivery": lambda store: store.next_delivery_seconds("door"),
    "page": lambda store: store.jobs(JobFilter(), limit=5),
    "page of a task": lambda store: store.jobs(JobFilter(task="model.task"), limit=5),
    "page of an owner": lambda store: store.jobs(JobFilter(owner="local"), limit=5),
    "page of a batch": lambda store: store.jobs(JobFilter(batch_id="b"), limit=5),
    "page of states": lambda store: store.jobs(JobFilter(states=(JobState.QUEUED, JobState.CANCELED)), limit=5),
    "nth newest": lambda store: store.nth_newest("local", 3, task="model.task"),
    "submit": lambda store: store.submit([request(key="k1"), request(key="new")]),
    "submit several": lambda store: store.submit([request(key="new"), request()]),
}


async def test_no_question_reads_all_jobs_or_sorts_them(
    store: Store, mongod: MongodServer, watched: Callable[[], list[dict[str, Any]]]
) -> None:
    mongod.command("glowplug", profile=2)
    for name, ask in ASKED.items():
        before = len(watched())
        await ask(store)
        noted = watched()[before:]
        assert noted, name
        for one in noted:
            assert "COLLSCAN" not in one["planSummary"], (name, one["command"])
            # Some that are named are few, whatever else is there.
            assert not one.get("hasSortStage") or name == "claim of some", (name, one["command"])


async def test_a_page_behind_a_cursor_reads_no_more_than_it_needs(
    store: Store, mongod: MongodServer, watched: Callable[[], list[dict[str, Any]]]
) -> None:
    page = await store.jobs(JobFilter(), limit=50)
    mongod.command("glowplug", profile=2)
    assert (await store.jobs(JobFilter(), cursor=page.next_cursor, limit=5)).jobs
    mongod.command("glowplug", profile=0)
    (noted,) = watched()
    assert not noted.get("hasSortStage")
    assert noted["docsExamined"] <= 70


async def test_what_counts_a_long_queue_reads_the_index_alone(
    store: Store, mongod: MongodServer, watched: Callable[[], list[dict[str, Any]]]
) -> None:
    page = await store.jobs(JobFilter(states=(JobState.QUEUED,), task="model.task"), limit=100)
    last = max(page.jobs, key=lambda job: job.turn or 0)
    mongod.command("glowplug", profile=2)
    assert await store.depths()
    assert await store.position(last.id)
    mongod.command("glowplug", profile=0)
    counts = [one for one in watched() if "aggregate" in one["command"]]
    assert len(counts) == 4
    assert [one["docsExamined"] for one in counts] == [0] * 4
    assert max(one["keysExamined"] for one in counts) > 20
