"""The store on MongoDB keeps the contract: alone, beside another gateway, and when its server is killed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.contracts.test_stores_agree import StoresAgree
from tests.servers.mongod import MongodServer, mongo_url, mongod, sweep_sockets

from glowplug.clock import ManualClock, SystemClock
from glowplug.errors import Unreachable
from glowplug.job import TERMINAL_TYPES, Budget, Follower, Job, Note, OutcomeKind
from glowplug.store import JobFilter, News, Report, Store, Want
from glowplug.stores.memory import MemoryStore
from glowplug.stores.mongo import MongoStore
from glowplug.testing.stores import StoreSuite
from glowplug.testing.work import LEASE, TASK, claim, hold_of, queue, request, settle, types

__all__ = ["mongo_url", "mongod"]

SECONDS = 60.0


class TestMongo(StoreSuite):
    @pytest.fixture
    async def store(self, clock: ManualClock, mongo_url: str) -> AsyncIterator[Store]:
        async with MongoStore(mongo_url, clock=clock, server_time=False) as store:
            yield store


class MongoAgrees(StoresAgree):
    """The store on MongoDB beside the one in memory."""

    server: MongodServer

    def __init__(self) -> None:
        super().__init__()
        self.server.empty("agree")
        url = self.server.url("agree")
        self.stores = [
            MemoryStore(clock=self.clock, jitter=lambda: 0.5),
            MongoStore(url, clock=self.clock, jitter=lambda: 0.5, server_time=False),
        ]


def test_it_answers_as_the_store_in_memory_does(mongod: MongodServer) -> None:
    agrees = type("Agrees", (MongoAgrees,), {"server": mongod})
    few = settings(max_examples=4, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(agrees, settings=few)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_it_answers_as_the_store_in_memory_does_for_long(mongod: MongodServer) -> None:
    agrees = type("Agrees", (MongoAgrees,), {"server": mongod})
    many = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(agrees, settings=many)


# Two gateways.


@pytest.fixture(autouse=True)
async def bounded(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    if not asyncio.iscoroutinefunction(request.function):
        yield
        return
    async with asyncio.timeout(SECONDS):
        yield


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def pair(clock: ManualClock, mongo_url: str) -> AsyncIterator[tuple[MongoStore, MongoStore]]:
    """Two gateways' stores on one database and one clock."""
    async with AsyncExitStack() as life:
        first, second = [MongoStore(mongo_url, clock=clock, server_time=False) for _ in range(2)]
        await life.enter_async_context(first)
        await life.enter_async_context(second)
        yield first, second


Pair = tuple[MongoStore, MongoStore]


async def whole_log(store: Store, job: Job) -> list[str]:
    """Check that a job's log has no gap, agrees with its row, and ends once; return its types."""
    log = await types(store, job.id)
    assert len(log) == job.last_seq
    assert log.count("started") == job.token == job.attempt
    assert sum(kind in TERMINAL_TYPES for kind in log) == job.done
    return log


async def every_job(store: Store) -> list[Job]:
    return list((await store.jobs(JobFilter(), limit=100_000)).jobs)


async def test_eight_claimers_on_two_gateways_never_share_a_job(pair: Pair) -> None:
    made = {submission.job.id for submission in await pair[0].submit([request() for _ in range(300)])}

    async def drain(number: int) -> list[str]:
        taken: list[str] = []
        while jobs := await claim(pair[number % 2], slots=3, worker=f"w{number}"):
            taken += [job.id for job in jobs]
        return taken

    shares = await asyncio.gather(*map(drain, range(8)))
    taken = [job_id for share in shares for job_id in share]
    assert len(taken) == len(set(taken)) == 300
    assert set(taken) == made
    for job in await every_job(pair[1]):
        assert await whole_log(pair[1], job) == ["queued", "started"]


async def test_one_key_on_two_gateways_is_one_job(pair: Pair) -> None:
    answers = await asyncio.gather(*(pair[number % 2].submit([request(key="k")]) for number in range(20)))
    assert sum(answer[0].created for answer in answers) == 1
    assert len({answer[0].job.id for answer in answers}) == 1


