"""Upkeep: failed models are loaded again, and ready ones warmed up, on whatever workers they live."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.gateway.house import HandWorker, House, orders, picture, settle

from glowplug.errors import Conflict, NotFound
from glowplug.gateway.upkeep import BEGIN_SECONDS
from glowplug.readiness import Status
from glowplug.store import WorkerRecord

LIMIT_SECONDS = 20


async def failed(home: House, name: str = "w1") -> HandWorker:
    worker = home.worker(name)
    await worker.register(picture(Status.ERROR))
    return worker


class TestRetrying:
    async def test_every_worker_that_has_the_failed_model_is_ordered_to(self, home: House) -> None:
        first, second, fine = await failed(home), await failed(home, "w2"), await home.ready_worker("w3")
        asked = asyncio.create_task(home.gateway.upkeep.retry(["echo"]))
        await settle()
        assert orders(await first.claim()) == orders(await second.claim()) == [("retry", "echo")]
        assert orders(await fine.claim()) == []
        for worker in (first, second):
            await worker.register(picture(Status.LOADING))
        async with asyncio.timeout(LIMIT_SECONDS):
            assert await asked == ("echo",)

    async def test_the_answer_comes_when_the_load_has_begun(self, home: House) -> None:
        worker = await failed(home)
        asked = asyncio.create_task(home.gateway.upkeep.retry([]))
        await settle()
        assert not asked.done()
        await worker.register(picture(Status.LOADING))
        async with asyncio.timeout(LIMIT_SECONDS):
            assert await asked == ("echo",)

    async def test_a_new_failure_of_the_same_kind_is_a_beginning_too(self, home: House) -> None:
        worker = await failed(home)
        asked = asyncio.create_task(home.gateway.upkeep.retry([]))
        await settle()
        again = picture(Status.ERROR)
        again["components"][0]["attempt"] = 2
        await worker.register(again)
        async with asyncio.timeout(LIMIT_SECONDS):
            await asked

    async def test_a_worker_that_is_silent_is_not_waited_for_long(self, home: House) -> None:
        await failed(home)
        asked = asyncio.create_task(home.gateway.upkeep.retry([]))
        await settle()
        await home.clock.advance(BEGIN_SECONDS)
        async with asyncio.timeout(LIMIT_SECONDS):
            assert await asked == ("echo",)

    async def test_a_worker_that_dies_under_the_order_is_not_waited_for(self, home: House) -> None:
        await failed(home)
        asked = asyncio.create_task(home.gateway.upkeep.retry([]))
        await settle()
        await home.gateway.worker_died("w1")
        async with asyncio.timeout(LIMIT_SECONDS):
            await asked

    async def test_a_claim_that_waits_brings_the_order_at_once(self, home: House) -> None:
        worker = await failed(home)
        claim = asyncio.create_task(worker.claim(0, wait=20.0))
        await settle()
        asked = asyncio.create_task(home.gateway.upkeep.retry([]))
        async with asyncio.timeout(LIMIT_SECONDS):
            assert orders(await claim) == [("retry", "echo")]
        asked.cancel()

    async def test_the_failed_ones_of_those_named_are_tried(self, home: House) -> None:
        worker = home.worker()
        await worker.register(picture(good=Status.READY, bad=Status.ERROR))
        asked = asyncio.create_task(home.gateway.upkeep.retry(["good", "bad", "bad"]))
        await settle()
        assert orders(await worker.claim()) == [("retry", "bad")]
        await worker.register(picture(good=Status.READY, bad=Status.LOADING))
        async with asyncio.timeout(LIMIT_SECONDS):
            assert await asked == ("bad",)

    async def test_a_model_that_nobody_has_heard_of_is_not_found(self, home: House) -> None:
        await failed(home)
        with pytest.raises(NotFound, match="there are: echo"):
            await home.gateway.upkeep.retry(["echo", "ecko"])

    @pytest.mark.parametrize("status", [Status.READY, Status.LOADING, Status.SLEEPING])
    async def test_what_has_not_failed_is_not_tried_again(self, home: House, status: Status) -> None:
        worker = home.worker()
        await worker.register(picture(status))
        with pytest.raises(Conflict, match=f"echo is {status}"):
            await home.gateway.upkeep.retry(["echo"])
        with pytest.raises(Conflict, match="nothing to retry"):
            await home.gateway.upkeep.retry([])
        assert orders(await worker.claim()) == []

    async def test_with_no_worker_at_all_there_is_nothing_to_retry(self, home: House) -> None:
        with pytest.raises(Conflict, match="nothing to retry"):
            await home.gateway.upkeep.retry([])

    async def test_a_worker_that_left_with_its_failure_cannot_be_ordered_and_that_is_said(self, home: House) -> None:
        await failed(home)
        await home.gateway.worker_died("w1")
        for names in (["echo"], []):
            with pytest.raises(Conflict, match="glowplug worker TARGET"):
                await home.gateway.upkeep.retry(names)

    async def test_nor_can_one_that_is_leaving(self, home: House) -> None:
        await home.worker().register(picture(draining=True))
        with pytest.raises(Conflict, match="nobody to order"):
            await home.gateway.upkeep.retry(["echo"])

    async def test_nor_can_a_service_that_has_no_link(self, home: House) -> None:
        record = WorkerRecord(
            instance_id="s1", last_seen=home.clock.now(), status="error", error="OOM", model_name="flux"
        )
        await home.gateway.registry.noticed(record)
        with pytest.raises(Conflict, match="takes no orders"):
            await home.gateway.upkeep.retry(["flux"])
