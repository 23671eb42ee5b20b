"""A gateway that dies between any two writes to MongoDB leaves nothing half done for those who come later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest
from tests.servers.mongod import MongodServer, mongo_url, mongod

from glowplug.clock import ManualClock
from glowplug.errors import NotFound
from glowplug.job import TERMINAL_TYPES, Follower, Job, JobState, Note, Outcome, OutcomeKind
from glowplug.store import Delivery, JobFilter, Report, Settlement, Store
from glowplug.stores.mongo import MongoStore
from glowplug.stores.mongo.rooms import Rooms
from glowplug.stores.mongo.submissions import GRACE
from glowplug.testing.work import claim, hold_of, queue, request, settle, types

__all__ = ["mongo_url", "mongod"]

WRITES = frozenset(
    {"insert_one", "insert_many", "update_one", "update_many", "delete_one", "delete_many", "replace_one", "bulk_write"}
)
A_LONG_TIME = GRACE.total_seconds() + 1


class Crash(BaseException):
    """The gateway is gone."""


class Fuse:
    """Lets so many writes through, and then nothing more."""

    def __init__(self) -> None:
        self.left = 10**9
        self.blown = False

    def burn(self) -> None:
        """Take one write from what is left."""
        if self.left <= 0:
            self.blown = True
            raise Crash
        self.left -= 1


class Fused:
    """A collection whose writes go through a fuse; of an insert of many, half goes through when it blows."""

    def __init__(self, collection: Any, fuse: Fuse) -> None:
        self._collection = collection
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._collection, name)
        if name not in WRITES:
            return method

        async def write(*words: Any, **more: Any) -> Any:
            try:
                self._fuse.burn()
            except Crash:
                half = words[0][: len(words[0]) // 2] if name == "insert_many" else []
                if half:
                    await method(half, **more)
                raise
            return await method(*words, **more)

        return write


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(60):
        yield


@pytest.fixture
async def store(mongo_url: str, clock: ManualClock) -> AsyncIterator[MongoStore]:
    """A gateway's store that nothing happens to."""
    async with MongoStore(mongo_url, clock=clock, server_time=False) as store:
        yield store


@asynccontextmanager
async def doomed(url: str, clock: ManualClock) -> AsyncIterator[tuple[MongoStore, Fuse]]:
    """Start a store that dies when its fuse blows."""
    fuse = Fuse()
    real = Rooms.of

    def fused(database: Any) -> Rooms:
        rooms = real(database)
        fused_rooms: dict[str, Any] = {one.name: Fused(getattr(rooms, one.name), fuse) for one in fields(Rooms)}
        return Rooms(**fused_rooms)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rooms, "of", fused)
        store = MongoStore(url, clock=clock, server_time=False)
        await store.start()
    try:
        yield store, fuse
    finally:
        await store.stop()


async def every_job(store: Store) -> list[Job]:
    return list((await store.jobs(JobFilter(), limit=1000)).jobs)


async def check_job(store: Store, job: Job) -> list[str]:
    log = await types(store, job.id)
    assert len(log) == job.last_seq
    assert log.count("started") == job.token
    assert sum(kind in TERMINAL_TYPES for kind in log) == job.done
    wanted = {door for delivery in await store.deliveries(job.id) for door in [delivery.door]}
    assert wanted == {follower.door for follower in job.followers}
    return log


# Submitting several.

ASKED = [request(key=f"k{number}" if number < 3 else None, input={"n": number}) for number in range(5)]


@pytest.mark.parametrize("writes", range(6))
async def test_several_are_queued_all_or_none_whatever_write_was_the_last(
    store: MongoStore, mongo_url: str, clock: ManualClock, mongod: MongodServer, writes: int
) -> None:
    async with doomed(mongo_url, clock) as (dying, fuse):
        fuse.left = writes
        with suppress(Crash):
            await dying.submit(ASKED)
        assert fuse.blown == (writes < 5)
    await clock.advance(A_LONG_TIME)
    await store.expired()
    jobs = await every_job(store)
    assert len(jobs) == (0 if writes < 2 else 5)
    for job in jobs:
        assert await check_job(store, job) == ["queued"]
    assert leftovers(mongod) == []
    again = await store.submit(ASKED)
    assert [one.created for one in again] == [writes < 2] * 3 + [True] * 2
    assert {job.id for job in jobs if job.key} <= {one.job.id for one in again}
    assert len(await claim(store, slots=20)) == len(await every_job(store)) == (5 if writes < 2 else 7)


def leftovers(mongod: MongodServer) -> list[Any]:
    """Return what was begun and not ended; an abort is kept for a day."""
    with mongod.client() as client:
        database = client["glowplug"]
        begun = {"$or": [{"submission": {"$exists": True}}, {"doomed": {"$exists": True}}]}
        return [*database["jobs"].find(begun), *database["submissions"].find({"committed": {"$exists": True}})]


@pytest.mark.parametrize("writes", [1, 2, 3])
async def test_who_comes_with_a_key_of_the_dead_ends_what_was_begun(
    store: MongoStore, mongo_url: str, clock: ManualClock, writes: int
) -> None:
    async with doomed(mongo_url, clock) as (dying, fuse):
        fuse.left = writes
        with suppress(Crash):
            await dying.submit(ASKED)
    await clock.advance(A_LONG_TIME)
    (again,) = await store.submit([ASKED[1]])
    assert again.created == (writes < 2)
    assert len(await every_job(store)) == (1 if writes < 2 else 5)


