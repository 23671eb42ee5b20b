"""The doorway: doors open without holding anybody up, and hear at once what the gateway writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.unit.gateway.house import Told, house
from tests.unit.gateway.listeners import Listener, until, wind

from glowplug.clock import ManualClock
from glowplug.errors import Unreachable
from glowplug.gateway.doorway import Doorway
from glowplug.job import Follower, JobRequest, Note
from glowplug.store import News
from glowplug.stores.memory import MemoryStore


class Other(Listener):
    """A second door."""

    name = "other"


def of(door: Listener, job_id: str) -> list[str]:
    """Return the types that the door was told of a job."""
    return [kind for told_of, _, kind in door.told if told_of == job_id]


async def test_a_door_hears_every_event_as_it_is_written(tmp_path: Path) -> None:
    door = Listener()
    async with asyncio.timeout(20), house(tmp_path, doors=[door]) as home:
        worker = await home.ready_worker()
        job = await home.submit()
        await until(lambda: of(door, job["id"]) == ["queued"])
        grant = await worker.one()
        await until(lambda: of(door, job["id"])[1:] == ["started"])
        await worker.note(grant, Note("metrics", {"epoch": 1}))
        await until(lambda: of(door, job["id"])[2:] == ["metrics"])
        await worker.finish(grant, "done")
        await until(lambda: of(door, job["id"])[3:] == ["completed"])


async def test_a_canceled_job_and_one_that_is_queued_again_are_told(tmp_path: Path) -> None:
    door = Listener()
    async with asyncio.timeout(20), house(tmp_path, doors=[door]) as home:
        await home.ready_worker()
        job = await home.submit()
        await home.client.post(f"/v1/jobs/{job['id']}/cancel")
        await until(lambda: of(door, job["id"]) == ["queued", "canceled"])
        await home.client.post(f"/v1/jobs/{job['id']}/retry")
        await until(lambda: of(door, job["id"])[2:] == ["requeued"])


async def test_each_door_is_told_what_it_follows(tmp_path: Path) -> None:
    doors = [Listener(), Other(types=("completed",))]
    async with asyncio.timeout(20), house(tmp_path, doors=doors) as home:
        worker = await home.ready_worker()
        job = await home.run_one(worker)
        await until(lambda: len(doors[0].told) == 3 and len(doors[1].told) == 1)
        assert of(doors[1], job["id"]) == ["completed"]


async def test_a_job_that_nobody_follows_is_told_to_nobody(tmp_path: Path) -> None:
    door = Listener()
    async with asyncio.timeout(20), house(tmp_path, doors=[door]) as home:
        worker = await home.ready_worker()
        await home.submit(metadata={"follow": "nobody"})
        await worker.finish(await worker.one())
        await home.clock.advance(10)
        assert door.told == []


async def test_what_a_door_cannot_tell_is_refused_as_it_is_submitted(tmp_path: Path) -> None:
    async with asyncio.timeout(20), house(tmp_path, doors=[Listener()]) as home:
        await home.ready_worker()
        body = {"task": "echo.say", "input": {"text": "x"}, "metadata": {"follow": "wrong"}}
        answer = await home.client.post("/v1/jobs", json=body)
        assert (answer.status_code, answer.json()["detail"]) == (422, "nobody can be told like that")


async def test_a_door_that_cannot_open_is_reported_once_and_tried_until_it_does(tmp_path: Path, told: Told) -> None:
    door = Listener()
    door.start_errors = [Unreachable("nobody listens"), ValueError("a mistake in it"), Unreachable("not yet")]
    async with asyncio.timeout(20), house(tmp_path, doors=[door]) as home:
        worker = await home.ready_worker()
        job = await home.run_one(worker)
        await wind(home.clock, lambda: len(door.told) == 3)
        assert of(door, job["id"]) == ["queued", "started", "completed"]
    assert [fields["error"] for fields in told.of("door.failed")] == ["Unreachable: nobody listens"]
    assert told.of("door.opened") == [{"door": "listener"}]


async def test_a_gateway_stops_while_a_door_still_tries_to_open(tmp_path: Path) -> None:
    door = Listener()
    door.start_errors = [Unreachable("nobody listens")] * 1000
    async with asyncio.timeout(20), house(tmp_path, doors=[door]):
        await until(lambda: door.starts == 1)
    assert not door.started


async def test_doors_are_stopped_with_the_gateway_and_start_with_it_again(tmp_path: Path) -> None:
    door = Listener()
    async with asyncio.timeout(20), house(tmp_path, doors=[door]) as home:
        await until(lambda: door.started)
        await home.gateway.stop()
        assert not door.started
        await home.gateway.start()
        await until(lambda: door.started)


async def test_a_door_is_welcomed_before_it_starts(tmp_path: Path) -> None:
    class Guest(Listener):
        async def _start(self) -> None:
            assert self.reception is not None
            await super()._start()

    door = Guest()
    async with asyncio.timeout(20), house(tmp_path, doors=[door]):
        await until(lambda: door.started)


async def test_of_several_gateways_the_one_that_leads_a_door_tells_it() -> None:
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    doors = [Listener(), Other()]
    doorway = Doorway(doors, store, clock)
    assert doorway.duties == ["tell:listener", "tell:other"]
    doorway.leads = lambda duty: duty == "tell:other"
    followers = (Follower("listener"), Follower("other"))
    async with asyncio.timeout(20), store, doorway:
        job = (await store.submit([JobRequest(task="echo.say", input={}, followers=followers)]))[0].job
        doorway.written([job])
        await until(lambda: doors[1].of(job) == [1])
        await clock.advance(10)
        assert doors[0].told == []


class Shared(MemoryStore):
    """A store of several gateways, whose news come when a test says so."""

    shared = True

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.listener: Callable[[Sequence[News]], None] = lambda news: None

    def follow(self, listener: Callable[[Sequence[News]], None]) -> None:
        self.listener = listener


async def test_what_another_gateway_wrote_is_told_as_soon_as_it_is_heard_of(tmp_path: Path) -> None:
    door, clock = Listener(), ManualClock()
    store = Shared(clock)
    async with asyncio.timeout(20), house(tmp_path, clock=clock, store=store, doors=[door]):
        await until(lambda: door.started)
        await clock.advance(0.1)
        request = JobRequest(task="echo.say", input={}, followers=(Follower("listener"),))
        job = (await store.submit([request]))[0].job
        store.listener([News(job.id, job.task)])
        await until(lambda: door.of(job) == [1])