async def test_submissions_of_several_with_common_keys_make_each_job_once(pair: Pair) -> None:
    keys = [[f"k{number}", f"k{number + 1}", f"k{number + 2}"] for number in range(8)]
    asked = [keys[number % 8][:: random.choice([1, -1])] for number in range(16)]
    answers = await asyncio.gather(
        *(pair[number % 2].submit([request(key=key) for key in wanted]) for number, wanted in enumerate(asked))
    )
    by_key: dict[str, set[str]] = {}
    for wanted, answer in zip(asked, answers, strict=True):
        for key, submission in zip(wanted, answer, strict=True):
            by_key.setdefault(key, set()).add(submission.job.id)
    assert all(len(ids) == 1 for ids in by_key.values())
    jobs = await every_job(pair[0])
    assert sorted(job.key or "" for job in jobs) == sorted(by_key)
    assert {answer.job.id for one in answers for answer in one if answer.created} == {job.id for job in jobs}


async def test_what_two_gateways_report_of_one_job_is_all_there_in_one_order(pair: Pair) -> None:
    await queue(pair[0])
    (job,) = await claim(pair[0])
    log = [Report(hold_of(job), (Note("log", {"n": number}),)) for number in range(30)]
    said = await asyncio.gather(*(pair[number % 2].note([report]) for number, report in enumerate(log)))
    assert said == [[True]] * 30
    for store in pair:
        assert len(await types(store, job.id)) == 32
        events = await store.events(job.id, after=2)
        assert sorted(event.data["n"] for event in events) == list(range(30))


async def test_the_end_wins_once_on_two_gateways(pair: Pair) -> None:
    await queue(pair[0])
    (job,) = await claim(pair[0])
    kinds = [OutcomeKind.COMPLETED, OutcomeKind.LOST]
    answers = await asyncio.gather(*(settle(store, job, kind) for store, kind in zip(pair, kinds, strict=True)))
    assert sum(answer.accepted for answer in answers) == 1
    await whole_log(pair[1], await pair[0].job(job.id))


async def test_one_of_many_leads(pair: Pair) -> None:
    term = timedelta(seconds=10)
    answers = await asyncio.gather(*(pair[n % 2].lead("relay", f"g{n}", term) for n in range(10)))
    assert sum(answers) == 1


async def test_four_gateways_start_at_once_on_an_empty_server(mongod: MongodServer) -> None:
    url = mongod.url(mongod.new_name())
    stores = [MongoStore(url, clock=SystemClock()) for _ in range(4)]
    try:
        await asyncio.gather(*(store.start() for store in stores))
        job = await queue(stores[0])
        assert [await store.job(job.id) for store in stores] == [job] * 4
    finally:
        await asyncio.gather(*(store.stop() for store in stores))


# News.


class Ear:
    """Hears news, and lets a test wait for some."""

    def __init__(self) -> None:
        self.heard: list[News] = []
        self._more = asyncio.Event()

    def __call__(self, news: Sequence[News]) -> None:
        self.heard += news
        self._more.set()

    async def wait_for(self, *expected: News) -> None:
        while not set(expected) <= set(self.heard):
            self._more.clear()
            await self._more.wait()


@pytest.fixture
async def ear(clock: ManualClock, mongo_url: str) -> AsyncIterator[Ear]:
    ear = Ear()
    store = MongoStore(mongo_url, clock=clock, server_time=False)
    store.follow(ear)
    async with store:
        yield ear


async def test_a_gateway_hears_what_another_writes(pair: Pair, ear: Ear) -> None:
    job = await queue(pair[0], task="m.first")
    await ear.wait_for(News(job.id, "m.first"))
    ear.heard.clear()
    (claimed,) = await claim(pair[0], "m.first")
    await ear.wait_for(News(job.id, "m.first"))
    ear.heard.clear()
    await pair[0].renew([hold_of(claimed)], LEASE)
    several = await pair[0].submit([request(task="m.second") for _ in range(3)])
    await ear.wait_for(*(News(one.job.id, "m.second") for one in several))
    assert News(job.id, "m.first") not in ear.heard


