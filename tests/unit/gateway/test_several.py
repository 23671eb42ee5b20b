"""Several gateways on one store: one leader for each duty, and workers that may call any of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.carrier import Exchange
from tests.unit.gateway.house import HandWorker, House, Told, house, orders, picture, policy, settle

from glowplug.brokers.rows import RowsBroker
from glowplug.clock import Clock, ManualClock, SystemClock
from glowplug.errors import BugError, Unreachable
from glowplug.gateway.leadership import USED, Leadership
from glowplug.gateway.policy import Pace, Retention
from glowplug.job import Job, JobState, Outcome, OutcomeKind
from glowplug.link import Claimed
from glowplug.readiness import Status
from glowplug.store import News, WorkerRecord
from glowplug.stores.memory import MemoryStore

WAIT = 20.0
SHARE = Pace().share_seconds
TERM_SECONDS = Pace().term_seconds


class SharedStore(MemoryStore):
    """One database that gateways share: it tells all who follow of every job that is written, unless it is `deaf`."""

    shared = True

    def __init__(self, *, clock: Clock) -> None:
        super().__init__(clock=clock, jitter=lambda: 0.5)
        self.listeners: list[Callable[[Sequence[News]], None]] = []
        self.deaf = False
        self.away = False
        self.reaped: list[str] = []

    def follow(self, listener: Callable[[Sequence[News]], None]) -> None:
        self.listeners.append(listener)

    def _save(self, change: Any) -> Job:
        job = super()._save(change)
        if not self.deaf:
            for listener in self.listeners:
                listener([News(job.id, job.task)])
        return job

    async def lead(self, duty: str, holder: str, term: timedelta) -> bool:
        if self.away:
            raise Unreachable("the database does not answer")
        return await super().lead(duty, holder, term)


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(60):
        yield


class Town:
    """Gateways on one store, opened as they are needed."""

    def __init__(self, folder: Path, stack: AsyncExitStack, clock: Clock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.store = SharedStore(clock=self.clock)
        self.exchange: Exchange | None = None
        self._folder = folder
        self._stack = stack

    async def gateway(self, **more: Any) -> House:
        broker = self.exchange.broker(self.clock) if self.exchange else RowsBroker(clock=self.clock)
        made = house(self._folder, self.clock, store=self.store, broker=broker, **more)
        return await self._stack.enter_async_context(made)

    async def wind(self, seconds: float) -> None:
        assert isinstance(self.clock, ManualClock)
        await self.clock.advance(seconds)
        await settle()


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        yield Town(tmp_path, stack)


@pytest.fixture
async def pair(town: Town) -> tuple[House, House]:
    return await town.gateway(), await town.gateway()


def at(worker: HandWorker, home: House) -> HandWorker:
    """Let the worker's next calls go to another gateway, as a load balancer would."""
    worker.link = home.gateway.desk
    return worker


async def waiting(worker: HandWorker, **more: Any) -> asyncio.Task[Claimed]:
    claim = asyncio.create_task(worker.claim(wait=WAIT, **more))
    await settle()
    return claim


def granted(claimed: Claimed) -> list[str]:
    return [grant.hold.job_id for grant in claimed.grants]