async def test_a_commit_that_comes_too_late_finds_its_drafts_gone_and_starts_over(
    store: MongoStore, mongo_url: str, clock: ManualClock
) -> None:
    async with doomed(mongo_url, clock) as (slow, _):
        rooms = slow._session.rooms  # type: ignore[union-attr]
        commit = rooms.submissions.insert_one

        async def late(document: Any) -> Any:
            slow._session.rooms.submissions.__dict__.pop("insert_one")  # type: ignore[union-attr]
            await clock.advance(A_LONG_TIME)
            await store.expired()
            return await commit(document)

        rooms.submissions.__dict__["insert_one"] = late
        answers = await slow.submit(ASKED)
    assert all(answer.created for answer in answers)
    jobs = await every_job(store)
    assert {job.id for job in jobs} == {answer.job.id for answer in answers}
    for job in jobs:
        assert await check_job(store, job) == ["queued"]


async def test_drafts_are_no_jobs_for_anybody(store: MongoStore, mongo_url: str, clock: ManualClock) -> None:
    async with doomed(mongo_url, clock) as (dying, fuse):
        fuse.left = 1
        with suppress(Crash):
            await dying.submit(ASKED)
        rooms = dying._session.rooms  # type: ignore[union-attr]
        ids = [draft["_id"] async for draft in rooms.jobs.find({}, {"_id": 1})]
    assert len(ids) == 5
    for job_id in ids:
        with pytest.raises(NotFound):
            await store.job(job_id)
        with pytest.raises(NotFound):
            await store.cancel(job_id)
        assert await store.events(job_id) == []
    assert await store.depths() == {}
    assert await store.next_due_seconds(["model.task"]) is None
    assert await claim(store, slots=9) == []
    assert await store.claim("w", [], timedelta(1), only=ids) == []
    assert await every_job(store) == []


# Everything else.


async def _claim(store: Store, jobs: list[Job]) -> None:
    await claim(store, slots=3)


async def _note(store: Store, jobs: list[Job]) -> None:
    await store.note([Report(hold_of(job), (Note("log", {"n": 1}), Note("log", {"n": 2}))) for job in jobs])


async def _complete(store: Store, jobs: list[Job]) -> None:
    done = [settled(job, OutcomeKind.COMPLETED) for job in jobs]
    await store.settle(done)


async def _lose(store: Store, jobs: list[Job]) -> None:
    await store.settle([settled(job, OutcomeKind.LOST) for job in jobs])


async def _cancel(store: Store, jobs: list[Job]) -> None:
    for job in jobs:
        await store.cancel(job.id)


async def _tell(store: Store, jobs: list[Job]) -> None:
    await store.save_deliveries([Delivery(job_id=job.id, door="door", seq=1) for job in jobs])


def settled(job: Job, kind: OutcomeKind) -> Settlement:
    return Settlement(hold_of(job), Outcome(kind, result={"n": 1}))


Act = Callable[[Store, list[Job]], Awaitable[None]]


@pytest.mark.parametrize("writes", range(1, 5))
@pytest.mark.parametrize(
    ("act", "running"),
    [
        (_claim, False),
        (_note, True),
        (_complete, True),
        (_lose, True),
        (_cancel, False),
        (_cancel, True),
        (_tell, True),
    ],
)
async def test_a_job_s_story_is_whole_whatever_write_was_the_last(
    store: MongoStore, mongo_url: str, clock: ManualClock, act: Act, running: bool, writes: int
) -> None:
    async with doomed(mongo_url, clock) as (dying, fuse):
        made = [await queue(store, followers=(Follower("door"),)) for _ in range(3)]
        jobs = await claim(dying, slots=3) if running else made
        fuse.left = writes
        with suppress(Crash):
            await act(dying, jobs)
    for job in await every_job(store):
        await check_job(store, job)
    for job in await every_job(store):
        if job.state is JobState.RUNNING:
            assert await store.note([Report(hold_of(job), (Note("log", {"n": 3}),))]) == [True]
            await settle(store, job, OutcomeKind.COMPLETED)
        elif job.state is JobState.QUEUED:
            await store.cancel(job.id)
    for job in await every_job(store):
        assert job.done
        log = await check_job(store, job)
        assert log[-1] == job.state.value
    assert len(await store.undelivered("door")) == 3


@pytest.mark.parametrize("writes", range(4))
async def test_what_is_old_is_gone_or_whole_whatever_write_was_the_last(
    store: MongoStore, mongo_url: str, clock: ManualClock, mongod: MongodServer, writes: int
) -> None:
    made = [await queue(store, key=f"k{number}", input={"n": number}) for number in range(3)]
    for job in made:
        await store.cancel(job.id)
    await clock.advance(1)
    async with doomed(mongo_url, clock) as (dying, fuse):
        fuse.left = writes
        with suppress(Crash):
            await dying.clean(clock.now())
    jobs = await every_job(store)
    assert len(jobs) == (3 if writes < 1 else 0)
    for job in jobs:
        assert await check_job(store, job) == ["queued", "canceled"]
    assert [len(await store.events(job.id)) for job in made] == [2 * (writes < 1)] * 3
    assert (await store.submit([request(key="k0", input={"n": 0})]))[0].created == (writes >= 1)
    await store.clean(clock.now())
    assert leftovers(mongod) == []
    with mongod.client() as client:
        assert client["glowplug"]["events"].count_documents({"job_id": {"$in": [job.id for job in made]}}) == 0
