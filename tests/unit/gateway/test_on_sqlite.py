"""The gateway over the embedded database: what must hold when it is stopped and opened again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.unit.gateway.house import House, house, orders, picture

from glowplug.clock import SystemClock
from glowplug.job import Note, Progress
from glowplug.readiness import Status
from glowplug.stores.sql import SqlStore


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[House]:
    """Yield a gateway over the database in `folder`, as it was left."""
    clock = SystemClock()
    store = SqlStore(f"sqlite:///{folder}/glowplug.db", clock=clock)
    async with asyncio.timeout(60), house(folder, clock, store=store) as home:
        yield home


async def test_a_job_survives_the_gateway_and_so_does_what_is_known_of_its_task(tmp_path: Path) -> None:
    async with opened(tmp_path) as home:
        await home.worker().register(picture(Status.LOADING))
        job = await home.submit()
    async with opened(tmp_path) as home:
        assert (await home.job(job["id"]))["state"] == "queued"
        wrong = await home.client.post("/v1/jobs", json={"task": "echo.say", "input": {"text": 7}})
        assert wrong.status_code == 422
        worker = await home.ready_worker()
        assert await worker.finish(await worker.one(), "done")
    async with opened(tmp_path) as home:
        assert (await home.job(job["id"]))["result"] == "done"
        told = [event.type for event in await home.store.events(job["id"])]
        assert told == ["queued", "started", "completed"]


async def test_a_running_job_goes_on_under_its_lease_while_the_gateway_is_away(tmp_path: Path) -> None:
    async with opened(tmp_path) as home:
        worker = await home.ready_worker()
        job = await home.submit()
        grant = await worker.one()
    async with opened(tmp_path) as home:
        worker.link = home.gateway.desk
        assert orders(await worker.renew(grant)) == [("register", "")]
        await worker.register()
        await worker.note(grant, Note("progress", {"done": 1}, progress=Progress(1, 2)))
        assert await worker.finish(grant, "kept")
        assert (await home.job(job["id"]))["result"] == "kept"


async def test_a_worker_that_was_replaced_while_the_gateway_was_away_gives_up_its_jobs(tmp_path: Path) -> None:
    async with opened(tmp_path) as home:
        worker = await home.ready_worker()
        job = await home.submit()
        grant = await worker.one()
    async with opened(tmp_path) as home:
        await home.worker(incarnation="two").register()
        assert [one["outcome"] for one in (await home.job(job["id"]))["attempts"]] == ["crashed"]
        worker.link = home.gateway.desk
        assert not await worker.finish(grant)


async def test_a_key_is_remembered(tmp_path: Path) -> None:
    async with opened(tmp_path) as home:
        await home.ready_worker()
        first = await home.submit(headers={"idempotency-key": "k"})
    async with opened(tmp_path) as home:
        await home.ready_worker()
        assert (await home.submit(headers={"idempotency-key": "k"}))["id"] == first["id"]


async def test_many_jobs_pass_through_in_batches(tmp_path: Path) -> None:
    async with opened(tmp_path) as home:
        worker = await home.ready_worker()
        wishes = [{"task": "echo.say", "input": {"text": str(number)}} for number in range(200)]
        batch = (await home.client.post("/v1/batches", json={"jobs": wishes})).json()
        seen: set[str] = set()
        while grants := (await worker.claim(20)).grants:
            for grant in grants:
                seen.add(grant.hold.job_id)
                assert await worker.finish(grant, grant.input["text"])
        assert seen == {job["id"] for job in batch["jobs"]}
        assert (await home.client.get(f"/v1/batches/{batch['batch_id']}")).json()["done"]


async def test_two_waiting_workers_share_what_comes(tmp_path: Path) -> None:
    async with opened(tmp_path) as home:
        workers = [await home.ready_worker(name) for name in ("w1", "w2", "w3")]
        claims = [asyncio.create_task(worker.claim(wait=20)) for worker in workers]
        await asyncio.sleep(0.05)
        for number in range(3):
            await home.submit(str(number))
        granted = [grant.hold.job_id for claim in await asyncio.gather(*claims) for grant in claim.grants]
        assert len(set(granted)) == len(granted) == 3