class TestLeadership:
    def two(self, store: SharedStore, clock: Clock) -> tuple[Leadership, Leadership]:
        first, second = (Leadership(store, clock, name, ["sweep", "relay"], TERM_SECONDS) for name in ("a", "b"))
        return first, second

    async def test_the_first_leads_and_the_second_does_not(self) -> None:
        clock = ManualClock()
        first, second = self.two(SharedStore(clock=clock), clock)
        async with first, second:
            for _ in range(10):
                await clock.advance(7)
                assert (first.leads("sweep"), second.leads("sweep")) == (True, False)

    async def test_who_stops_resigns_and_the_other_takes_over_at_its_next_try(self) -> None:
        clock = ManualClock()
        first, second = self.two(SharedStore(clock=clock), clock)
        async with second:
            async with first:
                await clock.advance(30)
            leads = second.leads("sweep")
            await clock.advance(TERM_SECONDS / 3)
            assert leads or second.leads("sweep")
            assert not first.leads("sweep")

    async def test_of_one_that_died_the_other_takes_over_after_its_term(self) -> None:
        clock = ManualClock()
        store = SharedStore(clock=clock)
        await store.lead("sweep", "dead", timedelta(seconds=TERM_SECONDS))
        async with Leadership(store, clock, "alive", ["sweep"], TERM_SECONDS) as alive:
            await clock.advance(TERM_SECONDS * 0.9)
            assert not alive.leads("sweep")
            await clock.advance(TERM_SECONDS * 0.6)
            assert alive.leads("sweep")

    async def test_who_cannot_renew_stops_before_anybody_else_may_begin(self) -> None:
        clock = ManualClock()
        store = SharedStore(clock=clock)
        first, second = self.two(store, clock)
        async with first:
            store.away = True
            await clock.advance(TERM_SECONDS * USED - 0.1)
            assert first.leads("sweep")
            await clock.advance(0.2)
            assert not first.leads("sweep")
            assert not await MemoryStore.lead(store, "sweep", "b", timedelta(seconds=10))
            await clock.advance(TERM_SECONDS)
            store.away = False
            async with second:
                assert second.leads("sweep")
                await clock.advance(20)
                assert (first.leads("sweep"), second.leads("sweep")) == (False, True)

    async def test_a_jump_of_the_wall_clock_gives_nobody_a_longer_term(self) -> None:
        clock = ManualClock()
        store = SharedStore(clock=clock)
        async with Leadership(store, clock, "a", ["sweep"], TERM_SECONDS) as only:
            store.away = True
            clock.jump(clock.now() - timedelta(hours=1))
            await clock.advance(TERM_SECONDS)
            assert not only.leads("sweep")

    async def test_an_error_of_the_store_does_not_end_the_asking(self, told: Told) -> None:
        class Moody(SharedStore):
            broken = False

            async def lead(self, duty: str, holder: str, term: timedelta) -> bool:
                if self.broken:
                    raise BugError("an operation failed")
                return await super().lead(duty, holder, term)

        clock = ManualClock()
        store = Moody(clock=clock)
        async with Leadership(store, clock, "a", ["sweep"], TERM_SECONDS) as only:
            store.broken = True
            await clock.advance(TERM_SECONDS)
            assert not only.leads("sweep")
            assert told.of("duty.failed")
            store.broken = False
            await clock.advance(TERM_SECONDS)
            assert only.leads("sweep")

    async def test_what_is_won_and_lost_is_told(self, told: Told) -> None:
        clock = ManualClock()
        store = SharedStore(clock=clock)
        changed: list[str] = []
        only = Leadership(store, clock, "a", ["sweep"], TERM_SECONDS)
        only.on_change = changed.append
        async with only:
            store.away = True
            await clock.advance(TERM_SECONDS * 2)
        assert changed == ["sweep", "sweep"]
        assert told.of("duty.led") == [{"duty": "sweep", "gateway": "a"}]
        assert told.of("duty.left") == [{"duty": "sweep", "gateway": "a"}]

    async def test_of_a_store_of_its_own_a_gateway_leads_everything_and_asks_nobody(self) -> None:
        class Alone(MemoryStore):
            async def lead(self, duty: str, holder: str, term: timedelta) -> bool:
                raise AssertionError("nobody else could lead")

        clock = ManualClock()
        async with Leadership(Alone(clock=clock), clock, "a", ["sweep"], TERM_SECONDS) as only:
            await clock.advance(60)
            assert only.leads("sweep")
            assert only.leads("anything")