async def test_a_short_absence_of_the_server_is_not_noticed_and_news_go_on(
    pair: Pair, ear: Ear, clock: ManualClock, mongod: MongodServer
) -> None:
    before = await queue(pair[0])
    await ear.wait_for(News(before.id, TASK))
    mongod.kill9()
    writing, reading = asyncio.create_task(queue(pair[0])), asyncio.create_task(pair[1].job(before.id))
    await asyncio.sleep(0.05)
    mongod.restart()
    after = await writing
    assert await reading == before
    async with asyncio.TaskGroup() as group:
        winding = group.create_task(wind(clock))
        await ear.wait_for(News(after.id, TASK))
        winding.cancel()
    sweep_sockets()


async def wind(clock: ManualClock) -> None:
    """Let a clock go on as long as somebody waits."""
    while True:
        await clock.advance(1)
        await asyncio.sleep(0.01)


async def until_answered(ask: Callable[[], Coroutine[Any, Any, Job]]) -> Job:
    """Ask again as long as nobody answers."""
    while True:
        try:
            return await ask()
        except Unreachable:
            await asyncio.sleep(0.01)


# The server is killed.


class Load:
    """Workers that queue, claim, report and end, and remember what they were answered."""

    def __init__(self, store: MongoStore) -> None:
        self.store = store
        self.queued: set[str] = set()
        self.claimed: set[tuple[str, int]] = set()
        self.noted: set[tuple[str, int, int]] = set()
        self.ended: dict[tuple[str, int], OutcomeKind] = {}
        self.failed = asyncio.Event()
        self.turns = 0

    async def work(self, chance: random.Random) -> None:
        """Do one thing after another; what was cut off is nobody's."""
        while True:
            try:
                await self._turn(chance)
            except Unreachable:
                self.failed.set()
            self.turns += 1

    async def _turn(self, chance: random.Random) -> None:
        budget = Budget(errors=2, crashes=2, retry_base_seconds=0.0)
        asked = [request(budget=budget, followers=(Follower("door"),)) for _ in range(chance.randrange(1, 5))]
        self.queued |= {submission.job.id for submission in await self.store.submit(asked)}
        jobs = await self.store.claim("w", [Want((TASK,), chance.randrange(1, 5))], LEASE)
        self.claimed |= {(job.id, job.token) for job in jobs}
        for step in range(2):
            reports = [Report(hold_of(job), (Note("log", {"step": step}),)) for job in jobs]
            assert all(await self.store.note(reports))
            self.noted |= {(job.id, job.token, step) for job in jobs}
        for job in jobs:
            kind = chance.choice([OutcomeKind.COMPLETED, OutcomeKind.FAILED, OutcomeKind.INTERRUPTED])
            assert (await settle(self.store, job, kind)).accepted
            self.ended[job.id, job.token] = kind


async def check_load(store: Store, load: Load) -> None:
    """Check that everything that was answered is there, and that every job's story is whole."""
    jobs = {job.id: job for job in await every_job(store)}
    assert load.queued <= set(jobs)
    logs = {job.id: await whole_log(store, job) for job in jobs.values()}
    attempts = {(job.id, attempt.token): attempt for job in jobs.values() for attempt in job.attempts}
    assert load.claimed <= set(attempts)
    for key, kind in load.ended.items():
        assert attempts[key].outcome is kind
    assert sum(log.count("log") for log in logs.values()) >= len(load.noted)
    told = {delivery.job_id for delivery in await store.undelivered("door", limit=100_000)}
    assert told == {job.id for job in jobs.values() if job.followers}


@pytest.mark.parametrize("rounds", [1, pytest.param(40, marks=[pytest.mark.chaos, pytest.mark.timeout(600)])])
async def test_what_was_answered_is_there_after_the_server_was_killed(
    mongo_url: str, mongod: MongodServer, rounds: int
) -> None:
    async with (
        asyncio.timeout(SECONDS * rounds),
        MongoStore(f"{mongo_url}&serverSelectionTimeoutMS=300", clock=SystemClock()) as store,
    ):
        load = Load(store)
        workers = [asyncio.create_task(load.work(random.Random(number))) for number in range(4)]
        for _ in range(rounds):
            enough = load.turns + 15
            while load.turns < enough:
                await asyncio.sleep(0.005)
            mongod.kill9()
            load.failed.clear()
            await load.failed.wait()
            mongod.restart()
        await until_answered(lambda: queue(store))
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await store.stop()
        await store.start()
        await check_load(store, load)
    sweep_sockets()
