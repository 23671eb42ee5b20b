"""Jobs by way of a broker that carries hints: what is published, what is claimed, and what becomes of each hint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.carrier import CarryingBroker, Exchange
from tests.unit.gateway.house import ECHO, SAY, HandWorker, House, Told, house, picture, policy, settle
from tests.unit.gateway.served import until

from glowplug.broker import Hint
from glowplug.clock import Clock, ManualClock, SystemClock
from glowplug.errors import Unreachable
from glowplug.gateway.policy import Pace
from glowplug.gateway.relay import LEAST_OUTSTANDING, LOOK_SECONDS, MARK_SECONDS, PACE_SECONDS
from glowplug.job import Job, JobRequest
from glowplug.link import Claimed
from glowplug.readiness import Status
from glowplug.store import ModelInfo
from glowplug.stores.memory import MemoryStore

WAIT = 20.0
QUICK = Pace(reconcile_seconds=0.02, redispatch_seconds=0.05, reap_seconds=0.05)


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(60):
        yield


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@asynccontextmanager
async def carried(folder: Path, exchange: Exchange, clock: Clock | None = None, **more: Any) -> AsyncIterator[House]:
    clock = clock or ManualClock()
    async with house(folder, clock, broker=exchange.broker(clock), **more) as made:
        yield made


@pytest.fixture
async def home(tmp_path: Path, exchange: Exchange) -> AsyncIterator[House]:
    async with carried(tmp_path, exchange) as made:
        yield made


async def waiting(worker: HandWorker, **more: Any) -> asyncio.Task[Claimed]:
    claim = asyncio.create_task(worker.claim(wait=WAIT, **more))
    await settle()
    return claim


def granted(claimed: Claimed) -> list[str]:
    return [grant.hold.job_id for grant in claimed.grants]


def sent(exchange: Exchange) -> list[str]:
    return [hint.job_id for hint in exchange.published]


def wanted(home: House) -> dict[str, int]:
    broker = home.parts.broker
    assert isinstance(broker, CarryingBroker)
    return broker.wanted[-1] if broker.wanted else {}


async def submitted(home: House, count: int, **more: Any) -> list[str]:
    jobs = [{"task": "echo.say", "input": {"text": str(number)}, **more} for number in range(count)]
    response = await home.client.post("/v1/batches", json={"jobs": jobs})
    assert response.status_code == 202, response.text
    await settle()
    return [job["id"] for job in response.json()["jobs"]]


async def work(worker: HandWorker, slots: int = 4) -> None:
    """Run what comes, for ever."""
    while True:
        for grant in (await worker.claim(slots, wait=WAIT)).grants:
            assert await worker.finish(grant, grant.attempt)


@asynccontextmanager
async def working(*workers: HandWorker) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(work(worker)) for worker in workers]
    try:
        yield
        assert not any(task.done() for task in tasks), [task.exception() for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until_all(home: House, ids: Sequence[str], state: str = "completed") -> list[Job]:
    while True:
        jobs = [await home.store.job(job_id) for job_id in ids]
        if all(job.state.value == state for job in jobs):
            return jobs
        await asyncio.sleep(0.005)


async def check_logs(home: House, jobs: Sequence[Job]) -> None:
    """Exactly one end for each job, a log without a gap, and one attempt."""
    for job in jobs:
        events = await home.store.events(job.id)
        assert [event.seq for event in events] == list(range(1, job.last_seq + 1))
        assert [event.type for event in events] == ["queued", "started", "completed"]
        assert job.attempt == 1


class TestTheWay:
    async def test_a_waiting_claim_is_answered_without_any_time_going_by(self, home: House, exchange: Exchange) -> None:
        worker = await home.ready_worker()
        claim = await waiting(worker)
        job = await home.submit()
        assert granted(await claim) == [job["id"]]
        await settle()
        assert exchange.acknowledged == {job["id"]: 1}

    async def test_work_that_was_there_first_comes_with_the_first_claim(self, home: House, exchange: Exchange) -> None:
        worker = home.worker()
        await worker.register(picture(Status.LOADING))
        ids = await submitted(home, 3)
        assert sent(exchange) == [], "nobody is ready, so the rows keep it"
        await worker.register(picture(Status.READY))
        await settle()
        assert sent(exchange) == ids
        assert granted(await (await waiting(worker, slots=5))) == ids

    async def test_many_that_have_arrived_are_claimed_in_one_transaction(
        self, tmp_path: Path, exchange: Exchange
    ) -> None:
        class Counting(MemoryStore):
            claims = 0

            async def claim(self, *args: Any, **more: Any) -> list[Job]:
                self.claims += 1
                return await super().claim(*args, **more)

        clock = ManualClock()
        store = Counting(clock=clock)
        async with carried(tmp_path, exchange, clock, store=store) as home:
            worker = await home.ready_worker()
            ids = await submitted(home, 8)
            assert sorted(granted(await (await waiting(worker, slots=8)))) == sorted(ids)
            assert store.claims == 1

    async def test_a_claim_that_waits_in_vain_asks_the_store_for_nothing(
        self, tmp_path: Path, exchange: Exchange
    ) -> None:
        class Quiet(MemoryStore):
            asked = 0

            async def claim(self, *args: Any, **more: Any) -> list[Job]:
                self.asked += 1
                return await super().claim(*args, **more)

            async def next_due_seconds(self, tasks: Sequence[str]) -> float | None:
                self.asked += 1
                return await super().next_due_seconds(tasks)

        clock = ManualClock()
        store = Quiet(clock=clock)
        async with carried(tmp_path, exchange, clock, store=store) as home:
            claim = await waiting(await home.ready_worker())
            await clock.advance(WAIT)
            assert await claim == Claimed()
            assert store.asked == 0

    async def test_a_failed_attempt_comes_back_when_it_is_due_again(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        first = (await (await waiting(worker))).grants[0]
        await worker.fail(first, retryable=True)
        claim = await waiting(worker)
        assert not claim.done()
        await home.clock.advance(1.0)
        again = (await claim).grants[0]
        assert (again.hold.job_id, again.attempt) == (job["id"], 2)

    async def test_a_job_for_later_is_published_when_its_time_has_come(self, home: House, exchange: Exchange) -> None:
        worker = await home.ready_worker()
        later = home.clock.now() + timedelta(seconds=10)
        job = await home.submit(run_at=later.isoformat())
        claim = await waiting(worker)
        await home.clock.advance(9)
        assert (sent(exchange), claim.done()) == ([], False)
        await home.clock.advance(1 + LOOK_SECONDS)
        assert granted(await claim) == [job["id"]]

    async def test_what_a_dead_worker_held_goes_to_another_at_once(self, home: House) -> None:
        first, second = await home.ready_worker("w1"), await home.ready_worker("w2")
        job = await home.submit()
        await (await waiting(first))
        claim = await waiting(second)
        await home.gateway.worker_died("w1")
        assert granted(await claim) == [job["id"]]

    async def test_a_redriven_job_comes_again(self, home: House, exchange: Exchange) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        await worker.fail((await (await waiting(worker))).grants[0])
        await settle()
        await home.client.post(job["urls"]["retry"])
        assert granted(await (await waiting(worker))) == [job["id"]]
        assert exchange.acknowledged == {job["id"]: 2}


class TestTheWindow:
    async def test_no_more_than_the_least_are_outstanding_for_a_worker_with_few_slots(
        self, home: House, exchange: Exchange
    ) -> None:
        await home.ready_worker()
        ids = await submitted(home, 50)
        assert sent(exchange) == ids[:LEAST_OUTSTANDING]
        await home.clock.advance(30)
        assert len(exchange.published) == LEAST_OUTSTANDING

    async def test_twice_the_ready_slots_are_outstanding_over_all_workers(
        self, home: House, exchange: Exchange
    ) -> None:
        claims = [await waiting(await home.ready_worker(name), slots=5) for name in ("w1", "w2")]
        ids = await submitted(home, 100)
        granted_ids = [job_id for claim in claims for job_id in granted(await claim)]
        await home.clock.advance(LOOK_SECONDS)
        assert len(exchange.published) - len(granted_ids) == 20
        assert sent(exchange) == ids[: len(exchange.published)]

    async def test_each_hint_that_is_used_makes_room_for_the_next_at_once(
        self, home: House, exchange: Exchange
    ) -> None:
        worker = await home.ready_worker()
        ids = await submitted(home, 50)
        for number in range(20):
            assert granted(await (await waiting(worker))) == [ids[number]]
            await settle()
            assert len(exchange.published) == LEAST_OUTSTANDING + number + 1
            await home.clock.advance(PACE_SECONDS)

    async def test_jobs_that_are_short_are_published_as_fast_as_they_start(
        self, home: House, exchange: Exchange
    ) -> None:
        worker = await home.ready_worker()
        await submitted(home, 60)
        for _ in range(20):
            assert granted(await (await waiting(worker)))
        await settle()
        assert len(exchange.published) == 20 + 20, "twenty have started within the last moment, and so many wait"
        await home.clock.advance(2 * PACE_SECONDS)
        assert granted(await (await waiting(worker)))
        await settle()
        assert len(exchange.published) == 40, "the moment is over"

    async def test_a_job_that_is_claimed_soon_is_never_marked(self, home: House, exchange: Exchange) -> None:
        worker = await home.ready_worker()
        ids = await submitted(home, 2)
        assert granted(await (await waiting(worker))) == [ids[0]]
        await home.clock.advance(MARK_SECONDS)
        await settle()
        depth = (await home.store.depths())["echo.say"]
        assert (depth.queued, depth.dispatched) == (1, 1)
        assert len(exchange.published) == 2

    async def test_a_job_of_higher_priority_is_behind_no_more_than_the_window(self, home: House) -> None:
        worker = await home.ready_worker()
        await submitted(home, 50)
        urgent = await home.submit(priority=5)
        order = [granted(await (await waiting(worker)))[0] for _ in range(LEAST_OUTSTANDING + 1)]
        assert order[-1] == urgent["id"]

    async def test_nothing_is_published_of_a_model_that_nobody_has_ready(self, home: House, exchange: Exchange) -> None:
        worker = await home.ready_worker()
        await worker.register(picture(Status.LOADING))
        await submitted(home, 3)
        await home.clock.advance(30)
        assert sent(exchange) == []

    async def test_a_canceled_job_makes_room_and_its_hint_is_forgotten(self, home: House, exchange: Exchange) -> None:
        worker = await home.ready_worker()
        ids = await submitted(home, LEAST_OUTSTANDING + 1)
        await home.client.post(f"/v1/jobs/{ids[0]}/cancel")
        await home.clock.advance(LOOK_SECONDS)
        assert sent(exchange) == ids
        assert granted(await (await waiting(worker))) == [ids[1]]
        await settle()
        assert exchange.acknowledged[ids[0]] == 1
        assert (await home.job(ids[0]))["attempt"] == 0


class TestTheIntake:
    async def test_it_is_as_wide_as_the_free_slots(self, home: House) -> None:
        one, other = await home.ready_worker("w1"), await home.ready_worker("w2")
        assert wanted(home) == {}
        await waiting(one, slots=3)
        assert wanted(home) == {"echo": 3}
        second = await waiting(other, slots=2)
        assert wanted(home) == {"echo": 5}
        second.cancel()
        await home.clock.advance(1)
        assert wanted(home) == {"echo": 3}

    async def test_it_shuts_when_the_model_is_not_ready_and_opens_when_it_is(self, home: House) -> None:
        worker = await home.ready_worker()
        await waiting(worker)
        await worker.register(picture(Status.LOADING))
        await home.clock.advance(1)
        assert wanted(home) == {}
        await worker.register(picture(Status.READY))
        await settle()
        assert wanted(home) == {"echo": 1}

    async def test_it_shuts_when_the_disk_is_low(self, tmp_path: Path, exchange: Exchange) -> None:
        free, clock = [1000], ManualClock()
        chosen = policy(data_folder=tmp_path, min_free_bytes=500)
        async with carried(tmp_path, exchange, clock, chosen=chosen, free_bytes=lambda folder: free[0]) as home:
            claim = await waiting(await home.ready_worker(), slots=2)
            free[0] = 10
            await clock.advance(chosen.pace.disk_seconds + 1)
            assert (wanted(home), claim.done()) == ({}, False)

    async def test_it_shuts_at_once_when_the_gateway_closes(self, home: House) -> None:
        await waiting(await home.ready_worker())
        home.gateway.hang_up()
        assert wanted(home) == {}

    async def test_a_worker_that_asks_again_at_once_finds_it_open_still(self, home: House) -> None:
        worker = await home.ready_worker()
        for _ in range(5):
            job = await home.submit()
            assert granted(await (await waiting(worker))) == [job["id"]]
            await home.clock.advance(0.01)
        broker = home.parts.broker
        assert isinstance(broker, CarryingBroker)
        assert broker.wanted == [{"echo": 1}]
        await home.clock.advance(1)
        assert wanted(home) == {}

    async def test_each_model_has_an_intake_of_its_own(self, home: House) -> None:
        worker = home.worker()
        slow = ModelInfo("slow", "1", (replace(SAY, name="slow.say"),))
        await worker.register(picture(echo=Status.READY, slow=Status.LOADING), models=(ECHO, slow))
        await waiting(worker, tasks=("echo.say", "slow.say"))
        assert wanted(home) == {"echo": 1}


class TestHints:
    async def test_a_repeat_of_a_job_that_runs_is_forgotten(self, home: House, exchange: Exchange) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        await (await waiting(worker))
        exchange.enqueue([Hint(job["id"], "echo.say")] * 2)
        claim = await waiting(worker, slots=2)
        assert not claim.done()
        assert exchange.acknowledged == {job["id"]: 3}
        assert (await home.job(job["id"]))["attempt"] == 1

    async def test_a_hint_of_nothing_is_forgotten(self, home: House, exchange: Exchange) -> None:
        claim = await waiting(await home.ready_worker())
        exchange.enqueue([Hint("f" * 24, "echo.say")])
        await settle()
        assert (exchange.acknowledged["f" * 24], claim.done()) == (1, False)

    async def test_an_early_repeat_of_a_job_for_later_is_forgotten_and_the_job_is_not(
        self, home: House, exchange: Exchange
    ) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        await worker.fail((await (await waiting(worker))).grants[0], retryable=True)
        exchange.enqueue([Hint(job["id"], "echo.say")])
        claim = await waiting(worker)
        assert (exchange.acknowledged[job["id"]], claim.done()) == (2, False)
        await home.clock.advance(2)
        assert granted(await claim) == [job["id"]]

    async def test_a_hint_of_a_task_that_no_worker_here_has_stands_in_nobodys_way(
        self, home: House, exchange: Exchange
    ) -> None:
        two = ModelInfo("echo", "1", (SAY, replace(SAY, name="echo.shout")))
        shouting, saying = home.worker("w1"), home.worker("w2")
        await shouting.register(models=(two,))
        await saying.register(models=(two,))
        claim = await waiting(saying)
        shout = await home.client.post("/v1/jobs", json={"task": "echo.shout", "input": {"text": "x"}})
        job = await home.submit()
        for _ in range(5):
            await home.clock.advance(0.1)
        assert granted(await claim) == [job["id"]]
        claim = await waiting(shouting, tasks=("echo.shout",))
        for _ in range(5):
            await home.clock.advance(0.1)
        assert granted(await claim) == [shout.json()["id"]]

    async def test_a_hint_that_could_not_be_sent_behind_the_others_is_given_back(
        self, home: House, exchange: Exchange
    ) -> None:
        two = ModelInfo("echo", "1", (SAY, replace(SAY, name="echo.shout")))
        await home.worker("w1").register(models=(two,))
        saying = home.worker("w2")
        await saying.register(models=(two,))
        claim = await waiting(saying)
        shout = await home.client.post("/v1/jobs", json={"task": "echo.shout", "input": {"text": "x"}})
        await settle()
        exchange.down = True
        await home.clock.advance(0.2)
        assert exchange.released == {shout.json()["id"]: 1}
        exchange.come()
        job = await home.submit()
        for _ in range(5):
            await home.clock.advance(1)
        assert granted(await claim) == [job["id"]]

    async def test_a_hint_that_came_as_the_store_failed_is_given_back_and_used_later(
        self, tmp_path: Path, exchange: Exchange
    ) -> None:
        class Moody(MemoryStore):
            away = False

            async def claim(self, *args: Any, **more: Any) -> list[Job]:
                if self.away:
                    raise Unreachable("the database does not answer")
                return await super().claim(*args, **more)

        clock = ManualClock()
        store = Moody(clock=clock)
        async with carried(tmp_path, exchange, clock, store=store) as home:
            worker = await home.ready_worker()
            claim = await waiting(worker)
            store.away = True
            job = await home.submit()
            with pytest.raises(Unreachable):
                await claim
            assert exchange.acknowledged == {}
            store.away = False
            claim = await waiting(worker)
            await clock.advance(1)
            assert granted(await claim) == [job["id"]]

    async def test_what_was_claimed_as_the_model_fell_over_is_never_handed_out(
        self, tmp_path: Path, exchange: Exchange
    ) -> None:
        class Slow(MemoryStore):
            def __init__(self, *, clock: Clock) -> None:
                super().__init__(clock=clock)
                self.claiming, self.may_claim = asyncio.Event(), asyncio.Event()

            async def claim(self, *args: Any, **more: Any) -> list[Job]:
                self.claiming.set()
                await self.may_claim.wait()
                return await super().claim(*args, **more)

        clock = ManualClock()
        store = Slow(clock=clock)
        async with carried(tmp_path, exchange, clock, store=store) as home:
            worker = await home.ready_worker()
            claim = await waiting(worker)
            job = await home.submit()
            await store.claiming.wait()
            await worker.register(picture(Status.LOADING))
            store.may_claim.set()
            await settle()
            seen = await home.job(job["id"])
            assert not claim.done()
            assert (seen["state"], [attempt["outcome"] for attempt in seen["attempts"]]) == ("queued", ["displaced"])
            await worker.register(picture(Status.READY))
            await home.clock.advance(LOOK_SECONDS)
            assert granted(await claim) == [job["id"]]

    async def test_a_gateway_that_stops_gives_back_what_it_did_not_use(self, home: House, exchange: Exchange) -> None:
        await home.ready_worker()
        ids = await submitted(home, 3)
        await home.gateway.stop()
        assert [hint.job_id for hint in exchange.queues["echo"]] == ids
        assert exchange.acknowledged == {}


class TestFaults:
    @pytest.mark.parametrize(
        "faults", [{"copies": 3, "shuffles": True}, {"loses": 5}, {"copies": 2, "loses": 3}], ids=str
    )
    async def test_every_job_runs_once_whatever_the_broker_does_to_hints(
        self, tmp_path: Path, faults: dict[str, Any]
    ) -> None:
        clock, exchange = SystemClock(), Exchange(**faults)
        async with carried(tmp_path, exchange, clock, chosen=policy(pace=QUICK)) as home:
            workers = [await home.ready_worker(f"w{number}") for number in range(3)]
            async with working(*workers):
                ids = [job_id for _ in range(4) for job_id in await submitted(home, 25)]
                await check_logs(home, await until_all(home, ids))

    async def test_a_broker_that_was_wiped_gets_the_hints_again(
        self, home: House, exchange: Exchange, told: Told
    ) -> None:
        worker = await home.ready_worker()
        ids = await submitted(home, 3)
        exchange.wipe()
        await home.clock.advance(50)
        assert len(exchange.published) == 3
        await home.clock.advance(20)
        assert sorted(granted(await (await waiting(worker, slots=3)))) == sorted(ids)
        assert told.of("hints.lost") == [{"model": "echo", "jobs": 3}]

    async def test_hints_that_wait_for_long_are_not_sent_again(self, home: House, exchange: Exchange) -> None:
        await home.ready_worker()
        await submitted(home, 3)
        await home.clock.advance(250)
        assert len(exchange.published) == 3

    async def test_one_lost_hint_is_found_while_others_wait(self, home: House, exchange: Exchange) -> None:
        await home.ready_worker()
        ids = await submitted(home, LEAST_OUTSTANDING)
        del exchange.queues["echo"][3]
        await home.clock.advance(80)
        assert ids[3] in [hint.job_id for hint in exchange.queues["echo"]]

    async def test_a_broker_that_cannot_count_is_believed_for_longer(self, tmp_path: Path) -> None:
        class Blind(CarryingBroker):
            async def waiting(self, model: str) -> int | None:
                return None

        clock, exchange = ManualClock(), Exchange()
        pace = Pace(redispatch_seconds=10)
        async with house(tmp_path, clock, policy(pace=pace), broker=Blind(exchange, clock)) as home:
            await home.ready_worker()
            await submitted(home, 1)
            exchange.wipe()
            await clock.advance(95)
            assert len(exchange.published) == 1
            await clock.advance(15)
            assert len(exchange.published) == 2

    async def test_a_crash_between_publish_and_mark_makes_a_second_hint_and_one_run(
        self, tmp_path: Path, exchange: Exchange
    ) -> None:
        class Dying(MemoryStore):
            dead = True

            async def mark_dispatched(self, job_ids: Collection[str]) -> None:
                if self.dead:
                    raise Unreachable("the gateway died here")
                await super().mark_dispatched(job_ids)

        clock = ManualClock()
        store = Dying(clock=clock)
        async with carried(tmp_path, exchange, clock, store=store) as home:
            await home.ready_worker()
            [job_id] = await submitted(home, 1)
            await home.gateway.stop()
        store.dead = False
        async with carried(tmp_path, exchange, clock, store=store) as home:
            worker = await home.ready_worker()
            claim = await waiting(worker, slots=5)
            assert granted(await claim) == [job_id]
            await worker.finish(claim.result().grants[0])
            claim = await waiting(worker, slots=5)
            await clock.advance(1)
            assert not claim.done()
            assert len(exchange.published) >= 2
            assert exchange.queues["echo"] == []
            assert (await home.job(job_id))["attempt"] == 1

    async def test_a_broker_that_is_away_keeps_nobody_from_submitting_and_all_runs_once_it_is_back(
        self, tmp_path: Path, told: Told
    ) -> None:
        clock, exchange = SystemClock(), Exchange()
        async with carried(tmp_path, exchange, clock, chosen=policy(pace=QUICK)) as home:
            worker = await home.ready_worker()
            async with working(worker):
                exchange.go()
                ids = await submitted(home, 40)
                assert exchange.published == []
                exchange.come()
                await check_logs(home, await until_all(home, ids))

    async def test_a_broker_killed_with_hints_under_way_loses_nothing_and_runs_nothing_twice(
        self, tmp_path: Path
    ) -> None:
        clock, exchange = SystemClock(), Exchange()
        async with carried(tmp_path, exchange, clock, chosen=policy(pace=QUICK)) as home:
            workers = [await home.ready_worker(f"w{number}") for number in range(2)]
            async with working(*workers):
                ids = []
                for _ in range(5):
                    ids += await submitted(home, 20)
                    exchange.go()
                    await asyncio.sleep(0)
                    exchange.come()
                await check_logs(home, await until_all(home, ids))

    async def test_flaps_of_readiness_never_let_a_job_out(self, tmp_path: Path) -> None:
        clock, exchange = SystemClock(), Exchange(copies=2, shuffles=True)
        async with carried(tmp_path, exchange, clock, chosen=policy(pace=QUICK)) as home:
            worker = await home.ready_worker()
            ready = True
            ids = await submitted(home, 60)
            done: set[str] = set()

            async def flap() -> None:
                nonlocal ready
                while len(done) < len(ids):
                    ready = False
                    await worker.register(picture(Status.LOADING))
                    await settle()
                    ready = True
                    await worker.register(picture(Status.READY))
                    await settle()

            flapping = asyncio.create_task(flap())
            while len(done) < len(ids):
                for grant in (await worker.claim(3, wait=WAIT)).grants:
                    assert ready, "a job was handed out while its model was not ready"
                    assert await worker.finish(grant)
                    done.add(grant.hold.job_id)
            await flapping
            await until_all(home, ids)


class TestTheContact:
    def component(self, home: House) -> Any:
        return home.parts.board.snapshot().find("broker")

    async def test_a_broker_that_is_away_shows_and_takes_nothing_down(self, home: House, exchange: Exchange) -> None:
        await home.ready_worker()
        await home.clock.advance(5)
        assert self.component(home).status.can_serve
        exchange.go()
        await home.clock.advance(5)
        assert not self.component(home).status.can_serve
        assert home.parts.board.is_ready()
        await home.submit()
        exchange.come()
        await home.clock.advance(10)
        assert self.component(home).status.can_serve

    async def test_a_gateway_gets_ready_without_its_broker(self, tmp_path: Path, exchange: Exchange) -> None:
        exchange.go()
        async with carried(tmp_path, exchange) as home:
            assert home.parts.board.is_ready()
            worker = await home.ready_worker()
            job = await home.submit()
            claim = await waiting(worker)
            exchange.come()
            await home.clock.advance(10)
            assert granted(await claim) == [job["id"]]

    async def test_pauses_grow_while_it_is_away(self, tmp_path: Path, exchange: Exchange) -> None:
        tries = 0

        class Counting(CarryingBroker):
            async def publish(self, hints: Sequence[Hint]) -> None:
                nonlocal tries
                tries += 1
                await super().publish(hints)

        clock = ManualClock()
        async with house(tmp_path, clock, broker=Counting(exchange, clock)) as home:
            await home.ready_worker()
            exchange.go()
            await submitted(home, 1)
            await clock.advance(250)
            assert 250 / 5 <= tries < 250

    async def test_the_rows_need_no_such_component(self, tmp_path: Path) -> None:
        async with house(tmp_path) as home:
            assert home.parts.board.snapshot().find("broker") is None


class TestEnds:
    async def test_a_job_that_nobody_started_in_time_fails_as_expired(self, home: House, told: Told) -> None:
        soon = home.clock.now() + timedelta(seconds=30)
        [made] = await home.gateway.ledger.submit([JobRequest(task="echo.say", input={}, expires_at=soon)])
        await home.clock.advance(29)
        assert (await home.job(made.job.id))["state"] == "queued"
        await home.clock.advance(2)
        seen = await home.job(made.job.id)
        assert (seen["state"], seen["error"]["code"]) == ("failed", "expired")
        assert [one["job"] for one in told.of("job.failed")] == [made.job.id]

    async def test_a_failed_job_is_buried_with_its_attempts(self, home: House, exchange: Exchange) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        await worker.fail((await (await waiting(worker))).grants[0])
        await until(lambda: exchange.letters["echo"])
        [letter] = exchange.letters["echo"]
        assert (letter["job_id"], [one["outcome"] for one in letter["attempts"]]) == (job["id"], ["failed"])

    async def test_it_is_buried_when_the_broker_is_back(self, home: House, exchange: Exchange) -> None:
        worker = await home.ready_worker()
        await home.submit()
        grant = (await (await waiting(worker))).grants[0]
        exchange.go()
        await worker.fail(grant)
        await home.clock.advance(60)
        assert exchange.letters == {}
        exchange.come()
        await home.clock.advance(120)
        await until(lambda: exchange.letters["echo"])
        assert len(exchange.letters["echo"]) == 1

    async def test_a_completed_job_is_not_buried(self, home: House, exchange: Exchange) -> None:
        worker = await home.ready_worker()
        await home.submit()
        await worker.finish((await (await waiting(worker))).grants[0])
        await home.clock.advance(60)
        assert exchange.letters == {}