class TestDuties:
    async def test_an_expired_lease_is_reaped_once(self, pair: tuple[House, House], town: Town, told: Told) -> None:
        worker = await pair[0].ready_worker()
        job = await pair[0].submit()
        await worker.one()
        await town.wind(65)
        assert [one["job"] for one in told.of("job.reaped")] == [job["id"]]

    async def test_when_the_leader_dies_another_reaps(self, pair: tuple[House, House], town: Town, told: Told) -> None:
        first, second = pair
        assert first.gateway.leadership.leads("reaper")
        worker = await first.ready_worker()
        await first.submit()
        await worker.one()
        # As kill -9 would: it does nothing any more and has resigned from nothing.
        for part in (first.gateway.leadership, first.gateway._rota):
            for name in ("_task",):
                task = getattr(part, name, None)
                if task is not None:
                    task.cancel()
        assert first.gateway._rota is not None
        await first.gateway._rota.stop()
        await town.wind(80)
        assert second.gateway.leadership.leads("reaper")
        assert len(told.of("job.reaped")) == 1

    async def test_a_stop_hands_the_duties_over(self, pair: tuple[House, House], town: Town) -> None:
        first, second = pair
        await first.gateway.stop()
        await town.wind(TERM_SECONDS / 2)
        assert all(second.gateway.leadership.leads(duty) for duty in ("reaper", "relay", "retention", "ageing"))


