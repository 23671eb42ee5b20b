"""The desk: who gets work, when, and what becomes of work that could not be delivered."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.gateway.house import ECHO, HandWorker, House, Told, house, orders, picture, settle

from glowplug.artifact import Artifact
from glowplug.broker import Hint
from glowplug.brokers.rows import RowsBroker
from glowplug.clock import SystemClock
from glowplug.errors import Conflict, Draining, InvalidInput, Unreachable
from glowplug.job import Note, Outcome, OutcomeKind, Progress
from glowplug.link import Claim, Claimed, Order, OrderKind
from glowplug.readiness import Status
from glowplug.store import Hold, ModelInfo, TaskInfo, Want
from glowplug.stores.memory import MemoryStore

WAIT = 20.0


async def waiting(worker: HandWorker, **more: object) -> asyncio.Task[Claimed]:
    """Start a claim and let it come to rest."""
    claim = asyncio.create_task(worker.claim(wait=WAIT, **more))
    await settle()
    return claim


class TestReadiness:
    async def test_a_worker_that_never_registered_is_asked_to(self, home: House) -> None:
        await home.ready_worker("another")
        await home.submit()
        claimed = await home.worker().claim()
        assert (claimed.grants, orders(claimed)) == ((), [("register", "")])

    async def test_another_process_under_the_same_name_is_asked_to_register(self, home: House) -> None:
        await home.ready_worker()
        await home.submit()
        claimed = await home.worker(incarnation="two").claim()
        assert (claimed.grants, orders(claimed)) == ((), [("register", "")])

    @pytest.mark.parametrize(
        "status", [Status.PENDING, Status.FETCHING, Status.LOADING, Status.WARMING, Status.ERROR, Status.SLEEPING]
    )
    async def test_nothing_is_handed_to_a_worker_whose_model_is_not_ready(self, home: House, status: Status) -> None:
        worker = home.worker()
        await worker.register(picture(status))
        await home.submit()
        assert (await worker.claim()).grants == ()

    async def test_nothing_is_handed_to_a_worker_that_drains(self, home: House) -> None:
        worker = home.worker()
        await worker.register(picture(draining=True))
        await home.submit()
        assert (await worker.claim()).grants == ()

    async def test_a_worker_that_says_it_wants_work_of_another_models_task_gets_none(self, home: House) -> None:
        worker = home.worker()
        await worker.register(picture(other=Status.READY))
        await home.submit()
        assert (await worker.claim()).grants == ()

    async def test_the_moment_the_model_turns_ready_the_waiting_claim_gets_the_job(self, home: House) -> None:
        worker = home.worker()
        await worker.register(picture(Status.LOADING))
        job = await home.submit()
        async with asyncio.timeout(WAIT):
            claim = await waiting(worker)
            assert not claim.done()
            await worker.register(picture(Status.READY))
            claimed = await claim
        assert [grant.hold.job_id for grant in claimed.grants] == [job["id"]]

    async def test_a_model_that_crashes_takes_the_worker_out_of_the_waiting_claims(self, home: House) -> None:
        worker = await home.ready_worker()
        async with asyncio.timeout(WAIT):
            claim = await waiting(worker)
            await worker.register(picture(Status.LOADING))
            await home.submit()
            await settle()
            assert not claim.done()
            await worker.register(picture(Status.READY))
            assert len((await claim).grants) == 1

    async def test_a_late_announcement_cannot_overwrite_a_newer_one(self, home: House) -> None:
        worker = home.worker()
        worker.sequence = 5
        await worker.register(picture(Status.READY))
        worker.sequence = 3
        await worker.register(picture(Status.LOADING))
        await home.submit()
        assert len((await worker.claim()).grants) == 1

    async def test_a_restarted_gateway_hands_out_nothing_before_the_worker_has_announced_itself(
        self, home: House, tmp_path: Path
    ) -> None:
        worker = await home.ready_worker()
        await home.submit()
        async with house(tmp_path, home.clock, store=home.store) as second:
            worker.link = second.gateway.desk
            assert orders(await worker.claim()) == [("register", "")]
            await worker.register()
            assert len((await worker.claim()).grants) == 1

    @pytest.mark.parametrize("name", ["", "x" * 201, "line\nbreak"])
    async def test_a_name_of_no_use_is_refused(self, home: House, name: str) -> None:
        with pytest.raises(InvalidInput, match="instance_id"):
            await home.worker(name).register()

    async def test_a_worker_of_another_protocol_is_told_what_to_do(self, home: House) -> None:
        with pytest.raises(Conflict, match="install the same release"):
            await home.worker().register(protocol=99)

    async def test_a_picture_that_is_none_is_refused(self, home: House) -> None:
        with pytest.raises(InvalidInput):
            await home.worker().register({"components": 7})

    @pytest.mark.parametrize(
        "url", ["ftp://somewhere", "http://", "file:///etc/passwd", "http://u:p@host", "http://h:x"]
    )
    async def test_an_address_that_we_would_not_call_is_refused(self, home: House, url: str) -> None:
        with pytest.raises(InvalidInput, match="address"):
            await home.worker().register(url=url)


class TestClaims:
    async def test_a_claim_takes_as_many_jobs_as_it_has_slots(self, home: House) -> None:
        worker = await home.ready_worker()
        jobs = [await home.submit(str(number)) for number in range(3)]
        claimed = await worker.claim(2)
        assert len(claimed.grants) == 2
        assert {grant.hold.job_id for grant in claimed.grants} < {job["id"] for job in jobs}

    async def test_a_claim_without_wants_waits_for_orders_alone(self, home: House) -> None:
        worker = await home.ready_worker()
        await home.submit()
        async with asyncio.timeout(WAIT):
            claim = await waiting(worker, slots=0)
            assert not claim.done()
            home.gateway.desk.order("w1", Order(OrderKind.DRAIN))
            assert orders(await claim) == [("drain", "")]

    async def test_a_claim_answers_with_nothing_when_its_time_is_up(self, home: House) -> None:
        worker = await home.ready_worker()
        claim = await waiting(worker)
        await home.clock.advance(WAIT)
        async with asyncio.timeout(WAIT):
            assert await claim == Claimed()

    async def test_a_claim_waits_no_longer_than_the_gateways_own_limit(self, home: House) -> None:
        worker = await home.ready_worker()
        claim = asyncio.create_task(worker.claim(wait=10_000))
        await settle()
        await home.clock.advance(home.gateway.policy.limits.claim_wait_seconds)
        async with asyncio.timeout(WAIT):
            assert (await claim).grants == ()

    async def test_a_job_for_later_is_handed_out_when_its_time_has_come(self, home: House) -> None:
        worker = await home.ready_worker()
        later = (home.clock.now() + timedelta(seconds=5)).isoformat()
        claim = await waiting(worker)
        job = await home.submit(run_at=later)
        await settle()
        assert not claim.done()
        await home.clock.advance(4.9)
        assert not claim.done()
        await home.clock.advance(0.2)
        async with asyncio.timeout(WAIT):
            assert [grant.hold.job_id for grant in (await claim).grants] == [job["id"]]

    async def test_two_workers_never_get_the_same_job(self, home: House) -> None:
        first, second = await home.ready_worker("w1"), await home.ready_worker("w2")
        async with asyncio.timeout(WAIT):
            claims = [await waiting(first), await waiting(second)]
            await home.submit()
            done, pending = await asyncio.wait(claims, return_when=asyncio.FIRST_COMPLETED)
            await settle()
            assert (len(done), len(pending)) == (1, 1)
            await home.submit()
            both = [grant.hold.job_id for claim in await asyncio.gather(*claims) for grant in claim.grants]
        assert len(set(both)) == 2

    async def test_a_newer_claim_of_the_same_worker_ends_the_older_at_once(self, home: House) -> None:
        worker = await home.ready_worker()
        async with asyncio.timeout(WAIT):
            older = await waiting(worker)
            newer = await waiting(worker, slots=2)
            assert await older == Claimed()
            await home.submit()
            assert len((await newer).grants) == 1

    async def test_a_claim_of_one_worker_leaves_those_of_others_alone(self, home: House) -> None:
        first, second = await home.ready_worker("w1"), await home.ready_worker("w2")
        claim = await waiting(first)
        assert (await second.claim()).grants == ()
        assert not claim.done()
        claim.cancel()

    async def test_closing_answers_the_waiting_and_turns_the_next_away(self, home: House) -> None:
        worker = await home.ready_worker()
        async with asyncio.timeout(WAIT):
            claim = await waiting(worker)
            home.gateway.hang_up()
            assert await claim == Claimed()
        with pytest.raises(Draining):
            await worker.claim()

    async def test_a_lost_broker_delays_work_but_does_not_stop_it(self, tmp_path: Path) -> None:
        class Broken(RowsBroker):
            async def publish(self, hints: object) -> None:
                raise Unreachable("no broker")

            async def wait(self, *args: object, **more: object) -> bool:
                raise Unreachable("no broker")

        clock = SystemClock()
        async with house(tmp_path, clock, broker=Broken(clock=clock)) as home, asyncio.timeout(WAIT):
            worker = await home.ready_worker()
            await home.submit()
            assert len((await worker.claim()).grants) == 1


class SlowStore(MemoryStore):
    """Claims only once it is told to."""

    def __init__(self, **more: object) -> None:
        super().__init__(**more)
        self.may_claim = asyncio.Event()
        self.claiming = asyncio.Event()

    async def claim(self, *args: object, **more: object) -> list:  # type: ignore[type-arg, override]
        self.claiming.set()
        await self.may_claim.wait()
        return await super().claim(*args, **more)


class TestUndelivered:
    async def test_a_job_claimed_for_a_claim_that_is_over_goes_to_the_newer_one(self, tmp_path: Path) -> None:
        clock = SystemClock()
        store = SlowStore(clock=clock)
        async with house(tmp_path, clock, store=store) as home, asyncio.timeout(WAIT):
            worker = await home.ready_worker()
            job = await home.submit()
            older = asyncio.create_task(worker.claim(wait=WAIT))
            await store.claiming.wait()
            newer = asyncio.create_task(worker.claim(wait=WAIT))
            await settle()
            store.may_claim.set()
            assert await older == Claimed()
            assert [grant.hold.job_id for grant in (await newer).grants] == [job["id"]]
            assert (await home.job(job["id"]))["attempt"] == 1

    async def test_what_the_newer_claim_has_no_slot_for_is_released_uncounted(self, tmp_path: Path) -> None:
        clock = SystemClock()
        store = SlowStore(clock=clock)
        async with house(tmp_path, clock, store=store) as home, asyncio.timeout(WAIT):
            worker = await home.ready_worker()
            job = await home.submit()
            older = asyncio.create_task(worker.claim(wait=WAIT))
            await store.claiming.wait()
            newer = asyncio.create_task(worker.claim(0, wait=WAIT))
            await settle()
            store.may_claim.set()
            await older
            while (seen := await home.job(job["id"]))["state"] != "queued":
                await asyncio.sleep(0)
            assert [attempt["outcome"] for attempt in seen["attempts"]] == ["displaced"]
            newer.cancel()

    async def test_what_is_left_when_both_claims_have_gone_is_released(self, tmp_path: Path) -> None:
        clock = SystemClock()
        store = SlowStore(clock=clock)
        async with house(tmp_path, clock, store=store) as home, asyncio.timeout(WAIT):
            worker = await home.ready_worker()
            job = await home.submit()
            older = asyncio.create_task(worker.claim(wait=WAIT))
            await store.claiming.wait()
            newer = asyncio.create_task(worker.claim(wait=WAIT))
            await settle()
            newer.cancel()
            await settle()
            store.may_claim.set()
            await older
            while (await home.job(job["id"]))["state"] != "queued":
                await asyncio.sleep(0)

    async def test_a_job_claimed_while_its_model_fell_over_goes_back(self, tmp_path: Path) -> None:
        clock = SystemClock()
        store = SlowStore(clock=clock)
        async with house(tmp_path, clock, store=store) as home, asyncio.timeout(WAIT):
            worker = await home.ready_worker()
            job = await home.submit()
            claim = asyncio.create_task(worker.claim(wait=WAIT))
            await store.claiming.wait()
            await worker.register(picture(Status.LOADING))
            store.may_claim.set()
            while not (seen := await home.job(job["id"]))["attempts"] or seen["state"] != "queued":
                await asyncio.sleep(0)
            assert not claim.done()
            await worker.register(picture(Status.READY))
            assert [grant.hold.job_id for grant in (await claim).grants] == [job["id"]]

    async def test_a_canceled_claim_gives_back_what_the_store_had_already_granted(self, tmp_path: Path) -> None:
        clock = SystemClock()
        store = SlowStore(clock=clock)
        async with house(tmp_path, clock, store=store) as home, asyncio.timeout(WAIT):
            worker = await home.ready_worker()
            job = await home.submit()
            claim = asyncio.create_task(worker.claim(wait=WAIT))
            await store.claiming.wait()
            claim.cancel()
            store.may_claim.set()
            while not (seen := await home.job(job["id"]))["attempts"] or seen["state"] != "queued":
                await asyncio.sleep(0)
            assert len((await worker.claim()).grants) == 1

    async def test_grants_that_could_not_be_sent_are_taken_back_and_orders_kept(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        claimed = await worker.claim()
        lost = Claimed(claimed.grants, (Order(OrderKind.DRAIN),))
        await home.gateway.desk.take_back("w1", lost)
        seen = await home.job(job["id"])
        assert (seen["state"], [attempt["outcome"] for attempt in seen["attempts"]]) == ("queued", ["displaced"])
        again = await worker.claim()
        assert (len(again.grants), orders(again)) == (1, [("drain", "")])

    async def test_a_claim_that_tells_what_arrived_frees_what_did_not(self, home: House) -> None:
        worker = await home.ready_worker()
        for number in range(2):
            await home.submit(str(number))
        kept, lost = (await worker.claim(2)).grants
        claimed = await worker.claim(known=(kept.hold,))
        assert [grant.hold.job_id for grant in claimed.grants] == [lost.hold.job_id]
        assert claimed.grants[0].hold.token == lost.hold.token + 1
        assert await worker.finish(kept)

    async def test_a_claim_that_knows_nothing_frees_everything(self, home: House) -> None:
        worker = await home.ready_worker()
        await home.submit()
        await worker.claim()
        assert len((await worker.claim(known=())).grants) == 1


class TestEnds:
    async def test_a_failure_within_the_budget_is_tried_again_without_being_asked(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        await worker.fail(await worker.one(), retryable=True)
        seen = await home.job(job["id"])
        assert (seen["state"], seen["error"]["code"]) == ("queued", "ValueError")
        claim = await waiting(worker)
        await home.clock.advance(1.0)
        async with asyncio.timeout(WAIT):
            grant = (await claim).grants[0]
        assert grant.attempt == 2
        assert await worker.finish(grant)

    async def test_a_repeat_of_the_last_end_is_accepted_and_changes_nothing(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        grant = await worker.one()
        assert await worker.finish(grant, 1)
        assert await worker.finish(grant, 1)
        assert len(await home.store.events(job["id"])) == 3

    async def test_the_end_of_a_lost_lease_is_refused(self, home: House, told: Told) -> None:
        worker = await home.ready_worker()
        await home.submit()
        grant = await worker.one()
        assert not await worker.end(Hold(grant.hold.job_id, 7), Outcome(OutcomeKind.COMPLETED))
        assert told.of("job.lease_lost") == [{"job": grant.hold.job_id, "worker": "w1"}]

    async def test_a_result_that_names_another_attempts_artifact_fails_the_job(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        grant = await worker.one()
        stolen = Artifact("jobs/somebody/1/secret.png", 3, "0" * 64)
        assert await worker.finish(grant, "x", (stolen,))
        seen = await home.job(job["id"])
        assert (seen["state"], seen["error"]["code"], seen["artifacts"]) == ("failed", "bad_artifact", [])

    async def test_notes_of_a_lost_lease_are_refused_one_by_one(self, home: House, told: Told) -> None:
        worker = await home.ready_worker()
        await home.submit()
        grant = await worker.one()
        assert (await worker.note(grant, Note("log", {"text": "hi"}))).accepted == (True,)
        await worker.finish(grant)
        assert (await worker.note(grant, Note("log", {"text": "late"}))).accepted == (False,)
        assert len(told.of("job.lease_lost")) == 1

    async def test_progress_shows_in_the_job(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        grant = await worker.one()
        await worker.note(grant, Note("progress", {"done": 3}, progress=Progress(3, 12, "drawing")))
        assert (await home.job(job["id"]))["progress"] == {
            "done": 3.0,
            "total": 12.0,
            "percent": 25.0,
            "note": "drawing",
            "preview": None,
            "preview_url": None,
        }

    async def test_a_worker_that_died_loses_its_jobs_at_once_and_is_offline(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        await worker.one()
        await home.gateway.worker_died("w1")
        seen = await home.job(job["id"])
        assert (seen["state"], [attempt["outcome"] for attempt in seen["attempts"]]) == ("queued", ["crashed"])
        assert [record.status for record in await home.store.workers()] == ["offline"]
        assert orders(await worker.claim()) == [("register", "")]

    async def test_the_death_of_a_worker_nobody_knows_is_nothing(self, home: House) -> None:
        await home.gateway.worker_died("nobody")

    async def test_a_worker_started_anew_gives_up_what_its_earlier_process_held(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        await worker.one()
        reborn = home.worker(incarnation="two")
        await reborn.register()
        assert [attempt["outcome"] for attempt in (await home.job(job["id"]))["attempts"]] == ["crashed"]
        assert len((await reborn.claim()).grants) == 1

    async def test_the_claim_of_the_process_before_is_over_when_the_new_one_announces_itself(self, home: House) -> None:
        worker = await home.ready_worker()
        async with asyncio.timeout(WAIT):
            claim = await waiting(worker)
            await home.worker(incarnation="two").register()
            assert orders(await claim) == [("register", "")]

    async def test_the_same_process_announcing_itself_again_keeps_its_jobs(self, home: House, tmp_path: Path) -> None:
        worker = await home.ready_worker()
        await home.submit()
        grant = await worker.one()
        await worker.register()
        async with house(tmp_path, home.clock, store=home.store) as second:
            worker.link = second.gateway.desk
            await worker.register()
            assert await worker.finish(grant)

    async def test_a_death_wakes_another_workers_waiting_claim(self, home: House) -> None:
        first, second = await home.ready_worker("w1"), await home.ready_worker("w2")
        await home.submit()
        await first.one()
        async with asyncio.timeout(WAIT):
            claim = await waiting(second)
            await home.gateway.worker_died("w1")
            assert len((await claim).grants) == 1


class TestOrders:
    async def test_a_cancel_reaches_the_worker_through_its_waiting_claim_at_once(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        grant = await worker.one()
        async with asyncio.timeout(WAIT):
            claim = await waiting(worker)
            await home.client.post(job["urls"]["cancel"])
            assert orders(await claim) == [("cancel", job["id"])]
        assert await worker.end(grant.hold, Outcome(OutcomeKind.CANCELED))
        assert (await home.job(job["id"]))["state"] == "canceled"

    async def test_a_cancel_reaches_the_worker_through_its_renewal_too(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        grant = await worker.one()
        await home.client.post(job["urls"]["cancel"])
        renewed = await worker.renew(grant)
        assert [(one.held, one.cancel) for one in renewed.renewals] == [(True, True)]
        assert orders(renewed) == [("cancel", job["id"])]
        assert orders(await worker.claim()) == []

    async def test_the_same_order_twice_is_delivered_once(self, home: House) -> None:
        worker = await home.ready_worker()
        for _ in range(2):
            home.gateway.desk.order("w1", Order(OrderKind.DRAIN))
        assert orders(await worker.claim()) == [("drain", "")]
        assert orders(await worker.claim()) == []

    async def test_orders_come_with_work_in_one_answer(self, home: House) -> None:
        worker = await home.ready_worker()
        await home.submit()
        home.gateway.desk.order("w1", Order(OrderKind.DRAIN))
        claimed = await worker.claim()
        assert (len(claimed.grants), orders(claimed)) == (1, [("drain", "")])

    async def test_work_for_a_sleeping_model_orders_it_up(self, home: House) -> None:
        worker = home.worker()
        await worker.register(picture(Status.PENDING))
        await home.submit()
        assert orders(await worker.claim()) == [("load", "echo")]

    async def test_work_from_before_a_model_fell_asleep_orders_it_up_at_once(self, home: House) -> None:
        worker = await home.ready_worker()
        await home.submit()
        assert orders(await worker.register(picture(Status.SLEEPING))) == [("load", "echo")]
        assert orders(await worker.register(picture(Status.SLEEPING))) == []

    async def test_work_from_before_a_model_was_imported_orders_it_up_once_it_can_be(self, home: House) -> None:
        worker = home.worker()
        await worker.register(picture(Status.PENDING))
        await home.submit()
        assert orders(await worker.claim()) == [("load", "echo")]
        assert orders(await worker.register(picture(Status.SLEEPING))) == [("load", "echo")]

    async def test_work_from_before_a_worker_that_sleeps_was_started_anew_orders_it_up(self, home: House) -> None:
        worker = home.worker()
        await worker.register(picture(Status.SLEEPING))
        await home.submit()
        assert orders(await worker.claim()) == [("load", "echo")]
        anew = home.worker(incarnation="two")
        assert orders(await anew.register(picture(Status.SLEEPING))) == [("load", "echo")]

    async def test_a_model_that_falls_asleep_without_work_is_let_sleep(self, home: House) -> None:
        worker = await home.ready_worker()
        later = (home.clock.now() + timedelta(seconds=60)).isoformat()
        await home.submit(run_at=later)
        assert orders(await worker.register(picture(Status.SLEEPING))) == []

    async def test_a_job_that_comes_back_from_a_model_that_fell_asleep_orders_it_up(self, home: House) -> None:
        worker = await home.ready_worker()
        await home.submit()
        grant = await worker.one()
        assert orders(await worker.register(picture(Status.SLEEPING))) == []
        await worker.end(grant.hold, Outcome(OutcomeKind.INTERRUPTED))
        assert orders(await worker.claim()) == [("load", "echo")]

    async def test_a_job_that_is_sent_again_orders_its_sleeping_model_up(self, home: House) -> None:
        worker = await home.ready_worker()
        job = await home.submit()
        await worker.fail(await worker.one())
        await worker.register(picture(Status.SLEEPING))
        assert (await home.client.post(f"/v1/jobs/{job['id']}/retry")).status_code == 202
        assert orders(await worker.claim()) == [("load", "echo")]

    async def test_no_model_is_ordered_up_while_another_worker_has_it_ready(self, home: House) -> None:
        await home.ready_worker("w1")
        sleeper = home.worker("w2")
        await sleeper.register(picture(Status.SLEEPING))
        await home.submit()
        assert orders(await sleeper.claim()) == []

    async def test_a_renewal_of_an_unknown_process_keeps_its_leases_and_asks_it_to_register(self, home: House) -> None:
        worker = await home.ready_worker()
        await home.submit()
        grant = await worker.one()
        stranger = home.worker(incarnation="two")
        renewed = await stranger.renew(grant)
        assert ([one.held for one in renewed.renewals], orders(renewed)) == ([True], [("register", "")])


async def test_the_answer_to_a_registration_tells_how_long_leases_last(home: House) -> None:
    assert (await home.worker().register()).lease_seconds == home.gateway.policy.lease_seconds


async def test_the_slots_of_waiting_claims_are_known(home: House) -> None:
    worker = await home.ready_worker()
    claim = await waiting(worker, slots=3)
    assert home.gateway.desk.free_slots("echo.say") == 3
    assert home.gateway.desk.free_slots("other.task") == 0
    claim.cancel()
    await settle()
    assert home.gateway.desk.free_slots("echo.say") == 0


async def test_a_model_can_wait_in_one_claim_with_another_that_is_not_ready(home: House) -> None:
    both = (ECHO, ModelInfo("slow", "1", (TaskInfo("slow.think"),)))
    worker = home.worker()
    await worker.register(picture(echo=Status.READY, slow=Status.LOADING), models=both)
    await home.submit("fast")
    await home.client.post("/v1/jobs", json={"task": "slow.think", "input": {}})
    wants = (Want(("echo.say",), 1), Want(("slow.think",), 1))
    claimed = await home.gateway.desk.claim(Claim("w1", "one", wants, 0.0))
    assert [grant.task for grant in claimed.grants] == ["echo.say"]


async def test_a_hint_for_nothing_leaves_the_claim_waiting(home: House) -> None:
    worker = await home.ready_worker()
    claim = await waiting(worker)
    await home.parts.broker.publish([Hint("", "echo.say")])
    await settle()
    assert not claim.done()
    claim.cancel()
