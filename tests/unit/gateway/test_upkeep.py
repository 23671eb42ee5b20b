"""Upkeep: failed models are loaded again, and ready ones warmed up, on whatever workers they live."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tests.unit.gateway.house import WORKER_TOKEN, HandWorker, House, house, orders, picture, policy, settle
from tests.unit.gateway.served import serving

from glowplug.errors import Conflict, NotFound
from glowplug.gateway.policy import Limits
from glowplug.gateway.upkeep import BEGIN_SECONDS, merged
from glowplug.readiness import Status
from glowplug.readiness.warm_up import WarmUp
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


class WarmWorker:
    """A worker's port that answers warm-ups as a test says; `gate` holds the answer back."""

    def __init__(self, body: Any, status: int = 200) -> None:
        self.body, self.status = body, status
        self.asked: list[tuple[str, str, bytes]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.app = Starlette(routes=[Route("/api/warmup", self.answer, methods=["POST"])])

    async def answer(self, request: Request) -> Response:
        self.asked.append((request.method, request.headers.get("authorization", ""), await request.body()))
        await self.gate.wait()
        headers = {"location": "http://127.0.0.1:1/"} if self.status == 307 else None
        return Response(self.body if isinstance(self.body, bytes) else json.dumps(self.body), self.status, headers)


def took(milliseconds: float, model: str = "echo") -> dict[str, Any]:
    return {"services": {model: {"warmup_time_ms": milliseconds}}}


def free_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


class TestWarmingUp:
    async def test_every_ready_worker_is_asked_and_the_slowest_is_told(self, home: House) -> None:
        fast, slow, asleep = WarmWorker(took(100)), WarmWorker(took(250)), WarmWorker(took(9000))
        async with (
            asyncio.timeout(LIMIT_SECONDS),
            serving(fast.app) as one,
            serving(slow.app) as two,
            serving(asleep.app) as three,
        ):
            await home.worker("w1").register(url=one)
            await home.worker("w2").register(url=two)
            await home.worker("w3").register(picture(Status.LOADING), url=three)
            assert await home.gateway.upkeep.warm_up() == (WarmUp("echo", 0.25),)
        assert fast.asked == [("POST", f"Bearer {WORKER_TOKEN}", b"")]
        assert asleep.asked == []

    async def test_they_are_asked_at_the_same_time(self, home: House) -> None:
        workers = [WarmWorker(took(1)), WarmWorker(took(2))]
        for worker in workers:
            worker.gate.clear()
        async with asyncio.timeout(LIMIT_SECONDS), serving(workers[0].app) as one, serving(workers[1].app) as two:
            await home.worker("w1").register(url=one)
            await home.worker("w2").register(url=two)
            asked = asyncio.create_task(home.gateway.upkeep.warm_up())
            while not all(worker.asked for worker in workers):
                await asyncio.sleep(0.005)
            for worker in workers:
                worker.gate.set()
            assert await asked == (WarmUp("echo", 0.002),)

    async def test_a_worker_that_cannot_be_reached_is_an_error_beside_the_others_times(self, home: House) -> None:
        fine = WarmWorker(took(100))
        async with asyncio.timeout(LIMIT_SECONDS), serving(fine.app) as url:
            await home.worker("w1").register(url=url)
            await home.worker("w2").register(url=free_url())
            await home.worker("w3").register(url=None)
            (warmed,) = await home.gateway.upkeep.warm_up()
        assert (warmed.component, warmed.seconds) == ("echo", 0.1)
        assert "w2: cannot reach" in (warmed.error or "")
        assert "w3: it has no address" in (warmed.error or "")

    @pytest.mark.parametrize(
        ("body", "status"),
        [({"code": "conflict"}, 409), (b"<html>", 200), ({"services": []}, 200), (b"", 307), (b"\xff", 500)],
    )
    async def test_an_answer_that_is_none_is_an_error(self, home: House, body: Any, status: int) -> None:
        async with asyncio.timeout(LIMIT_SECONDS), serving(WarmWorker(body, status).app) as url:
            await home.worker().register(url=url)
            (warmed,) = await home.gateway.upkeep.warm_up()
        assert warmed.seconds is None
        assert (warmed.error or "").startswith("w1: ")

    async def test_what_went_wrong_inside_a_worker_names_it(self, home: House) -> None:
        sick = WarmWorker({"services": {"echo": {"error": "out of memory"}}})
        async with asyncio.timeout(LIMIT_SECONDS), serving(sick.app) as url:
            await home.worker().register(url=url)
            assert await home.gateway.upkeep.warm_up() == (WarmUp("echo", None, "w1: out of memory"),)

    async def test_one_that_takes_too_long_is_not_waited_for(self, tmp_path: Path) -> None:
        stuck = WarmWorker(took(1))
        stuck.gate.clear()
        chosen = policy(limits=Limits(warm_up_seconds=0.05))
        async with asyncio.timeout(LIMIT_SECONDS), house(tmp_path, chosen=chosen) as home, serving(stuck.app) as url:
            await home.worker().register(url=url)
            (warmed,) = await home.gateway.upkeep.warm_up()
            stuck.gate.set()
        assert "gave no answer" in (warmed.error or "")

    async def test_with_nothing_ready_there_is_nothing_to_warm_up(self, home: House) -> None:
        await failed(home)
        with pytest.raises(Conflict, match="nothing to warm up"):
            await home.gateway.upkeep.warm_up()


def test_answers_are_joined_by_model() -> None:
    one = [WarmUp("a", 1.0), WarmUp("b", None, "w1: cold")]
    two = [WarmUp("b", 2.0), WarmUp("a", 0.5), WarmUp("c", None, "w2: gone")]
    assert merged([one, two, []]) == (WarmUp("a", 1.0), WarmUp("b", 2.0, "w1: cold"), WarmUp("c", None, "w2: gone"))