class TestTheRegistry:
    async def test_a_worker_of_one_gateway_is_known_to_the_other_soon(
        self, pair: tuple[House, House], town: Town
    ) -> None:
        await pair[0].ready_worker()
        await town.wind(SHARE)
        for home in pair:
            assert (await home.client.get("/v1/workers")).json()["workers"][0]["instance_id"] == "w1"
            assert home.gateway.registry.board.is_ready("echo")

    async def test_what_a_worker_announces_at_one_gateway_changes_its_picture_at_the_other(
        self, pair: tuple[House, House], town: Town
    ) -> None:
        worker = await pair[0].ready_worker()
        await town.wind(SHARE)
        await worker.register(picture(Status.LOADING))
        await town.wind(SHARE)
        assert not pair[1].gateway.registry.board.is_ready("echo")
        await at(worker, pair[1]).register(picture(Status.READY))
        await town.wind(SHARE)
        assert pair[0].gateway.registry.board.is_ready("echo")

    async def test_a_task_that_one_gateway_was_just_told_of_is_known_to_the_other_at_once(
        self, pair: tuple[House, House]
    ) -> None:
        worker = await pair[0].ready_worker()
        job = await pair[1].submit()
        assert granted(await worker.claim()) == [job["id"]]

    async def test_a_claim_at_another_gateway_is_not_asked_to_register(self, pair: tuple[House, House]) -> None:
        worker = await pair[0].ready_worker()
        job = await pair[0].submit()
        claimed = await at(worker, pair[1]).claim()
        assert (granted(claimed), orders(claimed)) == ([job["id"]], [])

    async def test_a_renewal_and_an_end_at_another_gateway_are_as_good(self, pair: tuple[House, House]) -> None:
        worker = await pair[0].ready_worker()
        job = await pair[0].submit()
        grant = await worker.one()
        renewed = await at(worker, pair[1]).renew(grant)
        assert ([one.held for one in renewed.renewals], orders(renewed)) == ([True], [])
        assert await worker.finish(grant, "done")
        assert (await pair[0].job(job["id"]))["state"] == "completed"

    async def test_the_same_process_announcing_itself_elsewhere_keeps_its_jobs(self, pair: tuple[House, House]) -> None:
        worker = await pair[0].ready_worker()
        job = await pair[0].submit()
        grant = await worker.one()
        await at(worker, pair[1]).register()
        assert (await pair[1].job(job["id"]))["state"] == "running"
        assert await worker.finish(grant)

    async def test_the_jobs_of_a_process_started_anew_are_not_taken_for_those_of_the_one_before(
        self, pair: tuple[House, House], town: Town
    ) -> None:
        first, second = pair
        await first.ready_worker()
        await town.wind(SHARE)
        reborn = first.worker(incarnation="two")
        await reborn.register()
        job = await first.submit()
        grant = await reborn.one()
        await at(reborn, second).register()
        assert (await second.job(job["id"]))["state"] == "running"
        assert await reborn.finish(grant)

    async def test_a_process_started_anew_at_another_gateway_gives_up_what_the_one_before_held(
        self, pair: tuple[House, House]
    ) -> None:
        first, second = pair
        worker = await first.ready_worker()
        job = await first.submit()
        await worker.one()
        reborn = second.worker(incarnation="two")
        await reborn.register()
        assert [one["outcome"] for one in (await second.job(job["id"]))["attempts"]] == ["crashed"]
        assert granted(await worker.claim()) == []
        assert orders(await worker.claim()) == [("register", "")]

    async def test_nothing_is_claimed_for_a_model_that_another_gateway_was_told_is_not_ready(
        self, pair: tuple[House, House]
    ) -> None:
        first, second = pair
        worker = await first.ready_worker()
        claim = await waiting(worker)
        await at(worker, second).register(picture(Status.LOADING))
        job = await second.submit()
        await settle()
        assert not claim.done()
        assert (await first.job(job["id"]))["attempt"] == 0
        await worker.register(picture(Status.READY))
        assert granted(await worker.claim()) == [job["id"]]

    async def test_a_late_announcement_overwrites_nothing_at_another_gateway(self, pair: tuple[House, House]) -> None:
        worker = await pair[0].ready_worker()
        worker.sequence = 5
        await worker.register(picture(Status.LOADING))
        worker.sequence = 2
        await at(worker, pair[1]).register(picture(Status.READY))
        await pair[1].submit()
        assert granted(await worker.claim()) == []

    async def test_one_that_died_under_its_keeper_is_not_taken_over_by_another_gateway(
        self, pair: tuple[House, House]
    ) -> None:
        worker = await pair[0].ready_worker()
        await pair[0].gateway.worker_died("w1")
        await pair[0].submit()
        assert orders(await at(worker, pair[1]).claim()) == [("register", "")]

    async def test_a_silent_worker_goes_offline_everywhere_and_is_forgotten_everywhere(self, town: Town) -> None:
        chosen = policy(pace=Pace(max_age_seconds=60), retention=Retention(workers_seconds=100))
        pair = await town.gateway(chosen=chosen), await town.gateway(chosen=chosen)
        await pair[1].ready_worker()
        await town.wind(70)
        statuses = [[entry.record.status for entry in home.gateway.registry] for home in pair]
        assert statuses == [["offline"], ["offline"]]
        await town.wind(50)
        assert [list(home.gateway.registry) for home in pair] == [[], []]
        assert await town.store.workers() == []

    async def test_a_worker_that_calls_only_the_follower_is_not_aged_by_the_leader(self, town: Town) -> None:
        chosen = policy(pace=Pace(max_age_seconds=60))
        pair = await town.gateway(chosen=chosen), await town.gateway(chosen=chosen)
        worker = await pair[1].ready_worker()
        for _ in range(5):
            await town.wind(20)
            await worker.renew()
        for home in pair:
            assert [entry.record.status for entry in home.gateway.registry] == ["ready"]

    async def test_a_worker_that_calls_both_is_written_seldom(self, pair: tuple[House, House], town: Town) -> None:
        worker = await pair[0].ready_worker()
        saved: list[WorkerRecord] = []
        save = town.store.save_worker

        async def counted(record: WorkerRecord) -> None:
            saved.append(record)
            await save(record)

        town.store.save_worker = counted  # type: ignore[method-assign]
        for number in range(60):
            await at(worker, pair[number % 2]).renew()
            await town.wind(1)
        assert 4 <= len(saved) <= 20

    async def test_a_gateway_that_starts_later_believes_what_is_fresh(self, town: Town) -> None:
        first = await town.gateway()
        await first.ready_worker()
        second = await town.gateway()
        assert second.gateway.registry.board.is_ready("echo")

    async def test_but_not_what_is_old_until_somebody_hears_of_it_again(self, town: Town) -> None:
        first = await town.gateway()
        worker = await first.ready_worker()
        await town.wind(60)
        second = await town.gateway()
        assert not second.gateway.registry.board.snapshot().ready
        await worker.renew()
        await town.wind(SHARE)
        assert second.gateway.registry.board.is_ready("echo")

    async def test_progress_is_seen_at_both(self, pair: tuple[House, House], town: Town) -> None:
        worker = pair[0].worker()
        first = picture(Status.LOADING)
        await worker.register(first)
        await town.wind(SHARE)
        second = picture(Status.LOADING)
        second["components"][0]["percent"] = 40.0
        await worker.register(second)
        await town.wind(2 * SHARE)
        stored = await town.store.worker("w1")
        assert stored is not None
        assert stored.sequence == 2


