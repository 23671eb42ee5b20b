"""The gateway's duties, wound by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.house import House, Told, house, orders, picture, policy, settle

from glowplug.brokers.rows import RowsBroker
from glowplug.clock import ManualClock
from glowplug.errors import Unreachable
from glowplug.gateway.dispatch import Duty, Reaper, Rota
from glowplug.gateway.policy import Pace
from glowplug.gateway.room import Room
from glowplug.readiness import Status
from glowplug.store import Depth
from glowplug.stores.memory import MemoryStore

LEASE = 60.0


class Counting(Duty):
    def __init__(self, name: str, every: float, first: float | None = None) -> None:
        super().__init__(every, first)
        self.name = name  # type: ignore[misc]
        self.turns = 0
        self.error: Exception | None = None

    async def turn(self) -> None:
        self.turns += 1
        if self.error is not None:
            raise self.error


class TestTheRota:
    async def test_each_duty_has_its_own_pace(self) -> None:
        clock = ManualClock()
        often, seldom = Counting("often", 1), Counting("seldom", 10, first=0)
        async with Rota([often, seldom], clock):
            await clock.advance(20.5)
        assert (often.turns, seldom.turns) == (20, 3)

    async def test_a_duty_that_raises_is_told_of_and_has_its_next_turn(self, told: Told) -> None:
        clock = ManualClock()
        broken, other = Counting("broken", 1), Counting("other", 1)
        broken.error = ValueError("oops")
        async with Rota([broken, other], clock):
            await clock.advance(3)
        assert (broken.turns, other.turns) == (3, 3)
        assert [one["duty"] for one in told.of("duty.failed")] == ["broken"] * 3
        assert told.of("duty.failed")[0]["error"] == "ValueError: oops"

    async def test_nothing_turns_after_the_stop(self) -> None:
        clock = ManualClock()
        duty = Counting("duty", 1)
        async with Rota([duty], clock):
            await clock.advance(1)
        await clock.advance(10)
        assert duty.turns == 1


class TestTheReaper:
    async def test_an_expired_lease_is_taken_back_and_the_job_runs_again(self, home: House, told: Told) -> None:
        silent, other = await home.ready_worker("w1"), await home.ready_worker("w2")
        job = await home.submit()
        grant = await silent.one()
        async with asyncio.timeout(20):
            claim = asyncio.create_task(other.claim(wait=1000))
            await home.clock.advance(LEASE - 1)
            claim.cancel()
            claim = asyncio.create_task(other.claim(wait=1000))
            await settle()
            assert not claim.done()
            await home.clock.advance(3)
            assert [one.hold.job_id for one in (await claim).grants] == [job["id"]]
        assert told.of("job.reaped") == [{"job": job["id"], "worker": "w1", "attempt": 1}]
        assert not await silent.finish(grant)
        assert [one["outcome"] for one in (await home.job(job["id"]))["attempts"]] == ["lost", None]

    async def test_a_renewed_lease_is_left_alone(self, home: House, told: Told) -> None:
        worker = await home.ready_worker()
        await home.submit()
        grant = await worker.one()
        for _ in range(5):
            await home.clock.advance(LEASE / 2)
            await worker.renew(grant)
        assert told.of("job.reaped") == []
        assert await worker.finish(grant)

    async def test_a_job_that_was_to_be_canceled_is_not_run_again(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        await worker.one()
        await home.client.post(job["urls"]["cancel"])
        await home.clock.advance(LEASE + 2)
        assert (await home.job(job["id"]))["state"] == "canceled"

    async def test_more_than_one_look_takes_are_all_taken_back(self, home: House, told: Told) -> None:
        worker = await home.ready_worker()
        jobs = [{"task": "echo.say", "input": {"text": str(number)}} for number in range(250)]
        await home.client.post("/v1/batches", json={"jobs": jobs})
        assert len((await worker.claim(250)).grants) == 250
        await home.clock.advance(LEASE + 2)
        assert len(told.of("job.reaped")) == 250

    async def test_after_a_restart_living_workers_have_time_to_renew_first(self, home: House, tmp_path: Path) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        grant = await worker.one()
        await home.gateway.stop()
        await home.clock.advance(LEASE + 5)
        async with house(tmp_path, home.clock, store=home.store) as second:
            worker.link = second.gateway.desk
            await home.clock.advance(5)
            assert (await second.job(job["id"]))["state"] == "running"
            assert (await worker.renew(grant)).renewals[0].held
            await home.clock.advance(20)
            assert (await second.job(job["id"]))["state"] == "running"

    def test_its_first_turn_is_spread(self) -> None:
        made = [Reaper(None, None, Pace(), 30.0, lambda value=value: value) for value in (0.0, 0.5, 1.0)]  # type: ignore[arg-type,misc]
        assert [duty.first_seconds for duty in made] == [10.0, 10.0, 10.0]
        short = Reaper(None, None, Pace(), 5.0, lambda: 0.5)  # type: ignore[arg-type]
        assert 1.5 < short.first_seconds < 3


class TestTheReconciler:
    async def test_a_lost_hint_is_repeated(self, tmp_path: Path) -> None:
        class Losing(RowsBroker):
            lost = True

            async def publish(self, hints: Any) -> None:
                if not self.lost:
                    await super().publish(hints)

        clock = ManualClock()
        broker = Losing(clock=clock)
        async with asyncio.timeout(20), house(tmp_path, clock, broker=broker) as home:
            worker = await home.ready_worker()
            claim = asyncio.create_task(worker.claim(wait=25))
            await settle()
            job = await home.submit()
            await settle()
            assert not claim.done()
            broker.lost = False
            await clock.advance(home.gateway.policy.pace.reconcile_seconds)
            assert [grant.hold.job_id for grant in (await claim).grants] == [job["id"]]

    async def test_a_sleeping_model_with_work_is_ordered_up_again_and_again(self, home: House) -> None:
        worker = home.worker()
        await worker.register(picture(Status.PENDING))
        await home.submit()
        assert orders(await worker.claim()) == [("load", "echo")]
        assert orders(await worker.claim()) == []
        await home.clock.advance(home.gateway.policy.pace.reconcile_seconds)
        assert orders(await worker.claim()) == [("load", "echo")]

    async def test_a_store_that_does_not_answer_makes_the_gateway_not_ready_until_it_does(
        self, tmp_path: Path, told: Told
    ) -> None:
        class Moody(MemoryStore):
            away = False

            async def depths(self) -> dict[str, Depth]:
                if self.away:
                    raise Unreachable("the database does not answer")
                return await super().depths()

        clock = ManualClock()
        store = Moody(clock=clock)
        async with house(tmp_path, clock, store=store) as home:
            assert home.parts.board.is_ready()
            store.away = True
            await clock.advance(5)
            assert not home.parts.board.is_ready()
            assert told.of("store.failed") == [{"error": "the database does not answer"}]
            store.away = False
            await clock.advance(5)
            assert home.parts.board.is_ready()


class TestQueues:
    async def test_held_and_resumed_are_told_once_per_change(self, home: House, told: Told) -> None:
        worker = home.worker()
        await worker.register(picture(Status.LOADING))
        await home.submit()
        await home.submit("again")
        await home.clock.advance(60)
        assert told.of("queue.held") == [{"task": "echo.say", "queued": 2}]
        await worker.register(picture(Status.READY))
        assert told.of("queue.resumed") == [{"task": "echo.say"}]
        await home.clock.advance(60)
        assert (len(told.of("queue.held")), len(told.of("queue.resumed"))) == (1, 1)
        await worker.register(picture(Status.LOADING))
        await home.clock.advance(60)
        assert len(told.of("queue.held")) == 2

    async def test_a_held_queue_that_is_emptied_is_not_resumed(self, home: House, told: Told) -> None:
        worker = home.worker()
        await worker.register(picture(Status.LOADING))
        job = await home.submit()
        await home.clock.advance(10)
        await home.client.post(job["urls"]["cancel"])
        await home.clock.advance(10)
        await worker.register(picture(Status.READY))
        assert (len(told.of("queue.held")), told.of("queue.resumed")) == (1, [])


class TestRoom:
    def test_low_is_told_once_and_the_change_is_heard(self, tmp_path: Path, told: Told) -> None:
        free, changes = [1000], []
        room = Room(tmp_path, 500, lambda folder: free[0])
        room.on_change = lambda: changes.append(room.enough())
        for amount in (1000, 499, 400, 500, 499):
            free[0] = amount
            room.look()
        assert changes == [False, True, False]
        assert told.of("disk.low")[0] == {"path": str(tmp_path), "free_bytes": 499, "limit_bytes": 500}
        assert len(told.of("disk.low")) == 2

    def test_without_a_folder_there_is_always_room(self) -> None:
        room = Room(None, 10**30)
        room.look()
        assert room.enough()

    def test_the_real_disk_can_be_asked(self, tmp_path: Path) -> None:
        room = Room(tmp_path, 1)
        room.look()
        assert room.enough()

    async def test_intake_stops_below_the_mark_and_goes_on_above(self, tmp_path: Path) -> None:
        free = [1000]
        clock = ManualClock()
        chosen = policy(data_folder=tmp_path, min_free_bytes=500)
        async with asyncio.timeout(20), house(tmp_path, clock, chosen, free_bytes=lambda folder: free[0]) as home:
            worker = await home.ready_worker()
            await home.submit()
            free[0] = 10
            await clock.advance(chosen.pace.disk_seconds)
            claim = asyncio.create_task(worker.claim(wait=25))
            await settle()
            assert not claim.done()
            free[0] = 1000
            await clock.advance(chosen.pace.disk_seconds)
            assert len((await claim).grants) == 1

    async def test_what_runs_may_finish_while_the_disk_is_full(self, tmp_path: Path) -> None:
        free = [1000]
        clock = ManualClock()
        chosen = policy(data_folder=tmp_path, min_free_bytes=500)
        async with house(tmp_path, clock, chosen, free_bytes=lambda folder: free[0]) as home:
            worker = await home.ready_worker()
            job = await home.submit()
            grant = await worker.one()
            free[0] = 10
            await clock.advance(chosen.pace.disk_seconds)
            assert await worker.finish(grant)
            assert (await home.job(job["id"]))["state"] == "completed"


async def test_a_gateway_ages_its_workers_by_itself(home: House) -> None:
    await home.ready_worker()
    await home.clock.advance(home.gateway.policy.pace.max_age_seconds + 10)
    assert [record.status for record in await home.store.workers()] == ["offline"]


@pytest.mark.parametrize("stops", [1, 2])
async def test_a_gateway_can_be_stopped_more_than_once_and_started_again(home: House, stops: int) -> None:
    for _ in range(stops):
        await home.gateway.stop()
    assert not home.parts.board.is_ready()
    await home.gateway.start()
    assert home.parts.board.is_ready()