class TestNews:
    async def test_a_submit_here_wakes_a_worker_that_waits_there(self, pair: tuple[House, House]) -> None:
        claim = await waiting(await pair[0].ready_worker())
        job = await pair[1].submit()
        await settle()
        assert granted(await claim) == [job["id"]]

    async def test_without_news_it_is_found_all_the_same(self, pair: tuple[House, House], town: Town) -> None:
        claim = await waiting(await pair[0].ready_worker())
        town.store.deaf = True
        job = await pair[1].submit()
        await town.wind(5)
        assert granted(await claim) == [job["id"]]

    async def test_a_cancel_here_stops_a_job_whose_worker_calls_there_within_a_second(
        self, pair: tuple[House, House], town: Town
    ) -> None:
        worker = await pair[0].ready_worker()
        job = await pair[0].submit()
        grant = await worker.one()
        claim = await waiting(worker)
        await pair[1].client.post(f"/v1/jobs/{job['id']}/cancel")
        await town.wind(1)
        assert orders(await claim) == [("cancel", job["id"])]
        assert await worker.end(grant.hold, Outcome(OutcomeKind.CANCELED))

    async def test_also_when_the_worker_has_moved_since(self, pair: tuple[House, House], town: Town) -> None:
        worker = await pair[0].ready_worker()
        job = await pair[0].submit()
        grant = await worker.one()
        await at(worker, pair[1]).renew(grant)
        claim = await waiting(worker)
        await pair[0].client.post(f"/v1/jobs/{job['id']}/cancel")
        await town.wind(1)
        assert orders(await claim) == [("cancel", job["id"])]

    async def test_a_job_that_reports_much_costs_one_look_a_second(self, pair: tuple[House, House], town: Town) -> None:
        worker = await pair[0].ready_worker()
        job = await pair[0].submit()
        grant = await worker.one()
        looks = 0
        look = town.store.job

        async def counted(job_id: str) -> Job:
            nonlocal looks
            looks += 1
            return await look(job_id)

        town.store.job = counted  # type: ignore[method-assign]
        for _ in range(100):
            await worker.note(grant)
            await town.wind(0.1)
        assert looks <= 12
        assert (await pair[0].job(job["id"]))["state"] == "running"

    async def test_work_that_was_queued_there_orders_a_sleeping_model_up_here(self, pair: tuple[House, House]) -> None:
        worker = pair[0].worker()
        await worker.register(picture(Status.PENDING))
        claim = await waiting(worker, slots=0)
        await pair[1].submit()
        assert orders(await claim) == [("load", "echo")]

    async def test_who_waits_here_for_a_result_hears_of_its_end_there(
        self, pair: tuple[House, House], town: Town
    ) -> None:
        worker = await pair[0].ready_worker()
        job = await pair[1].submit()
        done = asyncio.create_task(pair[1].gateway.feed.done(job["id"], timeout_seconds=100))
        await settle()
        await worker.finish(await worker.one(), "hi")
        await town.wind(0.1)
        assert (await done).state is JobState.COMPLETED

    async def test_a_stream_here_goes_on_with_what_is_written_there(
        self, pair: tuple[House, House], town: Town
    ) -> None:
        worker = await pair[0].ready_worker()
        job = await pair[1].submit()
        seen: list[str] = []

        async def follow() -> None:
            async for event in pair[1].gateway.feed.events(job["id"], after=0):
                seen.append(event.type if event else "heartbeat")

        following = asyncio.create_task(follow())
        await settle()
        await worker.finish(await worker.one(), "hi")
        await town.wind(0.1)
        await following
        assert seen == ["queued", "started", "completed"]


class TestByABroker:
    async def test_a_submit_here_is_published_by_the_leader_there(self, town: Town) -> None:
        town.exchange = Exchange()
        leader, other = await town.gateway(), await town.gateway()
        assert leader.gateway.leadership.leads("relay")
        claim = await waiting(await other.ready_worker())
        await town.wind(SHARE)
        job = await other.submit()
        await settle()
        assert granted(await claim) == [job["id"]]
        assert len(town.exchange.published) == 1

    async def test_the_window_counts_the_workers_of_all_gateways(self, town: Town) -> None:
        town.exchange = Exchange()
        homes = [await town.gateway(), await town.gateway()]
        for number, home in enumerate(homes):
            worker = await home.ready_worker(f"w{number}")
            await worker.claim(10)
        await town.wind(2 * SHARE)
        jobs = [{"task": "echo.say", "input": {"text": str(number)}} for number in range(100)]
        await homes[1].client.post("/v1/batches", json={"jobs": jobs})
        await town.wind(1)
        assert len(town.exchange.published) == 40

    @pytest.mark.parametrize("faults", [{}, {"copies": 3, "shuffles": True}, {"loses": 5}], ids=str)
    async def test_many_jobs_over_two_gateways_run_once_each_though_the_leader_stops(
        self, tmp_path: Path, faults: dict[str, Any]
    ) -> None:
        pace = Pace(
            reconcile_seconds=0.02, redispatch_seconds=0.05, reap_seconds=0.05, share_seconds=0.02, term_seconds=0.5
        )
        async with AsyncExitStack() as stack:
            town = Town(tmp_path, stack, SystemClock())
            town.exchange = Exchange(**faults)
            first, second = await town.gateway(chosen=policy(pace=pace)), await town.gateway(chosen=policy(pace=pace))
            workers = [await home.ready_worker(f"w{number}") for number, home in enumerate((first, second, second))]
            tasks = [asyncio.create_task(_work(worker, second)) for worker in workers]
            ids = [(await home.submit(str(number)))["id"] for number in range(10) for home in (first, second)]
            await first.gateway.stop()
            ids += [(await second.submit(str(number)))["id"] for number in range(10)]
            while not all(job.done for job in [await town.store.job(job_id) for job_id in ids]):
                assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
                await asyncio.sleep(0.005)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for job_id in ids:
                events = await town.store.events(job_id)
                ends = [event.type for event in events if event.type in ("completed", "failed", "canceled")]
                assert ends == ["completed"]
                assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def _work(worker: HandWorker, refuge: House) -> None:
    """Run what comes, and go to another gateway when this one closes."""
    while True:
        try:
            claimed = await worker.claim(4, wait=WAIT)
        except Exception:  # noqa: BLE001 - a gateway that closes may answer anything
            at(worker, refuge)
            continue
        if orders(claimed) == [("register", "")]:
            await at(worker, refuge).register()
        for grant in claimed.grants:
            await worker.finish(grant)
        if not claimed.grants:
            at(worker, refuge)
            await asyncio.sleep(0)
